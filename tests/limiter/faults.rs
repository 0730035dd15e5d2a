//! The faults that limiters of this kind are known for: each brought about, and, where that is cheap, shown on the
//! textbook's gradient first, so that it is known to be there.

use std::time::Duration;

use leverframe::gate::limiter::{Limit, LimitOptions, Priority, Window};

use crate::sim::{Baseline, Stretch, Work, World, adaptive, naive};

const SEEDS: [u64; 3] = [1, 2, 3];

fn constant() -> World {
    World { work: Work::Constant(0.010), ..World::ten_workers() }
}

fn share_of_capacity(stretch: &Stretch, per_second: f64) -> f64 {
    stretch.goodput() / per_second
}

#[test]
fn answers_from_a_cache_do_not_pin_the_baseline() {
    let world = World { cached_of: 500, ..constant().calls(2_000.0) };
    let textbook = naive(1, world, Baseline::Lowest, 10).run(20.0);
    assert!(share_of_capacity(&textbook, 1_000.0) < 0.5, "the fault is there: {}", textbook.goodput());

    for seed in SEEDS {
        let mut sim = adaptive(seed, world, |limiter| limiter);
        sim.run(3.0);
        let stretch = sim.run(20.0);

        assert!(share_of_capacity(&stretch, 1_000.0) > 0.95, "{}", stretch.goodput());
        assert!(sim.gate.snapshot().baseline.unwrap() > Duration::from_millis(8));
    }
}

#[test]
fn a_second_of_nothing_but_cached_answers_is_forgotten() {
    for seed in SEEDS {
        let mut sim = adaptive(seed, World::ten_workers().calls(2_000.0), |limiter| limiter);
        sim.run(10.0);
        sim.world.cached_of = 1;
        sim.run(1.0);
        assert!(sim.gate.snapshot().baseline.unwrap() < Duration::from_millis(2), "it was believed");

        sim.world.cached_of = 0;
        sim.run(8.0);
        let stretch = sim.run(10.0);

        assert!(share_of_capacity(&stretch, 1_000.0) > 0.9, "{}", stretch.goodput());
        assert!(sim.gate.snapshot().baseline.unwrap() > Duration::from_millis(6));
    }
}

#[test]
fn a_service_that_is_slower_for_good_is_learned_anew() {
    // The calls take three times as long; callers come so often that some wait, or all do.
    for (rate, capacity) in [(300.0, 300.0), (2_000.0, 333.0)] {
        let slower = |stretch: &mut World| stretch.work = Work::Constant(0.030);
        let mut textbook = naive(1, constant().calls(rate), Baseline::Lowest, 10);
        textbook.run(20.0);
        slower(&mut textbook.world);
        let stuck = textbook.run(60.0);
        assert!(share_of_capacity(&stuck, capacity) < 0.7, "the fault is there: {}", stuck.goodput());

        for seed in SEEDS {
            let mut sim = adaptive(seed, World::ten_workers().calls(rate), |limiter| limiter);
            sim.run(20.0);
            sim.world.work = Work::Exponential(0.030);
            sim.run(20.0);
            let stretch = sim.run(60.0);

            assert!(share_of_capacity(&stretch, capacity) > 0.9, "{rate}: {}", stretch.goodput());
            let baseline = sim.gate.snapshot().baseline.unwrap();
            assert!(
                baseline > Duration::from_millis(18) && baseline < Duration::from_millis(42),
                "{baseline:?}"
            );
        }
    }
}

#[test]
fn a_service_that_is_slower_for_good_is_learned_anew_where_the_minimum_allows_no_drain() {
    for seed in SEEDS {
        let world = World { workers: 40, ..World::ten_workers().calls(8_000.0) };
        let mut sim = adaptive(seed, world, |limiter| limiter.min(8));
        sim.run(10.0);
        sim.world.work = Work::Exponential(0.100);
        sim.world = sim.world.calls(800.0);
        sim.run(40.0);
        let stretch = sim.run(60.0);

        assert!(
            share_of_capacity(&stretch, 400.0) > 0.85,
            "{} {:?}",
            stretch.goodput(),
            stretch.mean_limit()
        );
        assert!(stretch.mean_latency() < 0.250, "{}", stretch.mean_latency());
    }
}

