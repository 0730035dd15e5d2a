//! How a client starts: first contact, what was kept, settings that cannot work.

use std::{sync::Arc, time::Duration};

use leverframe::{
    ErrorKind,
    backends::cache_memory::{MemoryCache, MemoryConfig},
    gate::{GateMode, GateReason, WaitState, WaitStateConfig},
    live::block_on,
    testing::ManualClock,
    traits::CacheStore,
};

use crate::plane::{Does, FREE_10, Plane, SECRET, client, config, configured, eventually, it_waits, synced};

#[test]
fn the_first_contact_is_at_the_start_and_its_policy_is_in_force() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());

    let ws = client(&plane, &clock);

    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    assert_eq!(ws.state().mode, GateMode::InForce);
    assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
    assert_eq!(ws.gate(Some("pro"), Some(101.0)).reason, GateReason::OverWeight);
    assert!(ws.gate(None, None).allowed);
    assert_eq!(plane.paths(), ["/v1/pulse"]);
}

#[test]
fn a_client_that_never_reached_its_control_plane_is_open_and_says_so() {
    let (plane, clock) = (Plane::default(), ManualClock::new());
    plane.only(&Does::Unreachable);

    let ws = client(&plane, &clock);

    eventually("the failure shows", || ws.state().last_error.is_some());
    assert_eq!(ws.state().mode, GateMode::NeverSynced);
    assert!(ws.gate(Some("free"), Some(1e9)).allowed);
    assert!(ws.state().last_report_error.is_some());
    assert!(!format!("{ws:?}").contains(SECRET));
}

#[test]
fn the_interval_is_the_one_that_the_control_plane_wishes() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let _ws = synced(&plane, &clock);
    it_waits(&clock);

    clock.advance(Duration::from_millis(4_400));
    it_waits(&clock);
    assert_eq!(plane.paths().len(), 1, "a tenth early at the most");
    clock.advance(Duration::from_millis(600));

    eventually("the second report", || plane.paths().len() == 2);
}

#[test]
fn an_interval_out_of_bounds_is_brought_within_them() {
    for (wished, early, due) in [(0, 850, 1_000), (1_000_000, 269_000, 300_000)] {
        let policy = format!(r#"{{"globalMaxWeight":null,"pulseInterval":{wished}}}"#);
        let (plane, clock) = (Plane::answering(&policy), ManualClock::new());
        let _ws = synced(&plane, &clock);

        clock.advance(Duration::from_millis(early));
        it_waits(&clock);
        assert_eq!(plane.paths().len(), 1, "{wished}");
        clock.advance(Duration::from_millis(due - early));
        eventually("the second report", || plane.paths().len() == 2);
    }
}

#[test]
fn late_reports_are_not_made_up_for() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let _ws = synced(&plane, &clock);

    // As if the machine had slept for a hundred intervals.
    clock.advance(Duration::from_secs(500));
    eventually("the next report", || plane.paths().len() == 2);
    it_waits(&clock);
    clock.advance(Duration::from_secs(4));
    it_waits(&clock);

    assert_eq!(plane.paths().len(), 2);
}

fn memory() -> Arc<dyn CacheStore> {
    Arc::new(MemoryCache::new(MemoryConfig::default()))
}

/// A cache in which a client has left the policy that it had `ago`.
pub(crate) fn kept(clock: &ManualClock, ago: Duration) -> Arc<dyn CacheStore> {
    let cache = memory();
    let plane = Plane::answering(FREE_10);
    let ws = configured(&plane, clock, config(), Some(Arc::clone(&cache)));
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    block_on(ws.close()).unwrap();
    clock.advance(ago);
    cache
}

#[test]
fn a_start_without_the_control_plane_goes_by_the_last_known_policy_under_its_lease() {
    let clock = ManualClock::new();
    let cache = kept(&clock, Duration::from_secs(100));
    let gone = Plane::default();
    gone.only(&Does::Unreachable);

    let ws = configured(&gone, &clock, config(), Some(cache));

    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    assert_eq!(ws.state().mode, GateMode::InForce);
    assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
    // Of 300 s, 100 had passed.
    clock.advance(Duration::from_secs(198));
    assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
    clock.advance(Duration::from_secs(4));
    eventually("safe mode", || matches!(ws.state().mode, GateMode::SafeMode(_)));
}

