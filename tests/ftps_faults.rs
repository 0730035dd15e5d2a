//! The `ftps` source against a server that fails on demand.
#![cfg(all(feature = "source-ftps", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/real/mod.rs"]
mod real;

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use leverframe::{
    Error, ErrorKind, Result, Retry, UriAuth,
    document::{Content, Document, Revision},
    live::block_on,
    sources::ftps::{FtpsConfig, FtpsSource},
    testing::ManualClock,
    traits::{Load, Source},
};
use real::{
    certs::Pki,
    sham_ftp::{Act, Sham},
};

/// A server, a source on it, and a clock that stands still.
struct Bench {
    sham: Sham,
    source: Arc<FtpsSource>,
    clock: ManualClock,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn explicit() -> Self {
        Self::with(false, |_| {})
    }

    fn implicit() -> Self {
        Self::with(true, |_| {})
    }

    fn with(implicit: bool, edit: impl FnOnce(&mut FtpsConfig)) -> Self {
        Self::of(USER, PASS, implicit, edit)
    }

    fn of(user: &str, pass: &str, implicit: bool, edit: impl FnOnce(&mut FtpsConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new(dir.path());
        let sham = Sham::start(&pki, implicit);
        let mut config = FtpsConfig::default();
        config.ca_file = pki.ca_file();
        config.mode = if implicit { "implicit" } else { "explicit" }.to_owned();
        edit(&mut config);
        let clock = ManualClock::new();
        let auth = UriAuth::Basic { user: user.into(), pass: pass.into() };
        let opened = FtpsSource::open_with_clock(&sham.uri(), Some(&auth), config, Arc::new(clock.clone()));
        Self { sham, source: Arc::new(opened.unwrap()), clock, _dir: dir }
    }

    fn load(&self, since: Option<&Revision>) -> Result<Load> {
        self.start(since).recv_timeout(PATIENCE).expect("a load hangs")
    }

    /// Loads on a thread of its own.
    fn start(&self, since: Option<&Revision>) -> mpsc::Receiver<Result<Load>> {
        let (done, loaded) = mpsc::channel();
        let (source, since) = (Arc::clone(&self.source), since.cloned());
        thread::spawn(move || drop(done.send(block_on(source.load(since.as_ref())))));
        loaded
    }

    fn whole(&self) -> Document {
        match self.load(None) {
            Ok(Load::Snapshot(document)) => document,
            Ok(other) => panic!("{other:?}"),
            Err(error) => panic!("{}", error.chain()),
        }
    }

    fn failure(&self) -> Error {
        let error = self.load(None).unwrap_err();
        keeps_quiet(&error);
        error
    }
}

const USER: &str = "ann-oriole";
const PASS: &str = "hunter2";
const PATIENCE: Duration = Duration::from_secs(20);
const CONNECTING: Duration = Duration::from_secs(10);
const LOADING: Duration = Duration::from_secs(30);

fn content(document: &Document) -> &[u8] {
    match document.content() {
        Content::Bytes(bytes) => bytes,
        Content::Tree(_) => panic!("a tree"),
    }
}

fn keeps_quiet(error: &Error) {
    let shown = format!("{error} {error:?} {} {:?}", error.chain(), error.hint_text());
    assert!(!shown.contains(PASS) && !shown.contains(USER), "{shown}");
}

#[test]
fn a_server_that_falls_silent_at_any_step_is_a_timeout_within_the_bound() {
    let connecting = ["GREETING", "AUTH", "TLS", "PBSZ", "PROT", "USER", "PASS", "TYPE"];
    let loading = ["MDTM", "SIZE", "PASV", "RETR", "DATA-TLS", "DATA", "END"];
    for implicit in [false, true] {
        let steps = connecting.iter().map(|s| (*s, CONNECTING)).chain(loading.iter().map(|s| (*s, LOADING)));
        for (step, bound) in steps.filter(|(step, _)| !(implicit && *step == "AUTH")) {
            let bench = if implicit { Bench::implicit() } else { Bench::explicit() };
            bench.sham.once(step, Act::Hang);
            let loaded = bench.start(None);
            assert_eq!(bench.sham.hangs(), step);

            bench.clock.advance(bound - Duration::from_millis(1));
            let early = loaded.recv_timeout(Duration::from_millis(5));
            bench.clock.advance(Duration::from_millis(1));
            let error = loaded.recv_timeout(PATIENCE).expect(step).unwrap_err();

            assert!(early.is_err(), "{step}: {early:?}");
            assert_eq!(error.kind(), ErrorKind::Timeout, "{step}: {}", error.chain());
            assert!(error.retry_state().may_retry(), "{step}");
            keeps_quiet(&error);
            assert_eq!(content(&bench.whole()), b"content", "after {step}");
        }
    }
}

#[test]
fn the_bound_holds_by_the_system_clock() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let sham = Sham::start(&pki, false);
    sham.always("DATA", Act::Hang);
    let mut config = FtpsConfig::default();
    config.ca_file = pki.ca_file();
    config.timeout_ms = 200;
    let source = FtpsSource::open(&sham.uri(), None, config).unwrap();