#[test]
fn a_service_that_is_faster_for_good_is_learned_at_once() {
    let mut sim = adaptive(1, World::ten_workers().calls(2_000.0), |limiter| limiter);
    sim.run(10.0);
    sim.world.work = Work::Exponential(0.002);
    sim.world = sim.world.calls(10_000.0);
    let at_once = sim.run(3.0);
    assert!(share_of_capacity(&at_once, 5_000.0) > 0.8, "{}", at_once.goodput());
    sim.run(10.0);
    let stretch = sim.run(10.0);

    assert!(share_of_capacity(&stretch, 5_000.0) > 0.9, "{}", stretch.goodput());
    assert!(stretch.mean_latency() < 0.005, "{}", stretch.mean_latency());
}

#[test]
fn calls_that_are_far_faster_than_a_noisy_start_are_not_taken_for_slow_ones() {
    let mut limit = Limit::new(LimitOptions::default()).unwrap();
    let mut limits = Vec::new();
    let mut tell = |latencies: &[(u64, u32)]| {
        let mut window = Window::new();
        (window.most_in_flight, window.denied) = (limit.current(), true);
        for (millis, calls) in latencies {
            (0..*calls).for_each(|_| window.record(Duration::from_millis(*millis)));
        }
        limit.update(&window);
        limits.push(limit.current());
    };
    tell(&[(300, 10), (5, 20)]);
    (0..4).for_each(|_| tell(&[(5, 30)]));
    assert_eq!(limits, [10, 20, 40, 80, 160], "what the baseline may be off is more than such a call takes");

    for seed in SEEDS {
        let work = Work::Mixed { fast: 0.005, slow: 0.400, percent_fast: 65 };
        let world = World { workers: 200, work, ..World::ten_workers().calls(10_000.0) };
        let mut sim = adaptive(seed, world, |limiter| limiter);
        sim.run(0.3);
        let noisy = sim.gate.snapshot().limit;
        sim.world.work = Work::Constant(0.005);
        let stretch = sim.run(2.0);

        assert!(stretch.lowest_limit() >= noisy.min(10), "{noisy} {:?}", stretch.limits);
        assert!(stretch.highest_limit() >= 40, "{noisy} {:?}", stretch.limits);
    }
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    let world = constant().calls(50.0);
    let textbook = naive(1, world, Baseline::Lowest, 10).run(60.0);
    assert!(textbook.highest_limit() > 500, "the fault is there: {}", textbook.highest_limit());

    for seed in SEEDS {
        let stretch = adaptive(seed, world, |limiter| limiter.initial(20)).run(600.0);

        assert!(stretch.most_in_flight < 10);
        assert_eq!(stretch.highest_limit(), 20);
    }
}

#[test]
fn growth_ends_at_the_maximum_and_none_is_let_in_beyond() {
    let world = World { workers: 100, ..World::ten_workers().calls(20_000.0) };
    let stretch = adaptive(1, world, |limiter| limiter.max(20)).run(10.0);

    assert_eq!((stretch.highest_limit(), stretch.most_in_flight), (20, 20));
}

#[test]
fn an_overload_that_goes_on_does_not_take_the_baseline_along() {
    let world = World::ten_workers().calls(2_000.0);
    let mut textbook = naive(1, world, Baseline::Average, 10);
    textbook.run(240.0);
    let drifted = textbook.run(10.0);
    assert!(drifted.mean_limit() > 200.0, "the fault is there: {}", drifted.mean_limit());

    let mut sim = adaptive(1, world, |limiter| limiter);
    sim.run(240.0);
    let stretch = sim.run(60.0);

    assert!(stretch.highest_limit() <= 30, "{}", stretch.highest_limit());
    assert!(stretch.mean_latency() < 0.020, "{}", stretch.mean_latency());
}

#[test]
fn a_load_that_creeps_up_does_not_take_the_baseline_along() {
    let mut sim = adaptive(1, World::ten_workers().calls(300.0), |limiter| limiter);
    for step in 0..100 {
        sim.world = sim.world.calls(300.0 + f64::from(step) * 17.0);
        sim.run(3.0);
    }
    let stretch = sim.run(30.0);

    assert!(stretch.highest_limit() <= 30, "{}", stretch.highest_limit());
    assert!(stretch.mean_latency() < 0.020, "{}", stretch.mean_latency());
    assert!(share_of_capacity(&stretch, 1_000.0) > 0.9, "{}", stretch.goodput());
}

