//! What passes while the control plane has been silent for longer than its policy holds.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{GateReason, GateResult, Policy, SafeModeStrategy, decide::decide};
use crate::traits::Tick;

/// A strategy at work.
#[derive(Debug)]
pub(super) struct SafeMode {
    strategy: SafeModeStrategy,
    bucket: Mutex<Bucket>,
}

/// Calls that may pass, refilled by time. Holds a second's worth at the most, so that no two windows meet.
#[derive(Debug)]
struct Bucket {
    per_second: u64,
    /// Millionths of a call.
    level: u64,
    filled_at: Tick,
}

const CALL: u64 = 1_000_000;

impl SafeMode {
    pub(super) fn new(strategy: SafeModeStrategy, max_rps: u64, now: Tick) -> Self {
        let per_second = max_rps.min(u64::MAX / CALL);
        let bucket = Bucket { per_second, level: per_second * CALL, filled_at: now };
        Self { strategy, bucket: Mutex::new(bucket) }
    }

    /// Returns true if the policy still decides.
    pub(super) fn goes_by_policy(&self) -> bool {
        self.strategy == SafeModeStrategy::LastPolicy
    }

    pub(super) fn decide(
        &self,
        policy: &Policy,
        tag_limit: f64,
        weight: Option<f64>,
        now: impl FnOnce() -> Tick,
    ) -> GateResult {
        if policy.kill_signal {
            return GateResult::denied(GateReason::KillSignal);
        }
        let allowed = match self.strategy {
            SafeModeStrategy::LastPolicy => {
                return decide(false, policy.global_max_weight, tag_limit, weight);
            }
            SafeModeStrategy::Open => true,
            SafeModeStrategy::FixedRps => self.take(now()),
        };
        GateResult { allowed, reason: GateReason::LeaseExpired }
    }

    fn take(&self, now: Tick) -> bool {
        // Nothing that can panic happens under the lock.
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.fill(now);
        match bucket.level.checked_sub(CALL) {
            Some(left) => {
                bucket.level = left;
                true
            }
            None => false,
        }
    }
}

impl Bucket {
    fn fill(&mut self, now: Tick) {
        let since = now - self.filled_at;
        if since.is_zero() {
            return;
        }
        let whole = self.per_second.saturating_mul(CALL);
        let micros = u64::try_from(since.min(Duration::from_secs(1)).as_micros()).unwrap_or(CALL);
        // A call a second is a millionth of a call a microsecond.
        self.level = self.level.saturating_add(micros.saturating_mul(self.per_second)).min(whole);
        // Only what was counted: shares of a microsecond are left for the next time.
        self.filled_at =
            self.filled_at + Duration::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(mode: &SafeMode, policy: &Policy, calls: u32, at: Duration) -> u32 {
        (0..calls).map(|_| u32::from(mode.decide(policy, f64::NAN, None, || Tick::ORIGIN + at).allowed)).sum()
    }

    #[test]
    fn fixed_rps_lets_a_seconds_worth_through_and_no_second_one_at_an_edge() {
        let mode = SafeMode::new(SafeModeStrategy::FixedRps, 50, Tick::ORIGIN);
        let policy = Policy::default();

        assert_eq!(passed(&mode, &policy, 60, Duration::ZERO), 50);
        assert_eq!(passed(&mode, &policy, 60, Duration::from_millis(999)), 49);
        assert_eq!(passed(&mode, &policy, 60, Duration::from_millis(1_001)), 1);
        assert_eq!(passed(&mode, &policy, 500, Duration::from_secs(3_600)), 50);
    }

    #[test]
    fn the_kill_signal_holds_in_every_mode() {
        let policy = Policy { kill_signal: true, ..Policy::default() };
        for strategy in [SafeModeStrategy::Open, SafeModeStrategy::FixedRps, SafeModeStrategy::LastPolicy] {
            let mode = SafeMode::new(strategy, 50, Tick::ORIGIN);
            let result = mode.decide(&policy, f64::NAN, None, || Tick::ORIGIN);
            assert_eq!(result, GateResult::denied(GateReason::KillSignal), "{strategy}");
        }
    }

    #[test]
    fn the_last_policy_goes_on_and_open_asks_nobody() {
        let policy = Policy { global_max_weight: 100.0, ..Policy::default() };
        let decide = |strategy, weight| {
            SafeMode::new(strategy, 50, Tick::ORIGIN).decide(&policy, f64::NAN, Some(weight), || Tick::ORIGIN)
        };

        assert_eq!(decide(SafeModeStrategy::LastPolicy, 1.0), GateResult::ALLOWED);
        assert_eq!(decide(SafeModeStrategy::LastPolicy, 200.0).reason, GateReason::OverWeight);
        let open = decide(SafeModeStrategy::Open, 200.0);
        assert_eq!((open.allowed, open.reason), (true, GateReason::LeaseExpired));
    }
}