    let (done, loaded) = mpsc::channel();
    thread::spawn(move || drop(done.send(block_on(source.load(None)))));
    let error = loaded.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
}

#[test]
fn one_control_connection_serves_load_after_load() {
    let bench = Bench::explicit();

    let first = bench.whole();
    for _ in 0..5 {
        assert_eq!(bench.load(Some(first.revision())).unwrap(), Load::Unchanged);
    }

    assert_eq!(bench.sham.connections(), 1);
    assert_eq!(bench.sham.count("RETR"), 1);
    assert_eq!(bench.sham.count("MDTM"), 7);
}

#[test]
fn a_kept_connection_that_the_server_ended_is_replaced_without_an_error() {
    for act in [Act::Close, Act::Say("421 idle for too long"), Act::Say("530 who are you")] {
        for step in ["MDTM", "SIZE", "PASV", "RETR", "END"] {
            let bench = Bench::explicit();
            let first = bench.whole();
            bench.sham.put(b"changed", 20_260_102_030_406);
            bench.sham.once(step, act);

            let loaded = bench.load(Some(first.revision()));

            assert!(
                matches!(&loaded, Ok(Load::Snapshot(d)) if content(d) == b"changed"),
                "{step} {act:?}: {loaded:?}"
            );
            assert_eq!(bench.sham.connections(), 2, "{step} {act:?}");
        }
    }
}

#[test]
fn a_kept_connection_that_fell_silent_is_replaced_within_the_load() {
    let bench = Bench::explicit();
    let first = bench.whole();
    bench.sham.once("MDTM", Act::Hang);

    let loaded = bench.start(Some(first.revision()));
    bench.sham.hangs();
    bench.clock.advance(CONNECTING);

    assert_eq!(loaded.recv_timeout(PATIENCE).unwrap().unwrap(), Load::Unchanged);
    assert_eq!(bench.sham.connections(), 2);
}

#[test]
fn a_data_connection_that_breaks_is_an_error_and_never_a_shorter_file() {
    for end in [None, Some(Act::Say("426 aborted")), Some(Act::Close)] {
        let bench = Bench::explicit();
        bench.sham.once("DATA", Act::Cut(3));
        if let Some(end) = end {
            bench.sham.once("END", end);
        }

        let error = bench.failure();

        assert_eq!(error.kind(), ErrorKind::Unavailable, "{end:?}: {}", error.chain());
        assert!(error.retry_state().may_retry(), "{end:?}");
        bench.sham.behave();
        assert_eq!(content(&bench.whole()), b"content", "{end:?}");
    }
}

#[test]
fn a_transfer_that_ends_early_in_good_order_is_read_again_and_then_an_error() {
    let bench = Bench::explicit();
    bench.sham.once("DATA", Act::End(3));
    assert_eq!(content(&bench.whole()), b"content");

    bench.sham.always("DATA", Act::End(3));
    let error = bench.failure();

    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    assert!(error.retry_state().may_retry());
}

#[test]
fn an_end_without_the_end_of_tls_is_believed_only_where_the_size_proves_it() {
    let bench = Bench::explicit();
    bench.sham.always("DATA", Act::Cut(7));
    assert_eq!(content(&bench.whole()), b"content");

    bench.sham.always("SIZE", Act::Say("502 no"));
    let error = bench.failure();

    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
}