#[test]
fn a_queue_that_grows_slowly_is_not_taken_for_what_calls_take() {
    // Up to a load at which calls wait for longer than they are served, and never so many that the limit is in the way.
    let mut sim = adaptive(1, World::ten_workers().calls(300.0), |limiter| limiter.min(200).initial(200));
    let mut waited = 0.0;
    for step in 0..60 {
        sim.world = sim.world.calls(300.0 + f64::from(step) * 11.4);
        waited = sim.run(5.0).mean_latency();
    }
    sim.world = sim.world.calls(985.0);
    let stretch = sim.run(60.0);

    assert!(stretch.denied[1] < stretch.good[1] / 100, "but for drains: {:?}", stretch.denied);
    assert!(waited.max(stretch.mean_latency()) > 0.018, "{waited} {}", stretch.mean_latency());
    assert!(sim.gate.snapshot().baseline.unwrap() < Duration::from_millis(13), "{:?}", sim.gate.snapshot());
}

#[test]
fn a_start_under_overload_at_too_high_a_limit_finds_the_baseline_all_the_same() {
    for seed in SEEDS {
        let world = World::ten_workers().calls(2_000.0);
        let mut sim = adaptive(seed, world, |limiter| limiter.initial(100));
        let began = sim.run(1.0);
        assert!(
            began.mean_latency() > 0.040,
            "all the calls that it measures wait: {}",
            began.mean_latency()
        );
        sim.run(60.0);
        let stretch = sim.run(60.0);

        assert!(stretch.mean_latency() < 0.025, "{}", stretch.mean_latency());
        assert!(share_of_capacity(&stretch, 1_000.0) > 0.9, "{}", stretch.goodput());
    }
}

#[test]
fn a_slow_start_reaches_the_capacity_in_a_few_windows_and_stays_near_it() {
    for seed in SEEDS {
        let world = World { workers: 100, ..World::ten_workers().calls(20_000.0) };
        let mut sim = adaptive(seed, world, |limiter| limiter.initial(4));
        let first = sim.run(1.0);
        let then = sim.run(1.0);

        assert_eq!(first.limits[0], 4);
        assert!(*first.limits.last().unwrap() >= 85, "ten windows: {:?}", first.limits);
        assert!(first.highest_limit() <= 260, "{:?}", first.limits);
        assert!(first.limits.iter().filter(|limit| **limit > 200).count() <= 4, "{:?}", first.limits);
        assert!(
            then.highest_limit() <= 160 && then.goodput() > 9_000.0,
            "{} {:?}",
            then.goodput(),
            then.limits
        );
    }
}

#[test]
fn windows_with_few_calls_change_nothing() {
    let world = World::ten_workers().calls(0.2);
    let textbook = naive(1, world, Baseline::Lowest, 100).run(3_600.0);
    assert!(textbook.lowest_limit() < 20, "the fault is there: {}", textbook.lowest_limit());

    let mut sim = adaptive(1, world, |limiter| limiter.initial(100));
    let stretch = sim.run(3_600.0);

    assert_eq!((stretch.lowest_limit(), stretch.highest_limit()), (100, 100));
    let snapshot = sim.gate.snapshot();
    assert_eq!((snapshot.windows, snapshot.baseline), (0, None));
}

#[test]
fn an_idle_hour_changes_nothing() {
    let mut sim = adaptive(1, World::ten_workers().calls(2_000.0), |limiter| limiter);
    sim.run(20.0);
    sim.world = sim.world.calls(0.0);
    sim.run(1.0);
    let before = sim.gate.snapshot();
    sim.run(3_600.0);
    let after = sim.gate.snapshot();
    assert_eq!((before.limit, before.baseline), (after.limit, after.baseline));

    sim.world = sim.world.calls(2_000.0);
    let stretch = sim.run(5.0);
    assert!(share_of_capacity(&stretch, 1_000.0) > 0.9, "{}", stretch.goodput());
}

#[test]
fn the_limit_never_falls_below_the_minimum() {
    let mut sim = adaptive(1, World::ten_workers().calls(2_000.0), |limiter| limiter.min(6).initial(6));
    let usual = sim.run(10.0);
    sim.world.work = Work::Constant(3.0);
    let slow = sim.run(60.0);
    sim.world.percent_refused = 100;
    let refused = sim.run(60.0);

    for stretch in [usual, slow, refused] {
        assert!(stretch.lowest_limit() >= 6);
    }
    assert_eq!(sim.gate.snapshot().limit, 6);
}

