//! Rules and how they stand.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words::number;
use crate::gate::types::is_valid_metric_name;

/// The tag of rules for all traffic.
///
/// # Examples
/// ```
/// assert_eq!(leverframe::gate::reflex::ALL_TAGS, "*");
/// ```
pub const ALL_TAGS: &str = "*";

/// A rule: when a metric of a tag crosses a threshold, an action is in force until it has recovered.
///
/// # Examples
/// ```
/// use leverframe::gate::reflex::{Action, Comparison, Metric, ReflexRule};
/// let rule = ReflexRule::new("shed", "free", Metric::P95Latency, Comparison::Above, 500.0, 30, Action::Block);
/// assert!(rule.trips(501.0) && !rule.trips(500.0));
/// assert_eq!(rule.to_string(), "p95_latency of `free` > 500 over 30 s: block, until not above 500 for 30 s");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReflexRule {
    /// Its name, unique in its file.
    pub name: String,
    /// The tag that is looked at and acted upon; [`ALL_TAGS`] for all traffic.
    pub tag: String,
    /// The site that it holds for; `None` for every one.
    pub site: Option<String>,
    /// What is measured.
    pub metric: Metric,
    /// How it is compared.
    pub operator: Comparison,
    /// With what; milliseconds for latencies.
    pub threshold: f64,
    /// Over how long it is measured, in seconds.
    pub window_secs: u32,
    /// What is done.
    pub action: Action,
    /// Where the metric counts as calm: below, or above for the operators `<` and `<=`. As long as it is the
    /// threshold, it is calm wherever the comparison does not hold.
    pub recover_below: f64,
    /// How long it has to be calm, in seconds.
    pub recover_after_secs: u32,
}

impl ReflexRule {
    /// Makes a rule for every site, which recovers once its comparison has not held for 30 seconds.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        tag: impl Into<String>,
        metric: Metric,
        operator: Comparison,
        threshold: f64,
        window_secs: u32,
        action: Action,
    ) -> Self {
        Self {
            name: name.into(),
            tag: tag.into(),
            site: None,
            metric,
            operator,
            threshold,
            window_secs,
            action,
            recover_below: threshold,
            recover_after_secs: DEFAULT_RECOVERY_SECS,
        }
    }

    /// Returns true if the rule is for that site.
    #[must_use]
    pub fn applies_to(&self, site: &str) -> bool {
        self.site.as_deref().is_none_or(|own| own == site)
    }

    /// Returns true for values that bring the action into force.
    #[must_use]
    pub fn trips(&self, value: f64) -> bool {
        self.operator.holds(value, self.threshold)
    }

    /// Returns true for values from which the rule recovers.
    #[must_use]
    pub fn is_calm(&self, value: f64) -> bool {
        let between = if self.operator.is_rising() {
            self.recover_below < self.threshold && value >= self.recover_below
        } else {
            self.recover_below > self.threshold && value <= self.recover_below
        };
        !self.trips(value) && !between
    }

    /// Returns the words for why the action is in force; `None` if it is not.
    ///
    /// # Examples
    /// ```
    /// # use leverframe::gate::reflex::{Action, Comparison, Metric, ReflexRule, RuleState};
    /// let rule = ReflexRule::new("shed", "free", Metric::P95Latency, Comparison::Above, 500.0, 30, Action::Block);
    /// let state: RuleState = serde_json::from_str(r#"{"in_force_since_ms":1,"tripped_by":812.0}"#)?;
    /// assert_eq!(rule.why(&state).as_deref(), Some("p95_latency was 812 over 30 s, above 500"));
    /// assert_eq!(rule.why(&RuleState::default()), None);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn why(&self, state: &RuleState) -> Option<String> {
        state.in_force_since_ms?;
        let value = state.tripped_by.map_or_else(|| "unknown".to_owned(), number);
        let (operator, threshold) = (self.operator.words(), number(self.threshold));
        Some(format!("{} was {value} over {} s, {operator} {threshold}", self.metric, self.window_secs))
    }
}

impl fmt::Display for ReflexRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, metric, operator, window_secs, action, recover_after_secs, .. } = self;
        write!(
            f,
            "{metric} of `{}` {operator} {} over {window_secs} s: {action}, until {} for {recover_after_secs} s",
            tag.escape_debug(),
            number(self.threshold),
            self.calm_words(),
        )?;
        if let Some(site) = &self.site { write!(f, ", at site `{}`", site.escape_debug()) } else { Ok(()) }
    }
}

