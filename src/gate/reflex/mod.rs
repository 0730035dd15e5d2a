//! Reflex rules: what a control plane does by itself when a fleet's traffic goes wrong.
//!
//! Pure: rules, what was counted and the time go in, the states of the rules and a tighter policy come out. The server
//! and `leverframe gate simulate` decide with this and nothing else.

mod aggregate;
mod evaluate;
mod model;
mod ruleset;
mod words;

pub(crate) use self::model::DEFAULT_RECOVERY_SECS;
pub use self::{
    aggregate::{Aggregate, Window, pulse_window, total},
    evaluate::{Change, Decision, evaluate, restrict},
    model::{ALL_TAGS, Action, Comparison, Metric, ReflexRule, RuleState},
    ruleset::Ruleset,
};
