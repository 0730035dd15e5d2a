//! How long a policy holds, and what passes after that.

use std::time::Duration;

use leverframe::{
    gate::{GateMode, GateReason, Policy, SafeModeStrategy},
    live::block_on,
    testing::ManualClock,
    traits::Clock,
};

use crate::plane::{
    Does, FREE_10, Plane, eventually, in_time, it_waits, synced, wait_for_policy, with_strategy,
};

#[test]
fn when_the_lease_ends_safe_mode_begins_and_ends_with_the_next_answer() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    plane.only(&Does::Unreachable);

    in_time(&clock, Duration::from_secs(1), "safe mode", || {
        ws.state().mode == GateMode::SafeMode(SafeModeStrategy::FixedRps)
    });
    let allowed = (0..60).filter(|_| ws.gate(Some("free"), Some(99.0)).allowed).count();
    assert_eq!(allowed, 50);
    assert_eq!(ws.gate(None, None).reason, GateReason::LeaseExpired);

    plane.recovers();
    in_time(&clock, Duration::from_secs(1), "the policy in force again", || {
        ws.state().mode == GateMode::InForce
    });
    assert_eq!(ws.gate(Some("free"), Some(99.0)).reason, GateReason::TagBlocked);
}

#[test]
fn a_report_that_hangs_does_not_keep_the_lease_from_ending() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    plane.then([Does::Hang]);
    it_waits(&clock);
    clock.advance(Duration::from_secs(6));
    eventually("the report hangs", || plane.paths().len() == 2);

    clock.advance(Duration::from_secs(300));

    eventually("safe mode", || matches!(ws.state().mode, GateMode::SafeMode(_)));
}

#[test]
fn the_time_of_day_may_jump_either_way_without_harm_to_the_lease() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    let wall = clock.wall();

    for jump in [Duration::from_secs(86_400), Duration::from_secs(60 * 86_400)] {
        clock.set_wall(wall + jump);
        block_on(ws.flush()).unwrap();
        assert_eq!(ws.state().mode, GateMode::InForce);
        clock.set_wall(wall - jump);
        block_on(ws.flush()).unwrap();
        assert_eq!(ws.state().mode, GateMode::InForce);
    }
}

#[test]
fn a_policy_set_by_hand_holds_until_the_next_answer() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);

    ws.set_policy(Policy { kill_signal: true, ..Policy::default() });
    assert_eq!(ws.gate(None, None).reason, GateReason::KillSignal);

    block_on(ws.flush()).unwrap();
    assert!(ws.gate(None, None).allowed);
}

const STRATEGIES: [SafeModeStrategy; 3] =
    [SafeModeStrategy::Open, SafeModeStrategy::FixedRps, SafeModeStrategy::LastPolicy];

#[test]
fn the_kill_signal_holds_in_every_mode() {
    let kill = r#"{"globalMaxWeight":null,"killSignal":true,"leaseDurationSeconds":10}"#;
    for strategy in STRATEGIES {
        let (plane, clock) = (Plane::answering(kill), ManualClock::new());
        let ws = with_strategy(&plane, &clock, strategy);
        wait_for_policy(&ws, &clock);
        assert_eq!(ws.gate(None, None).reason, GateReason::KillSignal);
        plane.only(&Does::Unreachable);

        in_time(&clock, Duration::from_secs(1), "safe mode", || {
            ws.state().mode == GateMode::SafeMode(strategy)
        });

        assert_eq!(ws.gate(None, None).reason, GateReason::KillSignal, "{strategy}");
        block_on(ws.close()).unwrap_err();
        assert_eq!(ws.gate(None, None).reason, GateReason::KillSignal, "{strategy}, closed");
    }
}

