//! Permits are neither lost nor made, whatever the limit does and however many ask.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use leverframe::{
    gate::{
        GateReason,
        limiter::{AdaptiveLimiter, LimitBounds, LimitOptions, Permit, Priority},
    },
    testing::ManualClock,
};
use proptest::prelude::*;

fn fixed(limit: Arc<AtomicU32>) -> impl Fn() -> leverframe::Result<LimitBounds> {
    move || Ok(LimitBounds { limit: Some(limit.load(Ordering::Relaxed)), ..LimitBounds::default() })
}

#[test]
fn threads_never_have_more_permits_than_the_limit_and_lose_none() {
    const LIMIT: u32 = 3;
    const EACH: u64 = 30_000;
    let limiter = AdaptiveLimiter::builder().source(fixed(Arc::new(AtomicU32::new(LIMIT)))).build().unwrap();
    let (held, most, admitted) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(0));

    thread::scope(|scope| {
        for thread in 0..6 {
            let (limiter, held, most, admitted) = (&limiter, &held, &most, &admitted);
            scope.spawn(move || {
                for i in 0..EACH {
                    let priority = Priority::ALL[((i + thread) % 4) as usize];
                    let Ok(mut permit) = limiter.acquire(None, Some(priority)) else { continue };
                    most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    admitted.fetch_add(1, Ordering::Relaxed);
                    match i % 7 {
                        0 => permit.failed(),
                        1 => permit.ignore(),
                        2 => thread::yield_now(),
                        _ => {}
                    }
                    held.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });

    let snapshot = limiter.snapshot();
    assert_eq!(snapshot.in_flight, 0);
    assert!(most.load(Ordering::Relaxed) <= LIMIT, "{most:?}");
    assert_eq!(snapshot.priorities.iter().map(|p| p.admitted).sum::<u64>(), admitted.into_inner());
    assert_eq!(snapshot.priorities.iter().map(|p| p.admitted + p.denied).sum::<u64>(), 6 * EACH);
}

#[test]
fn of_two_threads_that_ask_for_the_last_place_at_once_one_has_it() {
    const ROUNDS: u32 = 30_000;
    let limiter = AdaptiveLimiter::builder().source(fixed(Arc::new(AtomicU32::new(1)))).build().unwrap();
    let (arrived, tried, left, admitted) =
        (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    // Both have come this far in this round.
    let meet = |at: &AtomicU32, round: u32| {
        at.fetch_add(1, Ordering::SeqCst);
        for spins in 0_u32.. {
            if at.load(Ordering::SeqCst) >= 2 * (round + 1) {
                break;
            }
            if spins > 200 {
                thread::yield_now();
            }
        }
    };

    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    meet(&arrived, round);
                    let permit = limiter.acquire(None, None);
                    admitted.fetch_add(u32::from(permit.is_ok()), Ordering::SeqCst);
                    meet(&tried, round);
                    drop(permit);
                    meet(&left, round);
                }
            });
        }
    });

    assert_eq!(admitted.into_inner(), ROUNDS, "one in each round, and never two");
}

#[test]
fn permits_outlive_changes_of_the_limit_under_threads() {
    let limit = Arc::new(AtomicU32::new(1));
    let clock = ManualClock::new();
    let limiter = AdaptiveLimiter::builder()
        .clock(Arc::new(clock.clone()))
        .source(fixed(Arc::clone(&limit)))
        .build()
        .unwrap();
    let done = AtomicBool::new(false);

    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let limiter = &limiter;
                scope.spawn(move || {
                    let mut held: Vec<Permit> = Vec::new();
                    for i in 0..20_000_usize {
                        held.extend(limiter.acquire(None, None));
                        if i % 3 == 0 {
                            held.pop();
                        }
                        held.truncate(8);
                    }
                })
            })
            .collect();
        let (limiter, done, limit) = (&limiter, &done, &limit);
        scope.spawn(move || {
            for i in 0_u32.. {
                limit.store(1 + i % 20, Ordering::Relaxed);
                clock.advance(Duration::from_millis(60));
                assert!(limiter.snapshot().in_flight <= 4 * 8 + 20);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });

    assert_eq!(limiter.snapshot().in_flight, 0);
}

