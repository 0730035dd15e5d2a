//! A control plane that refuses, babbles, or wants to be left alone.

use std::time::Duration;

use leverframe::{
    gate::{GateMode, GateReason, WaitStateConfig},
    live::block_on,
    testing::ManualClock,
};

use crate::{
    plane::{
        Does, FREE_10, Plane, SECRET, client, config, configured, eventually, in_time, it_waits, synced,
    },
    start::kept,
};

#[test]
fn a_bad_policy_never_replaces_a_good_one_and_shows() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);

    for bad in ["<html>", "{}", "", "[5]", "null", r#"{"globalMaxWeight":"all"}"#, r#"{"globalMaxWeight":1"#]
    {
        plane.answers(bad);
        assert!(block_on(ws.flush()).is_err(), "{bad}");
        assert!(ws.state().last_error.is_some());
        assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
    }
    plane.answers(FREE_10);
    block_on(ws.flush()).unwrap();
    assert_eq!(ws.state().last_error, None);
}

#[test]
fn while_reports_are_refused_the_policy_is_asked_for_by_token() {
    let (plane, clock) = (Plane::default(), ManualClock::new());
    let token = r#"{"token":"t0","expiresAt":1780009999000,"orgId":"acme"}"#;
    plane.then([Does::Refuse(500), Does::Answer(token.into()), Does::Answer(FREE_10.into())]);

    let ws = client(&plane, &clock);

    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    assert_eq!(plane.paths(), ["/v1/pulse", "/v1/auth/token", "/v1/policy/acme"]);
    assert!(ws.state().last_report_error.is_some_and(|e| e.contains("500") && !e.contains(SECRET)));
    assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
}

