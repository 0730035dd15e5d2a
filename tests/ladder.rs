//! What a namespace falls back on: kept generations, a kept file, a baseline; and when it does not.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "support/shop.rs"]
mod shop;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use leverframe::{
    ErrorKind, LoadError, LoadOptions, Namespace, async_trait,
    backends::{
        cache_file::{FileCache, FileCacheConfig},
        cache_memory::{MemoryCache, MemoryConfig},
    },
    document::{Content, Revision, Tree},
    live::{Keep, Origin, Outcome, StalePolicy},
    manifest::archive,
    testing::{ManualClock, ScriptedSource},
    traits::{CacheEntry, CacheKey, CacheStore, Load, Source},
};
use shop::{served, tree};

const DAY: Duration = Duration::from_secs(86_400);

fn broken() -> Content {
    Content::Tree([("flags/limit.toml", "schema_version = \"0.1\"\n[flag]\n")].into_iter().collect::<Tree>())
}

fn file_cache(dir: &Path) -> Arc<dyn CacheStore> {
    let mut config = FileCacheConfig::default();
    config.dir = dir.to_owned();
    Arc::new(FileCache::open(config).unwrap())
}

struct Bench {
    source: ScriptedSource,
    clock: ManualClock,
    options: LoadOptions,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::new();
        // The files that tests write have the system's time.
        clock.set_wall(now());
        let options = LoadOptions::new().with_clock(Arc::new(clock.clone())).with_slug("shop");
        Self { source: ScriptedSource::new(tree(1)), clock, options }
    }

    fn with(mut self, change: impl FnOnce(LoadOptions) -> LoadOptions) -> Self {
        self.options = change(self.options);
        self
    }

    fn open(&self) -> Result<Namespace, LoadError> {
        Namespace::from_source(Arc::new(self.source.clone()), &self.options)
    }
}

/// The system's time to the second, so that ages come out whole.
#[expect(clippy::disallowed_methods, reason = "compared with the times of files")]
fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

#[test]
fn a_start_without_the_source_serves_the_newest_generation_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let bench =
        Bench::new().with(|o| o.with_keep(Keep::in_store(file_cache(dir.path()), "flags.shop").unwrap()));
    let first = bench.open().unwrap();
    bench.source.set(tree(2));
    first.refresh().unwrap();
    drop(first);

    bench.source.fail(ErrorKind::Unavailable);
    let namespace = bench.open().unwrap();
    let status = namespace.status();
    assert_eq!((served(&namespace), status.origin), (2, Origin::Kept));
    assert_eq!(status.last_error_kind, Some(ErrorKind::Unavailable));
    assert!(namespace.last_refresh_error().is_some());

    bench.source.mend();
    bench.source.set(tree(3));
    namespace.refresh().unwrap();
    assert_eq!((served(&namespace), namespace.status().origin), (3, Origin::Source));
    assert_eq!(namespace.last_refresh_error(), None);
}

#[test]
fn a_start_asks_the_source_only_whether_what_is_kept_is_current() {
    let store: Arc<dyn CacheStore> = Arc::new(MemoryCache::new(MemoryConfig::default()));
    let bench = Bench::new().with(|o| o.with_keep(Keep::in_store(Arc::clone(&store), "flags.shop").unwrap()));
    bench.open().unwrap();

    let asked = Arc::new(Mutex::new(Vec::new()));
    let source = Asked { inner: bench.source.clone(), since: Arc::clone(&asked) };
    let namespace = Namespace::from_source(Arc::new(source), &bench.options).unwrap();

    assert_eq!(*asked.lock().unwrap(), [Some("1".to_owned())]);
    assert_eq!((served(&namespace), namespace.status().last_error), (1, None));
    assert_eq!(namespace.status().staleness, Duration::ZERO);
}

#[test]
fn generations_are_passed_over_from_the_newest_to_the_oldest_until_one_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new()
        .with(|o| o.with_keep(Keep::in_store(file_cache(dir.path()), "flags.shop").unwrap().generations(3)));
    let namespace = bench.open().unwrap();
    for number in 2..=5 {
        bench.source.set(tree(number));
        namespace.refresh().unwrap();
    }
    bench.source.fail(ErrorKind::Timeout);

    let mut found = Vec::new();
    while let Ok(namespace) = bench.open() {
        let number = served(&namespace);
        found.push(number);
        damage(dir.path(), &tree_bytes(number));
    }

    assert_eq!(found, [5, 4, 3]);
}

