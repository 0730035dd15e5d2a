//! The kit itself: for each clause a double that violates just it, and the clause that fails on it.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use leverframe::{
    Error, ErrorKind, Result,
    backends::cache_memory::MemoryCache,
    document::{Content, Document, Revision, Tree},
    live::block_on,
    testing::{
        Answer, ManualClock, RecordingSink, ScriptedSource, ScriptedTransport,
        conformance::{cache, clock, sink, source, transport},
    },
    traits::{
        Body, BoxFuture, CacheEntry, CacheKey, CacheStore, Clock, EvaluationRecord, FlushReport, Load,
        Request, Response, Source, TelemetrySink, Tick, Transport,
    },
};

/// The clause must panic.
fn fails(clause: impl Future<Output = ()>) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let failed = catch_unwind(AssertUnwindSafe(|| block_on(clause))).is_err();
    std::panic::set_hook(hook);
    failed
}

/// Serialises the tests that swap the panic hook.
static HOOK: Mutex<()> = Mutex::new(());

macro_rules! faulty {
    ($kind:ident: $($clause:ident $make:expr;)+) => {
        $(
            #[test]
            fn $clause() {
                let _guard = HOOK.lock().unwrap_or_else(|e| e.into_inner());

                assert!(fails($kind::$clause($kind::on_the_type($make))), "the clause passes on a double that violates it");
            }
        )+
    };
}

struct FaultyClock {
    good: ManualClock,
    fault: &'static str,
    calls: AtomicU64,
    leaked: Mutex<Vec<Shared>>,
}

type Shared = Arc<Mutex<BoxFuture<'static, ()>>>;

impl std::fmt::Debug for FaultyClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyClock")
    }
}

impl Clock for FaultyClock {
    fn now(&self) -> Tick {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.good.now();
        if self.fault == "k1" && calls.is_multiple_of(2) { now + Duration::from_secs(1) } else { now }
    }

    fn wall(&self) -> SystemTime {
        self.good.wall()
    }

    fn sleep_until(&self, deadline: Tick) -> BoxFuture<'static, ()> {
        match self.fault {
            "k2" => Box::pin(std::future::ready(())),
            "k3" => {
                // Somebody else keeps waiting with the caller's waker after the caller has gone.
                let sleep = Arc::new(Mutex::new(self.good.sleep_until(deadline)));
                self.leaked.lock().unwrap().push(Arc::clone(&sleep));
                Box::pin(std::future::poll_fn(move |cx| sleep.lock().unwrap().as_mut().poll(cx)))
            }
            _ => self.good.sleep_until(deadline),
        }
    }
}

fn clock(fault: &'static str) -> clock::Fixture<FaultyClock> {
    let good = ManualClock::new();
    let twin = if fault == "k4" { ManualClock::new() } else { good.clone() };
    let hand = good.clone();
    let faulty = FaultyClock { good, fault, calls: AtomicU64::new(0), leaked: Mutex::default() };
    clock::Fixture::new(faulty, twin, move |time| hand.advance(time))
}

faulty! { clock:
    k1_never_goes_back clock("k1");
    k2_wakes_no_earlier clock("k2");
    k3_forgets_dropped_sleeps clock("k3");
    k4_handles_share_time clock("k4");
}

#[derive(Debug)]
struct FaultySource {
    good: ScriptedSource,
    fault: &'static str,
    broken: AtomicBool,
    calls: AtomicU64,
}

const SECRET: &str = "hunter2";