#[test]
fn a_refused_token_is_renewed_at_once() {
    let (plane, clock) = (Plane::default(), ManualClock::new());
    let token = |name: &str| {
        Does::Answer(format!(r#"{{"token":"{name}","expiresAt":1790000000000,"orgId":"acme"}}"#))
    };
    plane.then([Does::Refuse(500), token("t0"), Does::Answer(FREE_10.into())]);
    let _ws = synced(&plane, &clock);

    plane.then([Does::Refuse(500), Does::Refuse(401), token("t1"), Does::Answer(FREE_10.into())]);
    it_waits(&clock);
    clock.advance(Duration::from_secs(31));

    eventually("the second sync", || plane.paths().len() == 7);
    let expected = ["/v1/pulse", "/v1/policy/acme", "/v1/auth/token", "/v1/policy/acme"];
    assert_eq!(plane.paths()[3..], expected);
}

#[test]
fn every_refusal_shows_with_its_status_and_next_step_and_loses_nothing() {
    for status in [301, 307, 400, 401, 403, 404, 405, 413, 418, 422, 429, 500, 502, 503, 504] {
        let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
        let ws = synced(&plane, &clock);
        ws.gate(Some("free"), Some(11.0));
        plane.only(&Does::Refuse(status));

        let error = block_on(ws.flush()).unwrap_err();

        assert!(error.chain().contains(&status.to_string()), "{}", error.chain());
        assert!(error.hint_text().is_some() && !format!("{error:?} {ws:?}").contains(SECRET));
        assert!(ws.state().last_report_error.is_some() && ws.state().last_error.is_some());
        assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
        plane.recovers();
        block_on(ws.flush()).unwrap();
        assert_eq!(
            (plane.with(|c| (c.usage, c.denied)), ws.state().last_report_error),
            ((2, 2), None),
            "{status}"
        );
    }
}

#[test]
fn a_success_that_brings_no_policy_acknowledges_nothing() {
    let huge: &'static str =
        Box::leak(format!("{{\"status\":\"{}\"}}", "x".repeat(300_000)).into_boxed_str());
    for body in ["", "<html>log in</html>", "{}", "[5]", "{\"globalMaxWeight\":1", huge] {
        let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
        let ws = synced(&plane, &clock);
        ws.gate(None, None);
        plane.only(&Does::Pretend(body));

        let error = block_on(ws.flush()).unwrap_err();

        assert!(error.chain().len() < 1_000, "{}", error.chain());
        plane.recovers();
        block_on(ws.flush()).unwrap();
        assert_eq!(plane.with(|c| c.usage), 1);
    }
}

#[test]
fn what_is_wrong_with_an_answer_is_told_in_bounds() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    plane.answers(&format!(r#"{{"globalMaxWeight":"{}"}}"#, "x".repeat(100_000)));

    block_on(ws.flush()).unwrap_err();

    let told = ws.state().last_error.unwrap();
    assert!(told.contains("read the policy") && told.len() < 1_000, "{told}");
}

#[test]
fn a_hung_report_ends_at_its_deadline_and_is_sent_again() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    ws.gate(None, None);
    plane.then([Does::Hang]);
    clock.advance(Duration::from_secs(6));
    eventually("the report hangs", || plane.paths().len() == 2);
    assert!(ws.gate(None, None).allowed, "calls do not wait for it");

    in_time(&clock, Duration::from_secs(1), "both are counted", || plane.with(|c| c.usage) == 2);

    let pulses = plane.pulses();
    assert_eq!(pulses[1].pulse_id, pulses[2].pulse_id);
}

#[test]
fn a_control_plane_that_is_down_at_the_start_is_asked_again_soon() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    plane.then([Does::Unreachable, Does::Unreachable, Does::Unreachable]);
    let ws = client(&plane, &clock);
    eventually("the failure shows", || ws.state().last_error.is_some());
    it_waits_for_one(&clock);

    // Long before the twenty seconds of the usual interval.
    clock.advance(Duration::from_secs(2));

    eventually("asked again", || plane.paths().len() >= 3);
    in_time(&clock, Duration::from_secs(1), "the policy in force", || ws.state().mode == GateMode::InForce);
}

/// Without a lease there is no second sleep.
fn it_waits_for_one(clock: &ManualClock) {
    eventually("it waits", || clock.sleepers() >= 1);
}

#[test]
fn a_control_plane_that_asks_to_be_left_alone_is_left_alone() {
    // The date is 120 s after the clock's own.
    const BY_DATE: Does = Does::Reply(429, &[("retry-after", "Thu, 28 May 2026 20:28:46 GMT")], "");
    for refusal in [
        Does::Reply(503, &[("retry-after", "120")], ""),
        Does::Reply(429, &[("retry-after", "120")], ""),
        BY_DATE,
    ] {
        let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
        let ws = synced(&plane, &clock);
        plane.then([refusal]);
        clock.advance(Duration::from_secs(6));
        eventually("the refusal", || ws.state().last_report_error.is_some());
        it_waits(&clock);

        clock.advance(Duration::from_secs(100));
        it_waits(&clock);
        assert_eq!(plane.paths().len(), 2, "neither a report nor a token is asked for");
        clock.advance(Duration::from_secs(21));

        eventually("the next report", || plane.paths().len() >= 3);
    }
}

#[test]
fn a_control_plane_that_asks_to_be_left_alone_with_its_first_answer_is_left_alone() {
    for refusal in
        [Does::Reply(503, &[("retry-after", "120")], ""), Does::Reply(429, &[("retry-after", "120")], "")]
    {
        for has_kept in [false, true] {
            let clock = ManualClock::new();
            let cache = has_kept.then(|| kept(&clock, Duration::from_secs(1)));
            let plane = Plane::answering(FREE_10);
            plane.then([refusal.clone()]);
            let ws = configured(&plane, &clock, config(), cache);
            eventually("the refusal", || ws.state().last_error.is_some());
            let waits = || if has_kept { it_waits(&clock) } else { it_waits_for_one(&clock) };
            waits();

            clock.advance(Duration::from_secs(100));
            waits();
            assert_eq!(plane.paths(), ["/v1/pulse"], "neither a report nor a token is asked for");
            clock.advance(Duration::from_secs(21));

            eventually("the next report", || plane.paths().len() >= 2);
            eventually("its policy", || ws.state().last_error.is_none());
        }
    }
}

#[test]
fn a_control_plane_that_wants_fewer_reports_is_not_asked_for_tokens_instead() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    plane.only(&Does::Refuse(429));

    block_on(ws.flush()).unwrap_err();

    assert_eq!(plane.paths(), ["/v1/pulse", "/v1/pulse"]);
}

