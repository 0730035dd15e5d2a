//! Settings: from a write until the last of five hundred streaming clients serves what was written.
//!
//! The clients are the library's own, all in this process, as they would be in five hundred; the server is a process of its
//! own. All share the machine's processors. A time goes from when the write is sent, so that it holds the commit as well.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use leverframe::{NexusClient, Secret, backends::clock_system::SystemClock, traits::Clock};
use leverframe_server::{
    admin::Admin,
    settings::{Keyring, NewSettingsKey, model::{Kind, ServiceId}},
    store,
};

use crate::{
    child::Child,
    load::once,
    options::Options,
    report::Report,
    stage::{Stage, request},
    streams::rows,
};

const CLIENTS: usize = 500;
/// Longest time until 99 of 100 clients serve a change, in milliseconds.
const MOST_MS: f64 = 50.0;
const NAME: &str = "settings: write to served by 500";

pub(crate) fn measure(stage: &Stage, options: &Options, report: &mut Report) {
    if !options.wants(NAME) {
        return;
    }
    eprintln!("measuring {NAME}");
    let data = tempfile::tempdir().expect("a folder");
    let secret = stage.runtime.block_on(furnish(data.path()));
    let key = secret.expose();
    let server = Child::start(data.path(), None);
    let put = |name: &str, number: usize| {
        let body = format!("{{\"value\":{number}}}");
        let line = ("PUT", &*format!("/v1/configs/{name}"));
        let target = request(server.address, key, line, "application/json", body.as_bytes());
        stage.runtime.block_on(once(&target));
    };
    // A service of some size: fifty configs beside the one that changes.
    for number in 0..50 {
        put(&format!("pool.size-{number}"), number);
    }
    put("changing", 0);

    let (tell, told) = mpsc::channel();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = NexusClient::builder()
                .endpoint(format!("http://{}", server.address))
                .api_key(key)
                // What comes, comes by the stream.
                .ttl(Duration::from_secs(3_600))
                .stream(true)
                .build()
                .expect("a client");
            let tell = tell.clone();
            let reader = client.clone();
            let watching = client.on_change(move |_| {
                // Nobody listens any more where the measurement is over.
                let _ = tell.send((reader.get_config("changing"), Instant::now()));
            });
            (client, watching)
        })
        .collect();
    // Everyone is on the stream once a change reaches all of them.
    let mut number = 0;
    let mut times = Vec::new();
    while times.len() < CLIENTS * options.uploads() {
        number += 1;
        let started = Instant::now();
        put("changing", number);
        let mut reached = 0;
        while reached < CLIENTS {
            let (value, at) = told.recv_timeout(Duration::from_secs(30)).expect("a client that is told");
            if value == Some(number.into()) {
                reached += 1;
                // The first few connect streams and fill caches.
                if number > 5 {
                    times.push(at.saturating_duration_since(started).as_secs_f64() * 1e3);
                }
            }
        }
    }
    for (client, watching) in clients {
        drop(watching);
        client.close();
    }
    rows(report, NAME, &times, MOST_MS);
}

/// Makes a service and its secret key.
async fn furnish(data: &Path) -> Secret {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = store::open(data, None, Arc::clone(&clock)).await.expect("a store");
    let keyring = Keyring::in_directory(data).expect("a master key");
    let new = NewSettingsKey::new(ServiceId::new("acme", "payments", "production"), false);
    let made = Admin::new(Arc::clone(&store), clock).settings_key(&keyring, &new, Kind::Backend).await;
    store.close().await;
    made.expect("a key").issued.secret
}