#[test]
fn refusals_have_the_kind_that_a_caller_can_act_on() {
    use ErrorKind::{NotFound, PermissionDenied, Unauthenticated, Unavailable, Unsupported};
    let cases = [
        ("GREETING", "421 too many", Unavailable, true),
        ("AUTH", "502 what", Unsupported, false),
        ("AUTH", "431 not now", Unavailable, true),
        ("PROT", "536 no", Unsupported, false),
        ("USER", "530 no hunter2 for ann-oriole", Unauthenticated, false),
        ("PASS", "530 no hunter2 for ann-oriole", Unauthenticated, false),
        ("PASS", "430 no hunter2 for ann-oriole", Unauthenticated, false),
        ("PASS", "421 too many", Unavailable, true),
        ("TYPE", "504 no", Unavailable, false),
        ("MDTM", "530 hunter2", PermissionDenied, false),
        ("MDTM", "421 too many", Unavailable, true),
        ("PASV", "425 no", Unavailable, true),
        ("RETR", "550 no such file hunter2", NotFound, false),
        ("RETR", "450 busy", Unavailable, true),
        ("END", "550 no such file", NotFound, false),
        ("END", "522 session reuse required", Unavailable, false),
        ("END", "425 no session", Unavailable, true),
        ("END", "451 disk", Unavailable, true),
    ];
    for (step, line, kind, retry) in cases {
        let bench = Bench::explicit();
        bench.sham.always(step, Act::Say(line));

        let error = bench.failure();

        assert_eq!(error.kind(), kind, "{step} {line}: {}", error.chain());
        assert_eq!(error.retry_state().may_retry(), retry, "{step} {line}");
        assert!(error.hint_text().is_some() && error.to_string().contains(&line[..3]), "{error}");
        bench.sham.behave();
        assert_eq!(content(&bench.whole()), b"content", "after {step} {line}");
    }
}

#[test]
fn no_log_in_is_sent_before_tls() {
    for answer in ["502 no", "234 go ahead"] {
        let bench = Bench::explicit();
        bench.sham.always("AUTH", Act::Say(answer));
        bench.sham.always("TLS", Act::Close);

        assert!(bench.load(None).is_err());

        assert_eq!(bench.sham.lines(), ["AUTH TLS"], "{answer}");
    }
}

#[test]
fn data_is_protected_in_both_modes_before_anything_is_asked_for() {
    for bench in [Bench::explicit(), Bench::implicit()] {
        bench.whole();

        let lines = bench.sham.lines();
        let at = |line: &str| {
            lines.iter().position(|l| l == line).unwrap_or_else(|| panic!("no {line}: {lines:?}"))
        };
        assert!(at("PBSZ 0") < at("PROT P") && at("PROT P") < at("MDTM m.tar.gz"), "{lines:?}");
        assert!(at("TYPE I") < at("RETR m.tar.gz"), "{lines:?}");
    }
}

#[test]
fn the_wrong_mode_says_which_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let sham = Sham::start(&pki, true);
    let mut config = FtpsConfig::default();
    config.ca_file = pki.ca_file();
    // Both sides wait for the other to begin. By the system's clock, since nothing tells when the waiting begins.
    config.connect_timeout_ms = 500;
    let source = FtpsSource::open(&sham.uri(), None, config).unwrap();
    let error = block_on(source.load(None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.hint_text().unwrap().contains("implicit"), "{error:?}");

    let tls_first = Bench::with(false, |config| config.mode = "implicit".to_owned());
    let error = tls_first.failure();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.hint_text().unwrap().contains("explicit"), "{error:?}");
}

#[test]
fn a_file_over_the_limit_is_refused_by_its_size_and_while_it_is_read() {
    let bench = Bench::with(false, |config| config.max_file_bytes = 6);
    let error = bench.failure();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
    assert_eq!(bench.sham.count("RETR"), 0);

    for size in ["502 no", "213 5"] {
        let bench = Bench::with(false, |config| config.max_file_bytes = 6);
        bench.sham.always("SIZE", Act::Say(size));
        bench.sham.once("DATA", Act::Endless);

        let error = bench.failure();

        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{size}: {}", error.chain());
        assert_eq!(error.retry_state(), Retry::Never);
    }

    let bench = Bench::with(false, |config| config.max_file_bytes = 7);
    assert_eq!(content(&bench.whole()), b"content");
}

