use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::*;
use crate::{
    Error, ErrorKind, Result,
    live::block_on,
    testing::{Answer, ManualClock, ScriptedTransport},
    traits::{Body, Request, Response},
};

const URI: &str = "http://peer/flags";

fn get() -> Request {
    Request::get(URI.parse().unwrap())
}

fn status(code: u16) -> Answer {
    Answer::Whole(StatusCode::from_u16(code).unwrap(), HeaderMap::new(), "content".into())
}

fn later(code: u16, value: &'static str) -> Answer {
    let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(value))]);
    Answer::Whole(StatusCode::from_u16(code).unwrap(), headers, "content".into())
}

fn peer(answer: Answer) -> ScriptedTransport {
    let peer = ScriptedTransport::new();
    peer.answer("/flags", answer);
    peer
}

fn retrying(peer: &ScriptedTransport, clock: &ManualClock) -> super::Retry {
    super::Retry::new(Arc::new(peer.clone()), Arc::new(clock.clone()))
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls to the end, moving the clock by a millisecond whenever the future waits, and returns how long that took.
fn advance_to_the_end<F: Future>(clock: &ManualClock, future: F) -> (F::Output, Duration) {
    let mut future = pin!(future);
    let began = clock.now();
    for _ in 0..1_000_000 {
        if let Poll::Ready(output) = poll(future.as_mut()) {
            return (output, clock.now() - began);
        }
        assert!(clock.sleepers() > 0, "waits for something other than the clock");
        clock.advance(Duration::from_millis(1));
    }
    panic!("no end within a thousand seconds");
}

#[test]
fn a_passing_failure_is_tried_again_after_a_growing_pause() {
    let (peer, clock) = (peer(status(200)), ManualClock::new());
    (0..3).for_each(|_| peer.fail_next(ErrorKind::Unavailable));

    let (outcome, took) = advance_to_the_end(&clock, retrying(&peer, &clock).send(get()));

    assert_eq!(outcome.unwrap().status, StatusCode::OK);
    assert_eq!(peer.requests().len(), 4);
    // 200, 400 and 800 ms, each shortened by up to a half.
    assert!((700..=1_400).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn passing_statuses_are_tried_again_and_the_last_answer_is_the_answer() {
    for code in [408, 429, 500, 502, 503, 504] {
        let (peer, clock) = (peer(status(code)), ManualClock::new());

        let (outcome, _) = advance_to_the_end(&clock, retrying(&peer, &clock).send(get()));

        assert_eq!(outcome.unwrap().status.as_u16(), code);
        assert_eq!(peer.requests().len(), 4, "{code}");
    }
}

#[test]
fn other_statuses_are_answers() {
    for code in [200, 204, 301, 304, 400, 401, 403, 404, 409, 412, 501, 505] {
        let (peer, clock) = (peer(status(code)), ManualClock::new());

        let outcome = block_on(retrying(&peer, &clock).send(get())).unwrap();

        assert_eq!((outcome.status.as_u16(), peer.requests().len()), (code, 1));
    }
}

#[test]
fn giving_up_is_told_to_outer_layers() {
    let (peer, clock) = (ScriptedTransport::new(), ManualClock::new());

    let (outcome, _) = advance_to_the_end(&clock, retrying(&peer, &clock).send(get()));

    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.retry_state()), (ErrorKind::Unavailable, crate::Retry::Exhausted));
    assert!(error.context().any(|(key, value)| key == "attempts" && value == "4"));
}

#[test]
fn an_outer_retry_respects_that_an_inner_one_gave_up() {
    let (peer, clock) = (ScriptedTransport::new(), ManualClock::new());
    let outer = super::Retry::new(Arc::new(retrying(&peer, &clock)), Arc::new(clock.clone()));

    let (outcome, _) = advance_to_the_end(&clock, outer.send(get()));

    assert_eq!(outcome.unwrap_err().retry_state(), crate::Retry::Exhausted);
    assert_eq!(peer.requests().len(), 4);
}

#[test]
fn other_methods_are_never_tried_again() {
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let (failing, clock) = (ScriptedTransport::new(), ManualClock::new());
        let refusing = peer(status(503));

        let error =
            block_on(retrying(&failing, &clock).send(Request::new(method.clone(), get().uri))).unwrap_err();
        let answer = block_on(retrying(&refusing, &clock).send(Request::new(method, get().uri))).unwrap();

        assert!(error.retry_state().may_retry(), "nobody tried again, so the caller may");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((failing.requests().len(), refusing.requests().len()), (1, 1));
    }
}

