//! What is kept for those who matter more, and that it is given back.

use leverframe::gate::limiter::Priority;

use crate::sim::{Work, World, adaptive};

const LOW: usize = Priority::Low as usize;

fn constant(seconds: f64, arrivals: [f64; 4]) -> World {
    World { work: Work::Constant(seconds), timeout: 1_000.0, arrivals, ..World::ten_workers() }
}

#[test]
fn what_is_kept_for_calls_that_no_longer_come_is_given_to_others_however_few_and_long_theirs_are() {
    for (seconds, minutes) in [(5.0, 3.0), (60.0, 10.0)] {
        let mut sim = adaptive(1, constant(0.010, [1.0, 0.0, 0.0, 800.0]), |limiter| limiter.max(10));
        sim.run(10.0);
        let busy = sim.gate.snapshot();
        assert_eq!((busy.limit, busy.priorities[LOW].threshold), (10, 1));

        sim.world = constant(seconds, [5.0 / seconds, 0.0, 0.0, 0.0]);
        sim.run(60.0 * minutes);

        let after = sim.gate.snapshot();
        assert_eq!(after.priorities[LOW].threshold, after.limit, "{after:?}");
        assert!(after.limit > 1, "{after:?}");
    }
}

#[test]
fn calls_of_another_length_that_take_the_place_of_more_important_ones_are_learned_too() {
    for seed in [1, 2, 3] {
        let mut sim = adaptive(seed, constant(0.010, [1.0, 0.0, 0.0, 800.0]), |limiter| limiter.max(10));
        sim.run(10.0);
        sim.world = constant(5.0, [1.0, 0.0, 0.0, 0.0]);
        sim.run(1_800.0);
        let stretch = sim.run(600.0);

        assert_eq!(sim.gate.snapshot().priorities[LOW].threshold, 10);
        assert!(stretch.denied[LOW] < stretch.good[LOW] / 20, "{:?} {:?}", stretch.denied, stretch.good);
    }
}

#[test]
fn a_pause_between_two_bursts_does_not_take_the_place_of_those_who_matter_more() {
    let burst = [1_000.0, 0.0, 500.0, 0.0];
    for seed in [1, 2, 3] {
        let mut sim = adaptive(seed, World { arrivals: burst, ..World::ten_workers() }, |limiter| limiter);
        sim.run(10.0);
        for _ in 0..5 {
            sim.world.arrivals = [0.0; 4];
            sim.run(30.0);
            sim.world.arrivals = burst;
            sim.run(0.06);
            let began = sim.gate.snapshot();
            sim.run(0.94);

            assert!(began.priorities[LOW].threshold + 2 < began.limit, "{began:?}");
        }
    }
}

#[test]
fn a_limit_that_is_far_too_low_learns_that_it_is_although_it_keeps_most_of_it_for_a_few() {
    // Eight places, most of them kept for calls that need two: those that are let in are fewer than the limit says.
    for seed in [1, 2, 3] {
        let world = World { workers: 1_000, ..constant(20.0, [5.0, 0.0, 0.0, 0.1]) };
        let mut sim = adaptive(seed, world, |limiter| limiter.initial(8));

        let minutes = (0..60).take_while(|_| sim.run(60.0).goodput() < 4.0).count();

        assert!(minutes <= 6, "{minutes} {:?}", sim.gate.snapshot());
    }
}

#[test]
fn calls_that_matter_more_and_take_far_longer_than_the_others_keep_their_places() {
    let long = [None, None, None, Some(Work::Constant(20.0))];
    let arrivals = [0.0, 2_000.0, 0.0, 0.2];
    for seed in [1, 2, 3] {
        let world = World { workers: 14, work_of: long, timeout: 60.0, arrivals, ..World::ten_workers() };
        let mut sim = adaptive(seed, world, |limiter| limiter);
        sim.run(60.0);
        let stretch = sim.run(180.0);

        let (good, denied) = (stretch.good[3], stretch.denied[3]);
        assert!(good > 25 && denied <= good / 20, "{good} {denied}");
        assert!(stretch.goodput() > 750.0, "{}", stretch.goodput());
    }
}