/// Flips a byte of the entry that holds this content.
fn damage(dir: &Path, content: &[u8]) {
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(content.len()).position(|w| w == content) {
            bytes[at + content.len() / 2] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
}

fn tree_bytes(number: i64) -> Vec<u8> {
    let Content::Tree(tree) = tree(number) else { unreachable!() };
    archive::pack(&tree).unwrap()
}

#[test]
fn a_cache_that_is_damaged_at_any_byte_never_serves_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let bench =
        Bench::new().with(|o| o.with_keep(Keep::in_store(file_cache(dir.path()), "flags.shop").unwrap()));
    bench.open().unwrap();
    bench.source.fail(ErrorKind::Unavailable);
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().path()).collect();
    assert_eq!(files.len(), 2);

    for path in files {
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x20;
            fs::write(&path, &damaged).unwrap();
            match bench.open() {
                Ok(namespace) => assert_eq!(served(&namespace), 1),
                Err(error) => {
                    assert!(matches!(error, LoadError::Fetch(e) if e.kind() == ErrorKind::Unavailable))
                }
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(served(&bench.open().unwrap()), 1);
}

#[test]
fn a_document_that_fails_lint_is_not_kept_and_not_asked_for_again() {
    let store: Arc<dyn CacheStore> = Arc::new(MemoryCache::new(MemoryConfig::default()));
    let bench = Bench::new().with(|o| o.with_keep(Keep::in_store(store, "flags.shop").unwrap()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let source = Asked { inner: bench.source.clone(), since: Arc::clone(&asked) };
    let namespace = Namespace::from_source(Arc::new(source), &bench.options).unwrap();
    let handle = namespace.start_periodic_refresh(Duration::from_secs(30));

    let mut seen = namespace.refreshes();
    bench.source.set(broken());
    while namespace.status().quarantined.is_none() {
        seen = namespace.wait_for_refresh(seen);
    }
    let status = namespace.status();
    assert_eq!(status.quarantined, Some(Revision::new("2")));
    assert!(status.last_error.unwrap().contains("lint"));
    drop(handle);

    // Whoever polls next asks for anything but the bad document.
    asked.lock().unwrap().clear();
    let handle = namespace.start_periodic_refresh(Duration::from_millis(1));
    let seen = namespace.refreshes();
    while namespace.refreshes() == seen {
        bench.clock.advance(Duration::from_secs(30));
        std::thread::yield_now();
    }
    drop(handle);
    assert!(asked.lock().unwrap().iter().all(|since| since.as_deref() == Some("2")));
    assert!(namespace.last_refresh_error().is_some(), "an answer of no change does not hide the error");
    assert_eq!(served(&namespace), 1);

    // Another process starts with the good one.
    bench.source.fail(ErrorKind::Unavailable);
    assert_eq!(served(&bench.open().unwrap()), 1);
}

#[test]
fn a_start_whose_source_offers_a_bad_document_serves_the_last_good_one() {
    let store: Arc<dyn CacheStore> = Arc::new(MemoryCache::new(MemoryConfig::default()));
    let bench = Bench::new().with(|o| o.with_keep(Keep::in_store(store, "flags.shop").unwrap()));
    bench.open().unwrap();

    bench.source.set(broken());
    let namespace = bench.open().unwrap();

    assert_eq!((served(&namespace), namespace.status().origin), (1, Origin::Kept));
    assert_eq!(namespace.status().quarantined, Some(Revision::new("2")));
}

#[test]
fn old_states_are_served_said_or_refused_as_the_policy_says() {
    for (policy, starts) in
        [(StalePolicy::Serve, true), (StalePolicy::Warn, true), (StalePolicy::Fail, false)]
    {
        let store: Arc<dyn CacheStore> = Arc::new(MemoryCache::new(MemoryConfig::default()));
        let bench = Bench::new().with(|o| {
            o.with_keep(Keep::in_store(store, "flags.shop").unwrap()).with_stale_policy(policy, DAY)
        });
        bench.open().unwrap();
        bench.source.fail(ErrorKind::Unavailable);

        bench.clock.advance(DAY);
        let young = bench.open().unwrap();
        assert!(!young.status().expired);
        assert_eq!(young.status().staleness, DAY);

        bench.clock.advance(Duration::from_secs(1));
        assert!(young.status().expired, "what is served is not taken away, and says so");
        assert_eq!(bench.open().is_ok(), starts, "{policy:?}");
    }
}

#[test]
fn what_the_source_confirms_does_not_grow_old_in_the_cache() {
    let store: Arc<dyn CacheStore> = Arc::new(MemoryCache::new(MemoryConfig::default()));
    let puts = Arc::new(Mutex::new(0));
    let counted: Arc<dyn CacheStore> = Arc::new(Counted { inner: store, puts: Arc::clone(&puts) });
    let bench = Bench::new().with(|o| {
        o.with_keep(Keep::in_store(counted, "flags.shop").unwrap()).with_stale_policy(StalePolicy::Fail, DAY)
    });
    let namespace = bench.open().unwrap();
    let before = *puts.lock().unwrap();

    for _ in 0..100 {
        bench.clock.advance(Duration::from_secs(30));
        poll(&namespace);
    }
    assert_eq!(*puts.lock().unwrap(), before, "a poll that finds no change writes nothing");

    for _ in 0..100 {
        bench.clock.advance(Duration::from_secs(3_600));
        poll(&namespace);
    }
    assert!(*puts.lock().unwrap() > before);
    bench.source.fail(ErrorKind::Unavailable);
    assert_eq!(served(&bench.open().unwrap()), 1);
}

#[test]
fn a_time_of_day_that_jumps_makes_nothing_younger_and_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.tar.gz");
    let bench = Bench::new().with(|o| o.with_keep(Keep::in_file(&path)));
    bench.open().unwrap();
    bench.source.set(tree(2));

    // Kept in the future: it does not count as fresh, so the source is asked.
    bench.clock.set_wall(now() - DAY);
    assert_eq!(served(&bench.open().unwrap()), 2);
    bench.clock.set_wall(SystemTime::UNIX_EPOCH);
    bench.source.fail(ErrorKind::Unavailable);
    assert_eq!(served(&bench.open().unwrap()), 2);
}

#[test]
fn a_fresh_file_is_served_without_asking_and_an_old_one_is_asked_about() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/folder/shop.tar.gz");
    let bench = Bench::new().with(|o| o.with_keep(Keep::in_file(&path)));
    bench.open().unwrap();
    assert_eq!(fs::read(&path).unwrap(), tree_bytes(1));
    let loads = bench.source.loads();
    bench.source.set(tree(2));

    bench.clock.set_wall(now() + Duration::from_secs(290));
    let namespace = bench.open().unwrap();
    assert_eq!((served(&namespace), namespace.status().origin), (1, Origin::Kept));
    assert_eq!(bench.source.loads(), loads);
    assert_eq!(poll(&namespace), Outcome::Swapped(2), "the first poll asks for the whole");
    assert_eq!(served(&namespace), 2);
    assert_eq!(fs::read(&path).unwrap(), tree_bytes(2));

    bench.clock.set_wall(now() + Duration::from_secs(310));
    let loads = bench.source.loads();
    bench.open().unwrap();
    assert_eq!(bench.source.loads(), loads + 1);
}

#[test]
fn content_that_has_another_name_now_is_asked_about_by_that_name() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new().with(|o| o.with_keep(Keep::in_file(dir.path().join("shop.tar.gz"))));
    bench.open().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let source = Asked { inner: bench.source.clone(), since: Arc::clone(&asked) };
    // From the file, which holds no name.
    bench.clock.set_wall(now() + Duration::from_secs(60));
    let namespace = Namespace::from_source(Arc::new(source), &bench.options).unwrap();

    assert_eq!([poll(&namespace), poll(&namespace)], [Outcome::Unchanged; 2]);
    bench.source.set(tree(1));
    assert_eq!([poll(&namespace), poll(&namespace)], [Outcome::Unchanged; 2]);

    let name = |name: &str| Some(name.to_owned());
    assert_eq!(*asked.lock().unwrap(), [None, name("1"), name("1"), name("2")]);
    assert_eq!(namespace.status().revision, Some(Revision::new("2")));
    assert_eq!(namespace.flag_version(), 1);
}

