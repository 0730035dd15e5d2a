//! What callers reported is what the control plane counted, whatever fails in between.

use std::{collections::BTreeMap, thread};

use leverframe::{live::block_on, testing::ManualClock};
use proptest::prelude::*;

use crate::plane::{Counted, Does, FREE_10, Plane, REFUSAL, synced};

const TAGS: [Option<&str>; 4] = [None, Some("free"), Some("pro"), Some("batch")];

/// What goes wrong with a round of calls.
fn failure(kind: u8) -> Vec<Does> {
    match kind {
        0 => vec![],
        1 => vec![Does::LoseAnswer, Does::Unreachable],
        2 => vec![Does::Garble],
        3 => vec![Does::Refuse(500), Does::Refuse(500)],
        4 => vec![Does::Unreachable, Does::Unreachable],
        5 => vec![Does::Refuse(401), Does::Refuse(429)],
        6 => vec![Does::Pretend("<html>log in</html>")],
        7 => vec![Does::Pretend(""), Does::Pretend("{}"), Does::Pretend("[1]")],
        8 => vec![Does::Refuse(413), Does::LoseAnswer, Does::Refuse(400)],
        12 => vec![Does::Reply(413, &[], REFUSAL), Does::LoseAnswer, Does::Reply(400, &[], REFUSAL)],
        13 => vec![Does::Reply(422, &[], REFUSAL), Does::Reply(422, &[], REFUSAL), Does::Garble],
        9 => vec![Does::Reply(401, &[("date", "Thu, 28 May 2026 21:26:40 GMT")], ""), Does::LoseAnswer],
        10 => vec![Does::Reply(307, &[("location", "https://elsewhere.test/")], ""), Does::Garble],
        _ => vec![Does::LoseAnswer],
    }
}

/// What callers reported.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    usage: u64,
    denied: u64,
    errors: u64,
    samples: u64,
    micros: u64,
    custom: f64,
    tags: BTreeMap<String, u64>,
}

impl Sums {
    fn of(counted: &Counted) -> Self {
        Self {
            usage: counted.usage,
            denied: counted.denied,
            errors: counted.errors,
            samples: counted.samples,
            micros: counted.micros,
            custom: counted.custom,
            tags: counted
                .tags
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(t, c)| (t.clone(), *c))
                .collect(),
        }
    }

    fn is_at_least(&self, other: &Self) -> bool {
        let figures = |s: &Self| [s.usage, s.denied, s.errors, s.samples, s.micros, s.custom as u64];
        figures(self).iter().zip(figures(other)).all(|(mine, theirs)| *mine >= theirs)
            && other.tags.iter().all(|(tag, count)| self.tags.get(tag) >= Some(count))
    }
}

type Rounds = Vec<(u8, Vec<(usize, u8, bool)>)>;

fn rounds() -> impl Strategy<Value = Rounds> {
    let call = (0_usize..4, 0_u8..20, any::<bool>());
    prop::collection::vec((0_u8..14, prop::collection::vec(call, 0..30)), 1..12)
}

/// Plays the rounds, recovers, closes, and returns what was reported.
fn play(plane: &Plane, rounds: Rounds) -> Sums {
    let clock = ManualClock::new();
    let ws = synced(plane, &clock);
    let mut sums = Sums::default();
    for (kind, calls) in rounds {
        for (tag, weight, failed) in calls {
            let tag = TAGS[tag];
            sums.denied += u64::from(!ws.gate(tag, Some(f64::from(weight))).allowed);
            sums.usage += 1;
            *sums.tags.entry(tag.unwrap_or("__default__").to_owned()).or_default() += 1;
            ws.report_latency(f64::from(weight), tag);
            sums.samples += 1;
            sums.micros += u64::from(weight) * 1_000;
            if failed {
                ws.report_error(tag);
                sums.errors += 1;
                ws.report("depth", 2.0, tag);
                sums.custom += 2.0;
            }
        }
        plane.then(failure(kind));
        // It fails as the script says; what matters is the sum at the end.
        let _ = block_on(ws.flush());
    }
    plane.recovers();
    block_on(ws.flush()).unwrap();
    block_on(ws.close()).unwrap();
    sums
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn where_ids_are_looked_at_what_is_counted_is_what_was_reported(rounds in rounds()) {
        let plane = Plane::answering(FREE_10);

        let reported = play(&plane, rounds);

        prop_assert_eq!(plane.with(Sums::of), reported);
    }

    #[test]
    fn where_ids_are_not_looked_at_what_is_counted_is_at_least_what_was_reported(rounds in rounds()) {
        let plane = Plane::answering(FREE_10).counting_again();

        let reported = play(&plane, rounds);

        let counted = plane.with(Sums::of);
        prop_assert!(counted.is_at_least(&reported), "{counted:?} of {reported:?}");
    }
}

#[test]
fn what_threads_report_while_reports_fail_is_counted_once() {
    const EACH: u64 = 5_000;
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let ws = ws.clone();
                scope.spawn(move || {
                    for i in 0..EACH {
                        // Also tags that come for the first time, on several threads at once.
                        let tag = format!("{}", (i + thread) % 700);
                        ws.gate(Some(&tag), None);
                        ws.report_latency(1.0, Some(&tag));
                    }
                })
            })
            .collect();
        let mut kind = 0;
        while threads.iter().any(|thread| !thread.is_finished()) {
            plane.then(failure(kind % 14));
            kind += 1;
            let _ = block_on(ws.flush());
            plane.recovers();
        }
    });
    block_on(ws.close()).unwrap();

    plane.with(|c| {
        assert_eq!((c.usage, c.samples, c.micros), (4 * EACH, 4 * EACH, 4 * EACH * 1_000));
        assert_eq!(c.tags.values().sum::<u64>(), 4 * EACH);
    });
}