#[test]
fn the_pauses_between_failures_grow_up_to_the_interval() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = configured(&plane, &clock, WaitStateConfig { sync_interval_secs: 3_600, ..config() }, None);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    plane.only(&Does::Unreachable);

    let mut asked_at = Vec::new();
    for second in 0..60 {
        it_waits(&clock);
        let before = plane.with(|c| c.paths.iter().filter(|path| *path == "/v1/pulse").count());
        asked_at.extend(
            (asked_at.len() < before).then_some(second).into_iter().cycle().take(before - asked_at.len()),
        );
        clock.advance(Duration::from_secs(1));
    }

    assert!((8..=20).contains(&asked_at.len()), "{asked_at:?}");
}

#[test]
fn an_answer_to_the_question_for_a_token_that_is_none_is_refused() {
    for answer in [
        "",
        "{}",
        "<html>",
        r#"{"token":"t","expiresAt":1}"#,
        r#"{"token":"t","expiresAt":1,"orgId":""}"#,
        r#"{"token":"t","expiresAt":1,"orgId":"../../admin"}"#,
        r#"{"token":"t","expiresAt":1,"orgId":"a?b"}"#,
        r#"{"token":"t","expiresAt":1.5,"orgId":"a"}"#,
        r#"{"token":"line\nbreak","expiresAt":1,"orgId":"a"}"#,
    ] {
        let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
        let ws = synced(&plane, &clock);
        plane.then([Does::Refuse(500), Does::Answer(answer.into())]);

        block_on(ws.flush()).unwrap_err();

        assert_eq!(plane.paths(), ["/v1/pulse", "/v1/pulse", "/v1/auth/token"], "{answer}");
    }
}

#[test]
fn the_secret_travels_to_ask_for_tokens_and_never_unencrypted() {
    let (plane, clock) = (Plane::default(), ManualClock::new());
    plane.only(&Does::Refuse(500));

    let open = configured(
        &plane,
        &clock,
        WaitStateConfig { base_url: "http://plane.test".into(), ..config() },
        None,
    );
    eventually("the failure shows", || open.state().last_error.is_some());
    assert!(block_on(open.flush()).is_err());
    assert!(plane.paths().iter().all(|path| path == "/v1/pulse"), "{:?}", plane.paths());
    assert!(!plane.with(|c| c.bodies.concat()).contains(SECRET));

    for encrypted in ["https://plane.test", "http://127.0.0.1:9", "http://[::1]:9", "http://localhost:9"] {
        let (plane, clock) = (Plane::default(), ManualClock::new());
        plane.only(&Does::Refuse(500));
        let ws = configured(&plane, &clock, WaitStateConfig { base_url: encrypted.into(), ..config() }, None);
        eventually("the failure shows", || ws.state().last_error.is_some());
        let secret_in: Vec<_> = plane.with(|c| {
            let both = c.paths.iter().zip(&c.bodies);
            both.filter(|(_, body)| body.contains(SECRET)).map(|(path, _)| path.clone()).collect()
        });
        assert_eq!(secret_in, ["/v1/auth/token"], "{encrypted}");
    }
}

#[test]
fn no_secret_is_sent_in_a_report_or_shown() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);
    plane.then([Does::Refuse(401), Does::Refuse(401)]);

    let error = block_on(ws.flush()).unwrap_err();

    assert!(!error.chain().contains(SECRET) && !format!("{error:?} {ws:?}").contains(SECRET));
    let told = plane
        .with(|c| c.paths.iter().zip(&c.bodies).any(|(p, b)| p != "/v1/auth/token" && b.contains(SECRET)));
    assert!(!told);
}