#[cfg(unix)]
#[test]
fn a_kept_file_is_private_and_replaced_whole() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.tar.gz");
    let bench = Bench::new().with(|o| o.with_keep(Keep::in_file(&path)));
    bench.open().unwrap();

    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn a_kept_file_that_is_cut_at_any_tenth_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.tar.gz");
    let bench = Bench::new().with(|o| o.with_keep(Keep::in_file(&path)));
    bench.open().unwrap();
    let whole = fs::read(&path).unwrap();

    for tenth in 0..10 {
        fs::write(&path, &whole[..whole.len() * tenth / 10]).unwrap();
        assert_eq!(served(&bench.open().unwrap()), 1);
        assert_eq!(fs::read(&path).unwrap(), whole, "the next good document replaces it");
    }
}

#[test]
fn a_cache_that_cannot_be_written_or_read_keeps_nobody_from_starting() {
    let bench = Bench::new().with(|o| o.with_keep(Keep::in_store(Arc::new(Broken), "flags.shop").unwrap()));

    let namespace = bench.open().unwrap();
    bench.source.set(tree(2));
    namespace.refresh().unwrap();

    assert_eq!(served(&namespace), 2);
    let dir = tempfile::tempdir().unwrap();
    let not_a_folder = dir.path().join("file");
    fs::write(&not_a_folder, "").unwrap();
    let bench = Bench::new().with(|o| o.with_keep(Keep::in_file(not_a_folder.join("shop.tar.gz"))));
    assert_eq!(served(&bench.open().unwrap()), 1);
}