#[test]
fn an_endless_greeting_is_cut_off() {
    let bench = Bench::explicit();
    let line: &'static str = Box::leak("220-".repeat(100_000).into_boxed_str());
    bench.sham.always("GREETING", Act::Say(line));

    let error = bench.failure();

    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
}

#[test]
fn a_server_that_tells_no_time_is_read_each_time_and_compared() {
    for answer in ["502 no", "550 not for you", "213 lately", "nonsense"] {
        let bench = Bench::explicit();
        bench.sham.always("MDTM", Act::Say(answer));
        bench.sham.always("SIZE", Act::Say(answer));

        let first = bench.whole();
        let again = bench.load(Some(first.revision())).unwrap();
        bench.sham.put(b"CONTENT", 20_260_102_030_405);
        let changed = bench.load(Some(first.revision())).unwrap();

        assert_eq!(again, Load::Unchanged, "{answer}");
        assert!(matches!(changed, Load::Snapshot(d) if content(&d) == b"CONTENT"), "{answer}");
        assert_eq!((bench.sham.count("RETR"), bench.sham.connections()), (3, 1), "{answer}");
    }
}

#[test]
fn two_writes_in_one_second_of_one_size_are_both_seen() {
    let bench = Bench::explicit();
    // Written at this very second, by the clock that the source goes by.
    let second = 20_260_528_202_640;
    bench.sham.put(b"content", second);

    let first = bench.whole();
    bench.sham.put(b"CONTENT", second);
    let changed = bench.load(Some(first.revision())).unwrap();

    let Load::Snapshot(changed) = changed else { panic!("the second write was not seen") };
    assert_eq!(content(&changed), b"CONTENT");
    // Two seconds on, one more transfer confirms it; then time and size are believed.
    bench.clock.advance(Duration::from_secs(2));
    for transfers in [3, 3, 3] {
        assert_eq!(bench.load(Some(changed.revision())).unwrap(), Load::Unchanged);
        assert_eq!(bench.sham.count("RETR"), transfers);
    }
}

