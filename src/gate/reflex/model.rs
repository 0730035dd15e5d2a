//! Rules and how they stand.

use serde::{Deserialize, Serialize};

/// A rule: when a metric of a tag crosses a threshold, an action is in force until it has recovered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReflexRule {
    /// Its name, unique in its file.
    pub name: String,
    /// The tag that is looked at and acted upon; `*` for all traffic.
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
    /// Where the metric counts as calm: below, or above for the operators `<` and `<=`.
    pub recover_below: f64,
    /// How long it has to be calm, in seconds.
    pub recover_after_secs: u32,
}

/// What a rule measures.
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

/// How a rule compares.
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

/// What a rule does.
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

/// How a rule stands.
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
