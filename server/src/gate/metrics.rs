//! What the control plane counts about itself.

use crate::metrics::{Counter, Durations, Gauge, family, line};

/// Counts of one process.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct GateMetrics {
    /// Pulses by what became of them, in the order of [`OUTCOMES`].
    pulses: [Counter; OUTCOMES.len()],
    /// How long commits took.
    pub commits: Durations,
    /// Pulses in them.
    pub committed: Counter,
    /// How long it took to decide about a site's rules.
    pub evaluations: Durations,
    /// Instances that have reported lately, at sites that this process has heard from.
    pub instances: Gauge,
}

/// What may become of a pulse; the last stands for whatever else.
const OUTCOMES: [&str; 12] = [
    "counted",
    "counted_before",
    "replayed",
    "clock_skew",
    "unauthenticated",
    "forbidden",
    "bad_request",
    "payload_too_large",
    "rate_limited",
    "unavailable",
    "internal",
    "other",
];

impl GateMetrics {
    /// Counts what became of a pulse.
    pub(crate) fn pulse(&self, outcome: &str) {
        let at = OUTCOMES.iter().position(|name| *name == outcome).unwrap_or(OUTCOMES.len() - 1);
        self.pulses[at].add(1);
    }

    pub(crate) fn write(&self, text: &mut String) {
        family(text, "gate_pulses_total", "Pulses, by what became of them.", "counter");
        for (outcome, count) in OUTCOMES.iter().zip(&self.pulses) {
            line(text, "gate_pulses_total", &format!("outcome=\"{outcome}\""), count.value());
        }
        family(text, "gate_committed_pulses_total", "Pulses in the commits below.", "counter");
        line(text, "gate_committed_pulses_total", "", self.committed.value());
        family(text, "gate_commit_seconds", "Seconds until a batch of pulses was durable.", "histogram");
        self.commits.write(text, "gate_commit_seconds", "");
        family(text, "gate_evaluation_seconds", "Seconds to decide about a site's rules.", "histogram");
        self.evaluations.write(text, "gate_evaluation_seconds", "");
        family(text, "gate_instances", "Instances that have reported lately.", "gauge");
        line(text, "gate_instances", "", self.instances.value());
    }
}
