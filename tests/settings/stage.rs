//! A settings service on loopback: speaks the published protocol and ours, records what it is asked, and misbehaves when
//! told to.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use leverframe::{
    NexusClient, backends::clock_system::SystemClock, settings::NexusClientBuilder, testing::ManualClock,
    traits::Clock,
};
use serde_json::{Value, json};

/// The secret key that the service takes.
pub(crate) const KEY: &str = "wxs_stage_9f27c1";
/// The public one.
pub(crate) const PUBLIC_KEY: &str = "wxp_stage_51b0aa";

/// Longer than anything here takes, far shorter than a hung test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the next request for something gets instead of its answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A status, headers (each with its line end) and a body.
    Answer(u16, String, Vec<u8>),
    /// A closed connection.
    Reset,
    /// The head of an answer and a part of its body, then a closed connection.
    Cut,
    /// Nothing, until `end_silence`; then the answer.
    Silence,
    /// A body without end.
    Endless,
}

impl Fault {
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, String::new(), Vec::new())
    }

    pub(crate) fn quarantine(expires_at: &str) -> Self {
        let body = json!({"error": "quarantined", "reason": "bulk_delete", "expires_at": expires_at});
        Self::Answer(429, String::new(), body.to_string().into_bytes())
    }

    pub(crate) fn body(body: impl Into<Vec<u8>>) -> Self {
        Self::Answer(200, String::new(), body.into())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With the query.
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) struct Stage {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    document: Document,
    asked: Vec<Asked>,
    faults: VecDeque<(&'static str, Fault)>,
    /// Faults that stay.
    standing: BTreeMap<&'static str, Fault>,
    streams: Vec<TcpStream>,
    streams_opened: usize,
    silence_is_over: bool,
    /// Other secret keys that the service takes.
    keys: Vec<String>,
    /// What its sessions are called but for their number, if it is not the usual name.
    sessions: Option<String>,
    /// The number of the session that the service takes; later than any that it gave where all were ended.
    session: u64,
    mute: bool,
    ended: bool,
}

/// What the service holds.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) configs: Value,
    pub(crate) secrets: Value,
    pub(crate) flags: Value,
    pub(crate) kind: &'static str,
    /// What the service says of the key; `None` to go by the key.
    pub(crate) key_type: Option<&'static str>,
    pub(crate) with_etag: bool,
    number: u64,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            configs: json!({}),
            secrets: json!({}),
            flags: json!({}),
            kind: "backend",
            key_type: None,
            with_etag: true,
            number: 0,
        }
    }
}

pub(crate) fn config(value: impl Into<Value>) -> Value {
    json!({"value": value.into(), "source": "service"})
}

pub(crate) fn secret(value: &str, version: u32) -> Value {
    json!({"value": value, "version": version, "type": "text", "source": "service"})
}

pub(crate) fn file(value: &str, version: u32) -> Value {
    json!({"value": value, "version": version, "type": "file", "source": "service"})
}

pub(crate) fn flag(is_active: bool) -> Value {
    json!({"is_active": is_active, "source": "service"})
}

