//! What is remembered of an instance, so that none of its reports is counted twice.

use std::iter;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use leverframe::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use crate::gate::model::Verdict;

/// How many reports are remembered: an instance sends the next when the last is acknowledged, or at most a few on
/// several connections.
const MOST: usize = 8;
/// The bytes of one.
const SIZE: usize = 16;

/// The last reports of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// The time of the latest report that was forgotten: of what is not later it is not known any more.
    floor: Option<u64>,
    /// Those that are remembered, by their time; all later than the floor.
    recent: Vec<Seen>,
}

/// A report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    ts: u64,
    id: u64,
}

impl Memory {
    /// Says what becomes of a report; one that counts is remembered.
    pub(super) fn judge(&mut self, ts: u64, pulse_id: Option<&str>) -> Verdict {
        let id = pulse_id.map_or(0, digest_of_id);
        if id != 0 && self.recent.iter().any(|seen| seen.id == id) {
            return Verdict::CountedBefore;
        }
        let place = match self.recent.binary_search_by_key(&ts, |seen| seen.ts) {
            Err(place) if self.floor.is_none_or(|floor| ts > floor) => place,
            _ => return Verdict::Replayed,
        };
        self.recent.insert(place, Seen { ts, id });
        if self.recent.len() > MOST {
            self.floor = Some(self.recent.remove(0).ts);
        }
        Verdict::Counted
    }

    /// Returns the memory as it is kept.
    pub(super) fn encode(&self) -> Bytes {
        let seen = self.recent.iter().flat_map(|seen| [seen.ts, seen.id]);
        self.floor.into_iter().chain(seen).flat_map(u64::to_le_bytes).collect()
    }

    /// Reads a memory that was kept: a floor if the length is odd, and reports.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let floor = if bytes.len().is_multiple_of(SIZE) { None } else { numbers.next() };
        let recent: Vec<_> =
            iter::from_fn(|| Some(Seen { ts: numbers.next()?, id: numbers.next()? })).collect();
        let in_order = floor.into_iter().chain(recent.iter().map(|seen| seen.ts)).is_sorted_by(|a, b| a < b);
        if rest.is_empty() && in_order && recent.len() <= MOST {
            return Ok(Self { floor, recent });
        }
        Err(Error::new(ErrorKind::Corrupt, "read what is remembered of an instance").hint("restore a backup"))
    }
}

/// Returns what stands for the name of an instance, which may be of any length and content.
pub(super) fn digest_of_instance(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(name.as_bytes())[..16])
}

/// Returns what stands for the id of a report; never 0. It only has to differ from those of few others.
fn digest_of_id(id: &str) -> u64 {
    let digest = Sha256::digest(id.as_bytes());
    digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use Verdict::{Counted, CountedBefore, Replayed};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_report_of_the_same_id_is_counted_before_whatever_its_time() {
        let mut memory = Memory::default();

        assert_eq!(memory.judge(10, Some("a")), Counted);
        assert_eq!(memory.judge(10, Some("a")), CountedBefore);
        assert_eq!(memory.judge(11, Some("a")), CountedBefore);
        assert_eq!(memory.judge(11, Some("b")), Counted);
    }

    #[test]
    fn a_report_of_the_same_time_is_a_replay() {
        let mut memory = Memory::default();

        assert_eq!(memory.judge(10, None), Counted);
        assert_eq!(memory.judge(10, None), Replayed);
        assert_eq!(memory.judge(10, Some("a")), Replayed);
        assert_eq!(memory.judge(11, Some("a")), Counted);
        assert_eq!(memory.judge(11, None), Replayed);
        assert_eq!(memory.judge(11, Some("b")), Replayed);
    }

    #[test]
    fn a_report_that_was_overtaken_counts_and_one_from_before_all_that_is_known_does_not() {
        let mut memory = Memory::default();
        for ts in [10, 30, 40, 50, 60, 70, 80] {
            assert_eq!(memory.judge(ts, None), Counted);
        }

        assert_eq!(memory.judge(20, None), Counted);
        assert_eq!(memory.judge(90, None), Counted);

        // 10 is forgotten now: nothing is known of it, nor of what was before.
        assert_eq!([10, 9, 0].map(|ts| memory.judge(ts, None)), [Replayed; 3]);
        assert_eq!(memory.judge(11, None), Counted);
    }

    proptest! {
        #[test]
        fn no_report_counts_twice_and_the_memory_comes_back(reports in proptest::collection::vec((0_u64..40, proptest::option::of(0_u8..30)), 0..80)) {
            let mut memory = Memory::default();
            let mut counted = BTreeSet::new();
            for (ts, id) in reports {
                let id = id.map(|id| id.to_string());
                if memory.judge(ts, id.as_deref()) == Counted {
                    prop_assert!(counted.insert(ts));
                }
                let kept = memory.encode();
                prop_assert!(kept.len() <= SIZE * MOST + 8);
                prop_assert_eq!(&Memory::decode(&kept).unwrap(), &memory);
            }
        }

        #[test]
        fn damage_is_an_error_and_never_a_panic(bytes: Vec<u8>) {
            if let Ok(memory) = Memory::decode(&bytes) {
                prop_assert_eq!(&memory.encode()[..], &bytes[..]);
            }
        }
    }
}
