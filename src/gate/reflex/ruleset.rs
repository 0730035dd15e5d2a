//! The rules of one file.

use super::ReflexRule;
use crate::manifest::{LintDiagnostic, gate_file};

/// The reflex rules of one `gate.toml`, in the order of the file.
///
/// # Examples
/// ```
/// use leverframe::gate::reflex::{Action, Ruleset};
/// let (ruleset, findings) = Ruleset::parse(r#"
/// [[rule]]
/// tag = "free"
/// metric = "p95_latency"
/// operator = ">"
/// threshold = 500
/// window_secs = 30
/// action = { throttle_percent = 50 }
/// recover_below = 400
/// recover_after_secs = 60
/// "#);
/// assert!(findings.is_empty());
/// let ruleset = ruleset.unwrap();
/// let rule = &ruleset.rules()[0];
/// assert_eq!((rule.name.as_str(), rule.action), ("free:p95_latency", Action::ThrottlePercent(50)));
///
/// let (none, findings) = Ruleset::parse("[[rule]]\ntag = \"free\"\nmetric = \"p95-latency\"\n");
/// assert!(none.is_none());
/// assert_eq!(findings.iter().find(|d| d.code == "E040").unwrap().help.as_deref(), Some("did you mean `p95_latency`?"));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ruleset {
    rules: Vec<ReflexRule>,
}

impl Ruleset {
    /// Reads the text of a `gate.toml`; the rules are there exactly if no finding is an error.
    #[must_use]
    pub fn parse(text: &str) -> (Option<Self>, Vec<LintDiagnostic>) {
        let (rules, findings) = gate_file(text);
        (rules.map(|rules| Self { rules }), findings)
    }

    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> &[ReflexRule] {
        &self.rules
    }
}
