//! Event streams: from an upload to the last of a thousand readers, what an idle one costs, and across servers that
//! share a database.
//!
//! The servers are processes of their own, so that their memory can be read; clients and servers share the machine's
//! processors.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use leverframe::{Secret, backends::clock_system::SystemClock, document::Tree, manifest::archive, traits::Clock};
use leverframe_server::{
    admin::Admin,
    model::{LoginMode, NamespaceRecord, Tenant, TokenType},
    store,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use crate::{
    child::Child,
    load::{Target, once},
    options::Options,
    postgres::Postgres,
    report::{Report, Row},
    stage::{Stage, upload},
};

/// Streams of one token.
const OF_A_TOKEN: usize = 16;

pub(crate) fn measure(_stage: &Stage, options: &Options, report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if options.wants("streams: upload to the last of 1,000") {
        eprintln!("measuring streams: upload to the last of 1,000");
        runtime.block_on(fan_out(options, report));
    }
    if options.wants("streams: resident, each of 5,000 idle") {
        eprintln!("measuring streams: resident, each of 5,000 idle");
        runtime.block_on(idle(report));
    }
    if options.wants("streams: to those of another server") {
        if Path::new("/usr/lib/postgresql").exists() {
            eprintln!("measuring streams: to those of another server");
            runtime.block_on(replicas(options, report));
        } else {
            eprintln!("skipping streams: to those of another server (PostgreSQL is not installed)");
        }
    }
}

async fn fan_out(options: &Options, report: &mut Report) {
    let data = tempfile::tempdir().expect("a folder");
    let tokens = furnish(data.path(), None, 1_000_usize.div_ceil(OF_A_TOKEN)).await;
    let server = Child::start(data.path(), None);
    let times = deliveries(server.address, server.address, &tokens, 1_000, options.uploads()).await;
    rows(report, "streams: upload to the last of 1,000", &times, 150.0);
}

async fn replicas(options: &Options, report: &mut Report) {
    let postgres = Postgres::start(&[]);
    let database = postgres.database().await;
    let data = tempfile::tempdir().expect("a folder");
    let tokens = furnish(data.path(), Some(&database), 100_usize.div_ceil(OF_A_TOKEN)).await;
    let [first, second] = [0, 1].map(|_| Child::start(data.path(), Some(&database)));
    let times = deliveries(first.address, second.address, &tokens, 100, options.uploads()).await;
    rows(report, "streams: to 100 of another server", &times, 300.0);
}

async fn idle(report: &mut Report) {
    const STREAMS: usize = 5_000;
    let data = tempfile::tempdir().expect("a folder");
    let tokens = furnish(data.path(), None, STREAMS.div_ceil(OF_A_TOKEN)).await;
    let server = Child::start(data.path(), None);
    once(&upload(server.address, &tokens[0], &archive_of(0))).await;
    let (send, mut receive) = mpsc::unbounded_channel();
    // What the first ones cost is the program's and not theirs.
    let first = read(server.address, &tokens[..1], 1, &send).await;
    receive.recv().await.expect("a snapshot");
    let before = server.resident();
    let streams = read(server.address, &tokens, STREAMS - 1, &send).await;
    for _ in 1..STREAMS {
        receive.recv().await.expect("a snapshot");
    }
    // Each has said once that it lives by then.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let each = (server.resident() - before) as f64 / (STREAMS - 1) as f64;
    report.push(Row::limited("streams: resident, each of 5,000 idle", "bytes", each, 24.0 * 1024.0));
    drop((first, streams));
}

/// Adds rows of the times that half, and 99 of 100, do not exceed.
pub(crate) fn rows(report: &mut Report, name: &str, times: &[f64], most: f64) {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part).round() as usize];
    report.push(Row::limited(&format!("{name}, p50"), "ms", at(0.5), most));
    report.push(Row::limited(&format!("{name}, p99"), "ms", at(0.99), most));
}

