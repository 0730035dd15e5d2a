//! Prints how fast settings clients are, ours and the published ones. See `docs/performance.md`, "Settings".

use std::{
    fmt::Write as _,
    hint::black_box,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use dynamic_config::{ConfigCell, Format, LoadSpec, Source, load};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use leverframe::{
    NexusClient, Result, async_trait,
    settings::Bound,
    traits::{Body, Request, Response, Transport},
};
use leverframe_benches::{
    measure::{Side, alone, alternate, whole},
    options::{Options, progress},
    report::{ONE_THREAD, Report, Row, Target},
    threads::Gain,
};
use serde::Deserialize;
use westyx_nexus::blocking::NexusClient as Published;

const USAGE: &str = "usage: benches/settings [--json] [--quick] [--rows PATTERN]

  --json          print {\"rows\": [...]} instead of a table
  --quick         fewer, shorter rounds: to see that it works, not to quote
  --rows PATTERN  only rows whose name or peer contains PATTERN";

const PEER: &str = "westyx-nexus";
const TYPED_PEER: &str = "dynamic-config";
const KEY: &str = "wxs_bench";

fn main() -> ExitCode {
    let options = match Options::of_process(USAGE) {
        Ok(options) => options,
        Err(refused) => return refused,
    };
    let mut suite = Suite { options, report: Report::default() };
    suite.run();
    suite.options.print(&suite.report);
    ExitCode::SUCCESS
}

/// Measures rows and collects them.
struct Suite {
    options: Options,
    report: Report,
}

impl Suite {
    fn run(&mut self) {
        let body = document(100, 0);
        let ours = ours(Arc::new(Served::new(vec![body.clone()])));
        let theirs = Published::create(westyx_nexus::NexusConfig {
            api_key: KEY.to_owned(),
            endpoint: serve(body),
            ttl: Some(Duration::from_secs(3_600)),
            ..Default::default()
        })
        .expect("the stub answers");
        assert!(ours.get_flag("flag.50", false) && theirs.get_flag("flag.50", false));
        let read = Target { ns: Some(20.0), ratio: Some(0.4) };

        self.pair(
            "get_flag, one of 100",
            read,
            &mut whole(|n| flags(&ours, n)),
            &mut whole(|n| their_flags(&theirs, n)),
        );
        self.pair(
            "a config read as a number, one of 100",
            read,
            &mut whole(|n| numbers(&ours, n)),
            &mut whole(|n| their_numbers(&theirs, n)),
        );
        let bound = ours.bind::<Typed>("typed").expect("it fits");
        CELL.store(load(&LoadSpec::new("typed", &[Source::inline(TYPED, Format::Json)])).expect("it fits"));
        let (mine, other) = (|n| typed(&bound, n), their_typed);
        // Of the two, the one that is made for this and nothing else.
        let target = Target { ns: Some(20.0), ratio: Some(1.0) };
        self.pair_with(TYPED_PEER, "a config as a type", target, &mut whole(mine), &mut whole(other));
        self.pair(
            "get_secret, one of 100",
            Target::default(),
            &mut whole(|n| (0..n).for_each(|_| drop(black_box(ours.get_secret(black_box("secret.50")))))),
            &mut whole(|n| (0..n).for_each(|_| drop(black_box(theirs.get_secret(black_box("secret.50")))))),
        );
        let get_flag = "get_flag, two threads against one";
        self.two_threads(get_flag, PEER, &|n| flags(&ours, n), &|n| their_flags(&theirs, n));
        self.two_threads("a config as a type, two threads against one", TYPED_PEER, &mine, &other);
        self.syncs();
    }

    /// With twice the throughput a call takes half as long.
    fn two_threads(
        &mut self,
        name: &str,
        peer: &str,
        mine: &(dyn Fn(u64) + Sync),
        other: &(dyn Fn(u64) + Sync),
    ) {
        if !self.options.wants(name, ONE_THREAD) {
            return;
        }
        progress(name);
        let effort = self.options.effort;
        let gain = Gain::of(effort, &|_, n| mine(n));
        let others = [(peer, Gain::of(effort, &|_, n| other(n)))];
        let target = Target { ratio: Some(1.0 / 1.9), ns: None };
        self.report.rows.push(Row::gain(name, &gain, &others, target));
    }

    fn syncs(&mut self) {
        // Two states in turn, so that every sync brings another one.
        let changing = ours(Arc::new(Served::new(vec![document(3_334, 0), document(3_334, 1)])));
        let limit = Target { ns: Some(30e6), ratio: None };
        self.alone(
            "sync of 10,000 keys, read and swapped",
            limit,
            &mut whole(|n| {
                (0..n).for_each(|_| changing.sync().expect("the stub answers"));
            }),
        );
        let unchanged = ours(Arc::new(Served::new(vec![document(3_334, 0)])));
        self.alone(
            "sync of 10,000 keys, unchanged",
            Target::default(),
            &mut whole(|n| {
                (0..n).for_each(|_| unchanged.sync().expect("the stub answers"));
            }),
        );
    }

    fn pair(&mut self, name: &str, target: Target, ours: Side<'_>, theirs: Side<'_>) {
        self.pair_with(PEER, name, target, ours, theirs);
    }

    fn pair_with(
        &mut self,
        peer: &'static str,
        name: &str,
        target: Target,
        ours: Side<'_>,
        theirs: Side<'_>,
    ) {
        if self.options.wants(name, peer) {
            progress(name);
            let (ours_ns, peer_ns) = alternate(self.options.effort, ours, theirs);
            self.report.rows.push(Row::pair(name, ours_ns, (peer, peer_ns), target));
        }
    }

    fn alone(&mut self, name: &str, target: Target, ours: Side<'_>) {
        if self.options.wants(name, "") {
            progress(name);
            self.report.rows.push(Row::time(name, alone(self.options.effort, ours), target));
        }
    }
}

/// So many of each kind; `state` makes one document differ from another.
fn document(each: usize, state: u32) -> String {
    let mut text = format!(
        r#"{{"synced_at":"2026-06-01T10:00:00Z","key_type":"sk","service_kind":"backend","state":{state},"configs":{{"#
    );
    let list = |text: &mut String, entry: &dyn Fn(usize) -> String| {
        for n in 0..each {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{}", if n == 0 { "" } else { "," }, entry(n));
        }
    };
    list(&mut text, &|n| format!(r#""config.{n}":{{"value":{n},"source":"service"}}"#));
    let _ = write!(text, r#","typed":{{"value":{{"host":"db","port":5432}},"source":"service"}}"#);
    text.push_str(r#"},"secrets":{"#);
    list(&mut text, &|n| {
        format!(
            r#""secret.{n}":{{"value":"value of {n}, {state}","version":1,"type":"text","source":"service"}}"#
        )
    });
    text.push_str(r#"},"flags":{"#);
    list(&mut text, &|n| format!(r#""flag.{n}":{{"is_active":true,"source":"service"}}"#));
    text.push_str("}}");
    text
}

fn ours(transport: Arc<dyn Transport>) -> NexusClient {
    NexusClient::builder()
        .endpoint("https://settings.example.com")
        .api_key(KEY)
        .transport(transport)
        .ttl(Duration::from_secs(3_600))
        .build()
        .expect("the stub answers")
}

/// Gives documents in turn, without a network.
#[derive(Debug)]
struct Served {
    documents: Vec<String>,
    asked: AtomicU64,
}

impl Served {
    fn new(documents: Vec<String>) -> Self {
        Self { documents, asked: AtomicU64::new(0) }
    }
}

#[async_trait]
impl Transport for Served {
    fn name(&self) -> &'static str {
        "served"
    }

    async fn send(&self, request: Request) -> Result<Response> {
        let at = self.asked.fetch_add(1, Ordering::Relaxed) as usize % self.documents.len();
        let etag = HeaderValue::from(at as u64);
        let known = request.headers.get(header::IF_NONE_MATCH) == Some(&etag);
        let headers: HeaderMap = [(header::ETAG, etag)].into_iter().collect();
        Ok(if known {
            Response::new(StatusCode::NOT_MODIFIED, headers, Body::from_bytes(""))
        } else {
            Response::new(StatusCode::OK, headers, Body::from_bytes(self.documents[at].clone()))
        })
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Gives one document to whoever asks, on loopback, until the process ends.
fn serve(body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut reader = BufReader::new(&connection);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let length = body.len();
            // A client that is gone gets nothing.
            let _ = write!(
                &connection,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        }
    });
    format!("http://{address}")
}

#[inline(never)]
fn flags(client: &NexusClient, calls: u64) {
    for _ in 0..calls {
        black_box(client.get_flag(black_box("flag.50"), false));
    }
}

#[inline(never)]
fn their_flags(client: &Published, calls: u64) {
    for _ in 0..calls {
        black_box(client.get_flag(black_box("flag.50"), false));
    }
}

#[inline(never)]
fn numbers(client: &NexusClient, calls: u64) {
    for _ in 0..calls {
        black_box(client.get_config_as::<u64>(black_box("config.50")).expect("it is a number"));
    }
}

/// What a config is read as.
#[derive(Debug, Deserialize)]
struct Typed {
    host: String,
    port: u16,
}

/// The same, in the peer's form.
const TYPED: &str = r#"{"typed":{"host":"db","port":5432}}"#;
static CELL: ConfigCell<Typed> = ConfigCell::new();

#[inline(never)]
fn typed(bound: &Bound<Typed>, calls: u64) {
    for _ in 0..calls {
        let typed = black_box(bound).load();
        black_box((typed.port, typed.host.len()));
    }
}

#[inline(never)]
fn their_typed(calls: u64) {
    for _ in 0..calls {
        let typed = black_box(&CELL).load().expect("it is stored");
        black_box((typed.port, typed.host.len()));
    }
}

#[inline(never)]
fn their_numbers(client: &Published, calls: u64) {
    for _ in 0..calls {
        black_box(client.get_config(black_box("config.50")).and_then(|value| value.as_u64()));
    }
}