#[async_trait]
impl Source for FaultySource {
    fn name(&self) -> &'static str {
        let again = self.calls.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        if self.fault == "s9" && again { "other" } else { "faulty" }
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fault == "s5" && self.broken.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "log in").with("password", SECRET));
        }
        if self.fault == "s7" && calls == 0 {
            // The work of a load that is dropped half-way is never undone.
            self.broken.store(true, Ordering::SeqCst);
            let mut polled = false;
            std::future::poll_fn(move |_| {
                if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.broken.store(false, Ordering::SeqCst);
        }
        if self.fault == "s7" && self.broken.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Conflict, "load"));
        }
        let load = self.good.load(if self.fault == "s2" { None } else { since }).await;
        match (self.fault, load) {
            ("s1", _) if since.is_none() => Ok(Load::Unchanged),
            ("s3", Ok(Load::Snapshot(d))) => {
                Ok(Load::Snapshot(Document::new(Revision::new(calls.to_string()), d.content().clone())))
            }
            ("s4", Ok(Load::Snapshot(_))) if since.is_some() => Ok(Load::Unchanged),
            ("s8", Err(_)) => Ok(Load::Unchanged),
            (_, load) => load,
        }
    }

    async fn changed(&self) -> Result<()> {
        if self.fault == "s6" {
            return Err(Error::new(ErrorKind::Unavailable, "wait for a change"));
        }
        self.good.changed().await
    }

    async fn close(&self) -> Result<()> {
        self.good.close().await
    }
}

struct Place(Arc<FaultySource>, usize);

impl source::Place for Place {
    fn change(&mut self) {
        self.1 += 1;
        self.0.good.set(Content::Tree([("flags/a.toml", self.1.to_string())].into_iter().collect::<Tree>()));
    }

    fn break_it(&mut self) -> bool {
        self.0.broken.store(true, Ordering::SeqCst);
        true
    }

    fn mend(&mut self) {
        self.0.broken.store(false, Ordering::SeqCst);
    }

    fn tells(&self) -> bool {
        true
    }

    fn secret(&self) -> Option<&str> {
        Some(SECRET)
    }
}

fn source(fault: &'static str) -> source::Fixture<Arc<FaultySource>> {
    let good = ScriptedSource::new(Content::Tree(Tree::new()));
    let faulty =
        Arc::new(FaultySource { good, fault, broken: AtomicBool::new(false), calls: AtomicU64::new(0) });
    source::Fixture::new(Arc::clone(&faulty), Place(faulty, 0))
}

faulty! { source:
    s1_first_load_is_whole source("s1");
    s2_same_revision_is_unchanged source("s2");
    s3_equal_state_equal_document source("s3");
    s4_change_is_brought source("s4");
    s5_failure_is_clean_and_passes source("s5");
    s6_change_is_told source("s6");
    s7_dropped_futures_do_no_harm source("s7");
    s8_close_ends_it source("s8");
    s9_name_is_fixed source("s9");
}

#[derive(Debug)]
struct FaultyCache {
    good: MemoryCache,
    fault: &'static str,
    damaged: Arc<AtomicBool>,
    /// Somebody looked, and there was nothing.
    missed: AtomicBool,
    calls: AtomicU64,
}

#[async_trait]
impl CacheStore for FaultyCache {
    fn name(&self) -> &'static str {
        if self.fault == "c9" { "Not-A-Name" } else { "faulty" }
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<CacheEntry>> {
        if self.fault == "c5" && self.damaged.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let found = self.good.get(key).await;
        self.missed.fetch_or(matches!(found, Ok(None)), Ordering::SeqCst);
        match (self.fault, found) {
            ("c1", Ok(None)) => Ok(Some(CacheEntry::new("ghost", SystemTime::UNIX_EPOCH))),
            ("c2", Ok(Some(entry))) => Ok(Some(CacheEntry::new(entry.content().clone(), entry.stored_at()))),
            ("c8", Err(_)) => Ok(None),
            (_, found) => found,
        }
    }