/// Uploads one change after the other, and returns the milliseconds from the beginning of each upload until the last
/// stream has it.
async fn deliveries(
    to: SocketAddr,
    from: SocketAddr,
    tokens: &[String],
    streams: usize,
    uploads: usize,
) -> Vec<f64> {
    once(&upload(to, &tokens[0], &archive_of(0))).await;
    let (send, mut receive) = mpsc::unbounded_channel();
    let open = read(from, tokens, streams, &send).await;
    for _ in 0..streams {
        receive.recv().await.expect("a snapshot");
    }
    let mut times = Vec::new();
    for number in 1..=uploads {
        let target: Target = upload(to, &tokens[0], &archive_of(number));
        let started = Instant::now();
        let uploading = tokio::spawn(async move { once(&target).await });
        for _ in 0..streams {
            let id: u64 = receive.recv().await.expect("an event");
            assert_eq!(id, number as u64 + 1);
        }
        // The first few fill caches.
        if number > 5 {
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        uploading.await.expect("an upload");
    }
    drop(open);
    times
}

/// Streams that end when this is dropped.
struct Streams(tokio::task::JoinSet<()>);

/// Opens streams, sixteen of a token, that tell the id of each event.
async fn read(address: SocketAddr, tokens: &[String], count: usize, tell: &mpsc::UnboundedSender<u64>) -> Streams {
    let mut tasks = tokio::task::JoinSet::new();
    // Tokens of which the first has one stream already may be passed: the last ones are used.
    for token in tokens.iter().rev().flat_map(|token| std::iter::repeat_n(token, OF_A_TOKEN)).take(count) {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!(
            "GET /api/v1/events?ns=payments HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("a server that listens");
        let tell = tell.clone();
        tasks.spawn(async move {
            let (mut line, mut buffer) = (Vec::new(), vec![0; 8 * 1024]);
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                for byte in &buffer[..read] {
                    if *byte != b'\n' {
                        line.push(*byte);
                        continue;
                    }
                    let id = std::str::from_utf8(&line).ok().and_then(|line| line.strip_prefix("id: "));
                    if let Some(id) = id.and_then(|id| id.parse().ok()) {
                        // Nobody listens any more where the measurement is over.
                        let _ = tell.send(id);
                    }
                    line.clear();
                }
            }
        });
        // As clients come: not all in one moment, which a listener's queue would not hold.
        tokio::task::yield_now().await;
    }
    Streams(tasks)
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

/// Makes a tenant, a namespace and so many tokens that may write to it.
async fn furnish(data: &Path, database: Option<&Secret>, tokens: usize) -> Vec<String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = store::open(data, database, Arc::clone(&clock)).await.expect("a store");
    let admin = Admin::new(Arc::clone(&store), Arc::clone(&clock));
    let mut tenant = Tenant::new("acme", LoginMode::EmailDomain, clock.wall());
    tenant.email_domain = Some("acme.example".to_owned());
    admin.create_tenant(&tenant).await.expect("a tenant");
    admin.create_namespace(&NamespaceRecord::new("acme", "payments", clock.wall())).await.expect("a namespace");
    let mut secrets = Vec::new();
    // One more, whose streams nobody opens in numbers.
    for _ in 0..=tokens {
        let mut token = admin.token(TokenType::NamespaceWrite);
        (token.tenant, token.namespace) = (Some("acme".to_owned()), Some("payments".to_owned()));
        secrets.push(admin.mint(token).await.expect("a token").secret.expose().to_owned());
    }
    store.close().await;
    secrets
}

/// A hundred flags, of which one changes.
fn archive_of(number: usize) -> Vec<u8> {
    let mut tree: Tree = crate::stage::files();
    let text = format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\ndescription = \"{number}\"\n[flag.variants]\non = true\n\
         [flag.environments._]\nvariant = \"on\"\n"
    );
    tree.insert("flags/changing.toml", leverframe::document::Entry::File(text.into()));
    archive::pack(&tree).expect("an archive")
}