#[test]
fn the_jitter_of_very_short_calls_is_not_taken_for_a_queue() {
    let world = World { work: Work::Constant(20e-6), ..World::ten_workers().calls(2_000.0) };
    let run = |floor: Duration| {
        let options = LimitOptions { initial: 50, baseline_floor: floor, ..LimitOptions::default() };
        let mut sim = adaptive(1, world, |limiter| limiter.options(options));
        sim.run(2.0);
        sim.world.work = Work::Constant(160e-6);
        sim.run(2.0).lowest_limit()
    };

    assert!(run(Duration::ZERO) < 25, "without a floor it is");
    assert_eq!(run(LimitOptions::default().baseline_floor), 50);
}

#[test]
fn a_latency_that_is_never_healthy_does_not_become_the_baseline() {
    // The service waits for another, which is overloaded by others.
    let run = |ceiling: Option<Duration>| {
        let options = LimitOptions { baseline_ceiling: ceiling, ..LimitOptions::default() };
        let mut sim = adaptive(1, World::ten_workers().calls(500.0), |limiter| limiter.options(options));
        sim.run(10.0);
        sim.world = World { workers: 1_000, work: Work::Exponential(0.5), ..sim.world };
        sim.run(180.0);
        sim.run(60.0).mean_limit()
    };

    assert!(run(None) > 50.0, "it looks like a service that is slow, and has room");
    assert!(run(Some(Duration::from_millis(100))) < 10.0);
}

#[test]
fn a_limit_that_is_far_too_low_for_slow_calls_still_learns_that_it_is() {
    // Two places, and calls of twenty seconds: one comes back in ten seconds, and twenty are needed.
    let world = World { workers: 1_000, work: Work::Constant(20.0), timeout: 60.0, ..World::ten_workers() };
    let mut sim = adaptive(1, world.calls(5.0), |limiter| limiter.initial(2));
    sim.run(3_600.0);

    let stretch = sim.run(60.0);

    assert!(stretch.goodput() > 4.0, "{}", stretch.goodput());
}

#[test]
fn an_outage_closes_the_limit_and_its_end_opens_it() {
    for seed in SEEDS {
        let world = World { timeout: 0.5, ..World::ten_workers().calls(900.0) };
        let mut sim = adaptive(seed, world, |limiter| limiter);
        sim.run(10.0);
        sim.world.workers = 0;
        sim.run(15.0);
        let outage = sim.run(15.0);
        assert!(outage.mean_limit() < 4.0, "{}", outage.mean_limit());

        sim.world.workers = 10;
        sim.run(5.0);
        let after = sim.run(10.0);

        assert!(after.goodput() > 0.95 * 900.0, "{}", after.goodput());
    }
}

#[test]
fn a_spike_of_latency_is_recovered_from() {
    for seed in SEEDS {
        let mut sim = adaptive(seed, World::ten_workers().calls(900.0), |limiter| limiter);
        sim.run(10.0);
        sim.world.work = Work::Exponential(0.200);
        sim.run(2.0);
        sim.world.work = Work::Exponential(0.010);
        sim.run(4.0);
        let after = sim.run(10.0);

        assert!(after.goodput() > 0.95 * 900.0, "{}", after.goodput());
        assert!(after.mean_latency() < 0.022, "{}", after.mean_latency());
    }
}

#[test]
fn who_matters_more_keeps_their_goodput_while_others_are_shed() {
    for seed in SEEDS {
        // Half of what can be served matters much; four times what is left does not.
        let world = World { arrivals: [2_000.0, 0.0, 500.0, 0.0], ..World::ten_workers() };
        let mut sim = adaptive(seed, world, |limiter| limiter);
        sim.run(5.0);
        let stretch = sim.run(60.0);
        let high = Priority::High as usize;
        let came = stretch.good[high] + stretch.denied[high];

        assert!(stretch.good[high] as f64 > 0.99 * came as f64, "{:?} {:?}", stretch.good, stretch.denied);
        assert!(share_of_capacity(&stretch, 1_000.0) > 0.9, "{}", stretch.goodput());
        assert!(stretch.good[0] > 20_000, "what is left is for them: {:?}", stretch.good);
    }
}