#[test]
fn a_file_that_was_only_touched_is_unchanged() {
    let bench = Bench::explicit();
    let first = bench.whole();
    bench.sham.put(b"content", 20_260_102_030_406);

    for transfers in [2, 2] {
        assert_eq!(bench.load(Some(first.revision())).unwrap(), Load::Unchanged);
        assert_eq!(bench.sham.count("RETR"), transfers);
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again() {
    let bench = Bench::explicit();
    bench.sham.once("DATA", Act::Replace);
    assert_eq!(content(&bench.whole()), b"tnetnoc");
    assert_eq!(bench.sham.count("RETR"), 2);

    bench.sham.always("DATA", Act::Replace);
    let error = bench.failure();

    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("changed"), "{error}");
}

#[test]
fn a_dropped_load_ends_its_connection_and_leaves_the_source_usable() {
    for step in ["TLS", "PASS", "MDTM", "RETR", "DATA", "END"] {
        let bench = Bench::explicit();
        bench.sham.once(step, Act::Hang);
        {
            let mut load = pin!(bench.source.load(None));
            assert!(load.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(bench.sham.hangs(), step);
        }

        assert_eq!(content(&bench.whole()), b"content", "{step}");
    }
}

#[test]
fn loads_at_the_same_time_take_turns_on_one_connection() {
    let bench = Bench::explicit();

    let loads: Vec<_> = (0..4).map(|_| bench.start(None)).collect();

    for load in loads {
        assert!(load.recv_timeout(PATIENCE).unwrap().is_ok());
    }
    assert_eq!(bench.sham.connections(), 1);
}

#[test]
fn a_load_needs_no_runtime_and_does_not_mind_one() {
    let bench = Bench::explicit();
    let current = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();

    assert!(current.block_on(bench.source.load(None)).is_ok());
    assert!(many.block_on(bench.source.load(None)).is_ok());
    // The runtimes are gone; the connection is not theirs.
    drop((current, many));
    assert!(bench.load(None).is_ok());
    assert_eq!(bench.sham.connections(), 1);
}

#[test]
fn close_says_goodbye_once_and_ends_loads() {
    let bench = Bench::explicit();
    bench.whole();

    for _ in 0..2 {
        block_on(bench.source.close()).unwrap();
    }
    let error = bench.failure();

    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(bench.sham.count("QUIT"), 1);
    assert_eq!(bench.sham.connections(), 1);
}

#[test]
fn a_source_that_was_never_used_closes_without_a_connection() {
    let bench = Bench::explicit();

    block_on(bench.source.close()).unwrap();

    assert_eq!(bench.sham.connections(), 0);
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen in the output")]
fn a_server_of_ip_version_6_is_asked_for_ports_alone() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let sham = match Sham::start_on("::1".parse().unwrap(), &pki, false) {
        Ok(sham) => sham,
        Err(error) => return eprintln!("skipped: this machine has no IPv6 loopback: {error}"),
    };
    let mut config = FtpsConfig::default();
    config.ca_file = pki.ca_file();
    let source = FtpsSource::open(&sham.uri(), None, config).unwrap();

    let loaded = block_on(source.load(None));

    assert!(matches!(&loaded, Ok(Load::Snapshot(d)) if content(d) == b"content"), "{loaded:?}");
    assert_eq!((sham.count("EPSV"), sham.count("PASV")), (1, 0));
}

#[test]
fn nobody_tells_of_changes() {
    let bench = Bench::explicit();
    bench.whole();

    let changed = pin!(bench.source.changed()).poll(&mut Context::from_waker(Waker::noop()));

    assert!(matches!(changed, Poll::Pending));
}

#[test]
fn the_log_in_is_the_callers_or_that_of_the_uri_or_anonymous() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    let given = UriAuth::Basic { user: "bob".into(), pass: "***".into() };
    let cases = [
        ("", None, ["USER anonymous", "PASS anonymous@"]),
        ("ann:p%40ss%20w%C3%B6rd@", None, ["USER ann", "PASS p@ss w\u{f6}rd"]),
        ("ann@", None, ["USER ann", "PASS"]),
        ("ann:pass@", Some(&given), ["USER bob", "PASS ***"]),
    ];
    for (user_info, auth, expected) in cases {
        let sham = Sham::start(&pki, false);
        let mut config = FtpsConfig::default();
        config.ca_file = pki.ca_file();
        let uri = sham.uri().replace("//", &format!("//{user_info}"));

        let source = FtpsSource::open(&uri, auth, config).unwrap();
        block_on(source.load(None)).unwrap();

        let lines = sham.lines();
        let sent: Vec<_> = lines.iter().filter(|l| l.starts_with("USER") || l.starts_with("PASS")).collect();
        assert_eq!(sent, expected, "{user_info}");
    }
}

#[test]
fn what_cannot_be_a_log_in_is_refused_without_showing_it() {
    let cases = [
        UriAuth::Bearer(PASS.into()),
        UriAuth::Basic { user: USER.into(), pass: format!("{PASS}\r\nDELE x") },
        UriAuth::Basic { user: format!("{USER}\n"), pass: PASS.into() },
    ];
    for auth in cases {
        let error = FtpsSource::open("ftps://host/a", Some(&auth), FtpsConfig::default()).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Config);
        keeps_quiet(&error);
    }
}

#[test]
fn no_password_is_logged_at_any_level() {
    struct Collect(Mutex<String>);
    impl log::Log for Collect {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            self.0.lock().unwrap().push_str(&format!("{}\n", record.args()));
        }
        fn flush(&self) {}
    }
    static LOG: Collect = Collect(Mutex::new(String::new()));
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Trace);

    // Of this test alone: the log is the whole process's, and servers of other tests tell theirs in what they answer.
    let (user, pass) = ("bea-heron", "correct-staple");
    let bench = Bench::of(user, pass, false, |_| {});
    bench.whole();

    let logged = LOG.0.lock().unwrap().clone();
    assert!(
        logged.contains("USER ***") && logged.contains("PASS ***"),
        "the library's log was not collected"
    );
    assert!(!logged.contains(pass) && !logged.contains(user), "a log-in was logged");
    assert_eq!(bench.sham.lines().iter().filter(|l| **l == format!("PASS {pass}")).count(), 1);
    assert!(!format!("{:?}", bench.source).contains(pass));
}
