//! The gate's client against a control plane that fails in every way, on a clock that is moved by hand.
#![cfg(feature = "async-tokio")]

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use leverframe::{
    Error, ErrorKind, Result, Retry, async_trait,
    backends::cache_memory::{MemoryCache, MemoryConfig},
    gate::{
        GateMode, GateReason, Policy, SafeModeStrategy, WaitState, WaitStateConfig, signing::verify_pulse,
        types::PulsePayload,
    },
    live::block_on,
    testing::ManualClock,
    traits::{Body, CacheStore, Clock, Request, Response, Transport},
};
use proptest::prelude::*;

const SECRET: &str = "sk_canary_7f3a";

/// What the control plane does with the next request.
#[derive(Clone, Debug)]
enum Does {
    Answer(String),
    /// Counts the report and never says so.
    LoseAnswer,
    /// Counts it, and answers what is no policy.
    Garble,
    Refuse(u16),
    RetryAfter(u64),
    Unreachable,
    Hang,
}

/// Counts reports as ours does: once for each id.
#[derive(Clone, Debug, Default)]
struct Plane(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    script: VecDeque<Does>,
    otherwise: String,
    paths: Vec<String>,
    bodies: Vec<String>,
    seen: HashSet<String>,
    usage: u64,
    denied: u64,
    errors: u64,
    samples: u64,
    micros: u64,
    custom: f64,
    tags: BTreeMap<String, u64>,
}

impl Plane {
    fn answering(policy: &str) -> Self {
        let plane = Self::default();
        plane.0.lock().unwrap().otherwise = policy.to_owned();
        plane
    }

    fn then(&self, does: impl IntoIterator<Item = Does>) {
        self.0.lock().unwrap().script.extend(does);
    }

    fn answers(&self, policy: &str) {
        policy.clone_into(&mut self.0.lock().unwrap().otherwise);
    }

    fn paths(&self) -> Vec<String> {
        self.0.lock().unwrap().paths.clone()
    }

    fn with<T>(&self, look: impl FnOnce(&Counted) -> T) -> T {
        look(&self.0.lock().unwrap())
    }

    fn decide(&self, request: &Request) -> Does {
        let mut counted = self.0.lock().unwrap();
        counted.paths.push(request.uri.path().to_owned());
        counted.bodies.push(String::from_utf8_lossy(&request.body).into_owned());
        let does = counted.script.pop_front().unwrap_or_else(|| Does::Answer(counted.otherwise.clone()));
        let accepts = matches!(does, Does::Answer(_) | Does::LoseAnswer | Does::Garble);
        if accepts && request.uri.path() == "/v1/pulse" {
            let header = |name: &str| request.headers.get(name).unwrap().to_str().unwrap().to_owned();
            let (signature, at) = (header("x-waitstate-signature"), header("x-waitstate-timestamp"));
            assert!(verify_pulse(&request.body, &at, SECRET, &signature), "the signature is the secret's");
            assert_eq!(header("x-waitstate-id"), "pk");
            counted.count(&serde_json::from_slice(&request.body).unwrap());
        }
        does
    }
}

impl Counted {
    fn count(&mut self, pulse: &PulsePayload) {
        if !self.seen.insert(pulse.pulse_id.clone().unwrap()) {
            return;
        }
        self.usage += pulse.usage_delta;
        self.denied += pulse.bounced_units;
        self.errors += pulse.metrics.errors as u64;
        for tag in &pulse.tag_metrics {
            *self.tags.entry(tag.tag.clone()).or_default() += tag.count;
            self.samples += tag.latency_buckets.unwrap_or_default().iter().sum::<u64>();
            self.micros += tag.latency_sum;
            self.custom += tag.custom_metrics.iter().flatten().map(|(_, a)| a.sum).sum::<f64>();
        }
    }
}

fn answer(status: u16, headers: HeaderMap, body: &str) -> Result<Response> {
    Ok(Response::new(StatusCode::from_u16(status).unwrap(), headers, Body::from_bytes(body.to_owned())))
}