#[test]
fn throttling_is_part_of_the_policy_and_ends_with_it() {
    let throttle = r#"{"globalMaxWeight":null,"throttle":{"*":100},"leaseDurationSeconds":10}"#;
    for (strategy, reason) in [
        (SafeModeStrategy::Open, GateReason::LeaseExpired),
        (SafeModeStrategy::FixedRps, GateReason::LeaseExpired),
        (SafeModeStrategy::LastPolicy, GateReason::Throttled),
    ] {
        let (plane, clock) = (Plane::answering(throttle), ManualClock::new());
        let ws = with_strategy(&plane, &clock, strategy);
        wait_for_policy(&ws, &clock);
        assert_eq!(ws.gate(Some("any"), None).reason, GateReason::Throttled);
        plane.only(&Does::Unreachable);
        in_time(&clock, Duration::from_secs(1), "safe mode", || {
            ws.state().mode == GateMode::SafeMode(strategy)
        });

        assert_eq!(ws.gate(Some("any"), None).reason, reason, "{strategy}");
    }
}

#[test]
fn an_endless_lease_is_endless_and_one_of_nothing_is_over_at_once() {
    let policy = |lease: &str| format!(r#"{{"globalMaxWeight":5,"leaseDurationSeconds":{lease}}}"#);
    let (plane, clock) = (Plane::answering(&policy("18446744073709551615")), ManualClock::new());
    let ws = synced(&plane, &clock);
    assert_eq!(ws.gate(None, Some(6.0)).reason, GateReason::OverWeight);
    plane.only(&Does::Unreachable);
    clock.advance(Duration::from_secs(100 * 365 * 86_400));
    eventually("the next report", || plane.paths().len() > 1);
    assert_eq!(ws.state().mode, GateMode::InForce);

    let (plane, clock) = (Plane::answering(&policy("0")), ManualClock::new());
    let ws = with_strategy(&plane, &clock, SafeModeStrategy::default());
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    assert_eq!(ws.gate(None, Some(6.0)).reason, GateReason::LeaseExpired);
}

#[test]
fn a_policy_that_leaves_the_lease_out_leaves_it_as_it_was() {
    let (plane, clock) =
        (Plane::answering(r#"{"globalMaxWeight":5,"leaseDurationSeconds":20}"#), ManualClock::new());
    let ws = synced(&plane, &clock);
    plane.answers(r#"{"globalMaxWeight":6}"#);
    block_on(ws.flush()).unwrap();
    plane.only(&Does::Unreachable);

    clock.advance(Duration::from_secs(19));
    assert_eq!(ws.gate(None, Some(6.0)).reason, GateReason::Allowed);
    clock.advance(Duration::from_secs(3));

    eventually("safe mode", || matches!(ws.state().mode, GateMode::SafeMode(_)));
}

#[test]
fn the_time_of_day_may_jump_either_way_without_harm_to_the_window_of_safe_mode() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    plane.only(&Does::Unreachable);
    in_time(&clock, Duration::from_secs(1), "safe mode", || matches!(ws.state().mode, GateMode::SafeMode(_)));
    let passed = || (0..200).filter(|_| ws.gate(None, None).allowed).count();
    let wall = clock.wall();
    assert_eq!(passed(), 50);

    clock.set_wall(wall - Duration::from_secs(86_400));
    assert_eq!(passed(), 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(passed(), 50, "a second is a second, whatever the time of day");
    clock.set_wall(wall + Duration::from_secs(86_400));
    assert_eq!(passed(), 0);
    clock.advance(Duration::from_millis(300));
    assert_eq!(passed(), 15, "no second burst at an edge");
}

#[test]
fn a_thread_that_panics_is_started_again_and_the_lease_ends_meanwhile() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.gate(None, None);
    plane.only(&Does::Panic);

    in_time(&clock, Duration::from_secs(1), "the panic shows", || {
        ws.state().last_error.is_some_and(|error| error.contains("panicked"))
    });
    in_time(&clock, Duration::from_secs(1), "safe mode", || matches!(ws.state().mode, GateMode::SafeMode(_)));
    plane.recovers();
    in_time(&clock, Duration::from_secs(1), "the policy in force again", || {
        ws.state().mode == GateMode::InForce
    });

    block_on(ws.close()).unwrap();
    assert_eq!(plane.with(|c| c.usage), 1, "what was counted before is reported once");
}