impl Stage {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Self::on(listener)
    }

    /// A service at the address of one that ended.
    pub(crate) fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for connection in listener.incoming() {
                    if shared.lock().ended {
                        return;
                    }
                    let (Ok(connection), shared) = (connection, Arc::clone(&shared)) else { continue };
                    thread::spawn(move || serve(&connection, &shared));
                }
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// A service with a config, a secret and a flag.
    pub(crate) fn filled() -> Self {
        Self::start().fill()
    }

    pub(crate) fn fill(self) -> Self {
        self.publish(|document| {
            document.configs = json!({"greeting": config("hello"), "limits": config(json!({"rps": 10}))});
            document.secrets = json!({"token": secret("s3cret-1", 1)});
            document.flags = json!({"checkout": flag(true), "banner": flag(false)});
        });
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn builder(&self) -> NexusClientBuilder {
        NexusClient::builder().endpoint(self.url()).api_key(KEY)
    }

    /// A client whose time stands still.
    pub(crate) fn client(&self) -> (NexusClient, ManualClock) {
        let clock = ManualClock::new();
        let client = self.builder().clock(Arc::new(clock.clone())).build().unwrap();
        (client, clock)
    }

    /// Changes what the service holds, and tells nobody.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Document)) {
        let mut state = self.shared.lock();
        change(&mut state.document);
        state.document.number += 1;
    }

    /// Sends an event to all who listen.
    pub(crate) fn tell(&self, event: &str) {
        self.send_raw(format!("event: {event}\ndata: {{}}\n\n").as_bytes());
    }

    pub(crate) fn send_raw(&self, bytes: &[u8]) {
        for stream in &mut self.shared.lock().streams {
            // A reader that is gone is what some tests are about.
            let _ = stream.write_all(bytes);
        }
    }

    /// Takes other secret keys besides, and gives sessions of this name.
    pub(crate) fn accept(&self, keys: [&str; 2], session: &str) {
        let mut state = self.shared.lock();
        state.keys = keys.map(str::to_owned).into();
        state.sessions = Some(session.to_owned());
    }

    /// Takes none of the sessions any more that were given so far.
    pub(crate) fn end_sessions(&self) {
        self.shared.lock().session += 1;
    }

    /// Ends the streams without a last chunk.
    pub(crate) fn break_streams(&self) {
        for stream in self.shared.lock().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Opens streams without a first event from here on.
    pub(crate) fn be_mute(&self) {
        self.shared.lock().mute = true;
    }

    /// Lets the next request for `what` (the beginning of its path) go wrong, after those told to before.
    pub(crate) fn fail(&self, what: &'static str, fault: Fault) {
        self.shared.lock().faults.push_back((what, fault));
    }

    /// Lets every request for `what` go wrong, until `recover`.
    pub(crate) fn fail_always(&self, what: &'static str, fault: Fault) {
        self.shared.lock().standing.insert(what, fault);
    }

    pub(crate) fn recover(&self) {
        let mut state = self.shared.lock();
        state.standing.clear();
        state.faults.clear();
    }

    pub(crate) fn end_silence(&self) {
        self.shared.lock().silence_is_over = true;
        self.shared.changed.notify_all();
    }

    pub(crate) fn asked(&self, what: &str) -> Vec<Asked> {
        self.shared.lock().asked.iter().filter(|asked| asked.target.starts_with(what)).cloned().collect()
    }

    pub(crate) fn syncs(&self) -> usize {
        self.asked("/v1/sync").len()
    }

    /// Waits until so many requests for `what` came.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, number: usize) {
        self.wait(|state| {
            state.asked.iter().filter(|asked| asked.target.starts_with(what)).count() >= number
        });
    }

    /// Waits until so many streams have been opened in all.
    #[track_caller]
    pub(crate) fn wait_for_streams(&self, number: usize) {
        self.wait(|state| state.streams_opened >= number);
    }

    /// Waits until something is so, while time passes: slowly enough for answers to arrive before their deadlines.
    #[track_caller]
    pub(crate) fn while_time_passes(&self, clock: &ManualClock, what: &str, is_so: impl Fn() -> bool) {
        const STEP: Duration = Duration::from_millis(200);
        const BREATH: Duration = Duration::from_millis(10);
        eventually(what, || {
            clock.advance(STEP);
            // Returns as soon as a request comes.
            drop(self.shared.changed.wait_timeout(self.shared.lock(), BREATH).unwrap());
            is_so()
        });
    }

    #[track_caller]
    fn wait(&self, until: impl Fn(&State) -> bool) {
        let state = self.shared.lock();
        let (_state, late) =
            self.shared.changed.wait_timeout_while(state, PATIENCE, |state| !until(state)).unwrap();
        assert!(!late.timed_out(), "waited in vain");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.break_streams();
        let mut state = self.shared.lock();
        state.ended = true;
        state.silence_is_over = true;
        drop(state);
        self.shared.changed.notify_all();
        // Only wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn serve(connection: &TcpStream, shared: &Shared) {
    let Some(asked) = read(connection) else { return };
    let path = asked.target.clone();
    let fault = {
        let mut state = shared.lock();
        state.asked.push(asked.clone());
        let queued = state.faults.iter().position(|(what, _)| path.starts_with(what));
        let queued = queued.and_then(|at| state.faults.remove(at)).map(|(_, fault)| fault);
        let standing =
            state.standing.iter().find(|(what, _)| path.starts_with(**what)).map(|(_, f)| f.clone());
        queued.or(standing)
    };
    shared.changed.notify_all();
    let mut connection = connection;
    // A client that is gone is what some tests are about.
    let _ = match fault {
        Some(Fault::Answer(status, headers, body)) => answer(connection, status, &headers, &body),
        Some(Fault::Reset) => connection.shutdown(Shutdown::Both),
        Some(Fault::Cut) => connection
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: \"cut\"\r\n\r\n{\"synced_at\":")
            .and_then(|()| connection.shutdown(Shutdown::Both)),
        Some(Fault::Endless) => endless(connection),
        Some(Fault::Silence) => {
            let state = shared.lock();
            drop(shared.changed.wait_timeout_while(state, PATIENCE, |state| !state.silence_is_over).unwrap());
            respond(connection, shared, &asked)
        }
        None => respond(connection, shared, &asked),
    };
}

fn endless(mut connection: &TcpStream) -> std::io::Result<()> {
    connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    loop {
        connection.write_all(&[b' '; 65_536])?;
    }
}

fn answer(mut connection: &TcpStream, status: u16, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    connection.write_all(head.as_bytes())?;
    connection.write_all(body)
}

fn read(connection: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, target, headers, body })
}