#[test]
fn retry_after_makes_pauses_longer_and_never_shorter() {
    let wait = |value| {
        let (peer, clock) = (peer(later(503, value)), ManualClock::new());
        let policy = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
        let mut request = get();
        request.deadline = Duration::from_secs(600);
        let (outcome, took) =
            advance_to_the_end(&clock, retrying(&peer, &clock).policy(policy).send(request));
        assert_eq!(outcome.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(peer.requests().len(), 2);
        took.as_millis()
    };

    assert_eq!(wait("2"), 2_000);
    assert_eq!(wait("3600"), 60_000, "capped");
    // The manual clock begins at 1,780,000,000 seconds: Thu, 28 May 2026 20:26:40 GMT.
    assert_eq!(wait("Thu, 28 May 2026 20:26:45 GMT"), 5_000);
    for unreadable_or_past in ["0", "soon", "Thu, 28 May 2020 20:26:45 GMT"] {
        assert!((100..=200).contains(&wait(unreadable_or_past)), "{unreadable_or_past}");
    }
}

#[test]
fn a_pause_beyond_the_deadline_is_not_begun() {
    let (peer, clock) = (peer(later(429, "31")), ManualClock::new());

    let outcome = block_on(retrying(&peer, &clock).send(get())).unwrap();

    assert_eq!(outcome.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((peer.requests().len(), clock.sleepers()), (1, 0));
}

#[test]
fn attempts_share_one_deadline() {
    let (peer, clock) = (peer(later(503, "12")), ManualClock::new());

    let (outcome, took) = advance_to_the_end(&clock, retrying(&peer, &clock).send(get()));

    assert_eq!(outcome.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(took, Duration::from_secs(24));
    let deadlines: Vec<u64> = peer.requests().iter().map(|request| request.deadline.as_secs()).collect();
    assert_eq!(deadlines, [30, 18, 6]);
}

#[test]
fn errors_that_never_heal_are_returned_at_once_and_as_they_are() {
    let (peer, clock) = (ScriptedTransport::new(), ManualClock::new());
    block_on(peer.close()).unwrap();

    let error = block_on(retrying(&peer, &clock).send(get())).unwrap_err();

    assert_eq!((error.kind(), error.retry_state()), (ErrorKind::Cancelled, crate::Retry::Never));
}

#[test]
fn a_dropped_retry_leaves_no_sleeper_behind() {
    let (peer, clock) = (ScriptedTransport::new(), ManualClock::new());
    let transport = retrying(&peer, &clock);
    {
        let mut future = pin!(transport.send(get()));
        assert!(poll(future.as_mut()).is_pending());
        assert_eq!(clock.sleepers(), 1);
    }

    assert_eq!(clock.sleepers(), 0);
}

/// Keeps no deadline: neither for its headers nor for its body.
#[derive(Debug)]
struct Hangs {
    head: bool,
}

#[async_trait]
impl Transport for Hangs {
    fn name(&self) -> &'static str {
        "hangs"
    }

    async fn send(&self, _: Request) -> Result<Response> {
        if self.head {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(StatusCode::OK, HeaderMap::new(), Body::from_chunks(HangingBody)))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

struct HangingBody;

#[async_trait]
impl crate::traits::Chunks for HangingBody {
    async fn next(&mut self) -> Result<Option<bytes::Bytes>> {
        std::future::pending().await
    }
}

#[test]
fn a_transport_that_hangs_ends_at_the_deadline() {
    let clock = ManualClock::new();
    let transport = Timeout::new(Arc::new(Hangs { head: true }), Arc::new(clock.clone()));

    let (outcome, took) = advance_to_the_end(&clock, transport.send(get()));

    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(took, Duration::from_secs(30));
}

#[test]
fn headers_can_be_due_before_the_deadline() {
    let clock = ManualClock::new();
    let transport = Timeout::new(Arc::new(Hangs { head: true }), Arc::new(clock.clone()))
        .head_within(Duration::from_secs(3));

    let (outcome, took) = advance_to_the_end(&clock, transport.send(get()));

    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(took, Duration::from_secs(3));
}

#[test]
fn a_body_that_hangs_ends_at_the_deadline_and_stays_ended() {
    let clock = ManualClock::new();
    let transport = Timeout::new(Arc::new(Hangs { head: false }), Arc::new(clock.clone()));
    let mut body = block_on(transport.send(get())).unwrap().body;

    let (outcome, took) = advance_to_the_end(&clock, body.next());

    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(took, Duration::from_secs(30));
    assert_eq!(block_on(body.next()).unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn a_transport_that_hangs_is_tried_again_only_within_the_deadline() {
    let clock = ManualClock::new();
    let transport = standard(Arc::new(Hangs { head: true }), Arc::new(clock.clone()));

    let (outcome, took) = advance_to_the_end(&clock, transport.send(get()));

    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(took, Duration::from_secs(30));
}

#[test]
fn layers_keep_the_name_and_pass_close_on() {
    let (peer, clock) = (peer(status(200)), ManualClock::new());
    let transport = standard(Arc::new(peer.clone()), Arc::new(clock));

    assert_eq!(transport.name(), "scripted");
    block_on(transport.close()).unwrap();

    assert_eq!(block_on(peer.send(get())).unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn counters_tell_how_requests_ended() {
    let (peer, clock) = (ScriptedTransport::new(), ManualClock::new());
    peer.answer("/whole", status(200));
    peer.answer("/refused", status(404));
    peer.answer("/unchanged", status(304));
    peer.answer("/cut", Answer::Cut("half".into()));
    let observe = Observe::new(Arc::new(peer), Arc::new(clock.clone()));
    let counters = observe.counters();
    let ask = |path: &str| -> Result<Body, Error> {
        let uri = format!("http://peer{path}").parse().unwrap();
        block_on(observe.send(Request::get(uri))).map(|response| response.body)
    };

    let unread = ask("/whole").unwrap();
    clock.advance(Duration::from_secs(2));
    assert_eq!(counters.read(), Traffic { requests: 1, ..Traffic::default() }, "running until it is read");
    block_on(unread.read_all(100)).unwrap();
    block_on(ask("/refused").unwrap().read_all(100)).unwrap();
    block_on(ask("/cut").unwrap().read_all(100)).unwrap_err();
    drop(ask("/refused").unwrap());
    drop(ask("/unchanged").unwrap());
    drop(ask("/whole").unwrap());
    ask("/nowhere").unwrap_err();

    let expected = Traffic {
        requests: 7,
        answered: 2,
        refused: 2,
        failed: 2,
        abandoned: 1,
        bytes: 7 + 7 + 4,
        time: Duration::from_secs(2),
    };
    assert_eq!(counters.read(), expected);
}

/// Collects the events of one thread as lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("leverframe")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn each_request_is_told_once_and_without_secrets() {
    let lines = Lines::default();
    // Of a single one, the first thread that comes by a callsite tells whether it matters, and that may be another test's.
    let _second = tracing::Dispatch::new(Lines::default());
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (peer, clock) = (peer(status(200)), ManualClock::new());
    peer.fail_next(ErrorKind::Unavailable);
    let transport = standard(Arc::new(peer), Arc::new(clock.clone()));
    let request = Request::get("http://s3cret:s3cret@peer/flags?sig=s3cret".parse().unwrap())
        .header(header::AUTHORIZATION, HeaderValue::from_static("Bearer s3cret"));

    let (answer, _) = advance_to_the_end(&clock, transport.send(request));
    block_on(answer.unwrap().body.read_all(100)).unwrap();

    let lines = lines.0.lock().unwrap().join("\n");
    assert!(!lines.contains("s3cret"), "{lines}");
    assert_eq!(lines.matches("trying again").count(), 1, "{lines}");
    assert_eq!(lines.matches("request answered").count(), 1, "{lines}");
    for part in ["method=\"GET\"", "uri=\"http://peer/flags?…\"", "status=200", "bytes=7", "duration_ms="] {
        assert!(lines.contains(part), "no {part} in {lines}");
    }
}