    async fn put(&self, key: &CacheKey, entry: CacheEntry) -> Result<()> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fault == "c3" && calls > 0 {
            return Ok(());
        }
        if self.fault == "c4" {
            self.good.remove(key).await?;
            // Until a reader has looked in between; at the first call there is none.
            let mut patience = if calls > 0 { 20_000 } else { 0 };
            while patience > 0 && !self.missed.load(Ordering::SeqCst) {
                patience -= 1;
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        if self.fault == "c7" && calls > 0 {
            self.good.put(&CacheKey::new("ab")?, entry.clone()).await?;
        }
        self.good.put(key, entry).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<()> {
        if self.fault == "c6" { Ok(()) } else { self.good.remove(key).await }
    }

    async fn close(&self) -> Result<()> {
        self.good.close().await
    }
}

fn cache(fault: &'static str) -> cache::Fixture<FaultyCache> {
    let damaged = Arc::new(AtomicBool::new(false));
    let hand = Arc::clone(&damaged);
    let faulty = FaultyCache {
        good: MemoryCache::default(),
        fault,
        damaged,
        missed: AtomicBool::new(false),
        calls: AtomicU64::new(0),
    };
    cache::Fixture::new(faulty).with_damage(move |_| hand.store(true, Ordering::SeqCst))
}

faulty! { cache:
    c1_absent_is_none cache("c1");
    c2_entries_come_back cache("c2");
    c3_put_replaces cache("c3");
    c4_put_is_atomic cache("c4");
    c5_damage_is_corrupt cache("c5");
    c6_remove_forgets cache("c6");
    c7_keys_keep_apart cache("c7");
    c8_close_ends_it cache("c8");
    c9_name_is_fixed cache("c9");
}

#[derive(Debug)]
struct FaultyTransport {
    good: ScriptedTransport,
    fault: &'static str,
    calls: AtomicU64,
}

#[async_trait]
impl Transport for FaultyTransport {
    fn name(&self) -> &'static str {
        if self.fault == "t10" { "double__underscore" } else { "faulty" }
    }

    async fn send(&self, mut request: Request) -> Result<Response> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fault == "t3" {
            request = request.deadline(Duration::from_millis(20));
        }
        if self.fault == "t4" {
            request = request.body_limit(u64::MAX);
        }
        if self.fault == "t5" {
            return Err(Error::new(ErrorKind::Unavailable, "send").with("uri", &request.uri));
        }
        if self.fault == "t8" && calls > 0 {
            return Err(Error::new(ErrorKind::Conflict, "send while another request is open"));
        }
        let answer = self.good.send(request).await;
        match (self.fault, answer) {
            ("t1", Ok(response)) if !response.status.is_success() => {
                Err(Error::new(ErrorKind::NotFound, "send"))
            }
            ("t2", Ok(response)) => {
                Ok(Response::new(response.status, response.headers, Body::from_bytes("other")))
            }
            ("t3", Err(_)) => Err(Error::new(ErrorKind::Unavailable, "send")),
            ("t6", Err(_)) => Err(Error::new(ErrorKind::NotFound, "send")),
            ("t7", Ok(response)) => {
                let (status, headers) = (response.status, response.headers);
                let half = Bytes::from_static(b"half of");
                Ok(Response::new(status, headers, Body::from_bytes(half)))
            }
            ("t9", Err(_)) => Ok(Response::new(StatusCode::OK, HeaderMap::new(), Body::from_bytes(""))),
            (_, answer) => answer,
        }
    }

    async fn close(&self) -> Result<()> {
        self.good.close().await
    }
}

struct Peer(ScriptedTransport, usize);

impl transport::Peer for Peer {
    fn arrange(&mut self, answer: Answer) -> Option<Uri> {
        self.1 += 1;
        self.0.answer(format!("/{}", self.1), answer);
        // Endless is more than a faulty double may be asked to read to its end.
        Some(format!("http://peer/{}", self.1).parse().unwrap())
    }

    fn unreachable(&mut self) -> Option<Uri> {
        Some("http://peer/nowhere".parse().unwrap())
    }
}

fn transport(fault: &'static str) -> transport::Fixture<FaultyTransport> {
    let good = ScriptedTransport::new();
    let faulty = FaultyTransport { good: good.clone(), fault, calls: AtomicU64::new(0) };
    transport::Fixture::new(faulty, Peer(good, 0))
}

faulty! { transport:
    t1_every_status_is_a_response transport("t1");
    t2_answers_arrive_unaltered transport("t2");
    t3_deadline_covers_the_exchange transport("t3");
    t5_no_credential_shows transport("t5");
    t6_unreachable_is_unavailable transport("t6");
    t7_cut_body_is_an_error transport("t7");
    t8_dropped_futures_do_no_harm transport("t8");
    t9_close_ends_it transport("t9");
    t10_name_is_fixed transport("t10");
}

