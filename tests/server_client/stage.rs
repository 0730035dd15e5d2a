//! A server on loopback that speaks the contract, records what it is asked, and misbehaves when told to.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::Duration,
};

use leverframe::{
    FlagFilter,
    document::{Entry, Tree},
    flags::events::{EventFile, RESYNC, ResyncEvent, VERSION, VersionEvent},
    manifest::{LintOptions, archive, lint_tree},
};

/// The token that the server takes.
pub(crate) const TOKEN: &str = "exd_read_s3cret";

/// Longer than anything here takes, far shorter than a hung test.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the next request for something gets instead of its answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A status with an error envelope of this code.
    Refusal(u16, &'static str),
    /// A whole answer with another body.
    Body(Vec<u8>),
    /// A closed connection.
    Reset,
    /// Nothing, until `end_silence`; then the answer.
    Silence,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn is_for(&self, what: &str) -> bool {
        self.path.ends_with(what)
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
    /// The versions of each namespace, the first being 1.
    namespaces: BTreeMap<String, Vec<Tree>>,
    asked: Vec<Asked>,
    faults: VecDeque<(&'static str, Fault)>,
    streams: Vec<Subscriber>,
    /// What `snapshot_url` begins with.
    url_prefix: String,
    silence_is_over: bool,
    ended: bool,
}

struct Subscriber {
    number: usize,
    subscriptions: Vec<(String, FlagFilter)>,
    /// The version and the digest that each namespace had when it was last told of.
    told: BTreeMap<String, (u64, String)>,
    stream: TcpStream,
}

impl Stage {
    pub(crate) fn start() -> Self {
        Self::on(TcpListener::bind(("127.0.0.1", 0)).unwrap())
    }

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

    /// A server with one version of the namespace `shop`.
    pub(crate) fn with_shop(number: i64) -> Self {
        let stage = Self::start();
        stage.publish("shop", super::shop::files(number));
        stage
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a version and tells those who listen.
    pub(crate) fn publish(&self, slug: &str, tree: Tree) {
        let mut state = self.shared.lock();
        state.namespaces.entry(slug.to_owned()).or_default().push(tree);
        let mut streams = std::mem::take(&mut state.streams);
        for subscriber in &mut streams {
            if let Some(event) = subscriber.inline(&state, slug) {
                subscriber.send(&event);
            }
        }
        state.streams = streams;
    }

    /// Adds a version and tells nobody.
    pub(crate) fn add(&self, slug: &str, tree: Tree) {
        self.shared.lock().namespaces.entry(slug.to_owned()).or_default().push(tree);
    }

    /// Lets the next request for `what` (the end of its path) go wrong, after those told to before.
    pub(crate) fn fail(&self, what: &'static str, fault: Fault) {
        self.shared.lock().faults.push_back((what, fault));
    }

    /// Sets what `snapshot_url` begins with: nothing, an origin, a prefix.
    pub(crate) fn prefix_urls(&self, prefix: impl Into<String>) {
        self.shared.lock().url_prefix = prefix.into();
    }

    /// Sends bytes to all who listen.
    pub(crate) fn send_raw(&self, bytes: &[u8]) {
        for subscriber in &mut self.shared.lock().streams {
            subscriber.send_bytes(bytes);
        }
    }

    /// Sends an event to all who listen.
    pub(crate) fn send_event(&self, event: &VersionEvent) {
        let data = serde_json::to_string(event).unwrap();
        self.send_raw(format!("event: {VERSION}\nid: {}\ndata: {data}\n\n", event.version).as_bytes());
        let mut state = self.shared.lock();
        let mut streams = std::mem::take(&mut state.streams);
        for subscriber in &mut streams {
            // What follows starts from there.
            let _ = subscriber.tell(&state, &event.namespace);
        }
        state.streams = streams;
    }

    /// Adds a version, if one is given, and tells all who listen to fetch everything.
    pub(crate) fn send_resync(&self, slug: &str, next: Option<Tree>) {
        if let Some(next) = next {
            self.add(slug, next);
        }
        let mut state = self.shared.lock();
        let mut streams = std::mem::take(&mut state.streams);
        for subscriber in &mut streams {
            let Some((version, hash)) = subscriber.tell(&state, slug) else { continue };
            let url = subscriber.url(&state, slug, version);
            let event = ResyncEvent::new(slug, version, hash, url, "overflow");
            let data = serde_json::to_string(&event).unwrap();
            subscriber.send(&format!("event: {RESYNC}\nid: {}\ndata: {data}\n\n", subscriber.position()));
        }
        state.streams = streams;
    }

    /// Adds a version, and returns the inline event that would tell of it.
    pub(crate) fn add_with_event(&self, slug: &str, next: Tree) -> VersionEvent {
        let event = {
            let state = self.shared.lock();
            let (version, now) = state.newest(slug).unwrap();
            let (before, prev) = closure(&FlagFilter::All, slug, now);
            let (after, hash) = closure(&FlagFilter::All, slug, &next);
            delta(slug, version + 1, (&before, prev), (&after, hash))
        };
        self.add(slug, next);
        event
    }

    /// Goes on with the answers that were held back.
    pub(crate) fn end_silence(&self) {
        self.shared.lock().silence_is_over = true;
        self.shared.changed.notify_all();
    }

    /// Breaks every stream off.
    pub(crate) fn drop_streams(&self) {
        for subscriber in self.shared.lock().streams.drain(..) {
            // It may have gone by itself.
            let _ = subscriber.stream.shutdown(Shutdown::Both);
        }
    }

    /// Returns the requests so far whose path ends so.
    pub(crate) fn asked(&self, what: &str) -> Vec<Asked> {
        self.shared.lock().asked.iter().filter(|asked| asked.is_for(what)).cloned().collect()
    }

    /// Waits until so many requests have come whose path ends so.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, count: usize) -> Vec<Asked> {
        self.wait(&format!("{count} requests for {what}"), |state| {
            state.asked.iter().filter(|asked| asked.is_for(what)).count() >= count
        });
        self.asked(what)
    }

    /// Waits until so many streams are open.
    #[track_caller]
    pub(crate) fn wait_for_streams(&self, count: usize) {
        self.wait(&format!("{count} streams"), |state| state.streams.len() == count);
    }

    #[track_caller]
    fn wait(&self, what: &str, reached: impl Fn(&State) -> bool) {
        let state = self.shared.lock();
        let (state, outcome) =
            self.shared.changed.wait_timeout_while(state, PATIENCE, |state| !reached(state)).unwrap();
        assert!(!outcome.timed_out(), "no {what}; asked: {:#?}", state.asked);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.drop_streams();
        // Wakes the acceptor, which then looks at `ended`.
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

impl State {
    fn newest(&self, slug: &str) -> Option<(u64, &Tree)> {
        let versions = self.namespaces.get(slug)?;
        Some((versions.len() as u64, versions.last()?))
    }
}

impl Subscriber {
    /// Takes note of the present version of a namespace; `None` where it is not subscribed or has none.
    fn tell(&mut self, state: &State, slug: &str) -> Option<(u64, String)> {
        let (_, filter) = self.subscriptions.iter().find(|(subscribed, _)| subscribed == slug)?;
        let (version, tree) = state.newest(slug)?;
        let (_, hash) = closure(filter, slug, tree);
        self.told.insert(slug.to_owned(), (version, hash.clone()));
        Some((version, hash))
    }

    fn snapshot(&mut self, state: &State, slug: &str) -> Option<String> {
        let (version, hash) = self.tell(state, slug)?;
        let event = VersionEvent::snapshot(slug, version, hash, self.url(state, slug, version));
        Some(self.event(&event))
    }

    fn inline(&mut self, state: &State, slug: &str) -> Option<String> {
        let (_, filter) = self.subscriptions.iter().find(|(subscribed, _)| subscribed == slug)?.clone();
        let Some((told, _)) = self.told.get(slug).cloned() else { return self.snapshot(state, slug) };
        let before = closure(&filter, slug, &state.namespaces[slug][told as usize - 1]);
        let (version, hash) = self.tell(state, slug)?;
        if hash == before.1 {
            return None;
        }
        let after = closure(&filter, slug, &state.namespaces[slug][version as usize - 1]);
        let event = delta(slug, version, (&before.0, before.1), (&after.0, after.1));
        Some(self.event(&event))
    }

    fn event(&self, event: &VersionEvent) -> String {
        let data = serde_json::to_string(event).unwrap();
        format!("event: {VERSION}\nid: {}\ndata: {data}\n\n", self.position())
    }

    fn position(&self) -> String {
        match &self.subscriptions[..] {
            [_] => self.told.values().map(|(version, _)| version.to_string()).collect(),
            _ => {
                let each = self.told.iter().map(|(slug, (version, _))| format!("{slug}={version}"));
                each.collect::<Vec<_>>().join(",")
            }
        }
    }

    fn url(&self, state: &State, slug: &str, version: u64) -> String {
        let (_, filter) = self.subscriptions.iter().find(|(subscribed, _)| subscribed == slug).unwrap();
        let flags = match filter {
            FlagFilter::Only(flags) => flags.join(","),
            _ => "*".to_owned(),
        };
        let prefix = &state.url_prefix;
        format!(
            "{prefix}/api/v1/tenants/acme/namespaces/{slug}/closure?flags={flags}&version={version}&exp=1&sig=s3cret-sig"
        )
    }

    fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        // Who has gone is not told.
        let _ = self.stream.write_all(&chunk);
    }
}

fn closure(filter: &FlagFilter, slug: &str, tree: &Tree) -> (Tree, String) {
    let manifest = lint_tree(tree, &LintOptions::new().with_slug(slug)).manifest;
    // A test may publish what no server would.
    let Some(manifest) = manifest else {
        return (tree.clone(), leverframe::manifest::Fingerprint::of(tree).as_str().to_owned());
    };
    let (files, fingerprint) = filter.closure(tree, &manifest);
    (files, fingerprint.as_str().to_owned())
}

fn delta(slug: &str, version: u64, before: (&Tree, String), after: (&Tree, String)) -> VersionEvent {
    let text = |entry: &Entry| match entry {
        Entry::File(content) => String::from_utf8(content.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    let files = after
        .0
        .iter()
        .filter(|(path, entry)| before.0.get(path) != Some(entry))
        .map(|(path, entry)| (path.to_owned(), EventFile::new(text(entry))))
        .collect();
    let removed =
        before.0.iter().filter(|(path, _)| after.0.get(path).is_none()).map(|(path, _)| path.to_owned());
    VersionEvent::inline(slug, version, before.1, after.1, files, removed.collect())
}

fn serve(connection: &TcpStream, shared: &Shared) {
    // A peer that goes ends its thread; nothing else depends on it.
    let _ = answer(connection, shared);
}

fn answer(connection: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(target) = line.split(' ').nth(1) else { return Ok(()) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let asked = Asked { path: path.to_owned(), query: query.to_owned(), headers };
    let fault = {
        let mut state = shared.lock();
        state.asked.push(asked.clone());
        let at = state.faults.iter().position(|(what, _)| asked.is_for(what));
        at.and_then(|at| state.faults.remove(at))
    };
    shared.changed.notify_all();
    match fault {
        Some((_, Fault::Reset)) => return connection.shutdown(Shutdown::Both),
        Some((_, Fault::Refusal(status, code))) => return refuse(connection, status, code),
        Some((_, Fault::Body(body))) => return whole(connection, 200, &[], &body),
        Some((_, Fault::Silence)) => {
            let state = shared.lock();
            let over = shared.changed.wait_timeout_while(state, PATIENCE, |s| !s.silence_is_over && !s.ended);
            drop(over);
        }
        None => {}
    }
    let authorized = asked.header("authorization") == Some(&format!("Bearer {TOKEN}"));
    let signed = asked.query.contains("sig=s3cret-sig");
    if !(authorized || signed && asked.is_for("/closure")) {
        return refuse(connection, 401, "unauthenticated");
    }
    match asked.path.split('/').collect::<Vec<_>>()[..] {
        ["", "api", "v1", "events"] => subscribe(connection, &asked, shared, reader),
        ["", "api", "v1", "tenants", _, "namespaces", slug, "manifest"] => {
            let newest = shared.lock().newest(slug).map(|(version, tree)| (version, tree.clone()));
            let Some((version, tree)) = newest else { return refuse(connection, 404, "not_found") };
            let etag = format!("\"v{version}\"");
            if asked.header("if-none-match") == Some(&etag) {
                return whole(connection, 304, &[("etag", &etag)], b"");
            }
            whole(connection, 200, &[("etag", &etag)], &packed(&tree))
        }
        ["", "api", "v1", "tenants", _, "namespaces", slug, "closure"] => {
            let (mut flags, mut version) = (FlagFilter::All, None);
            for (key, value) in asked.query.split('&').filter_map(|pair| pair.split_once('=')) {
                match key {
                    "flags" => flags = FlagFilter::only(value.split(',')),
                    "version" => version = value.parse::<usize>().ok(),
                    _ => {}
                }
            }
            let tree = {
                let state = shared.lock();
                let versions = state.namespaces.get(slug).cloned().unwrap_or_default();
                versions.get(version.unwrap_or(versions.len()).wrapping_sub(1)).cloned()
            };
            let Some(tree) = tree else { return refuse(connection, 404, "not_found") };
            whole(connection, 200, &[], &packed(&closure(&flags, slug, &tree).0))
        }
        _ => refuse(connection, 404, "not_found"),
    }
}

/// Any tree as an archive, whatever lint says of it.
fn packed(tree: &Tree) -> Vec<u8> {
    archive::pack(tree).unwrap()
}

fn subscribe(
    mut connection: &TcpStream,
    asked: &Asked,
    shared: &Shared,
    mut reader: BufReader<TcpStream>,
) -> std::io::Result<()> {
    let subscriptions = asked.query.split('&').filter_map(|pair| pair.strip_prefix("ns=")).map(|ns| {
        let ns = ns.replace("%3A", ":").replace("%2C", ",").replace("%2A", "*");
        match ns.split_once(':') {
            Some((slug, flags)) => (slug.to_owned(), FlagFilter::only(flags.split(','))),
            None => (ns, FlagFilter::All),
        }
    });
    let subscriptions: Vec<_> = subscriptions.collect();
    connection.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    let number = {
        let mut state = shared.lock();
        let number = state.asked.len();
        let slugs: Vec<String> = subscriptions.iter().map(|(slug, _)| slug.clone()).collect();
        let stream = connection.try_clone()?;
        let mut subscriber = Subscriber { number, subscriptions, told: BTreeMap::new(), stream };
        subscriber.send("retry: 1000\n\n");
        for slug in slugs {
            if let Some(event) = subscriber.snapshot(&state, &slug) {
                subscriber.send(&event);
            }
        }
        state.streams.push(subscriber);
        number
    };
    shared.changed.notify_all();
    // Until the client goes.
    let _ = reader.read(&mut [0]);
    shared.lock().streams.retain(|subscriber| subscriber.number != number);
    shared.changed.notify_all();
    Ok(())
}

fn refuse(connection: &TcpStream, status: u16, code: &str) -> std::io::Result<()> {
    let body = format!(
        r#"{{"error":{{"code":"{code}","message":"s3cret text","details":{{}}}},"request_id":"01"}}"#
    );
    whole(connection, status, &[("content-type", "application/json")], body.as_bytes())
}

fn whole(
    mut connection: &TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head =
        format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    for (name, value) in headers {
        // Writing to a string cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    connection.write_all(&[head.as_bytes(), body].concat())
}
