//! The gate's control plane: ten thousand instances that report over connections which stay open.
//!
//! The server is a process of its own, so that its memory can be read; clients and server share the machine's processors.
//! Every instance has a connection of its own and reports once in five seconds, which makes two thousand reports a second,
//! at times that do not wait for earlier answers: a time goes from when a report was due.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use leverframe::{backends::clock_system::SystemClock, gate::signing::sign_pulse, traits::Clock};
use leverframe_server::{
    gate::{NewGateKey, issue_gate_key},
    store,
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    child::Child,
    load::{Connection, Target},
    options::Options,
    report::{Report, Row},
    stage::Stage,
    streams::rows,
};

/// Instances, each with a connection.
const INSTANCES: usize = 10_000;
/// How often each reports.
const INTERVAL: Duration = Duration::from_secs(5);
/// Longest time to an answer that 99 of 100 may have, in milliseconds.
const MOST_MS: f64 = 50.0;
/// Most memory of an instance, in bytes.
const MOST_BYTES: f64 = 4.0 * 1024.0;

pub(crate) fn measure(_stage: &Stage, options: &Options, report: &mut Report) {
    if !options.wants("pulses") {
        return;
    }
    eprintln!("measuring pulses: 2,000 a second of 10,000 instances");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(options.pulse_rounds(), report));
}

async fn run(rounds: usize, report: &mut Report) {
    let data = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = store::open(data.path(), None, Arc::clone(&clock)).await.expect("a store");
    let issued = issue_gate_key(&*store, &NewGateKey::new("acme"), clock.wall()).await.expect("a key");
    store.close().await;
    let (publish_key, secret) = (issued.key.publish_key, issued.secret.expose().to_owned());
    let server = Child::start(data.path(), None);

    // What the program itself takes, and what the first report brings into memory.
    report_once(&mut open(server.address).await, &publish_key, &secret, "first").await;
    let empty = server.resident();
    let mut connections = Vec::with_capacity(INSTANCES);
    for number in 0..INSTANCES {
        let mut connection = open(server.address).await;
        // A request of its own for each: what a connection costs that has been used.
        connection.ask(format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address).into_bytes());
        connection.exchange().await;
        connections.push((format!("instance-{number:05}-0000-0000-000000000000"), connection));
    }
    let connected = server.resident();

    let (tell, mut times) = mpsc::unbounded_channel();
    let mut instances = JoinSet::new();
    let begun = tokio::time::Instant::now();
    for (number, (name, mut connection)) in connections.into_iter().enumerate() {
        let (tell, publish_key, secret) = (tell.clone(), publish_key.clone(), secret.clone());
        let offset = INTERVAL * u32::try_from(number).expect("few") / u32::try_from(INSTANCES).expect("few");
        instances.spawn(async move {
            for round in 0..rounds {
                let due = begun + offset + INTERVAL * u32::try_from(round).expect("few");
                tokio::time::sleep_until(due).await;
                report_once(&mut connection, &publish_key, &secret, &name).await;
                // The first round makes the instances known.
                if round > 0 {
                    let _ = tell.send(due.elapsed().as_secs_f64() * 1e3);
                }
            }
            connection
        });
    }
    drop(tell);
    let mut taken = Vec::new();
    while let Some(time) = times.recv().await {
        taken.push(time);
    }
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{} reports in {seconds:.1} s", rounds * INSTANCES);
    let reporting = server.resident();
    rows(report, "pulses: signed, 2,000/s", &taken, MOST_MS);
    let each = |more: u64, less: u64| more.saturating_sub(less) as f64 / INSTANCES as f64;
    report.push(Row::limited("pulses: resident, each instance", "bytes", each(reporting, connected), MOST_BYTES));
    report.push(Row::unlimited("pulses: resident, its connection", "bytes", each(connected, empty)));
    drop(instances);
}

async fn open(address: SocketAddr) -> Connection {
    Connection::open(&Target { address, request: Vec::new() }).await
}

/// Sends what an instance with three tags reports, and waits for the policy.
async fn report_once(connection: &mut Connection, publish_key: &str, secret: &str, instance: &str) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    let ts = since.as_millis().to_string();
    let body = format!(
        "{{\"instanceId\":\"{instance}\",\"usageDelta\":600,\"bouncedUnits\":0,\"metrics\":{{\"latency\":12.5,\"errors\":1.0}},\
         \"tagMetrics\":[{}],\"ts\":{ts},\"pulseId\":\"{instance}-{ts}\"}}",
        ["free", "pro", "batch"]
            .map(|tag| format!(
                "{{\"tag\":\"{tag}\",\"latency\":12.5,\"count\":200,\"latencyBuckets\":[190,10,0,0,0,0,0,0],\
                 \"latencySum\":2500000}}"
            ))
            .join(",")
    );
    let signature = sign_pulse(&body, &ts, secret);
    connection.ask(
        format!(
            "POST /v1/pulse HTTP/1.1\r\nHost: leverframe\r\nx-waitstate-id: {publish_key}\r\n\
             x-waitstate-signature: {signature}\r\nx-waitstate-timestamp: {ts}\r\nx-leverframe-gate: 1\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    );
    connection.exchange().await;
}
