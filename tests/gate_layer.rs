//! The gate as a layer of `tower`: around services of the test's own, and in a real server on loopback.
#![cfg(all(feature = "tower", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::{Future, Ready, pending, poll_fn, ready},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header, request::Parts};
use leverframe::{
    gate::{
        GateLayer, GateMode, GateService, TagOf, WaitState, WeightOf,
        limiter::{AdaptiveLimiter, LimitOptions},
        types::PulsePayload,
    },
    live::block_on,
    testing::{Answer, ManualClock, ScriptedTransport},
};
use tower_layer::Layer;
use tower_service::Service;

const FREE_10: &str = r#"{"globalMaxWeight":100,"tagMaxWeights":{"free":10},"leaseDurationSeconds":300}"#;
const KILL: &str = r#"{"globalMaxWeight":null,"killSignal":true}"#;

/// A control plane that says one thing, and what it was told.
struct Plane {
    transport: ScriptedTransport,
    clock: ManualClock,
    ws: WaitState,
}

/// What was reported of a tag.
#[derive(Debug, Default, PartialEq)]
struct Told {
    calls: u64,
    denied: u64,
    errors: u64,
    samples: u64,
    micros: u64,
}

impl Plane {
    fn saying(policy: &str) -> Self {
        let (transport, clock) = (ScriptedTransport::new(), ManualClock::new());
        transport.answer("/v1/pulse", whole(policy));
        let ws = WaitState::builder()
            .publish_key("pk")
            .secret_key("sk")
            .base_url("http://plane.test")
            .transport(Arc::new(transport.clone()))
            .clock(Arc::new(clock.clone()))
            .build()
            .unwrap();
        assert!(block_on(ws.ready(Duration::from_secs(3_600))));
        Self { transport, clock, ws }
    }

    fn says(&self, policy: &str) {
        self.transport.answer("/v1/pulse", whole(policy));
        block_on(self.ws.flush()).unwrap();
    }

    /// Has everything reported, and adds up what was, by tag.
    fn told(&self) -> BTreeMap<String, Told> {
        block_on(self.ws.flush()).unwrap();
        let mut pulses: BTreeMap<String, PulsePayload> = BTreeMap::new();
        for request in self.transport.requests() {
            let pulse: PulsePayload = serde_json::from_slice(&request.body).unwrap();
            pulses.insert(pulse.pulse_id.clone().unwrap(), pulse);
        }
        let mut told: BTreeMap<String, Told> = BTreeMap::new();
        for metric in pulses.into_values().flat_map(|pulse| pulse.tag_metrics) {
            let tag = told.entry(metric.tag).or_default();
            tag.calls += metric.count;
            tag.denied += metric.denied;
            tag.errors += metric.errors;
            tag.samples += metric.latency_buckets.unwrap_or_default().iter().sum::<u64>();
            tag.micros += metric.latency_sum;
        }
        told
    }
}

fn whole(policy: &str) -> Answer {
    Answer::Whole(StatusCode::OK, HeaderMap::new(), policy.to_owned().into())
}

/// A service made of a closure.
#[derive(Clone)]
struct Does<F>(F);

impl<F, Fut> Service<Request<()>> for Does<F>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<Response<Bytes>, &'static str>>,
{
    type Response = Response<Bytes>;
    type Error = &'static str;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Fut {
        (self.0)()
    }
}

fn answers(status: u16) -> Does<impl Fn() -> Ready<Result<Response<Bytes>, &'static str>> + Clone> {
    Does(move || ready(Ok(Response::builder().status(status).body(Bytes::from_static(b"done")).unwrap())))
}

fn request(tag: Option<&[u8]>) -> Request<()> {
    let mut request = Request::new(());
    if let Some(tag) = tag {
        request.headers_mut().insert("x-waitstate-tag", header::HeaderValue::from_bytes(tag).unwrap());
    }
    request
}

fn call<S: Service<Request<()>>>(service: &mut S, request: Request<()>) -> Result<S::Response, S::Error> {
    block_on(async {
        poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    })
}

