//! Our own client against our own control plane, over a line that fails in every way.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use leverframe::{
    Error, ErrorKind, Result, Retry, async_trait,
    backends::{http_client::HttpClientConfig, transport_reqwest::ReqwestTransport},
    gate::{GateMode, WaitState, WaitStateBuilder, reflex::Aggregate},
    testing::ManualClock,
    traits::{Body, Clock, Request, Response, Transport},
};
use serde_json::json;

use crate::stage::{Stage, totals};

/// What goes wrong with one exchange.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The answer is lost behind the server.
    Lose,
    /// The answer comes as something else.
    Garble,
    /// The server has done its part, and a proxy says that it has not.
    RefuseAfter(u16),
    Unreachable,
    /// A proxy answers in the server's place.
    Pretend(u16, &'static str),
}

const FAULTS: [Fault; 8] = [
    Fault::Lose,
    Fault::Garble,
    Fault::RefuseAfter(502),
    Fault::RefuseAfter(400),
    Fault::Unreachable,
    Fault::Pretend(200, "<html>log in</html>"),
    Fault::Pretend(500, ""),
    Fault::Pretend(413, ""),
];

/// A line to a server that may move, with the faults that come next.
#[derive(Clone, Debug)]
struct Line {
    wire: Arc<ReqwestTransport>,
    to: Arc<Mutex<String>>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

impl Line {
    fn to(stage: &Stage) -> Self {
        Self {
            wire: Arc::new(ReqwestTransport::open(&HttpClientConfig::default()).unwrap()),
            to: Arc::new(Mutex::new(stage.server.url(""))),
            faults: Arc::default(),
        }
    }
}

fn answer(status: u16, body: &'static str) -> Result<Response> {
    Ok(Response::new(StatusCode::from_u16(status).unwrap(), HeaderMap::new(), Body::from_bytes(body)))
}

fn broken() -> Result<Response> {
    Err(Error::new(ErrorKind::Unavailable, "send the request").retry(Retry::Now))
}

#[async_trait]
impl Transport for Line {
    fn name(&self) -> &'static str {
        "line"
    }

