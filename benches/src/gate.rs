//! Gates on one workload: three tags with limits, calls counted, the lease looked at.
//!
//! What is called has to refuse and to let pass what the policy says, before anything is measured.

use std::hint::black_box;

pub use self::ours::{Leverframe, pure_policy};
#[cfg(feature = "gate")]
pub use self::{governed::Governor, published::WaitState};

#[cfg(feature = "gate")]
mod governed;
mod ours;
#[cfg(feature = "gate")]
mod published;
#[cfg(feature = "gate")]
mod stub;

/// The tags that have limits, in the order of [`LIMITS`].
pub const TAGS: [&str; 3] = ["free", "pro", "enterprise"];

/// The heaviest calls of the tags.
pub const LIMITS: [f64; 3] = [10.0, 100.0, 500.0];

/// What the control plane answers. The lease outlasts every measurement, and nobody reports meanwhile.
pub const POLICY: &str = r#"{"globalMaxWeight":1000,"tagMaxWeights":{"free":10,"pro":100,"enterprise":500},"pulseInterval":300000,"killSignal":false,"status":null,"leaseDurationSeconds":86400}"#;

/// Something that gates calls.
pub trait Gate: Sync {
    /// Its name and version.
    const NAME: &'static str;

    /// Returns whether a call of this weight may pass.
    fn passes(&self, tag: &str, weight: f64) -> bool;
}

/// Something that is told latencies, besides.
pub trait Measured: Gate {
    /// Tells how long a call took.
    fn took(&self, tag: &str, milliseconds: f64);
}

/// Checks that a gate goes by the policy.
///
/// # Panics
/// When it does not: a figure for other work than the row says would be worse than none.
#[must_use]
pub fn verified<G: Gate>(gate: G) -> G {
    for (tag, limit) in TAGS.iter().zip(LIMITS) {
        assert!(gate.passes(tag, limit), "{}: a call at the limit of `{tag}` passes", G::NAME);
        assert!(!gate.passes(tag, limit + 1.0), "{}: a call above the limit of `{tag}` does not", G::NAME);
    }
    gate
}

/// Gates calls of the three tags in turn.
///
/// Never inlined, so that each row's loop is compiled by itself and shows up by name in a profile.
#[inline(never)]
pub fn in_turn<G: Gate>(gate: &G, calls: u64) {
    for tag in TAGS.iter().cycle().take(calls as usize) {
        black_box(gate.passes(black_box(tag), black_box(1.0)));
    }
}

/// Gates calls of one tag.
#[inline(never)]
pub fn one_tag<G: Gate>(gate: &G, calls: u64) {
    for _ in 0..calls {
        black_box(gate.passes(black_box(TAGS[0]), black_box(1.0)));
    }
}

/// Tells latencies of the three tags in turn.
#[inline(never)]
pub fn latencies<G: Measured>(gate: &G, calls: u64) {
    for tag in TAGS.iter().cycle().take(calls as usize) {
        gate.took(black_box(tag), black_box(12.5));
    }
}

/// Decides calls of the three tags in turn by a policy alone.
#[inline(never)]
pub fn decisions(policy: &leverframe::gate::Policy, calls: u64) {
    for tag in TAGS.iter().cycle().take(calls as usize) {
        black_box(leverframe::gate::gate(black_box(policy), black_box(Some(tag)), black_box(Some(1.0))));
    }
}
