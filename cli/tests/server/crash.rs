//! kill -9 in the middle of uploads.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::TcpStream,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use leverframe::{
    EvalContext, ExdClient, ManifestClient, ManifestError, Namespace, VersionRef, live::block_on,
};

use crate::{
    child::{Serving, Stage},
    ports::free_port,
};

const CLIENTS: u64 = 4;
const KILLS: usize = 5;
/// Uploads that have to be accepted before the server is killed again.
const BETWEEN: usize = 12;

/// What the clients have been promised, and which life of the server is on.
#[derive(Default)]
struct Promises {
    accepted: BTreeMap<u64, i64>,
    life: usize,
    over: bool,
}

type Shared = Arc<(Mutex<Promises>, Condvar)>;

fn write(dir: &Path, value: i64) {
    fs::create_dir_all(dir.join("flags")).unwrap();
    let text = format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"integer\"\ndescription = \"a\"\nowner = \"b\"\n[flag.variants]\nonly = {value}\n[flag.environments._]\nvariant = \"only\"\n"
    );
    fs::write(dir.join("flags/tier.toml"), text).unwrap();
    fs::write(dir.join("namespace.toml"), "schema_version = \"0.1\"\n[namespace]\nslug = \"payments\"\n")
        .unwrap();
}

/// Pushes one content after the other, until it is told to end; waits out the times without a server.
fn push_on(client: &ManifestClient, dir: &Path, number: u64, shared: &Shared) {
    let (state, changed) = &**shared;
    for round in 0.. {
        let value = (round * CLIENTS + number) as i64;
        write(dir, value);
        loop {
            let life = {
                let state = state.lock().unwrap();
                if state.over {
                    return;
                }
                state.life
            };
            match block_on(client.push("payments", dir, None)) {
                Ok(pushed) => {
                    let mut state = state.lock().unwrap();
                    let before = state.accepted.insert(pushed.version, value);
                    assert!(before.is_none(), "version {} was promised twice", pushed.version);
                    changed.notify_all();
                    break;
                }
                Err(ManifestError::Transport(_)) => {
                    let state = state.lock().unwrap();
                    // Pushed again in the next life: whether this one was stored is not known, and need not be.
                    drop(changed.wait_while(state, |state| state.life == life && !state.over).unwrap());
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[test]
fn a_killed_server_loses_no_accepted_version_and_keeps_no_half_one_and_clients_go_on_by_themselves() {
    let stage = Stage::new();
    let token = stage.prepare();
    let address = format!("127.0.0.1:{}", free_port());
    let mut server = Serving::start(stage.dir.path(), &address, |_| {});
    let (url, address) = (server.url.clone(), server.address().to_owned());
    let manager = ManifestClient::new(&url, &token);
    write(&stage.path("first"), -1);
    block_on(manager.push("payments", stage.path("first"), None)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let readers = [true, false].map(|streams| runtime.block_on(follow(&url, &token, streams)));

    let shared: Shared = Arc::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (client, shared) = (manager.clone(), Arc::clone(&shared));
            let dir = stage.path(&format!("client-{number}"));
            thread::spawn(move || push_on(&client, &dir, number, &shared))
        })
        .collect();
    for kill in 1..=KILLS {
        // One more upload, of which a half has arrived.
        let mut half = TcpStream::connect(&address).unwrap();
        half.write_all(half_an_upload(&token).as_bytes()).unwrap();
        wait_for(&shared, kill * BETWEEN);
        server.kill();
        server = Serving::start(stage.dir.path(), &address, |_| {});
        let mut state = shared.0.lock().unwrap();
        state.life = kill;
        shared.1.notify_all();
        drop(state);
    }
    wait_for(&shared, (KILLS + 1) * BETWEEN);
    shared.0.lock().unwrap().over = true;
    shared.1.notify_all();
    clients.into_iter().for_each(|client| client.join().unwrap());

    let promised = shared.0.lock().unwrap().accepted.clone();
    let stored = block_on(manager.versions("payments")).unwrap();
    let numbers: Vec<u64> = stored.iter().rev().map(|version| version.version).collect();
    assert_eq!(numbers, (1..=stored.len() as u64).collect::<Vec<_>>(), "no number is missing");
    for version in &stored {
        let dir = stage.path("pulled");
        // Unpacked, checked against its digest, and linted.
        let meta = block_on(manager.pull("payments", VersionRef::Version(version.version), &dir)).unwrap();
        let value =
            Namespace::from_dir(&dir).unwrap().eval_i64("tier", "production", &EvalContext::new()).unwrap();
        assert_eq!(meta.sha256, version.sha256);
        if let Some(promised) = promised.get(&version.version) {
            assert_eq!(value, *promised, "version {}", version.version);
        }
    }
    assert!(promised.keys().all(|version| *version <= stored.len() as u64), "a promised version is lost");
    assert!(promised.len() >= (KILLS + 1) * BETWEEN);

    block_on(manager.pull("payments", VersionRef::Latest, stage.path("pulled"))).unwrap();
    let pulled = Namespace::from_dir(stage.path("pulled")).unwrap();
    let last = pulled.eval_i64("tier", "production", &EvalContext::new()).unwrap();
    runtime.block_on(async {
        for reader in readers {
            let seen = tokio::time::timeout(Duration::from_secs(60), sees(&reader, last)).await;
            let served = reader.flag("tier", -2_i64).get(&EvalContext::new());
            assert!(seen.is_ok(), "{served} is served, and not {last}: {:?}", reader.last_refresh_error());
            reader.close().await.unwrap();
        }
    });
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
}

async fn follow(url: &str, token: &str, streams: bool) -> ExdClient {
    ExdClient::builder()
        .event_stream(streams)
        .server(url)
        .namespace("payments")
        .api_token(token)
        .environment("production")
        .poll_interval(Duration::from_millis(100))
        .build()
        .await
        .unwrap()
}

async fn sees(client: &ExdClient, value: i64) {
    let flag = client.flag("tier", -2_i64);
    let mut seen = 0;
    while flag.get(&EvalContext::new()) != value {
        seen = client.wait_for_refresh(seen).await;
    }
}

fn wait_for(shared: &Shared, accepted: usize) {
    let (state, changed) = &**shared;
    let state = state.lock().unwrap();
    let short = |state: &mut Promises| state.accepted.len() < accepted;
    let (state, late) = changed.wait_timeout_while(state, Duration::from_secs(60), short).unwrap();
    assert!(!late.timed_out(), "only {} uploads were accepted", state.accepted.len());
}

fn half_an_upload(token: &str) -> String {
    format!(
        "PUT /api/v1/tenants/-/namespaces/payments/manifest HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: multipart/form-data; boundary=b\r\ncontent-length: 4000\r\n\r\n--b\r\n\
         Content-Disposition: form-data; name=\"archive\"; filename=\"a\"\r\n\r\nhalf of it"
    )
}
