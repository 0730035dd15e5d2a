//! What travels: headers, times, ids, and answers of a protocol that grew.

use std::{collections::HashSet, time::Duration};

use leverframe::{gate::WaitStateConfig, live::block_on, testing::ManualClock, traits::Clock};

use crate::plane::{Does, FREE_10, Plane, SECRET, client, config, configured, eventually, it_waits, synced};

const TOKEN: &str = r#"{"token":"t0","expiresAt":1790000000000,"orgId":"acme"}"#;

#[test]
fn reports_and_questions_for_policies_say_that_they_are_ours() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    plane.then([Does::Refuse(500), Does::Answer(TOKEN.into())]);

    let _ws = synced(&plane, &clock);

    plane.with(|c| {
        assert_eq!(c.paths, ["/v1/pulse", "/v1/auth/token", "/v1/policy/acme"]);
        let ours: Vec<_> = c.headers.iter().map(|h| h.get("x-leverframe-gate").map(|v| v == "1")).collect();
        assert_eq!(ours, [Some(true), None, Some(true)]);
        assert_eq!(c.headers[2]["authorization"], "Bearer t0");
        assert!(c.headers[2].get("x-waitstate-signature").is_none());
    });
}

#[test]
fn a_report_names_instance_and_site_and_has_every_figure_by_tag() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let config = WaitStateConfig { site_id: Some("eu-1".into()), ..config() };
    let ws = configured(&plane, &clock, config, None);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    ws.gate(None, None);
    ws.gate(Some("free"), Some(11.0));
    ws.report_latency(12.5, Some("free"));
    ws.report_error(Some("silent"));
    ws.report("depth", 7.0, Some("silent"));

    block_on(ws.flush()).unwrap();

    let pulse = plane.pulses().pop().unwrap();
    assert_eq!((pulse.instance_id.as_str(), pulse.site_id.as_deref()), (ws.instance_id(), Some("eu-1")));
    assert_eq!((pulse.usage_delta, pulse.bounced_units), (2, 1));
    assert_eq!((pulse.metrics.latency, pulse.metrics.errors), (12.5, 1.0));
    let tags: Vec<_> =
        pulse.tag_metrics.iter().map(|m| (m.tag.as_str(), m.count, m.denied, m.errors)).collect();
    assert_eq!(tags, [("__default__", 1, 0, 0), ("free", 1, 1, 0), ("silent", 0, 0, 1)]);
    assert_eq!(pulse.tag_metrics[1].latency_buckets, Some([1, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(pulse.tag_metrics[1].latency_sum, 12_500);
    assert_eq!(pulse.tag_metrics[2].custom_metrics.as_ref().unwrap()["depth"].sum, 7.0);
}

#[test]
fn every_report_has_a_later_time_than_the_one_before_and_an_id_of_its_own() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    let wall = clock.wall();

    for back in [0, 0, 0, 30, 3_600] {
        clock.set_wall(wall - Duration::from_secs(back));
        block_on(ws.flush()).unwrap();
    }

    let pulses = plane.pulses();
    assert_eq!(pulses.len(), 6);
    assert!(pulses.windows(2).all(|pair| pair[0].ts < pair[1].ts), "{pulses:?}");
    let ids: HashSet<_> = pulses.iter().map(|p| p.pulse_id.clone().unwrap()).collect();
    assert_eq!(ids.len(), 6);
    assert!(ids.iter().all(|id| id.len() == 26));
}

#[test]
fn a_report_that_is_sent_again_has_its_id_and_another_time() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.gate(None, None);
    plane.then([Does::LoseAnswer, Does::Unreachable]);
    block_on(ws.flush()).unwrap_err();
    ws.gate(None, None);

    block_on(ws.flush()).unwrap();

    let [.., lost, again, next] = &plane.pulses()[..] else { panic!("three") };
    assert_eq!((&lost.pulse_id, lost.usage_delta), (&again.pulse_id, again.usage_delta));
    assert!(lost.ts < again.ts && next.pulse_id != again.pulse_id);
    assert_eq!(plane.with(|c| c.usage), 2);
}