/// What a rule measures.
///
/// # Examples
/// ```
/// use leverframe::gate::reflex::Metric;
/// assert_eq!(Metric::parse("p95_latency"), Some(Metric::P95Latency));
/// assert_eq!(Metric::parse("queue_depth"), Some(Metric::Custom("queue_depth".to_owned())));
/// assert_eq!(Metric::parse("Queue depth"), None);
/// assert_eq!(Metric::Errors.to_string(), "errors");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// The mean latency, in milliseconds.
    Latency,
    /// How many errors there were.
    Errors,
    /// The median latency, in milliseconds.
    P50Latency,
    /// The 95th percentile of latencies, in milliseconds.
    P95Latency,
    /// The 99th percentile of latencies, in milliseconds.
    P99Latency,
    /// The mean of a custom metric's values.
    Custom(String),
}

impl Metric {
    /// The words of the metrics that every fleet reports.
    pub const BUILT_IN: [&'static str; 5] =
        ["latency", "errors", "p50_latency", "p95_latency", "p99_latency"];

    /// Reads the word of a metric, or the name of a custom one; `None` for what is neither.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "latency" => Self::Latency,
            "errors" => Self::Errors,
            "p50_latency" => Self::P50Latency,
            "p95_latency" => Self::P95Latency,
            "p99_latency" => Self::P99Latency,
            name if is_valid_metric_name(name) => Self::Custom(name.to_owned()),
            _ => return None,
        })
    }

    /// Returns the word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::P50Latency => "p50_latency",
            Self::P95Latency => "p95_latency",
            Self::P99Latency => "p99_latency",
            Self::Custom(name) => name,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a rule compares.
///
/// # Examples
/// ```
/// use leverframe::gate::reflex::Comparison;
/// assert_eq!(Comparison::parse(">="), Some(Comparison::AtLeast));
/// assert!(Comparison::AtLeast.holds(5.0, 5.0) && !Comparison::Above.holds(5.0, 5.0));
/// assert!(Comparison::AtLeast.is_rising() && !Comparison::Below.is_rising());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
}

impl Comparison {
    /// The four comparisons.
    pub const ALL: [Self; 4] = [Self::Above, Self::AtLeast, Self::Below, Self::AtMost];

    /// Reads the sign.
    #[must_use]
    pub fn parse(sign: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|comparison| comparison.as_str() == sign)
    }

    /// Returns the sign.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }

    /// Compares; false for what is no number.
    #[must_use]
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
        }
    }

    /// Returns true if large values trip.
    #[must_use]
    pub const fn is_rising(self) -> bool {
        matches!(self, Self::Above | Self::AtLeast)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a rule does.
///
/// # Examples
/// ```
/// use leverframe::gate::reflex::Action;
/// assert_eq!(Action::Block.to_string(), "block");
/// assert_eq!(Action::LimitWeight(5.0).to_string(), "limit_weight = 5");
/// assert_eq!(Action::ThrottlePercent(50).to_string(), "throttle_percent = 50");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Refuses every call.
    Block,
    /// Refuses calls that are heavier.
    LimitWeight(f64),
    /// Refuses so many calls of 100.
    ThrottlePercent(u8),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block => f.write_str("block"),
            Self::LimitWeight(limit) => write!(f, "limit_weight = {}", number(*limit)),
            Self::ThrottlePercent(percent) => write!(f, "throttle_percent = {percent}"),
        }
    }
}

/// How a rule stands.
///
/// # Examples
/// ```
/// use leverframe::gate::reflex::RuleState;
/// assert_eq!(serde_json::from_str::<RuleState>("{}")?, RuleState::default());
/// assert!(!RuleState::default().is_in_force());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RuleState {
    /// Since when its action is in force, in milliseconds since 1970.
    pub in_force_since_ms: Option<u64>,
    /// Since when the metric has been calm without a break, while the action is in force.
    pub calm_since_ms: Option<u64>,
    /// What the metric was when it was last looked at; `None` without samples.
    pub value: Option<f64>,
    /// What the metric was when the action came into force.
    pub tripped_by: Option<f64>,
}

impl RuleState {
    /// Returns true if the rule's action is in force.
    #[must_use]
    pub const fn is_in_force(&self) -> bool {
        self.in_force_since_ms.is_some()
    }
}

/// How long a rule has to be calm where it does not say.
pub(crate) const DEFAULT_RECOVERY_SECS: u32 = 30;
