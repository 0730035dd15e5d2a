//! A control plane that does what it is told, and what tests wait with.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    future::pending,
    sync::{Arc, Mutex},
    thread::{self, ThreadId},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use leverframe::{
    Error, ErrorKind, Result, Retry, async_trait,
    gate::{SafeModeStrategy, WaitState, WaitStateConfig, signing::verify_pulse, types::PulsePayload},
    live::block_on,
    testing::ManualClock,
    traits::{Body, CacheStore, Request, Response, Transport},
};

pub(crate) const SECRET: &str = "sk_canary_7f3a";

pub(crate) const FREE_10: &str =
    r#"{"globalMaxWeight":100,"tagMaxWeights":{"free":10},"pulseInterval":5000,"leaseDurationSeconds":300}"#;

/// What a control plane says that refuses something.
pub(crate) const REFUSAL: &str = r#"{"error":{"code":"bad_request","message":"no"}}"#;

/// What the control plane does with the next request.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Counts the report and answers this.
    Answer(String),
    /// Counts the report and never says so.
    LoseAnswer,
    /// Counts it, and answers what is no policy.
    Garble,
    /// A success that is not the control plane's: nothing is counted.
    Pretend(&'static str),
    Refuse(u16),
    Reply(u16, &'static [(&'static str, &'static str)], &'static str),
    Unreachable,
    Hang,
    Panic,
}

/// Counts reports, once for each id or each time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plane(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) script: VecDeque<Does>,
    otherwise: String,
    /// What refuses a report that has this tag.
    poison: Option<(String, u16)>,
    counts_again: bool,
    pub(crate) paths: Vec<String>,
    pub(crate) bodies: Vec<String>,
    pub(crate) headers: Vec<HeaderMap>,
    /// Who sent something.
    pub(crate) threads: HashSet<ThreadId>,
    seen: HashSet<String>,
    pub(crate) usage: u64,
    pub(crate) denied: u64,
    pub(crate) errors: u64,
    pub(crate) samples: u64,
    pub(crate) micros: u64,
    pub(crate) custom: f64,
    pub(crate) tags: BTreeMap<String, u64>,
}

impl Plane {
    pub(crate) fn answering(policy: &str) -> Self {
        let plane = Self::default();
        plane.answers(policy);
        plane
    }

    /// Counts a report as often as it comes, as others do.
    pub(crate) fn counting_again(self) -> Self {
        self.0.lock().unwrap().counts_again = true;
        self
    }

    pub(crate) fn then(&self, does: impl IntoIterator<Item = Does>) {
        self.0.lock().unwrap().script.extend(does);
    }

    /// From here on it does this, until it recovers.
    pub(crate) fn only(&self, does: &Does) {
        self.then(std::iter::repeat_n(does.clone(), 10_000));
    }

    pub(crate) fn recovers(&self) {
        self.0.lock().unwrap().script.clear();
    }

    pub(crate) fn answers(&self, policy: &str) {
        policy.clone_into(&mut self.0.lock().unwrap().otherwise);
    }

    pub(crate) fn refuses_tag(&self, tag: &str, status: u16) {
        self.0.lock().unwrap().poison = Some((tag.to_owned(), status));
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.with(|c| c.paths.clone())
    }

    pub(crate) fn pulses(&self) -> Vec<PulsePayload> {
        self.with(|c| {
            let both = c.paths.iter().zip(&c.bodies);
            both.filter(|(path, _)| *path == "/v1/pulse")
                .map(|(_, b)| serde_json::from_str(b).unwrap())
                .collect()
        })
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Counted) -> T) -> T {
        look(&self.0.lock().unwrap())
    }

    fn decide(&self, request: &Request) -> Does {
        let mut counted = self.0.lock().unwrap();
        counted.paths.push(request.uri.path().to_owned());
        counted.bodies.push(String::from_utf8_lossy(&request.body).into_owned());
        counted.headers.push(request.headers.clone());
        counted.threads.insert(thread::current().id());
        let does = counted.script.pop_front().unwrap_or_else(|| Does::Answer(counted.otherwise.clone()));
        // What it has counted it does not find fault with later.
        let fault = matches!(does, Does::Reply(_, _, REFUSAL)) && request.uri.path() == "/v1/pulse";
        let known = fault && read(request).pulse_id.is_some_and(|id| counted.seen.contains(&id));
        let does = if known { Does::Answer(counted.otherwise.clone()) } else { does };
        let accepts = matches!(does, Does::Answer(_) | Does::LoseAnswer | Does::Garble);
        if accepts && request.uri.path() == "/v1/pulse" {
            let header = |name: &str| request.headers.get(name).unwrap().to_str().unwrap().to_owned();
            let (signature, at) = (header("x-waitstate-signature"), header("x-waitstate-timestamp"));
            assert!(verify_pulse(&request.body, &at, SECRET, &signature), "the signature is the secret's");
            assert_eq!(header("x-waitstate-id"), "pk");
            let pulse = read(request);
            assert_eq!(pulse.ts.to_string(), at);
            if let Some((tag, status)) = &counted.poison
                && pulse.tag_metrics.iter().any(|metric| metric.tag == *tag)
            {
                return Does::Reply(*status, &[], REFUSAL);
            }
            counted.count(&pulse);
        }
        does
    }
}

