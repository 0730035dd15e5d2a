//! The gate's control plane: ten thousand instances that report over connections which stay open.
//!
//! The server is a process of its own, so that its memory can be read; clients and server share the machine's processors.
//! Every instance has a connection of its own and reports once in five seconds, which makes two thousand reports a second,
//! at times that do not wait for earlier answers: a time goes from when a report was due.
//!
//! What an instance takes is told apart from what its connection takes: before, as many reports come over a few
//! connections from the same few instances and then from ten thousand, and the memory of both is compared.

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
    let keys = Arc::new((issued.key.publish_key, issued.secret.expose().to_owned()));
    let server = Child::start(data.path(), None);

    // Twice, since the first time brings pages and buffers into memory that are used again.
    few(&server, &keys, |sender, _| format!("warm-{sender}")).await;
    few(&server, &keys, |sender, _| format!("warm-{sender}")).await;
    let same = server.resident();
    few(&server, &keys, |sender, number| format!("other-{sender}-{number}")).await;
    let others = server.resident();

    let empty = server.resident();
    let mut connections = Vec::with_capacity(INSTANCES);
    for number in 0..INSTANCES {
        connections.push((format!("instance-{number:05}-0000-0000-000000000000"), open(server.address).await));
    }

    let (tell, mut times) = mpsc::unbounded_channel();
    let mut instances = JoinSet::new();
    let begun = tokio::time::Instant::now();
    for (number, (name, mut connection)) in connections.into_iter().enumerate() {
        let (tell, keys) = (tell.clone(), Arc::clone(&keys));
        let offset = INTERVAL * u32::try_from(number).expect("few") / u32::try_from(INSTANCES).expect("few");
        instances.spawn(async move {
            for round in 0..rounds {
                let due = begun + offset + INTERVAL * u32::try_from(round).expect("few");
                tokio::time::sleep_until(due).await;
                report_once(&mut connection, &keys, &name, now_ms()).await;
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
    report.push(Row::limited("pulses: resident, each instance", "bytes", each(others, same), MOST_BYTES));
    report.push(Row::unlimited("pulses: resident, with its connection", "bytes", each(reporting, empty)));
    drop(instances);
}

/// Connections over which many instances report.
const SENDERS: usize = 50;

/// Sends as many reports as there are instances over a few connections, of instances called so.
async fn few(server: &Child, keys: &Arc<(String, String)>, name: fn(usize, usize) -> String) {
    let mut sending = JoinSet::new();
    for sender in 0..SENDERS {
        let (mut connection, keys) = (open(server.address).await, Arc::clone(keys));
        sending.spawn(async move {
            let mut ts = now_ms();
            for number in 0..INSTANCES / SENDERS {
                // Two reports of an instance are never of the same time.
                ts = now_ms().max(ts + 1);
                report_once(&mut connection, &keys, &name(sender, number), ts).await;
            }
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent.expect("the server answers");
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    since.as_millis().try_into().expect("a time before the year 500 million")
}

async fn open(address: SocketAddr) -> Connection {
    Connection::open(&Target { address, request: Vec::new() }).await
}

/// Sends what an instance with three tags reports, and waits for the policy.
async fn report_once(connection: &mut Connection, keys: &(String, String), instance: &str, ts: u64) {
    let (publish_key, secret) = keys;
    let ts = ts.to_string();
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