#[async_trait]
impl Transport for Plane {
    fn name(&self) -> &'static str {
        "plane"
    }

    async fn send(&self, request: Request) -> Result<Response> {
        let broken = |retry| Err(Error::new(ErrorKind::Unavailable, "send the request").retry(retry));
        match self.decide(&request) {
            Does::Answer(body) => answer(200, HeaderMap::new(), &body),
            Does::LoseAnswer | Does::Unreachable => broken(Retry::Now),
            Does::Garble => answer(200, HeaderMap::new(), "<html>"),
            Does::Refuse(status) => answer(status, HeaderMap::new(), SECRET),
            Does::RetryAfter(seconds) => {
                let headers = [(header::RETRY_AFTER, HeaderValue::from(seconds))].into_iter().collect();
                answer(503, headers, "")
            }
            Does::Hang => pending().await,
        }
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

const FREE_10: &str =
    r#"{"globalMaxWeight":100,"tagMaxWeights":{"free":10},"pulseInterval":5000,"leaseDurationSeconds":300}"#;

fn client(plane: &Plane, clock: &ManualClock) -> WaitState {
    configured(plane, clock, SafeModeStrategy::default(), None)
}

fn configured(
    plane: &Plane,
    clock: &ManualClock,
    strategy: SafeModeStrategy,
    cache: Option<Arc<dyn CacheStore>>,
) -> WaitState {
    let config = WaitStateConfig {
        publish_key: "pk".into(),
        secret_key: SECRET.into(),
        base_url: "http://plane.test/".into(),
        safe_mode_strategy: strategy,
        ..Default::default()
    };
    let builder =
        WaitState::builder().config(config).transport(Arc::new(plane.clone())).clock(Arc::new(clock.clone()));
    match cache {
        Some(cache) => builder.cache(cache).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

/// Waits for something that the client's thread is about to do.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..200_000 {
        if holds() {
            return;
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_micros(50));
    }
    panic!("{what}, which did not happen");
}

/// Moves the clock in small steps until something holds.
#[track_caller]
fn in_time(clock: &ManualClock, step: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        for _ in 0..40 {
            if holds() {
                return;
            }
            std::thread::park_timeout(Duration::from_micros(50));
        }
        clock.advance(step);
    }
    panic!("{what}, which did not happen");
}

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
    plane.then(std::iter::repeat_n(Does::Unreachable, 100));

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
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    eventually("it waits", || clock.sleepers() >= 2);

    clock.advance(Duration::from_millis(4_400));
    eventually("it still waits", || clock.sleepers() >= 2);
    assert_eq!(plane.paths().len(), 1, "a tenth early at the most");
    clock.advance(Duration::from_millis(600));

    eventually("the second report", || plane.paths().len() == 2);
}

#[test]
fn when_the_lease_ends_safe_mode_begins_and_ends_with_the_next_answer() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    plane.then(std::iter::repeat_n(Does::Unreachable, 400));

    in_time(&clock, Duration::from_secs(1), "safe mode", || {
        ws.state().mode == GateMode::SafeMode(SafeModeStrategy::FixedRps)
    });
    let allowed = (0..60).filter(|_| ws.gate(Some("free"), Some(99.0)).allowed).count();
    assert_eq!(allowed, 50);
    assert_eq!(ws.gate(None, None).reason, GateReason::LeaseExpired);

    plane.0.lock().unwrap().script.clear();
    in_time(&clock, Duration::from_secs(1), "the policy in force again", || {
        ws.state().mode == GateMode::InForce
    });
    assert_eq!(ws.gate(Some("free"), Some(99.0)).reason, GateReason::TagBlocked);
}

#[test]
fn a_report_that_hangs_does_not_keep_the_lease_from_ending() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    plane.then([Does::Hang]);
    eventually("it waits", || clock.sleepers() >= 2);
    clock.advance(Duration::from_secs(6));
    eventually("the report hangs", || plane.paths().len() == 2);

    clock.advance(Duration::from_secs(300));

    eventually("safe mode", || matches!(ws.state().mode, GateMode::SafeMode(_)));
}