fn read(request: &Request) -> PulsePayload {
    serde_json::from_slice(&request.body).unwrap()
}

impl Counted {
    fn count(&mut self, pulse: &PulsePayload) {
        if !self.seen.insert(pulse.pulse_id.clone().unwrap()) && !self.counts_again {
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

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Result<Response> {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    Ok(Response::new(StatusCode::from_u16(status).unwrap(), headers, Body::from_bytes(body.to_owned())))
}

#[async_trait]
impl Transport for Plane {
    fn name(&self) -> &'static str {
        "plane"
    }

    async fn send(&self, request: Request) -> Result<Response> {
        match self.decide(&request) {
            Does::Answer(body) => answer(200, &[], &body),
            Does::LoseAnswer | Does::Unreachable => {
                Err(Error::new(ErrorKind::Unavailable, "send the request").retry(Retry::Now))
            }
            Does::Garble => answer(200, &[], "<html>"),
            Does::Pretend(body) => answer(200, &[], body),
            Does::Refuse(status) => answer(status, &[], SECRET),
            Does::Reply(status, headers, body) => answer(status, headers, body),
            Does::Hang => pending().await,
            Does::Panic => panic!("a transport that panics, as the test wants it"),
        }
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

pub(crate) fn config() -> WaitStateConfig {
    WaitStateConfig {
        publish_key: "pk".into(),
        secret_key: SECRET.into(),
        base_url: "https://plane.test/".into(),
        ..Default::default()
    }
}

pub(crate) fn client(plane: &Plane, clock: &ManualClock) -> WaitState {
    configured(plane, clock, config(), None)
}

pub(crate) fn with_strategy(plane: &Plane, clock: &ManualClock, strategy: SafeModeStrategy) -> WaitState {
    configured(plane, clock, WaitStateConfig { safe_mode_strategy: strategy, ..config() }, None)
}

pub(crate) fn configured(
    plane: &Plane,
    clock: &ManualClock,
    config: WaitStateConfig,
    cache: Option<Arc<dyn CacheStore>>,
) -> WaitState {
    crate::logs::listen();
    let builder =
        WaitState::builder().config(config).transport(Arc::new(plane.clone())).clock(Arc::new(clock.clone()));
    match cache {
        Some(cache) => builder.cache(cache).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

/// A client that has its first policy and waits until its next report is due.
pub(crate) fn synced(plane: &Plane, clock: &ManualClock) -> WaitState {
    let ws = client(plane, clock);
    wait_for_policy(&ws, clock);
    ws
}

pub(crate) fn wait_for_policy(ws: &WaitState, clock: &ManualClock) {
    assert!(block_on(ws.ready(Duration::from_secs(3_600))));
    it_waits(clock);
}

/// Waits until the client sleeps until its next report, and until the end of the lease.
pub(crate) fn it_waits(clock: &ManualClock) {
    eventually("it waits", || clock.sleepers() >= 2);
}

/// Waits for something that the client's thread is about to do.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..200_000 {
        if holds() {
            return;
        }
        thread::yield_now();
        thread::park_timeout(Duration::from_micros(50));
    }
    panic!("{what}, which did not happen");
}

/// Moves the clock in small steps until something holds.
#[track_caller]
pub(crate) fn in_time(clock: &ManualClock, step: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        for _ in 0..40 {
            if holds() {
                return;
            }
            thread::park_timeout(Duration::from_micros(50));
        }
        clock.advance(step);
    }
    panic!("{what}, which did not happen");
}
