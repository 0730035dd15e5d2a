//! What is learned while a limit from outside is in force, and what holds when it is gone again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use leverframe::{
    gate::limiter::{AdaptiveLimiter, LimitBounds},
    testing::ManualClock,
};

use crate::sim::{Sim, Work, World, adaptive};

/// Bounds that a test sets.
#[derive(Clone, Default)]
struct Bounds(Arc<Mutex<LimitBounds>>);

impl Bounds {
    fn set(&self, min: Option<u32>, limit: Option<u32>) {
        *self.0.lock().unwrap() = LimitBounds { min, limit, max: None };
    }

    fn source(&self) -> impl Fn() -> leverframe::Result<LimitBounds> + Send + Sync + 'static {
        let bounds = self.clone();
        move || Ok(*bounds.0.lock().unwrap())
    }
}

fn started(seed: u64, world: World, initial: u32, limit: Option<u32>) -> (Bounds, Sim<AdaptiveLimiter>) {
    let bounds = Bounds::default();
    bounds.set(None, limit);
    let sim = adaptive(seed, world, |limiter| limiter.initial(initial).source(bounds.source()));
    (bounds, sim)
}

#[test]
fn a_fixed_limit_that_refuses_calls_does_not_raise_the_one_that_is_learned() {
    let world = World { workers: 100, work: Work::Constant(0.010), ..World::ten_workers().calls(20_000.0) };
    for (seed, initial) in [(1, 4), (2, 5), (3, 8)] {
        let (bounds, mut sim) = started(seed, world, initial, Some(4));
        let fixed = sim.run(5.0);
        assert!(fixed.denied[1] > 80_000, "{:?}", fixed.denied);
        assert_eq!((fixed.most_in_flight, sim.gate.snapshot().windows > 40), (4, true));

        assert!(sim.gate.snapshot().learned <= 8, "{:?}", sim.gate.snapshot());
        bounds.set(None, None);
        let first = sim.run(0.25);
        assert!(
            first.limits[..2].iter().all(|limit| *limit <= 16),
            "from there it goes on: {:?}",
            first.limits
        );
        let after = sim.run(5.0);
        assert!(after.goodput() > 9_000.0 && after.highest_limit() < 300, "{:?}", after.limits);
    }
}

#[test]
fn who_was_refused_by_a_fixed_limit_does_not_count_when_it_is_gone() {
    let (bounds, clock) = (Bounds::default(), ManualClock::new());
    bounds.set(None, Some(1));
    let limiter =
        AdaptiveLimiter::builder().clock(Arc::new(clock.clone())).source(bounds.source()).build().unwrap();
    let calls = |many: u32| {
        for _ in 0..many {
            let permit = limiter.acquire(None, None).unwrap();
            clock.advance(Duration::from_millis(5));
            drop(permit);
        }
        limiter.snapshot()
    };
    assert_eq!((calls(100).windows > 2, calls(1).learned), (true, 10));

    let held = limiter.acquire(None, None).unwrap();
    assert!(limiter.acquire(None, None).is_err());
    bounds.set(None, None);
    clock.advance(Duration::from_millis(100));
    assert_eq!(limiter.snapshot().limit, 10);
    drop(held);

    assert_eq!(calls(100).limit, 10);
}

/// Bounds that let in far too many for a minute.
fn too_high_bounds_teach_no_queue(min: Option<u32>, limit: Option<u32>) {
    for seed in [1, 2, 3] {
        let (bounds, mut sim) = started(seed, World::ten_workers().calls(2_000.0), 10, None);
        sim.run(10.0);
        bounds.set(min, limit);
        let queued = sim.run(60.0);
        assert!(queued.mean_latency() > 0.2, "{}", queued.mean_latency());
        let snapshot = sim.gate.snapshot();
        assert!(snapshot.baseline.unwrap() < Duration::from_millis(20), "{snapshot:?}");

        bounds.set(None, None);
        sim.run(5.0);
        let after = sim.run(20.0);
        assert!(
            after.mean_latency() < 0.025 && after.goodput() > 850.0,
            "{} {}",
            after.mean_latency(),
            after.goodput()
        );
    }
}

#[test]
fn a_fixed_limit_that_is_too_high_does_not_teach_that_its_queue_is_usual() {
    too_high_bounds_teach_no_queue(None, Some(300));
}

#[test]
fn a_minimum_that_is_too_high_does_not_teach_that_its_queue_is_usual() {
    too_high_bounds_teach_no_queue(Some(300), None);
}

#[test]
fn a_source_that_panics_is_one_that_has_no_bounds_and_is_asked_again() {
    let clock = ManualClock::new();
    let broken = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&broken);
    let limiter = AdaptiveLimiter::builder()
        .initial(7)
        .clock(Arc::new(clock.clone()))
        .source(move || {
            assert!(!*seen.lock().unwrap(), "on purpose");
            Ok(LimitBounds { limit: Some(3), ..LimitBounds::default() })
        })
        .build()
        .unwrap();
    let permit = limiter.acquire(None, None).unwrap();

    *broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
    clock.advance(Duration::from_millis(100));
    drop(permit);
    let snapshot = limiter.snapshot();
    assert_eq!((snapshot.limit, snapshot.in_flight), (3, 0));
    assert!(snapshot.source_error.unwrap().contains("panicked"));

    broken.clear_poison();
    *broken.lock().unwrap() = false;
    clock.advance(Duration::from_millis(100));
    let snapshot = limiter.snapshot();
    assert_eq!((snapshot.limit, snapshot.source_error), (3, None));
}

#[test]
fn a_closure_that_fixes_no_limit_that_can_be_is_refused_as_a_flag_is() {
    for limit in [0, 1_000_001] {
        let bounds = Bounds::default();
        bounds.set(None, Some(limit));
        let limiter = AdaptiveLimiter::builder().initial(7).source(bounds.source()).build().unwrap();

        let snapshot = limiter.snapshot();
        assert_eq!(snapshot.limit, 7);
        assert!(snapshot.source_error.unwrap().contains("fix the limit"));
    }
}