#[test]
fn the_lower_the_priority_the_more_is_shed() {
    let world = World { arrivals: [500.0; 4], ..World::ten_workers() };
    let mut sim = adaptive(1, world, |limiter| limiter);
    sim.run(5.0);
    let stretch = sim.run(60.0);
    let [low, normal, high, critical] =
        [0, 1, 2, 3].map(|p| stretch.denied[p] as f64 / (stretch.good[p] + stretch.denied[p]) as f64);

    assert!(low > 0.9 && low >= normal && normal > 0.5, "{low} {normal} {high} {critical}");
    assert!(high < 0.3 && critical < 0.02, "{low} {normal} {high} {critical}");
    assert!(share_of_capacity(&stretch, 1_000.0) > 0.9, "{}", stretch.goodput());
}

#[test]
fn calls_of_little_priority_have_everything_while_nobody_else_comes() {
    let world = World { arrivals: [2_000.0, 0.0, 0.0, 0.0], ..World::ten_workers() };
    let mut sim = adaptive(1, world, |limiter| limiter);
    sim.run(5.0);

    assert!(share_of_capacity(&sim.run(20.0), 1_000.0) > 0.95);
}

#[test]
fn under_twice_the_load_latency_stays_near_the_service_time_and_nearly_all_capacity_is_used() {
    let without = adaptive(1, World::ten_workers().calls(2_000.0), |limiter| limiter.min(1_000)).run(30.0);
    assert!(without.mean_latency() > 0.5, "without a limit they wait: {}", without.mean_latency());

    // A few wait behind those who are served; behind one, even two are many.
    for (workers, most) in [(1, 0.040), (4, 0.021), (10, 0.018), (100, 0.015)] {
        for seed in SEEDS {
            let capacity = 100.0 * workers as f64;
            let world = World { workers, ..World::ten_workers().calls(2.0 * capacity) };
            let mut sim = adaptive(seed, world, |limiter| limiter);
            sim.run(if workers == 100 { 5.0 } else { 25.0 });
            let stretch = sim.run(if workers == 100 { 15.0 } else { 60.0 });

            assert!(share_of_capacity(&stretch, capacity) > 0.9, "{workers}: {}", stretch.goodput());
            assert!(stretch.mean_latency() < most, "{workers}: {}", stretch.mean_latency());
        }
    }
}

#[test]
fn calls_of_very_different_length_are_not_taken_for_a_queue() {
    let work = Work::Mixed { fast: 0.002, slow: 0.082, percent_fast: 90 };
    for seed in SEEDS {
        let mut sim = adaptive(seed, World { work, ..World::ten_workers().calls(500.0) }, |limiter| limiter);
        sim.run(10.0);
        let half = sim.run(60.0);
        let denied = half.denied[1] as f64 / (half.good[1] + half.denied[1]) as f64;
        assert!(denied < 0.01, "half of the capacity: {denied}");

        sim.world = sim.world.calls(2_000.0);
        sim.run(10.0);
        let twice = sim.run(60.0);
        assert!(share_of_capacity(&twice, 1_000.0) > 0.85, "{}", twice.goodput());
        assert!(twice.mean_latency() < 0.040, "{}", twice.mean_latency());
    }
}

#[test]
fn timeouts_that_all_take_the_same_time_are_no_sign_of_health() {
    let world = World { work: Work::Constant(5.0), timeout: 1.0, ..World::ten_workers().calls(500.0) };
    let textbook = naive(1, world, Baseline::Lowest, 10).run(120.0);
    assert!(textbook.highest_limit() > 500, "the fault is there: {}", textbook.highest_limit());

    let mut sim = adaptive(1, world, |limiter| limiter);
    sim.run(30.0);
    let stretch = sim.run(60.0);

    assert!(
        stretch.failed > 0 && stretch.highest_limit() <= 3,
        "{} {}",
        stretch.failed,
        stretch.highest_limit()
    );
}

#[test]
fn calls_that_are_refused_at_once_lower_the_limit_and_teach_no_baseline() {
    let mut sim = adaptive(1, World::ten_workers().calls(2_000.0), |limiter| limiter);
    sim.run(10.0);
    let before = sim.run(10.0).mean_limit();
    sim.world.percent_refused = 40;
    sim.run(2.0);
    let refused = sim.run(10.0);

    assert!(refused.mean_limit() < 0.7 * before, "{before} {}", refused.mean_limit());
    assert!(sim.gate.snapshot().baseline.unwrap() > Duration::from_millis(5));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut sim = adaptive(9, World::ten_workers().calls(1_500.0), |limiter| limiter);
        let stretch = sim.run(10.0);
        (stretch.limits, stretch.good, stretch.denied, sim.gate.snapshot())
    };

    assert_eq!(run(), run());
}