/// A peer that sends a finite large body, so that a transport without a limit reads it to its end.
struct LargePeer(Peer);

impl transport::Peer for LargePeer {
    fn arrange(&mut self, answer: Answer) -> Option<Uri> {
        if let Answer::Endless = answer { None } else { transport::Peer::arrange(&mut self.0, answer) }
    }

    fn unreachable(&mut self) -> Option<Uri> {
        None
    }
}

#[test]
fn t4_body_is_limited_while_read() {
    let _guard = HOOK.lock().unwrap_or_else(|e| e.into_inner());
    let good = ScriptedTransport::new();
    let faulty = FaultyTransport { good: good.clone(), fault: "t4", calls: AtomicU64::new(0) };
    let fixture = transport::Fixture::new(faulty, LargePeer(Peer(good, 0)));

    assert!(fails(transport::t4_body_is_limited_while_read(transport::on_the_type(fixture))));
}

#[derive(Debug)]
struct FaultySink {
    good: RecordingSink,
    fault: &'static str,
    last: Mutex<FlushReport>,
    broken: Arc<AtomicBool>,
}

#[async_trait]
impl TelemetrySink for FaultySink {
    fn name(&self) -> &'static str {
        if self.fault == "e7" { "" } else { "faulty" }
    }

    fn record(&self, record: &EvaluationRecord) {
        assert!(!(self.fault == "e1" && self.broken.load(Ordering::SeqCst)), "a sink that fails its caller");
        let mut record = record.clone();
        if self.fault == "e2" {
            record.flag_key = "other".into();
        }
        self.good.record(&record);
    }

    async fn flush(&self, deadline: Duration) -> FlushReport {
        if self.fault == "e4" {
            std::future::pending::<()>().await;
        }
        let report = self.good.flush(deadline).await;
        match self.fault {
            "e3" => {
                let mut last = self.last.lock().unwrap();
                last.sent += report.sent;
                *last
            }
            "e5" if self.broken.load(Ordering::SeqCst) => FlushReport::default(),
            "e6" => FlushReport { dropped: 0, ..report },
            _ => report,
        }
    }

    async fn close(&self) -> Result<()> {
        self.good.close().await
    }
}

struct Downstream(RecordingSink, Arc<AtomicBool>);

impl sink::Downstream for Downstream {
    fn received(&self) -> Vec<String> {
        self.0.sent().iter().map(|r| r.flag_key.to_string()).collect()
    }

    fn set_broken(&mut self, broken: bool) {
        self.0.set_broken(broken);
        self.1.store(broken, Ordering::SeqCst);
    }
}

fn sink(fault: &'static str) -> sink::Fixture<FaultySink> {
    let good = RecordingSink::new(100);
    let broken = Arc::new(AtomicBool::new(false));
    let faulty =
        FaultySink { good: good.clone(), fault, last: Mutex::default(), broken: Arc::clone(&broken) };
    sink::Fixture::new(faulty, Downstream(good, broken))
}

faulty! { sink:
    e1_record_returns_at_once sink("e1");
    e2_records_arrive_unaltered_or_counted sink("e2");
    e3_flush_reports_each_once sink("e3");
    e4_flush_keeps_its_deadline sink("e4");
    e5_broken_downstream_only_reports sink("e5");
    e6_close_ends_it sink("e6");
    e7_name_is_fixed sink("e7");
}

#[test]
fn a_good_double_passes_where_the_faulty_ones_fail() {
    let _guard = HOOK.lock().unwrap_or_else(|e| e.into_inner());

    assert!(!fails(source::s4_change_is_brought(source::on_the_type(source("none")))));
    assert!(!fails(cache::c3_put_replaces(cache::on_the_type(cache("none")))));
    assert!(!fails(transport::t5_no_credential_shows(transport::on_the_type(transport("none")))));
    assert!(!fails(sink::e3_flush_reports_each_once(sink::on_the_type(sink("none")))));
    assert!(!fails(clock::k3_forgets_dropped_sleeps(clock::on_the_type(clock("none")))));
}