#[test]
fn what_was_kept_holds_while_the_first_answer_takes_its_time() {
    let clock = ManualClock::new();
    let cache = kept(&clock, Duration::from_secs(1));
    let hung = Plane::default();
    hung.only(&Does::Hang);

    let ws = configured(&hung, &clock, config(), Some(cache));

    eventually("the report hangs", || hung.paths().len() == 1);
    assert_eq!(ws.state().mode, GateMode::InForce);
    assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
}

#[test]
fn what_was_kept_for_longer_than_it_holds_is_for_safe_mode() {
    let clock = ManualClock::new();
    let cache = kept(&clock, Duration::from_secs(301));
    let gone = Plane::default();
    gone.only(&Does::Unreachable);

    let ws = configured(&gone, &clock, config(), Some(cache));

    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    eventually("safe mode", || matches!(ws.state().mode, GateMode::SafeMode(_)));
}

#[test]
fn an_old_policy_that_was_confirmed_lately_is_kept_as_such() {
    let (clock, cache) = (ManualClock::new(), memory());
    let plane = Plane::answering(FREE_10);
    let ws = configured(&plane, &clock, config(), Some(Arc::clone(&cache)));
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    for _ in 0..30 {
        clock.advance(Duration::from_secs(60));
        block_on(ws.flush()).unwrap();
    }
    block_on(ws.close()).unwrap();
    let gone = Plane::default();
    gone.only(&Does::Unreachable);

    let ws = configured(&gone, &clock, config(), Some(cache));

    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    assert_eq!(ws.state().mode, GateMode::InForce, "it is half an hour old, and was confirmed just now");
}

#[test]
fn another_site_or_control_plane_has_another_policy() {
    let clock = ManualClock::new();
    let cache = kept(&clock, Duration::from_secs(1));
    let gone = Plane::default();
    gone.only(&Does::Unreachable);

    for config in [
        WaitStateConfig { site_id: Some("eu".into()), ..config() },
        WaitStateConfig { base_url: "https://other.test".into(), ..config() },
        WaitStateConfig { publish_key: "pk2".into(), ..config() },
    ] {
        let ws = configured(&gone, &clock, config, Some(Arc::clone(&cache)));
        eventually("the failure shows", || ws.state().last_error.is_some());
        assert_eq!(ws.state().mode, GateMode::NeverSynced);
    }
}

#[test]
fn settings_that_cannot_work_are_refused_by_the_builder_and_shown_by_start() {
    let publish = |key: &str| WaitStateConfig { publish_key: key.into(), ..config() };
    let secret = |key: &str| WaitStateConfig { secret_key: key.into(), ..config() };
    let base = |url: &str| WaitStateConfig { base_url: url.into(), ..config() };
    let site = |site: &str| WaitStateConfig { site_id: Some(site.into()), ..config() };
    for config in [
        WaitStateConfig::default(),
        publish(""),
        publish("pk\r\nx-injected: 1"),
        publish("p k"),
        publish("schl\u{fc}ssel"),
        secret(""),
        WaitStateConfig { pulse_interval_secs: 0, ..config() },
        WaitStateConfig { sync_interval_secs: 0, ..config() },
        base(""),
        base("ftp://x"),
        base("gate.example.com"),
        base("https://x?token=1"),
        site(""),
        site("a/b"),
        site(&"s".repeat(65)),
    ] {
        let refused = WaitState::builder().config(config.clone()).build().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config, "{config:?}");
        assert!(refused.hint_text().is_some() && !refused.chain().contains(SECRET));

        let ws = WaitState::start(config);
        assert!(ws.gate(None, None).allowed);
        assert!(ws.state().last_error.is_some());
        assert!(!block_on(ws.ready(Duration::from_secs(3_600))), "it does not wait for what cannot come");
        assert!(block_on(ws.close()).is_ok());
    }
}

#[test]
fn a_client_needs_no_runtime_and_starts_inside_one_as_well() {
    let start = || {
        let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
        let ws = client(&plane, &clock);
        eventually("the first policy", || ws.state().mode == GateMode::InForce);
        assert!(ws.gate(None, None).allowed);
        (plane, ws)
    };

    let (plane, ws) = start();
    block_on(ws.close()).unwrap();
    assert_eq!(plane.with(|c| c.usage), 1);

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (plane, ws) = runtime.block_on(async { start() });
    runtime.block_on(ws.close()).unwrap();
    assert_eq!(plane.with(|c| c.usage), 1);
}

#[test]
fn the_secret_key_is_not_kept_among_the_settings() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = synced(&plane, &clock);

    assert_eq!((ws.config().publish_key.as_str(), ws.config().secret_key.as_str()), ("pk", ""));
    block_on(ws.flush()).unwrap();
}