fn respond(connection: &TcpStream, shared: &Shared, asked: &Asked) -> std::io::Result<()> {
    let path = asked.target.split('?').next().unwrap_or_default();
    let mut state = shared.lock();
    let name = state.sessions.clone().unwrap_or_else(|| "wxt_stage_".to_owned());
    if path == "/v1/auth/token-exchange" {
        state.session += 1;
        let session = format!("{name}{}", state.session);
        let given = json!({"session_token": session, "token_type": "Bearer", "expires_in": 3600});
        return answer(connection, 200, "", given.to_string().as_bytes());
    }
    let session = asked.header("authorization") == Some(&format!("Bearer {name}{}", state.session));
    let key = asked.header("x-nexus-api-key").unwrap_or_default();
    if !session && ![KEY, PUBLIC_KEY].contains(&key) && !state.keys.iter().any(|other| other == key) {
        return answer(connection, 401, "", b"");
    }
    match (asked.method.as_str(), path) {
        ("GET", "/v1/sync") => sync(connection, &state.document, asked, key),
        ("GET", "/v1/stream") => {
            let mut stream = connection.try_clone()?;
            let greeting = if state.mute { "" } else { "event: resync\ndata: {}\n\n" };
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
            stream.write_all(format!("{head}{greeting}").as_bytes())?;
            state.streams.push(stream);
            state.streams_opened += 1;
            drop(state);
            shared.changed.notify_all();
            Ok(())
        }
        ("POST", "/v1/flags/evaluate-ab") => {
            let question = asked.json();
            let on = |key: &Value| question["user_id"] == "ann" && key == "checkout";
            let results: serde_json::Map<String, Value> = question["keys"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| (key.as_str().unwrap().to_owned(), on(key).into()))
                .collect();
            answer(connection, 200, "", json!({ "results": results }).to_string().as_bytes())
        }
        (method, path) => {
            let status = write(&mut state.document, method, path, asked);
            answer(connection, status, "", b"")
        }
    }
}

fn sync(connection: &TcpStream, document: &Document, asked: &Asked, key: &str) -> std::io::Result<()> {
    let etag = format!("\"{}-{key:.3}\"", document.number);
    let header = if document.with_etag { format!("ETag: {etag}\r\n") } else { String::new() };
    if document.with_etag && asked.header("if-none-match") == Some(&etag) {
        return answer(connection, 304, &header, b"");
    }
    let is_public = key == PUBLIC_KEY;
    let mut body = json!({
        "synced_at": "2026-06-01T10:00:00Z",
        "key_type": document.key_type.unwrap_or(if is_public { "pk" } else { "sk" }),
        "service_kind": document.kind,
        "configs": document.configs,
        "flags": document.flags,
    });
    if !is_public && document.kind != "frontend" {
        body["secrets"] = document.secrets.clone();
    }
    answer(connection, 200, &header, body.to_string().as_bytes())
}

/// Does what a write asks for, and returns the status.
fn write(document: &mut Document, method: &str, path: &str, asked: &Asked) -> u16 {
    let unescaped = |key: &str| leverframe::encoding::percent_decoded(key).unwrap();
    let stored = |secrets: &Value, key: &str| secrets[key]["version"].as_u64().unwrap_or(0);
    let expected = asked.header("if-version").map(|version| version.parse::<u64>().unwrap());
    document.number += 1;
    match (method, path.trim_start_matches("/v1/").split_once('/')) {
        ("POST", None) if path == "/v1/secrets" => {
            let body = asked.json();
            let key = body["key"].as_str().unwrap();
            let version = stored(&document.secrets, key);
            if expected.is_some_and(|expected| expected != version) {
                return 409;
            }
            document.secrets[key] = json!({
                "value": body["value"], "version": version + 1, "type": body["type"],
                "encoding": body["encoding"].as_str().unwrap_or_default(), "source": "service",
            });
            201
        }
        ("DELETE", Some(("secrets", key))) if asked.target.contains('?') => {
            // One version: the one before is what is left.
            let key = unescaped(key);
            document.secrets[&key] = secret("s3cret-0", 1);
            200
        }
        ("DELETE", Some((kind, key))) => {
            let map = match kind {
                "secrets" => &mut document.secrets,
                "configs" => &mut document.configs,
                _ => &mut document.flags,
            };
            let gone = map.as_object_mut().unwrap().remove(&unescaped(key));
            if gone.is_some() { 204 } else { 404 }
        }
        ("PUT", Some(("configs", key))) => {
            document.configs[unescaped(key)] = config(asked.json()["value"].clone());
            200
        }
        ("PUT", Some(("flags", key))) => {
            document.flags[unescaped(key)] = flag(asked.json()["is_active"].as_bool().unwrap());
            200
        }
        _ => 404,
    }
}

/// Waits until something is so that nobody tells of.
#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let time = SystemClock::new();
    let end = time.now() + PATIENCE;
    while !is_so() {
        assert!(time.now() < end, "waited in vain: {what}");
        thread::yield_now();
    }
}

/// Waits until the client's thread waits, and nothing is under way.
#[track_caller]
pub(crate) fn settled(client: &NexusClient, refreshes: u64) {
    eventually("a refresh settles", || client.status().refreshes >= refreshes);
}

/// Moves the clock on, once somebody waits for that.
#[track_caller]
pub(crate) fn pass(clock: &ManualClock, time: Duration) {
    eventually("somebody waits", || clock.sleepers() > 0);
    clock.advance(time);
}

/// Does something that has to wait for nobody.
#[track_caller]
pub(crate) fn soon<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(act()));
    told.recv_timeout(PATIENCE).expect("it waits")
}
