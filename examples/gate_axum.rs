//! Gates an axum server: light requests pass, heavy ones of the free plan do not, and an operator can stop everything.
//!
//! The control plane of `leverframe serve` is stood in for by a few lines at the end, so that this runs by itself.
//!
//! ```sh
//! cargo run --example gate_axum --features tower
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use leverframe::gate::{
    GateLayer, Policy, WaitState,
    types::{PulsePayload, TagMetric},
};
use tokio::{net::TcpListener, runtime::Runtime};

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::new()?;
    let plane = Plane::default();
    plane.decide(Policy { tag_max_weights: [("free", 2.0)].into(), ..Policy::default() });
    let control = serve(&runtime, plane.routes())?;

    let ws = WaitState::builder()
        .publish_key("wpk_example")
        .secret_key("wsk_example")
        .base_url(format!("http://{control}"))
        .build()?;

    // The tag is what the header `x-waitstate-tag` says; an order is heavier than a look.
    let gate = GateLayer::new(ws.clone())
        .weight_from(|request| (request.method == axum::http::Method::POST).then_some(5.0));
    let app = Router::new().route("/", get(async || "welcome")).route("/orders", post(async || "ordered"));
    let shop = serve(&runtime, app.layer(gate))?;
    // What comes before the first policy passes; a server that must not allow that waits.
    println!("ready: {}", runtime.block_on(ws.ready(Duration::from_secs(10))));

    show("a look, free", &ask(shop, "GET / free")?);
    show("an order, free", &ask(shop, "POST /orders free")?);
    show("an order, pro", &ask(shop, "POST /orders pro")?);

    // An operator pulls the lever: `leverframe gate kill --org acme on`. Clients learn of it with their next report.
    plane.decide(Policy { kill_signal: true, ..Policy::default() });
    runtime.block_on(ws.flush())?;
    show("a look, stopped", &ask(shop, "GET / pro")?);

    // The last report goes out, and nothing of what was counted is missing.
    runtime.block_on(ws.close())?;
    for told in plane.told() {
        println!("reported of {}: {} calls, {} of them refused", told.tag, told.count, told.denied);
    }
    Ok(())
}

fn show(what: &str, answer: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.lines().next().unwrap_or_default().trim_start_matches("HTTP/1.1 ");
    let pause = head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    let pause = pause.map_or_else(String::new, |seconds| format!(", to come again after {seconds} s"));
    println!("{what}: {status}{pause}: {body}");
}

/// Serves on a port that is free.
fn serve(runtime: &Runtime, app: Router) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let address = listener.local_addr()?;
    runtime.spawn(async { axum::serve(listener, app).await });
    Ok(address)
}

/// Sends a request, as `method path tag`, and returns the whole answer.
fn ask(server: SocketAddr, request: &str) -> Result<String, Box<dyn Error>> {
    let [method, path, tag] = request.split(' ').collect::<Vec<_>>()[..] else { return Err(request.into()) };
    let mut connection = TcpStream::connect(server)?;
    let head = format!("{method} {path} HTTP/1.1\r\nhost: shop\r\nx-waitstate-tag: {tag}\r\n");
    connection.write_all((head + "content-length: 0\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Stands in for a control plane: it gives the policy that was decided, and keeps what it is told.
#[derive(Clone, Default)]
struct Plane(Arc<Mutex<(Policy, Vec<TagMetric>)>>);

impl Plane {
    fn routes(&self) -> Router {
        Router::new().route("/v1/pulse", post(Self::pulse)).with_state(self.clone())
    }

    async fn pulse(State(plane): State<Self>, Json(pulse): Json<PulsePayload>) -> Json<Policy> {
        let mut plane = plane.0.lock().unwrap_or_else(PoisonError::into_inner);
        for metric in pulse.tag_metrics {
            match plane.1.iter_mut().find(|known| known.tag == metric.tag) {
                Some(known) => {
                    known.count += metric.count;
                    known.denied += metric.denied;
                }
                None => plane.1.push(metric),
            }
        }
        Json(plane.0.clone())
    }

    fn decide(&self, policy: Policy) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = policy;
    }

    fn told(&self) -> Vec<TagMetric> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        told.sort_by(|a, b| a.tag.cmp(&b.tag));
        told
    }
}
