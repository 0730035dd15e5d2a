//! When reports are sent, and what becomes of a client that ends.

use std::thread;

use leverframe::{
    gate::{GateMode, GateReason, WaitStateConfig},
    live::block_on,
    testing::ManualClock,
};

use crate::plane::{
    Does, FREE_10, Plane, client, config, configured, eventually, it_waits, synced, wait_for_policy,
};

#[test]
fn closing_reports_what_is_left_and_gates_go_on() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.gate(Some("free"), Some(11.0));
    ws.timer(Some("free")).failed();

    block_on(ws.close()).unwrap();

    assert_eq!(plane.with(|c| (c.usage, c.denied, c.errors, c.samples)), (1, 1, 1, 1));
    assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
}

#[test]
fn dropping_the_last_clone_reports_what_is_left() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    let clone = ws.clone();
    drop(ws);
    clone.gate(None, None);

    drop(clone);

    eventually("the last report", || plane.with(|c| c.usage) == 1);
}

#[test]
fn closing_while_a_report_is_under_way_ends_it_at_its_deadline_and_sends_it_again() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.gate(None, None);
    plane.then([Does::Hang]);
    clock.advance(std::time::Duration::from_secs(6));
    eventually("the report hangs", || plane.paths().len() == 2);
    ws.gate(None, None);

    let closing = thread::spawn(move || block_on(ws.close()));
    it_waits(&clock);
    clock.advance(std::time::Duration::from_secs(10));

    closing.join().unwrap().unwrap();
    let [.., hung, again, last] = &plane.pulses()[..] else { panic!("three") };
    assert_eq!((&hung.pulse_id, hung.usage_delta), (&again.pulse_id, 1));
    assert_eq!(last.usage_delta, 1);
    assert_eq!(plane.with(|c| c.usage), 2);
}

#[test]
fn dropping_the_last_clone_while_the_first_contact_hangs_reports_what_was_counted() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    plane.then([Does::Hang]);
    let ws = client(&plane, &clock);
    eventually("the first contact hangs", || plane.paths().len() == 1);
    ws.gate(None, None);

    drop(ws);

    eventually("the last report", || plane.with(|c| c.usage) == 1);
}

#[test]
fn a_clone_a_timer_or_a_thread_keeps_the_client_and_the_last_to_go_reports() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    let timer = ws.timer(Some("free"));
    drop(ws);
    clock.advance(std::time::Duration::from_secs(5));
    eventually("it still reports", || plane.paths().len() == 2);
    it_waits(&clock);

    drop(timer);

    eventually("the last report", || plane.with(|c| (c.samples, c.micros)) == (1, 5_000_000));
}

#[test]
fn closing_twice_and_flushing_after_it_do_no_harm() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.gate(None, None);
    ws.shutdown();

    block_on(ws.close()).unwrap();
    block_on(ws.close()).unwrap();

    assert_eq!(plane.with(|c| c.usage), 1);
    let asked = plane.paths().len();
    assert!(block_on(ws.flush()).is_err());
    assert_eq!(plane.paths().len(), asked, "nothing is sent after the last report");
}

#[test]
fn a_close_that_does_not_get_through_says_so() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    plane.only(&Does::Refuse(500));

    let error = block_on(ws.close()).unwrap_err();

    assert!(error.chain().contains("500") && error.hint_text().is_some(), "{}", error.chain());
    assert!(!plane.paths().iter().any(|path| path == "/v1/auth/token"), "no policy is needed any more");
}

#[test]
fn a_flush_that_its_caller_gives_up_loses_nothing() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.gate(None, None);
    plane.then([Does::Hang]);
    {
        let mut flush = std::pin::pin!(ws.flush());
        let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(flush.as_mut().poll(&mut nobody).is_pending());
        eventually("it is under way", || plane.paths().len() == 2);
    }

    block_on(ws.flush()).unwrap();

    assert_eq!(plane.with(|c| c.usage), 1);
}

#[test]
fn two_clients_in_one_process_have_nothing_in_common() {
    let (ours, theirs, clock) = (Plane::answering(FREE_10), Plane::default(), ManualClock::new());
    theirs.answers(r#"{"globalMaxWeight":1}"#);
    let one = client(&ours, &clock);
    let other =
        configured(&theirs, &clock, WaitStateConfig { site_id: Some("other".into()), ..config() }, None);
    wait_for_policy(&one, &clock);
    wait_for_policy(&other, &clock);

    assert!(one.gate(None, Some(5.0)).allowed);
    assert_eq!(other.gate(None, Some(5.0)).reason, GateReason::OverWeight);
    block_on(one.close()).unwrap();
    assert_eq!(other.state().mode, GateMode::InForce);
    block_on(other.close()).unwrap();

    assert_ne!(one.instance_id(), other.instance_id());
    assert_eq!((ours.with(|c| (c.usage, c.denied)), theirs.with(|c| (c.usage, c.denied))), ((1, 0), (1, 1)));
}

#[test]
fn latencies_and_errors_of_a_tag_without_calls_are_reported_at_once() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.report_latency(3.0, Some("quiet"));
    ws.report_error(Some("quiet"));

    block_on(ws.flush()).unwrap();

    assert_eq!(plane.with(|c| (c.samples, c.errors, c.tags["quiet"])), (1, 1, 0));
}
