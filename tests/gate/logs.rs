//! What is logged, and what is not.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Write},
    sync::{Mutex, Once},
    thread::{self, ThreadId},
    time::Duration,
};

use leverframe::{
    gate::{SafeModeStrategy, WaitStateConfig},
    live::block_on,
    testing::ManualClock,
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::plane::{
    Does, FREE_10, Plane, SECRET, config, configured, in_time, wait_for_policy, with_strategy,
};

/// What each thread has logged, at any level, spans included.
static LINES: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

/// Collects what is logged from here on, by all tests of the process: one that came later than the first line would
/// miss some.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Log).unwrap());
}

struct Log;

impl Log {
    fn add(metadata: &Metadata<'_>, record: impl FnOnce(&mut Line)) {
        let mut line = Line(format!("{} {} ", metadata.level(), metadata.target()));
        record(&mut line);
        let thread = format!("{:?}", thread::current().id());
        LINES.lock().unwrap().entry(thread).or_default().push(line.0);
    }
}

fn lines_of(threads: impl IntoIterator<Item = ThreadId>) -> Vec<String> {
    let lines = LINES.lock().unwrap();
    threads
        .into_iter()
        .flat_map(|thread| lines.get(&format!("{thread:?}")).cloned().unwrap_or_default())
        .collect()
}

/// How many lines with this text the threads have logged that sent something to the control plane.
fn count(plane: &Plane, text: &str) -> usize {
    lines_of(plane.with(|c| c.threads.clone())).iter().filter(|line| line.contains(text)).count()
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        Self::add(span.metadata(), |line| span.record(line));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        Self::add(event.metadata(), |line| event.record(line));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_change_of_mode_is_one_line_and_a_call_is_none() {
    for strategy in [SafeModeStrategy::Open, SafeModeStrategy::FixedRps, SafeModeStrategy::LastPolicy] {
        let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
        let ws = with_strategy(&plane, &clock, strategy);
        wait_for_policy(&ws, &clock);
        let in_force = || count(&plane, "the gate's policy is in force");
        let lease_over = || count(&plane, "for as long as it holds");
        assert_eq!((in_force(), lease_over()), (1, 0));
        plane.only(&Does::Unreachable);
        // Its line is written after the mode is told.
        in_time(&clock, Duration::from_secs(1), "safe mode is logged", || lease_over() == 1);

        let own = thread::current().id();
        let before = lines_of([own]);
        for _ in 0..1_000 {
            ws.gate(Some("free"), Some(11.0));
            ws.report_latency(1.0, Some("free"));
        }
        assert_eq!(lines_of([own]), before, "{strategy}");

        plane.recovers();
        in_time(&clock, Duration::from_secs(1), "the policy in force again", || in_force() == 2);
        assert_eq!(lease_over(), 1);
    }
}

#[test]
fn no_log_holds_a_key_a_token_a_signature_or_a_password() {
    const TOKEN: &str = r#"{"token":"tok_canary","expiresAt":1790000000000,"orgId":"acme"}"#;
    let (plane, clock) = (Plane::answering(FREE_10), ManualClock::new());
    let url = "https://ann:pw_canary@plane.test".to_owned();
    let ws = configured(&plane, &clock, WaitStateConfig { base_url: url, ..config() }, None);
    wait_for_policy(&ws, &clock);
    plane.then([Does::Refuse(500), Does::Answer(TOKEN.into()), Does::Refuse(403)]);
    plane.then([Does::Refuse(401), Does::Refuse(500), Does::Refuse(400), Does::Garble, Does::Unreachable]);
    plane.then([Does::Reply(307, &[("location", "https://ann:pw_canary@elsewhere.test/?q=tok_canary")], "")]);
    plane.then([Does::Reply(401, &[("date", "Thu, 28 May 2026 21:26:40 GMT")], SECRET)]);
    for _ in 0..6 {
        ws.gate(None, None);
        let asked = plane.paths().len();
        // How long it waits after a failure is partly chance.
        in_time(&clock, Duration::from_secs(31), "it was asked", || plane.paths().len() > asked);
    }
    // Whether it arrives is not the question.
    let _ = block_on(ws.flush());
    plane.recovers();
    block_on(ws.close()).unwrap();

    assert!(count(&plane, "refresh failed") > 0);
    let signatures: Vec<_> = plane.with(|c| {
        let all = c.headers.iter().filter_map(|headers| headers.get("x-waitstate-signature"));
        all.map(|signature| signature.to_str().unwrap().to_owned()).collect()
    });
    // Also what the other tests have logged so far.
    let told = format!("{:?} {ws:?} {:?}", LINES.lock().unwrap(), ws.state());
    for secret in [SECRET, "tok_canary", "pw_canary"].into_iter().chain(signatures.iter().map(String::as_str))
    {
        assert!(!told.contains(secret), "it holds {secret}");
    }
}