#[test]
fn two_processes_on_one_cache_leave_it_whole() {
    let dir = tempfile::tempdir().unwrap();
    let bench =
        Bench::new().with(|o| o.with_keep(Keep::in_store(file_cache(dir.path()), "flags.shop").unwrap()));
    bench.open().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4_i64 {
            let dir = dir.path();
            scope.spawn(move || {
                let bench = Bench::new()
                    .with(|o| o.with_keep(Keep::in_store(file_cache(dir), "flags.shop").unwrap()));
                let namespace = bench.open().unwrap();
                for round in 0..20 {
                    bench.source.set(tree(writer * 100 + round));
                    namespace.refresh().unwrap();
                }
            });
        }
    });

    bench.source.fail(ErrorKind::Unavailable);
    let number = served(&bench.open().unwrap());
    assert!(number % 100 < 20 && number < 400, "{number}");
}

#[test]
fn the_baseline_is_served_when_nothing_else_can_be_had() {
    let bench = Bench::new().with(|o| o.with_baseline(tree_bytes(7)));
    bench.source.fail(ErrorKind::Unavailable);

    let namespace = bench.open().unwrap();

    assert_eq!((served(&namespace), namespace.status().origin), (7, Origin::Baseline));
    bench.source.mend();
    namespace.refresh().unwrap();
    assert_eq!((served(&namespace), namespace.status().origin), (1, Origin::Source));
}

#[test]
fn without_anything_to_fall_back_on_the_sources_own_error_is_given() {
    let bench = Bench::new();
    bench.source.fail(ErrorKind::Unauthenticated);

    let error = bench.open().unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}

#[test]
fn figures_are_there_as_values_and_as_metrics() {
    let bench = Bench::new();
    let namespace = bench.open().unwrap();
    bench.source.fail(ErrorKind::Timeout);
    bench.clock.advance(Duration::from_secs(42));
    namespace.refresh().unwrap_err();

    let status = namespace.status();
    let text = leverframe::live::metrics_text([("shop", &status)]);

    assert_eq!((status.failures, status.refreshes, status.staleness.as_secs()), (1, 1, 42));
    assert!(status.bytes > 0 && status.last_success.is_some());
    for line in [
        "leverframe_feed_version{feed=\"shop\"} 1",
        "leverframe_feed_staleness_seconds{feed=\"shop\"} 42",
        "leverframe_feed_failures_total{feed=\"shop\"} 1",
        "leverframe_feed_info{feed=\"shop\",origin=\"source\",last_error=\"timed out\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
    }
}

/// Polls as the background does.
fn poll(namespace: &Namespace) -> Outcome {
    namespace.poll().unwrap()
}

/// Remembers what each load was asked for.
#[derive(Debug)]
struct Asked {
    inner: ScriptedSource,
    since: Arc<Mutex<Vec<Option<String>>>>,
}

#[async_trait]
impl Source for Asked {
    fn name(&self) -> &'static str {
        "asked"
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> leverframe::Result<Load> {
        self.since.lock().unwrap().push(since.map(|r| r.as_str().to_owned()));
        self.inner.load(since).await
    }

    async fn changed(&self) -> leverframe::Result<()> {
        self.inner.changed().await
    }

    async fn close(&self) -> leverframe::Result<()> {
        self.inner.close().await
    }
}

/// Counts the writes.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn CacheStore>,
    puts: Arc<Mutex<u64>>,
}

#[async_trait]
impl CacheStore for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }

    async fn get(&self, key: &CacheKey) -> leverframe::Result<Option<CacheEntry>> {
        self.inner.get(key).await
    }

    async fn put(&self, key: &CacheKey, entry: CacheEntry) -> leverframe::Result<()> {
        *self.puts.lock().unwrap() += 1;
        self.inner.put(key, entry).await
    }

    async fn remove(&self, key: &CacheKey) -> leverframe::Result<()> {
        self.inner.remove(key).await
    }

    async fn close(&self) -> leverframe::Result<()> {
        self.inner.close().await
    }
}

/// Fails at everything.
#[derive(Debug)]
struct Broken;

fn refused<T>() -> leverframe::Result<T> {
    Err(leverframe::Error::new(ErrorKind::PermissionDenied, "use the cache"))
}

#[async_trait]
impl CacheStore for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    async fn get(&self, _: &CacheKey) -> leverframe::Result<Option<CacheEntry>> {
        refused()
    }

    async fn put(&self, _: &CacheKey, _: CacheEntry) -> leverframe::Result<()> {
        refused()
    }

    async fn remove(&self, _: &CacheKey) -> leverframe::Result<()> {
        refused()
    }

    async fn close(&self) -> leverframe::Result<()> {
        Ok(())
    }
}