#[derive(Clone, Debug)]
enum Step {
    Acquire(u8),
    Release(u8, u8),
    Wait(u16),
    Bound(u32, u32, Option<u32>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_u8).prop_map(Step::Acquire),
        4 => (any::<u8>(), 0..8_u8).prop_map(|(which, how)| Step::Release(which, how)),
        3 => (1..300_u16).prop_map(Step::Wait),
        1 => (1..12_u32, 0..12_u32, prop::option::of(1..24_u32)).prop_map(|(min, more, limit)| Step::Bound(min, more, limit)),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn what_is_under_way_never_exceeds_the_limit_but_by_what_was_under_way_when_it_fell(steps in steps()) {
        let bounds = Arc::new(std::sync::Mutex::new(LimitBounds::default()));
        let clock = ManualClock::new();
        let seen = Arc::clone(&bounds);
        let options = LimitOptions { min_samples: 2, ..LimitOptions::default() };
        let limiter = AdaptiveLimiter::builder()
            .options(options)
            .clock(Arc::new(clock.clone()))
            .source(move || Ok(*seen.lock().unwrap()))
            .build()
            .unwrap();
        let mut held: Vec<Permit> = Vec::new();
        for step in steps {
            match step {
                Step::Acquire(priority) => {
                    let before = limiter.snapshot();
                    let priority = Priority::ALL[usize::from(priority)];
                    match limiter.acquire(None, Some(priority)) {
                        // Whatever was under way before, one more is let in only below the limit.
                        Ok(permit) => {
                            prop_assert!(before.in_flight < before.limit);
                            held.push(permit);
                        }
                        Err(refused) => {
                            prop_assert_eq!(refused.reason, GateReason::OverLimit);
                            let threshold = before.priorities[priority as usize].threshold;
                            prop_assert!(before.in_flight >= threshold && threshold >= 1);
                            prop_assert!(priority != Priority::Critical || before.in_flight >= before.limit);
                        }
                    }
                }
                Step::Release(which, how) if !held.is_empty() => {
                    let mut permit = held.swap_remove(usize::from(which) % held.len());
                    match how {
                        0 => permit.failed(),
                        1 => permit.ignore(),
                        2 => permit.cut_off(),
                        _ => {}
                    }
                }
                Step::Release(..) => {}
                Step::Wait(milliseconds) => clock.advance(Duration::from_millis(u64::from(milliseconds))),
                Step::Bound(min, more, limit) => {
                    *bounds.lock().unwrap() = LimitBounds { min: Some(min), max: Some(min + more), limit };
                }
            }
            let snapshot = limiter.snapshot();
            prop_assert_eq!(snapshot.in_flight as usize, held.len());
            prop_assert!(snapshot.learned >= snapshot.min && snapshot.learned <= snapshot.max);
        }
    }
}

#[test]
fn where_very_many_calls_come_few_are_timed_and_where_few_come_all_are() {
    let clock = ManualClock::new();
    let limiter = AdaptiveLimiter::builder().clock(Arc::new(clock.clone())).build().unwrap();
    let run = |calls: u64, pause: Duration| {
        let before = limiter.snapshot().samples;
        for _ in 0..calls {
            let permit = limiter.acquire(None, None);
            clock.advance(pause);
            drop(permit);
        }
        limiter.snapshot().samples - before
    };

    let many = run(1_000_000, Duration::from_micros(1));
    run(2_000, Duration::from_millis(10));
    let few = run(2_000, Duration::from_millis(10));

    assert!(many > 1_000 && many < 300_000, "{many}");
    assert!(few > 1_900, "{few}");
}

#[test]
fn calls_that_are_cut_off_count_only_if_they_took_longer_than_usual() {
    let clock = ManualClock::new();
    let limiter = AdaptiveLimiter::builder().clock(Arc::new(clock.clone())).build().unwrap();
    let run = |took: Duration, cut_off: bool| {
        let before = limiter.snapshot().samples;
        for _ in 0..100 {
            let mut permit = limiter.acquire(None, None).unwrap();
            clock.advance(took);
            if cut_off {
                permit.cut_off();
            }
        }
        limiter.snapshot().samples - before
    };

    assert!(run(Duration::from_millis(10), false) > 80);
    let baseline = limiter.snapshot().baseline;
    assert!(run(Duration::from_millis(1), true) <= 20, "but for those of the window before");
    assert_eq!(limiter.snapshot().baseline, baseline);
    assert!(run(Duration::from_millis(40), true) > 80);
}