#[test]
fn a_report_that_was_seen_before_is_acknowledged_and_no_error() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.gate(None, None);
    plane.then([Does::Reply(409, &[], r#"{"error":{"code":"replayed","message":"seen"}}"#)]);

    block_on(ws.flush()).unwrap();

    let pulses = plane.pulses();
    assert_eq!(pulses.iter().map(|p| p.usage_delta).collect::<Vec<_>>(), [0, 1, 0], "it is not sent again");
    assert_eq!(ws.state().last_report_error, None);
}

#[test]
fn another_conflict_is_an_error_and_the_report_is_sent_again() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.gate(None, None);
    plane.then([Does::Reply(409, &[], r#"{"error":{"code":"conflict"}}"#), Does::Unreachable]);

    block_on(ws.flush()).unwrap_err();
    block_on(ws.flush()).unwrap();

    assert_eq!(plane.with(|c| c.usage), 1);
}

/// An hour after the clock's own time.
const AN_HOUR_LATER: Does = Does::Reply(401, &[("date", "Thu, 28 May 2026 21:26:40 GMT")], "{}");

#[test]
fn a_clock_that_the_control_plane_refuses_is_corrected_by_its_own() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    let ours = clock.wall();
    ws.gate(None, None);
    plane.then([AN_HOUR_LATER]);

    block_on(ws.flush()).unwrap();

    let [.., refused, taken] = &plane.pulses()[..] else { panic!("two at least") };
    assert_eq!((refused.ts, taken.ts), (1_780_000_000_001, 1_780_003_600_000));
    assert_eq!(refused.pulse_id, taken.pulse_id);
    assert_eq!(ws.state().clock_offset_ms, Some(3_600_000));
    assert_eq!((plane.with(|c| c.usage), ws.state().last_report_error), (1, None));

    // Somebody sets this machine's clock right.
    clock.set_wall(ours + Duration::from_secs(3_601));
    plane.then([AN_HOUR_LATER]);
    block_on(ws.flush()).unwrap();

    assert_eq!(ws.state().clock_offset_ms, None);
    assert_eq!(plane.pulses().last().unwrap().ts, 1_780_003_601_000);
}

#[test]
fn after_the_clock_was_ahead_while_nobody_answered_reports_go_by_the_clock_again() {
    const RIGHT: Does = Does::Reply(401, &[("date", "Thu, 28 May 2026 20:26:40 GMT")], "{}");
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let right = clock.wall();
    clock.set_wall(right + Duration::from_secs(7_200));
    plane.only(&Does::Unreachable);
    let ws = client(&plane, &clock);
    eventually("the first report fails", || ws.state().last_error.is_some());
    ws.gate(None, None);

    clock.set_wall(right);
    plane.recovers();
    plane.then([RIGHT]);
    block_on(ws.flush()).unwrap();

    let [.., refused, taken, _] = &plane.pulses()[..] else { panic!("three at least") };
    assert_eq!((refused.ts, taken.ts), (1_780_007_200_001, 1_780_000_000_000));
    assert_eq!(refused.pulse_id, taken.pulse_id);
    assert_eq!((plane.with(|c| c.usage), ws.state().last_report_error), (1, None));
    assert_eq!(ws.state().clock_offset_ms, None, "it was right by then");
}

#[test]
fn a_replay_of_a_time_before_the_clock_went_back_acknowledges_nothing() {
    const REPLAYED: Does = Does::Reply(409, &[], r#"{"error":{"code":"replayed","message":"seen"}}"#);
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    plane.then([AN_HOUR_LATER]);
    block_on(ws.flush()).unwrap();
    // It was the control plane's clock that was wrong.
    const RIGHT: Does = Does::Reply(401, &[("date", "Thu, 28 May 2026 20:26:40 GMT")], "{}");
    ws.gate(None, None);
    plane.then([RIGHT, REPLAYED, Does::Unreachable]);

    let error = block_on(ws.flush()).unwrap_err();

    assert!(error.chain().contains("409"), "{}", error.chain());
    clock.set_wall(clock.wall() + Duration::from_secs(3_601));
    block_on(ws.flush()).unwrap();
    let pulses = plane.pulses();
    let ids: HashSet<_> = pulses.iter().filter(|p| p.usage_delta > 0).map(|p| &p.pulse_id).collect();
    assert_eq!((plane.with(|c| c.usage), ids.len()), (1, 1), "the same report, counted once");
}

#[test]
fn a_refusal_for_another_reason_does_not_move_the_clock() {
    const NEAR: Does = Does::Reply(401, &[("date", "Thu, 28 May 2026 20:27:30 GMT")], "{}");
    const NO_DATE: Does = Does::Reply(401, &[("date", "yesterday")], "{}");
    for refusal in [NEAR, NO_DATE, Does::Refuse(401)] {
        let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
        let ws = synced(&plane, &clock);
        plane.only(&refusal);

        let error = block_on(ws.flush()).unwrap_err();

        assert_eq!(ws.state().clock_offset_ms, None);
        assert!(error.chain().contains("401") && !error.chain().contains(SECRET), "{}", error.chain());
    }
}

#[test]
fn a_control_plane_whose_clock_runs_wild_is_not_asked_without_end() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    const FAR: Does = Does::Reply(401, &[("date", "Thu, 28 May 2099 21:26:40 GMT")], "{}");
    plane.then((0..50).flat_map(|_| [AN_HOUR_LATER, FAR]));

    block_on(ws.flush()).unwrap_err();

    assert!(plane.paths().len() <= 8, "{:?}", plane.paths());
    it_waits(&clock);
}
