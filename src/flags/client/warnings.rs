//! Which warnings are due: each (flag, reason) once a minute, in fixed memory, without a lock.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{text_table::hash_key, traits::Tick};

/// How often one warning is repeated.
const PERIOD: Duration = Duration::from_secs(60);
/// A power of two. Two warnings that share a cell may be logged more often than once a minute, never less.
const CELLS: usize = 256;

/// Remembers when warnings were last logged.
pub(super) struct Warnings {
    /// Upper half: which warning. Lower half: the second it was logged, plus one; zero is "never".
    cells: Box<[AtomicU64; CELLS]>,
}

impl Warnings {
    pub(super) fn new() -> Self {
        Self { cells: Box::new([const { AtomicU64::new(0) }; CELLS]) }
    }

    /// Returns true if the warning is due, and takes note of it.
    pub(super) fn admits(&self, flag: &str, reason: &str, now: Tick) -> bool {
        let hash = hash_key(flag) ^ hash_key(reason).rotate_left(1);
        let cell = &self.cells[hash as usize % CELLS];
        // A process does not run for the 136 years that overflow this.
        let second = now.since_origin().as_secs() as u32 + 1;
        let seen = cell.load(Ordering::Relaxed);
        let same = (seen >> 32) as u32 == (hash >> 32) as u32 && seen != 0;
        if same && u64::from(second.saturating_sub(seen as u32)) < PERIOD.as_secs() {
            return false;
        }
        let mine = (hash >> 32) << 32 | u64::from(second);
        // Of two threads that fail at once, the one that wins the exchange logs.
        cell.compare_exchange(seen, mine, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl fmt::Debug for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warnings").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn one_warning_is_due_once_a_minute() {
        let warnings = Warnings::new();

        assert!(warnings.admits("a", "unknown_flag", at(0)));
        assert!(!warnings.admits("a", "unknown_flag", at(59)));
        assert!(warnings.admits("a", "unknown_flag", at(60)));
    }

    #[test]
    fn flags_and_reasons_count_apart() {
        let warnings = Warnings::new();

        assert!(warnings.admits("a", "unknown_flag", at(0)));
        assert!(warnings.admits("b", "unknown_flag", at(0)));
        assert!(warnings.admits("a", "attr_type_mismatch", at(0)));
    }
}
