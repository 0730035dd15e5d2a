//! What rules say to people.

use super::{Comparison, ReflexRule};

impl ReflexRule {
    /// Says which values are calm: `below 400`.
    pub(super) fn calm_words(&self) -> String {
        let is_threshold = self.recover_below == self.threshold;
        let words = match self.operator {
            Comparison::Above if is_threshold => "not above",
            Comparison::Below if is_threshold => "not below",
            Comparison::Above | Comparison::AtLeast => "below",
            Comparison::Below | Comparison::AtMost => "above",
        };
        format!("{words} {}", number(self.recover_below))
    }

    /// Says why the rule recovered.
    pub(super) fn recovered(&self, value: Option<f64>, calm_ms: u64) -> String {
        let now = match value {
            Some(value) => {
                format!("now {} over {} s, {}", number(value), self.window_secs, self.calm_words())
            }
            None => format!("no samples within {} s", self.window_secs),
        };
        format!("{} has been calm for {} s: {now}", self.metric, number(calm_ms as f64 / 1_000.0))
    }
}

impl Comparison {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::AtLeast => "at or above",
            Self::Below => "below",
            Self::AtMost => "at or below",
        }
    }
}

/// Writes a number with at most three decimals, and large or tiny ones by their power of ten.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e15 || size > 0.0 && size < 0.000_5 {
        return format!("{value:e}");
    }
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_short() {
        let vectors = [
            (812.0, "812"),
            (12.5, "12.5"),
            (0.125, "0.125"),
            (1.000_4, "1"),
            (100.0, "100"),
            (-3.25, "-3.25"),
            (0.0, "0"),
            (-0.0, "0"),
            (1e300, "1e300"),
            (1e-9, "1e-9"),
        ];
        for (value, text) in vectors {
            assert_eq!(number(value), text);
        }
    }
}
