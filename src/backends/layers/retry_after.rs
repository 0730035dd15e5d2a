//! The `Retry-After` header: seconds or a date (RFC 9110, sections 5.6.7 and 10.2.3).

use std::time::{Duration, SystemTime};

use http::HeaderValue;

use crate::calendar::days_before;

/// Returns the pause that the header asks for at `now`; `None` where it cannot be read.
///
/// A date that has passed asks for none. The caller bounds it: it may be as long as the peer likes.
pub(crate) fn asked_pause(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Digits only, so all that can fail is the size.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(http_date(text)?))?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Reads a date in the form that must be sent, `Sun, 06 Nov 1994 08:49:37 GMT`, as seconds since 1970.
///
/// The two obsolete forms are not read: a pause of our own is as good.
pub(crate) fn http_date(text: &str) -> Option<u64> {
    let (weekday, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts[..] else { return None };
    let time: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = time[..] else { return None };
    let month = 1 + MONTHS.iter().position(|name| *name == month)? as u64;
    let (year, day) = (digits(year, 4)?, digits(day, 2)?);
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    // Second 60 is a leap second.
    let plausible = weekday.len() == 3
        && year >= 1970
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let days = days_before(year as i64, month as i64, day as i64);
    plausible.then(|| days as u64 * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn digits(text: &str, length: usize) -> Option<u64> {
    (text.len() == length && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(value: &'static str, now: u64) -> Option<u64> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        asked_pause(&HeaderValue::from_static(value), now).map(|pause| pause.as_secs())
    }

    #[test]
    fn seconds_are_taken_as_they_are_and_bounded() {
        assert_eq!(pause("120", 0), Some(120));
        assert_eq!(pause("0", 0), Some(0));
        assert_eq!(pause("99999999999999999999999", 0), Some(u64::from(u32::MAX)));
    }

    #[test]
    fn dates_count_from_now() {
        // Figures from GNU date.
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 - 30), Some(30));
        assert_eq!(pause("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199 - 5), Some(5));
        assert_eq!(pause("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200 - 5), Some(5));
        assert_eq!(pause("Thu, 01 Jan 1970 00:00:07 GMT", 0), Some(7));
        assert_eq!(pause("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400 - 1), Some(1));
    }

    #[test]
    fn dates_that_have_passed_ask_for_no_pause() {
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT", 1_800_000_000), Some(0));
    }

    #[test]
    fn what_is_neither_is_not_read() {
        for value in [
            "",
            "-1",
            "1.5",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(pause(value, 0), None, "{value}");
        }
    }
}
