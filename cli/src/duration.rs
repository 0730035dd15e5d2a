//! Lengths of time on the command line.

use std::time::Duration;

/// Reads `90d`, `12h`, `30m`, `45s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    // A thousand years are as good as for ever.
    Some(Duration::from_secs(number.checked_mul(unit)?)).filter(|d| d.as_secs() <= 31_557_600_000)
}

/// Reads `5s`, `500ms` or `1m` as milliseconds.
pub(crate) fn pulse(text: &str) -> Option<u64> {
    match text.strip_suffix("ms") {
        Some(number) => number.parse().ok(),
        None => duration(text).and_then(|length| u64::try_from(length.as_millis()).ok()),
    }
}