    async fn send(&self, mut request: Request) -> Result<Response> {
        let to = self.to.lock().unwrap().clone();
        request.uri = format!("{to}{}", request.uri.path()).parse().unwrap();
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            Some(Fault::Unreachable) => return broken(),
            Some(Fault::Pretend(status, body)) => return answer(status, body),
            _ => {}
        }
        let real = self.wire.send(request).await;
        match fault {
            Some(Fault::Lose) => broken(),
            Some(Fault::Garble) => answer(200, "<html>"),
            Some(Fault::RefuseAfter(status)) => answer(status, ""),
            _ => real,
        }
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn client(stage: &Stage, line: &Line, clock: &ManualClock) -> WaitStateBuilder {
    WaitState::builder()
        .publish_key(&stage.key.publish)
        .secret_key(&stage.key.secret)
        .base_url("http://127.0.0.1:1")
        .transport(Arc::new(line.clone()))
        .clock(Arc::new(clock.clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_callers_reported_is_what_is_counted_whatever_fails() {
    const TAGS: [Option<&str>; 4] = [None, Some("free"), Some("pro"), Some("batch")];
    let mut stage = Stage::new().await;
    stage.set(json!({"tag_max_weights": {"free": 10}})).await;
    let line = Line::to(&stage);
    let ws = client(&stage, &line, &stage.clock).build().unwrap();
    assert!(ws.ready(Duration::from_secs(3_600)).await);
    let mut reported: BTreeMap<String, Aggregate> = BTreeMap::new();
    // A generator of the test's own, so that each run is the same.
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };

    for round in 0..60 {
        for _ in 0..random(40) {
            let (tag, weight) = (TAGS[random(4) as usize], random(20));
            let counted = reported.entry(tag.unwrap_or("__default__").to_owned()).or_default();
            counted.calls += 1;
            counted.denied += u64::from(!ws.gate(tag, Some(weight as f64)).allowed);
            ws.report_latency(weight as f64, tag);
            counted.latency_micros += weight * 1_000;
            counted.buckets[0] += 1;
            if weight % 3 == 0 {
                ws.report_error(tag);
                counted.errors += 1;
                ws.report("depth", weight as f64, tag);
                counted.custom.entry("depth".to_owned()).or_default().sum += weight as f64;
            }
        }
        line.faults.lock().unwrap().extend((0..random(4)).map(|_| FAULTS[random(8) as usize]));
        // It may fail; what matters is the sum at the end.
        let _ = ws.flush().await;
        stage.clock.advance(Duration::from_secs(1));
        if round % 20 == 19 {
            stage.restart().await;
            *line.to.lock().unwrap() = stage.server.url("");
        }
    }
    line.faults.lock().unwrap().clear();
    ws.flush().await.unwrap();
    ws.close().await.unwrap();

    let counted = totals(&stage.server, "default").await;
    let figures = |of: &BTreeMap<String, Aggregate>| -> Vec<_> {
        let tags = of.iter().filter(|(_, a)| a.calls > 0);
        tags.map(|(tag, a)| {
            let depth = a.custom.get("depth").map_or(0.0, |depth| depth.sum);
            (tag.clone(), a.calls, a.denied, a.errors, a.latency_micros, a.buckets, depth)
        })
        .collect()
    };
    assert_eq!(figures(&counted), figures(&reported));
    assert!(reported["free"].denied > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_clock_is_wrong_goes_by_the_servers() {
    let stage = Stage::new().await;
    let line = Line::to(&stage);
    for off in [-3_600_i64, 3_600] {
        let clock = ManualClock::new();
        let ours = stage.clock.wall();
        let shift = Duration::from_secs(off.unsigned_abs());
        clock.set_wall(if off < 0 { ours - shift } else { ours + shift });
        let ws = client(&stage, &line, &clock).build().unwrap();
        ws.gate(Some("free"), None);

        ws.flush().await.unwrap();

        let corrected = ws.state().clock_offset_ms.unwrap();
        assert!((corrected + off * 1_000).abs() <= 1_000, "{corrected}");
        assert!(ws.ready(Duration::from_secs(3_600)).await);
        assert_eq!(ws.state().mode, GateMode::InForce);
        ws.close().await.unwrap();
    }
    assert_eq!(totals(&stage.server, "default").await["free"].calls, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_clock_is_put_right_loses_no_report_and_counts_none_twice() {
    let stage = Stage::new().await;
    let line = Line::to(&stage);
    let clock = ManualClock::new();
    let right = stage.clock.wall();
    clock.set_wall(right);
    stage.clock.set_wall(right + Duration::from_secs(600));
    let ws = client(&stage, &line, &clock).build().unwrap();
    for _ in 0..10 {
        ws.gate(Some("free"), None);
        ws.flush().await.unwrap();
    }
    assert!(ws.state().clock_offset_ms.unwrap().abs_diff(600_000) <= 1_000);
    // Counted, and the client does not learn of it.
    ws.gate(Some("free"), None);
    line.faults.lock().unwrap().push_back(Fault::Lose);
    ws.flush().await.unwrap_err();

    stage.clock.set_wall(right);
    for _ in 0..5 {
        ws.gate(Some("free"), None);
    }
    let error = ws.flush().await.unwrap_err();

    assert!(error.chain().contains("409"), "{}", error.chain());
    assert_eq!(ws.state().clock_offset_ms, None);
    assert_eq!(totals(&stage.server, "default").await["free"].calls, 11);
    for clock in [&clock, &stage.clock] {
        clock.advance(Duration::from_secs(660));
    }
    // Connections that were idle for so long may have been closed.
    for _ in 0..20 {
        if ws.flush().await.is_ok() {
            break;
        }
    }
    ws.close().await.unwrap();
    assert_eq!(totals(&stage.server, "default").await["free"].calls, 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_the_kill_signal_of_operators_arrive_with_the_next_report() {
    let stage = Stage::new().await;
    let line = Line::to(&stage);
    let ws = client(&stage, &line, &stage.clock).site_id("eu").build().unwrap();
    assert!(ws.ready(Duration::from_secs(3_600)).await);
    assert!(ws.gate(Some("free"), Some(50.0)).allowed);

    stage.set(json!({"tag_max_weights": {"free": 10}})).await;
    ws.flush().await.unwrap();
    assert!(!ws.gate(Some("free"), Some(50.0)).allowed);
    stage.set(json!({"kill_signal": true})).await;
    ws.flush().await.unwrap();

    assert_eq!(ws.gate(None, None).reason.as_str(), "kill_signal");
    ws.close().await.unwrap();
    assert_eq!(totals(&stage.server, "eu").await["free"].denied, 1);
}
