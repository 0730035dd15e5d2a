//! The whole of what a client does about an event: from the bytes of the stream to the snapshot that is served and the
//! working tree that is on the disk.
//!
//! Everything is the client's own, refresh task and flushes included. Of the server there is only what it says: a
//! transport that hands the next event over when it is asked for.

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    future::poll_fn,
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use leverframe::{
    Error, ErrorKind, ExdClient, LoadOptions, async_trait,
    document::Delta,
    durable,
    flags::events::{EventFile, VERSION, VersionEvent},
    manifest::archive,
    traits::{Body, Chunks, Request, Response, Transport},
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::{LIMIT, SMALL, deltas};
use crate::{
    load,
    measure::{in_turns, median},
    options::{Options, progress},
    report::{Report, Row},
};

const SLUG: &str = "generated";

/// Single changes by turns, since each waits for the disk; the figure is the median change.
pub(super) fn measure(options: &Options, report: &mut Report) {
    const APPLIES: &str = "client applies a one-flag delta, 10,000 flags against 100";
    const SERVES: &str = "client serves a one-flag delta, 10,000 flags against 100";
    if !options.wants(APPLIES, SMALL) && !options.wants(SERVES, SMALL) {
        return;
    }
    progress(APPLIES);
    let (mut large, mut small) = (Following::of(10_000), Following::of(100));
    let flush = |following: &Following| {
        let files = following.written();
        move || flush(&files)
    };
    let (mut large_flush, mut small_flush) = (flush(&large), flush(&small));
    let [large_ns, small_ns, large_flush_ns, small_flush_ns] = in_turns(
        options.effort.rounds * 7,
        [&mut || large.apply(), &mut || small.apply(), &mut large_flush, &mut small_flush],
    );
    let ms = |ns: f64| ns / 1e6;
    let flushes = format!(
        "the same three files written and flushed, nothing else done: {:.2} ms and {:.2} ms",
        ms(large_flush_ns),
        ms(small_flush_ns),
    );
    report.rows.push(Row::pair(APPLIES, large_ns, (SMALL, small_ns), LIMIT).noting(flushes));
    let (large_ns, small_ns) = (median(mem::take(&mut large.served)), median(mem::take(&mut small.served)));
    let before = "of the same changes: what comes before the working tree is written";
    report.rows.push(Row::pair(SERVES, large_ns, (SMALL, small_ns), LIMIT).noting(before));
}

/// A client that follows a namespace, with its working tree.
struct Following {
    runtime: Runtime,
    client: ExdClient,
    script: Arc<Script>,
    folder: TempDir,
    changed: PathBuf,
    /// From each event's bytes until the change was served, in nanoseconds.
    served: Vec<f64>,
}

impl Following {
    fn of(flags: usize) -> Self {
        let tree = load::tree(flags);
        let deltas = deltas(&tree);
        let changed = deltas[0].changed().keys().next().expect("each changes one file").into();
        let script = Arc::new(Script {
            archive: archive::pack(&tree).expect("generated namespaces fit").into(),
            deltas,
            turn: Mutex::default(),
        });
        let folder = folder_on_disk().expect("the folder of the program can be written to");
        // One thread for the refresh task; what may block has others.
        let runtime = Builder::new_current_thread().build().expect("a runtime without drivers");
        let transport = Arc::new(Wire(Arc::clone(&script)));
        let client = ExdClient::builder()
            .server("http://127.0.0.1")
            .namespace(SLUG)
            .api_token("t")
            .event_stream(true)
            .working_tree(folder.path())
            .environment("production")
            .load_options(LoadOptions::new().with_transport(transport))
            .build();
        let client = runtime.block_on(client).expect("the snapshot is sound");
        script.lock().client = Some(client.clone());
        Self { runtime, client, script, folder, changed, served: Vec::new() }
    }

    /// Times one change from the event's bytes until the client asks for the next, having served and mirrored it.
    fn apply(&mut self) -> Duration {
        let (before, seen) = (self.client.flag_version(), self.client.refreshes());
        self.script.lock().begin(before + 1);
        let (served, took) = self.runtime.block_on(async {
            self.client.wait_for_refresh(seen).await;
            let served = Instant::now();
            (served, poll_fn(|cx| self.script.lock().poll_applied(cx)).await)
        });
        let told = self.script.lock().told_at.expect("the event was handed over");
        self.served.push(served.duration_since(told).as_nanos() as f64);
        assert_eq!(self.client.flag_version(), before + 1, "one change, served as a change");
        let state = fs::read_to_string(self.folder.path().join("state.json")).expect("the tree has a state");
        let hash = self.script.lock().hash.clone();
        assert!(state.contains(&hash), "the change is on the disk");
        took
    }

    /// Names files in the places of those that a change writes: a flag among its like, and two notes beside them.
    fn written(&self) -> [PathBuf; 3] {
        let root = self.folder.path();
        let files = fs::read_dir(root).expect("the tree is there").flatten().map(|item| item.path());
        let files = files.filter(|path| path.is_dir()).last().expect("a folder of files");
        let flag = files.join(&self.changed);
        assert!(flag.is_file(), "the tree holds the flag that changes");
        [flag.with_extension("probe"), root.join("probe-change"), root.join("probe-state")]
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // The client has the script, and the script must not have the client for ever.
        let client = self.script.lock().client.take();
        drop(client);
    }
}

/// Times what `durable` takes for as many bytes as a change has, put where a change puts them.
fn flush(files: &[PathBuf]) -> Duration {
    let start = Instant::now();
    for file in files {
        durable::replace(file, &[b'x'; 700]).expect("the disk takes three small files");
    }
    start.elapsed()
}

/// Makes a folder beside the program, which is on a disk where the system's folder for temporary files may be memory.
fn folder_on_disk() -> io::Result<TempDir> {
    let program = env::current_exe()?;
    TempDir::new_in(program.parent().unwrap_or_else(|| Path::new(".")))
}

/// What the server says.
struct Script {
    archive: Bytes,
    deltas: Vec<Delta>,
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Turn {
    phase: Phase,
    /// The versions that were told of, the first being the snapshot's.
    told: u64,
    /// Whether the snapshot was sent.
    fetched: bool,
    /// The digest of the closure that was told of last.
    hash: String,
    /// When the last change was told of.
    told_at: Option<Instant>,
    /// What `ExdClient::flag_version` says once the change is served.
    serves: u64,
    client: Option<ExdClient>,
    stream: Option<Waker>,
    driver: Option<Waker>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Idle,
    Begun,
    Told,
    Applied(Duration),
}

impl Turn {
    fn begin(&mut self, serves: u64) {
        self.serves = serves;
        self.phase = Phase::Begun;
        self.stream.take().into_iter().for_each(Waker::wake);
    }

    fn poll_applied(&mut self, cx: &Context<'_>) -> Poll<Duration> {
        match self.phase {
            Phase::Applied(took) => Poll::Ready(took),
            _ => {
                self.driver = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the bytes of the next event once they are asked for. The client looks at the stream right after an event,
    /// and again once all that follows from it is done; the second look finds the change served.
    fn poll_event(&self, cx: &Context<'_>) -> Poll<Bytes> {
        let mut turn = self.lock();
        let begun = turn.told == 0 || matches!(turn.phase, Phase::Begun);
        if begun {
            let event = self.event(&mut turn);
            if matches!(turn.phase, Phase::Begun) {
                turn.phase = Phase::Told;
                turn.told_at = Some(Instant::now());
            }
            return Poll::Ready(event);
        }
        if let (Phase::Told, Some(at)) = (&turn.phase, turn.told_at)
            && turn.client.as_ref().is_some_and(|client| client.flag_version() == turn.serves)
        {
            turn.phase = Phase::Applied(at.elapsed());
            turn.driver.take().into_iter().for_each(Waker::wake);
        }
        turn.stream = Some(cx.waker().clone());
        Poll::Pending
    }

    fn event(&self, turn: &mut Turn) -> Bytes {
        turn.told += 1;
        let version = turn.told;
        let steps = self.deltas.len() as u64;
        // The last change leads back to where the first starts from.
        let at = |version: u64| &self.deltas[((version + steps - 2) % steps) as usize];
        let hash = |version| at(version).digest().expect("each promises a digest").to_owned();
        turn.hash = hash(version);
        let event = if version == 1 {
            let url = format!("/api/v1/tenants/-/namespaces/{SLUG}/closure?version=1");
            VersionEvent::snapshot(SLUG, version, &turn.hash, url)
        } else {
            let text = |content: &[u8]| EventFile::new(String::from_utf8_lossy(content));
            let files: BTreeMap<String, EventFile> =
                at(version).changed().iter().map(|(path, content)| (path.clone(), text(content))).collect();
            VersionEvent::inline(SLUG, version, hash(version - 1), &turn.hash, files, Vec::new())
        };
        let data = serde_json::to_string(&event).expect("events are plain data");
        format!("event: {VERSION}\nid: {version}\ndata: {data}\n\n").into()
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("deltas", &self.deltas.len()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Wire(Arc<Script>);

#[async_trait]
impl Transport for Wire {
    fn name(&self) -> &'static str {
        "wire"
    }

    async fn send(&self, request: Request) -> Result<Response, Error> {
        let path = request.uri.path();
        let (kind, body) = if path.ends_with("/events") {
            ("text/event-stream", Body::from_chunks(Events(Arc::clone(&self.0))))
        } else if path.ends_with("/closure") && !mem::replace(&mut self.0.lock().fetched, true) {
            ("application/gzip", Body::from_bytes(self.0.archive.clone()))
        } else {
            // A second snapshot would mean that a change was not applied as one.
            return Err(Error::new(ErrorKind::Unsupported, "answer").with("path", path));
        };
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        Ok(Response::new(StatusCode::OK, headers, body))
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

struct Events(Arc<Script>);

#[async_trait]
impl Chunks for Events {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        Ok(Some(poll_fn(|cx| self.0.poll_event(cx)).await))
    }
}