fn heavy(_: &Parts) -> Option<f64> {
    Some(50.0)
}

#[test]
fn what_is_refused_gets_429_with_a_pause_and_the_reason_and_does_not_reach_the_service() {
    let plane = Plane::saying(FREE_10);
    let reached = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&reached);
    let service = Does(move || {
        counts.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::new(Bytes::new())))
    });
    let mut gated = GateLayer::new(plane.ws.clone()).weight_from(heavy).layer(service);

    let refused = call(&mut gated, request(Some(b"free"))).unwrap();
    let passed = call(&mut gated, request(Some(b"pro"))).unwrap();

    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "60");
    assert_eq!(refused.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(refused.body(), r#"{"error":"rate_limited","reason":"tag_blocked"}"#);
    assert_eq!(passed.status(), StatusCode::OK);
    assert_eq!(reached.load(Ordering::SeqCst), 1);
    let told = plane.told();
    assert_eq!(told["free"], Told { calls: 1, denied: 1, ..Told::default() });
    assert_eq!((told["pro"].calls, told["pro"].denied, told["pro"].samples), (1, 0, 1));
}

#[test]
fn the_pause_is_the_one_that_was_set_and_a_second_where_calls_come_back_by_themselves() {
    let plane = Plane::saying(KILL);
    let layer = GateLayer::new(plane.ws.clone());
    let pause = |layer: GateLayer| {
        let refused = call(&mut layer.layer(answers(200)), request(None)).unwrap();
        (refused.headers()[header::RETRY_AFTER].to_str().unwrap().to_owned(), refused.body().clone())
    };

    let (usual, reason) = pause(layer.clone());
    assert_eq!(
        (usual.as_str(), &*reason),
        ("60", br#"{"error":"rate_limited","reason":"kill_signal"}"#.as_slice())
    );
    assert_eq!(pause(layer.clone().retry_after(Duration::from_millis(2_500))).0, "3");

    plane.says(r#"{"globalMaxWeight":null,"leaseDurationSeconds":1}"#);
    plane
        .transport
        .answer("/v1/pulse", Answer::Whole(StatusCode::BAD_GATEWAY, HeaderMap::new(), Bytes::new()));
    plane.clock.advance(Duration::from_secs(2));
    eventually("safe mode", || matches!(plane.ws.state().mode, GateMode::SafeMode(_)));
    while plane.ws.gate(None, None).allowed {}
    let (soon, reason) = pause(layer);
    assert_eq!(
        (soon.as_str(), &*reason),
        ("1", br#"{"error":"rate_limited","reason":"lease_expired"}"#.as_slice())
    );
}

#[test]
fn latency_is_the_clients_clocks_and_server_errors_count() {
    let plane = Plane::saying(FREE_10);
    let clock = plane.clock.clone();
    let after = |millis: u64, outcome: Result<u16, &'static str>| {
        let clock = clock.clone();
        Does(move || {
            let clock = clock.clone();
            async move {
                clock.advance(Duration::from_millis(millis));
                let status = outcome?;
                Ok(Response::builder().status(status).body(Bytes::new()).unwrap())
            }
        })
    };
    let layer = GateLayer::new(plane.ws.clone());

    for (millis, outcome) in
        [(30, Ok(200)), (70, Ok(404)), (120, Ok(500)), (400, Ok(503)), (5, Err("broken"))]
    {
        let answer = call(&mut layer.layer(after(millis, outcome)), request(Some(b"pro")));
        assert_eq!(answer.map(|response| response.status().as_u16()), outcome);
    }

    let expected = Told { calls: 5, denied: 0, errors: 3, samples: 5, micros: 625_000 };
    assert_eq!(plane.told()["pro"], expected);
}

#[test]
fn a_response_that_nobody_waits_for_any_more_is_counted_with_the_time_that_it_had() {
    let plane = Plane::saying(FREE_10);
    let mut gated = GateLayer::new(plane.ws.clone()).layer(Does(pending));
    let mut cx = Context::from_waker(Waker::noop());

    let mut response = Box::pin(gated.call(request(Some(b"pro"))));
    assert!(response.as_mut().poll(&mut cx).is_pending());
    plane.clock.advance(Duration::from_millis(80));
    drop(response);

    assert_eq!(plane.told()["pro"], Told { calls: 1, samples: 1, micros: 80_000, ..Told::default() });
}

#[test]
fn a_response_is_counted_when_it_is_there_and_not_when_its_future_goes() {
    let plane = Plane::saying(FREE_10);
    let mut gated = GateLayer::new(plane.ws.clone()).layer(answers(200));
    let mut cx = Context::from_waker(Waker::noop());

    let mut response = pin!(gated.call(request(None)));
    assert!(response.as_mut().poll(&mut cx).is_ready());
    plane.clock.advance(Duration::from_secs(3));

    assert_eq!(plane.told()["__default__"], Told { calls: 1, samples: 1, ..Told::default() });
}

#[test]
fn a_panic_of_the_service_counts_as_an_error() {
    let plane = Plane::saying(FREE_10);
    type Panics = Pin<Box<dyn Future<Output = Result<Response<Bytes>, &'static str>> + Send>>;
    let service = Does(|| -> Panics { Box::pin(async { panic!("on purpose") }) });
    let mut gated = GateLayer::new(plane.ws.clone()).layer(service);

    let outcome = catch_unwind(AssertUnwindSafe(|| call(&mut gated, request(Some(b"pro")))));

    assert!(outcome.is_err());
    assert_eq!(plane.told()["pro"], Told { calls: 1, errors: 1, samples: 1, ..Told::default() });
}

#[test]
fn a_panic_that_is_caught_further_out_counts_as_an_error_at_once_and_teaches_the_limiter_nothing() {
    let plane = Plane::saying(FREE_10);
    let limiter = limiter(&plane.clock);
    let clock = plane.clock.clone();
    let service = Does(move || {
        let (clock, mut polls) = (clock.clone(), 0);
        poll_fn(move |_| {
            polls += 1;
            assert!(polls < 2, "on purpose");
            clock.advance(Duration::from_millis(80));
            Poll::Pending
        })
    });
    let mut gated = GateLayer::new(plane.ws.limited(limiter.clone())).layer(service);
    let mut cx = Context::from_waker(Waker::noop());

    for _ in 0..40 {
        let mut response = Box::pin(gated.call(request(Some(b"pro"))));
        assert!(response.as_mut().poll(&mut cx).is_pending());
        // As a layer does that makes a response of it: the future stays where it is for a while.
        assert!(catch_unwind(AssertUnwindSafe(|| response.as_mut().poll(&mut cx))).is_err());
        assert_eq!(limiter.snapshot().in_flight, 0, "its place is free");
        plane.clock.advance(Duration::from_secs(1));
        drop(response);
    }

    let told = Told { calls: 40, errors: 40, samples: 40, micros: 40 * 80_000, ..Told::default() };
    assert_eq!(plane.told()["pro"], told);
    assert_eq!((limiter.snapshot().samples, limiter.snapshot().baseline), (0, None));
}

#[test]
fn tags_of_strangers_are_bounded_and_what_is_no_tag_is_none() {
    let plane = Plane::saying(FREE_10);
    let mut gated = GateLayer::new(plane.ws.clone()).layer(answers(200));
    let long = [b'x'; 20_000];
    for tag in
        [None, Some(&b""[..]), Some(b"\xff\xfe"), Some("größe".as_bytes()), Some(&long), Some(b"__other__")]
    {
        assert_eq!(call(&mut gated, request(tag)).unwrap().status(), StatusCode::OK);
    }
    for i in 0..2_000 {
        call(&mut gated, request(Some(format!("made-up-{i}").as_bytes()))).unwrap();
    }

    let told = plane.told();

    let calls = |tag: &str| told.get(tag).map(|told| (told.calls, told.samples));
    assert_eq!(calls("__default__"), Some((3, 3)));
    assert_eq!(calls("größe"), Some((1, 1)));
    assert!(told.len() <= 1_002 && told.keys().all(|tag| tag.len() <= 256), "{}", told.len());
    assert_eq!(told.values().map(|told| told.calls).sum::<u64>(), 2_006);
    assert!(calls("__other__").unwrap().0 > 1_000);
}

#[test]
fn the_tag_may_come_from_anything_that_the_request_says() {
    let plane = Plane::saying(FREE_10);
    let layer = GateLayer::new(plane.ws.clone())
        .tag_from(|request| request.uri.path().strip_prefix("/t/"))
        .weight_from(|request| (request.method == http::Method::POST).then_some(50.0));
    let mut gated = layer.layer(answers(200));
    let mut status =
        |request: http::request::Builder| call(&mut gated, request.body(()).unwrap()).unwrap().status();

    assert_eq!(status(Request::post("/t/free")), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(status(Request::get("/t/free")), StatusCode::OK);
    assert_eq!(status(Request::post("/other").header("x-waitstate-tag", "free")), StatusCode::OK);
}

#[test]
fn a_call_that_passes_costs_no_allocation_of_the_layers() {
    let plane = Plane::saying(FREE_10);
    let limited = plane.ws.limited(AdaptiveLimiter::builder().build().unwrap());
    let mut gated: GateService<_, TagOf, WeightOf> = GateLayer::new(limited).layer(answers(200));
    let mut bare = answers(200);
    let mut cx = Context::from_waker(Waker::noop());
    // Makes the tag's place.
    call(&mut gated, request(Some(b"pro"))).unwrap();
    let requests = || (0..100).map(|_| request(Some(b"pro"))).collect::<Vec<_>>();
    let (first, second) = (requests(), requests());

    let with = allocation_counter::measure(|| {
        for request in first {
            assert!(pin!(gated.call(request)).poll(&mut cx).is_ready());
        }
    });
    let without = allocation_counter::measure(|| {
        for request in second {
            assert!(pin!(bare.call(request)).poll(&mut cx).is_ready());
        }
    });

    assert_eq!(with.count_total, without.count_total);
}

#[test]
fn a_limiter_refuses_what_there_is_no_place_for_until_a_call_has_ended_or_was_given_up() {
    let plane = Plane::saying(FREE_10);
    let limiter = AdaptiveLimiter::builder().initial(1).clock(Arc::new(plane.clock.clone())).build().unwrap();
    let layer = GateLayer::new(plane.ws.limited(limiter.clone()));
    let (mut hangs, mut served) = (layer.layer(Does(pending)), layer.layer(answers(200)));
    let mut cx = Context::from_waker(Waker::noop());

    let mut under_way = Box::pin(hangs.call(request(Some(b"pro"))));
    assert!(under_way.as_mut().poll(&mut cx).is_pending());
    let refused = call(&mut served, request(Some(b"pro"))).unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert_eq!(refused.body(), r#"{"error":"rate_limited","reason":"over_limit"}"#);

    drop(under_way);
    assert_eq!(call(&mut served, request(Some(b"pro"))).unwrap().status(), StatusCode::OK);
    // Its future is still there, the call is over.
    let mut kept = Box::pin(served.call(request(Some(b"pro"))));
    assert!(kept.as_mut().poll(&mut cx).is_ready());
    assert_eq!(limiter.snapshot().in_flight, 0);
    let told = &plane.told()["pro"];
    assert_eq!((told.calls, told.denied, told.samples), (4, 1, 3));
}

#[test]
fn a_real_server_is_gated_measured_and_told_to_stop() {
    let plane = Plane::saying(FREE_10);
    let server = Served::start(&plane.ws);

    let ok = server.get("/", "pro");
    assert!(ok.starts_with("HTTP/1.1 200 "), "{ok}");
    assert!(ok.ends_with("\r\n\r\nwelcome"), "{ok}");
    assert!(server.get("/broken", "pro").starts_with("HTTP/1.1 500 "));
    plane.says(KILL);
    let refused = server.get("/", "pro");
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("\r\nretry-after: 60\r\n"), "{refused}");
    assert!(
        refused.ends_with("\r\n\r\n{\"error\":\"rate_limited\",\"reason\":\"kill_signal\"}"),
        "{refused}"
    );

    let told = plane.told();
    let pro = &told["pro"];
    assert_eq!((pro.calls, pro.denied, pro.errors, pro.samples), (3, 1, 1, 2));
}

#[test]
fn a_caller_that_hangs_up_is_counted_all_the_same() {
    let plane = Plane::saying(FREE_10);
    let server = Served::start(&plane.ws);

    let connection = server.send("/hangs", "pro");
    eventually("the call is let in", || plane.told().contains_key("pro"));
    assert_eq!(plane.told()["pro"].samples, 0);
    drop(connection);

    eventually("it is measured", || plane.told()["pro"].samples == 1);
}

/// An axum server behind the layer.
struct Served {
    address: SocketAddr,
    /// Ends the server when it is dropped.
    _runtime: tokio::runtime::Runtime,
}

impl Served {
    fn start(ws: &WaitState) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let app = Router::new()
            .route("/", get(async || "welcome"))
            .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
            .route("/hangs", get(async || pending::<&str>().await))
            .layer(GateLayer::new(ws.clone()));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async { axum::serve(listener, app).await });
        Self { address, _runtime: runtime }
    }

    fn send(&self, path: &str, tag: &str) -> TcpStream {
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: t\r\nx-waitstate-tag: {tag}\r\nconnection: close\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        connection
    }

    fn get(&self, path: &str, tag: &str) -> String {
        let mut answer = String::new();
        self.send(path, tag).read_to_string(&mut answer).unwrap();
        answer
    }
}

/// The layer fits where axum asks for one: its services are shared, sent and cloned.
#[test]
fn the_service_can_be_sent_shared_and_cloned() {
    fn fits<S>(_: &S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
    }
    let plane = Plane::saying(FREE_10);
    let routes: Router = Router::new().route("/", get(async || "welcome"));

    let gated = GateLayer::new(plane.ws).layer(routes);

    fits(&gated);
    assert!(format!("{gated:?}").starts_with("GateService"));
}

/// Waits for something that other threads are about to do.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    panic!("{what}, which did not happen");
}

/// A limiter that looks at every twenty calls.
fn limiter(clock: &ManualClock) -> AdaptiveLimiter {
    let options = LimitOptions { initial: 4, ..LimitOptions::default() };
    AdaptiveLimiter::builder().options(options).clock(Arc::new(clock.clone())).build().unwrap()
}

#[test]
fn overload_lowers_the_limit_and_neither_what_is_broken_nor_who_hangs_up_does() {
    let plane = Plane::saying(FREE_10);
    let of = |status: u16| {
        let limited = plane.ws.limited(limiter(&plane.clock));
        let mut service = GateLayer::new(limited.clone()).layer(answers(status));
        for _ in 0..200 {
            plane.clock.advance(Duration::from_millis(10));
            assert_eq!(call(&mut service, request(None)).unwrap().status(), status);
        }
        limited.limiter().unwrap().snapshot()
    };
    assert_eq!((of(503).limit, of(504).limit), (1, 1));
    assert_eq!((of(500).limit, of(500).samples, of(200).samples > 100), (4, 0, true));

    let limited = plane.ws.limited(limiter(&plane.clock));
    let mut service = GateLayer::new(limited.clone()).layer(Does(pending::<Result<_, &'static str>>));
    for _ in 0..200 {
        let future = service.call(request(None));
        plane.clock.advance(Duration::from_millis(10));
        drop(future);
    }
    let snapshot = limited.limiter().unwrap().snapshot();
    assert_eq!((snapshot.limit, snapshot.samples, snapshot.baseline), (4, 0, None));
}