#[test]
fn the_time_of_day_may_jump_either_way_without_harm_to_the_lease() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
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
fn the_kill_signal_holds_after_the_lease_too() {
    let kill = r#"{"globalMaxWeight":null,"killSignal":true,"leaseDurationSeconds":10}"#;
    let (plane, clock) = (Plane::answering(kill), ManualClock::new());
    let ws = configured(&plane, &clock, SafeModeStrategy::Open, None);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    assert_eq!(ws.gate(None, None).reason, GateReason::KillSignal);
    plane.then(std::iter::repeat_n(Does::Unreachable, 100));

    in_time(&clock, Duration::from_secs(1), "safe mode", || matches!(ws.state().mode, GateMode::SafeMode(_)));

    assert_eq!(ws.gate(None, None).reason, GateReason::KillSignal);
}

#[test]
fn a_bad_policy_never_replaces_a_good_one_and_shows() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));

    for bad in ["<html>", "{}", "", r#"{"globalMaxWeight":"all"}"#] {
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
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));

    plane.then([Does::Refuse(500), Does::Refuse(401), token("t1"), Does::Answer(FREE_10.into())]);
    eventually("it waits", || clock.sleepers() >= 2);
    clock.advance(Duration::from_secs(31));

    eventually("the second sync", || plane.paths().len() == 7);
    let expected = ["/v1/pulse", "/v1/policy/acme", "/v1/auth/token", "/v1/policy/acme"];
    assert_eq!(plane.paths()[3..], expected);
}

#[test]
fn a_control_plane_that_asks_to_be_left_alone_is_left_alone() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    plane.then([Does::RetryAfter(120)]);
    eventually("it waits", || clock.sleepers() >= 2);
    clock.advance(Duration::from_secs(6));
    eventually("the refusal", || ws.state().last_report_error.is_some());
    eventually("it waits", || clock.sleepers() >= 2);

    clock.advance(Duration::from_secs(100));
    eventually("it still waits", || clock.sleepers() >= 2);
    assert_eq!(plane.paths().len(), 2);
    clock.advance(Duration::from_secs(21));

    eventually("the next report", || plane.paths().len() >= 3);
}

#[test]
fn a_start_without_the_control_plane_goes_by_the_last_known_policy_under_its_lease() {
    let clock = ManualClock::new();
    let cache: Arc<dyn CacheStore> = Arc::new(MemoryCache::new(MemoryConfig::default()));
    let plane = Plane::answering(FREE_10);
    let ws = configured(&plane, &clock, SafeModeStrategy::default(), Some(Arc::clone(&cache)));
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    block_on(ws.close()).unwrap();
    let gone = Plane::default();
    gone.then(std::iter::repeat_n(Does::Unreachable, 1_000));

    clock.advance(Duration::from_secs(100));
    let ws = configured(&gone, &clock, SafeModeStrategy::default(), Some(Arc::clone(&cache)));

    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    assert_eq!(ws.state().mode, GateMode::InForce);
    assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
    in_time(&clock, Duration::from_secs(1), "safe mode", || matches!(ws.state().mode, GateMode::SafeMode(_)));
}

#[test]
fn closing_reports_what_is_left_and_gates_go_on() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    ws.gate(Some("free"), Some(11.0));
    ws.timer(Some("free")).failed();

    block_on(ws.close()).unwrap();

    assert_eq!(plane.with(|c| (c.usage, c.denied, c.errors, c.samples)), (1, 1, 1, 1));
    assert_eq!(ws.gate(Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
}

#[test]
fn dropping_the_last_clone_reports_what_is_left() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    let clone = ws.clone();
    drop(ws);
    clone.gate(None, None);

    drop(clone);

    eventually("the last report", || plane.with(|c| c.usage) == 1);
}

#[test]
fn settings_that_cannot_work_are_refused_by_the_builder_and_shown_by_start() {
    for config in [
        WaitStateConfig::default(),
        WaitStateConfig { publish_key: "pk".into(), ..Default::default() },
        WaitStateConfig {
            publish_key: "pk".into(),
            secret_key: SECRET.into(),
            pulse_interval_secs: 0,
            ..Default::default()
        },
        WaitStateConfig {
            publish_key: "pk".into(),
            secret_key: SECRET.into(),
            base_url: "ftp://x".into(),
            ..Default::default()
        },
    ] {
        let refused = WaitState::builder().config(config.clone()).build().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Config);
        assert!(refused.hint_text().is_some() && !refused.chain().contains(SECRET));

        let ws = WaitState::start(config);
        assert!(ws.gate(None, None).allowed);
        assert!(ws.state().last_error.is_some());
        assert!(block_on(ws.close()).is_ok());
    }
}

#[test]
fn a_policy_set_by_hand_holds_until_the_next_answer() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));

    ws.set_policy(Policy { kill_signal: true, ..Policy::default() });
    assert_eq!(ws.gate(None, None).reason, GateReason::KillSignal);

    block_on(ws.flush()).unwrap();
    assert!(ws.gate(None, None).allowed);
}

#[test]
fn no_secret_is_sent_in_a_report_or_shown() {
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let ws = client(&plane, &clock);
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    plane.then([Does::Refuse(401), Does::Refuse(401)]);

    let error = block_on(ws.flush()).unwrap_err();

    assert!(!error.chain().contains(SECRET) && !format!("{error:?} {ws:?}").contains(SECRET));
    let told = plane
        .with(|c| c.paths.iter().zip(&c.bodies).any(|(p, b)| p != "/v1/auth/token" && b.contains(SECRET)));
    assert!(!told);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_counted_is_what_was_reported_whatever_fails(
        rounds in prop::collection::vec(
            (0_u8..7, prop::collection::vec((0_usize..4, 0_u8..20, any::<bool>()), 0..30)),
            1..12,
        ),
    ) {
        const TAGS: [Option<&str>; 4] = [None, Some("free"), Some("pro"), Some("batch")];
        let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
        let ws = client(&plane, &clock);
        prop_assert!(block_on(ws.ready(Duration::from_secs(3_600))));
        let (mut usage, mut denied, mut errors, mut samples, mut micros, mut custom) = (0, 0, 0, 0, 0, 0.0);
        let mut tags: BTreeMap<String, u64> = BTreeMap::new();
        for (failure, calls) in rounds {
            for (tag, weight, failed) in calls {
                let tag = TAGS[tag];
                denied += u64::from(!ws.gate(tag, Some(f64::from(weight))).allowed);
                usage += 1;
                *tags.entry(tag.unwrap_or("__default__").to_owned()).or_default() += 1;
                ws.report_latency(f64::from(weight), tag);
                samples += 1;
                micros += u64::from(weight) * 1_000;
                if failed {
                    ws.report_error(tag);
                    errors += 1;
                    ws.report("depth", 2.0, tag);
                    custom += 2.0;
                }
            }
            plane.then(match failure {
                0 => vec![],
                1 => vec![Does::LoseAnswer, Does::Unreachable],
                2 => vec![Does::Garble],
                3 => vec![Does::Refuse(500), Does::Refuse(500)],
                4 => vec![Does::Unreachable, Does::Unreachable],
                5 => vec![Does::Refuse(401), Does::Refuse(429)],
                _ => vec![Does::LoseAnswer],
            });
            // It fails as the script says; what matters is the sum at the end.
            let _ = block_on(ws.flush());
        }
        plane.0.lock().unwrap().script.clear();
        block_on(ws.flush()).unwrap();
        block_on(ws.close()).unwrap();

        plane.with(|c| {
            prop_assert_eq!((c.usage, c.denied, c.errors), (usage, denied, errors));
            prop_assert_eq!((c.samples, c.micros, c.custom), (samples, micros, custom));
            prop_assert_eq!(&c.tags, &tags);
            Ok(())
        })?;
    }
}
