//! Repositories behind nginx and git-http-backend.

use super::*;

fn open(
    server: &GitHttp,
    transport: &Arc<TestTransport>,
    flags: &Flags,
    door: &str,
    rest: &str,
) -> GitSource {
    let uri = server.uri("", door, rest);
    GitSource::open(&uri, flags.config()).unwrap().with_transport(Arc::clone(transport) as _)
}

#[test]
fn every_kind_of_ref_is_fetched_in_either_version_of_the_protocol() {
    let flags = Flags::new();
    let (server, transport) = flags.http();
    for door in ["open", "old"] {
        for (fragment, expected) in refs(&flags) {
            let source = open(&server, &transport, &flags, door, &format!("flags{fragment}"));
            assert_eq!(number(&whole(&source)), expected, "{door} {fragment}");
        }
    }
    let plain = GitSource::open(&server.plain_uri("open", "flags#v1:payments"), flags.config()).unwrap();
    assert_eq!(number(&whole(&plain.with_transport(transport))), "1");
    assert_eq!(flags.leftovers(), 0);
}

#[test]
fn a_poll_without_news_is_one_small_request() {
    let flags = Flags::new();
    let (server, transport) = flags.http();
    let source = open(&server, &transport, &flags, "open", "flags#main:payments");
    let document = whole(&source);
    let before = server.requests(3);
    assert_eq!(before.len(), 3, "{before:?}");
    let received = transport.received();

    for _ in 0..3 {
        assert_eq!(load(&source, Some(document.revision())), Load::Unchanged);
    }

    let after = server.requests(6);
    assert_eq!(after.len(), 6, "{after:?}");
    assert!(
        after[3..].iter().all(|r| r.starts_with("POST /open/flags/git-upload-pack 200 version=2")),
        "{after:?}"
    );
    assert!(transport.received() - received < 3 * 200);
}

#[test]
fn only_a_change_of_the_folder_is_a_change() {
    let flags = Flags::new();
    let (server, transport) = flags.http();
    let source = open(&server, &transport, &flags, "open", "flags#main:payments");
    let old = whole(&source);

    flags.repository.commit(&[("other/flags/other.toml", "o = 2")]);
    assert_eq!(load(&source, Some(old.revision())), Load::Unchanged);
    let fetched = server.requests(5).len();
    assert_eq!(load(&source, Some(old.revision())), Load::Unchanged);
    assert_eq!(server.requests(fetched + 1).len(), fetched + 1, "the other commit was fetched twice");
    flags.repository.git(&["reset", "--quiet", "--hard", &flags.first]);

    let Load::Snapshot(new) = load(&source, Some(old.revision())) else { panic!("a change was not brought") };
    assert_eq!(number(&new), "1");
}

#[test]
fn tokens_are_taken_as_bearer_as_basic_and_from_the_uri() {
    let flags = Flags::new();
    let (server, transport) = flags.http();
    let bearer = UriAuth::Bearer(TOKEN.to_owned());
    let basic = UriAuth::Basic { user: "x-access-token".to_owned(), pass: TOKEN.to_owned() };
    for (door, auth) in [("bearer", bearer), ("basic", basic)] {
        let source = open(&server, &transport, &flags, door, "flags#main:payments").with_auth(auth);
        assert_eq!(number(&whole(&source)), "2", "{door}");
        assert!(!format!("{source:?}").contains(TOKEN));
    }
    let uri = server.uri(&format!("x-access-token:{TOKEN}@"), "basic", "flags#main:payments");
    let source = GitSource::open(&uri, flags.config()).unwrap().with_transport(transport);
    assert_eq!(number(&whole(&source)), "2");
    assert!(!format!("{source:?}").contains(TOKEN));
}

#[test]
fn refusals_say_what_to_do_and_show_no_token() {
    let flags = Flags::new();
    let (server, transport) = flags.http();
    let wrong = "wr0ng-t0ken";
    for (door, rest, kind) in [
        ("basic", "flags", ErrorKind::Unauthenticated),
        ("bearer", "flags", ErrorKind::Unauthenticated),
        ("forbidden", "flags", ErrorKind::PermissionDenied),
        ("open", "absent", ErrorKind::NotFound),
        ("busy", "flags", ErrorKind::Unavailable),
        ("page", "flags", ErrorKind::Invalid),
        ("away", "flags", ErrorKind::Invalid),
        ("open", "flags#mian", ErrorKind::NotFound),
        ("old", "flags#mian", ErrorKind::NotFound),
        ("open", "flags#main:paymnts", ErrorKind::NotFound),
        ("open", "flags#1111111111111111111111111111111111111111", ErrorKind::NotFound),
        ("old", "flags#1111111111111111111111111111111111111111", ErrorKind::NotFound),
        ("old", "flags#deadbeef", ErrorKind::NotFound),
    ] {
        let requests = server.requests(0).len();
        let source =
            open(&server, &transport, &flags, door, rest).with_auth(UriAuth::Bearer(wrong.to_owned()));
        let error = failure(&source);
        assert_eq!(error.kind(), kind, "{door} {rest}: {}", error.chain());
        assert!(error.hint_text().is_some(), "{door} {rest}: {}", error.chain());
        shows_nothing_of(wrong, &error, &source);
        if kind == ErrorKind::Unauthenticated {
            assert_eq!(server.requests(requests + 1).len(), requests + 1, "a wrong token was sent again");
        }
        if door == "busy" {
            assert_eq!(error.retry_state(), Retry::After(Duration::from_secs(7)));
        }
    }
    assert_eq!(flags.leftovers(), 0);
}

#[test]
fn a_renamed_repository_is_followed_on_its_server() {
    let flags = Flags::new();
    let (server, transport) = flags.http();
    let source = open(&server, &transport, &flags, "moved", "flags#main:payments");
    let document = whole(&source);
    assert_eq!(number(&document), "2");
    assert_eq!(load(&source, Some(document.revision())), Load::Unchanged);
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let flags = Flags::new();
    let (server, _) = flags.http();
    let elsewhere = flags.folder("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let stranger = Arc::new(TestTransport::trusting(Pki::new(&elsewhere).ca_pem()));
    let error = failure(&open(&server, &stranger, &flags, "open", "flags"));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn it_is_registered_under_its_name() {
    let config = Config::builder().set("source.git.timeout_ms", 5).build().unwrap();
    let plugin = Registry::discover().unwrap().find::<dyn Source>("git").unwrap();
    let context = || BuildContext::new(&config, "source.git", Arc::new(SystemClock::new()));

    let source = plugin.build(&context().with_uri("git+file:///srv/flags.git")).unwrap();
    assert_eq!(source.name(), "git");
    assert!(format!("{source:?}").contains("timeout_ms: 5"));

    for context in [context(), context().with_uri("git+https://localhost/x.git")] {
        assert_eq!(plugin.build(&context).unwrap_err().kind(), ErrorKind::Config);
    }
}

#[test]
fn a_closed_source_ends_its_load() {
    let flags = Flags::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_server, config) = flags.ssh("");
    let uri = format!("git+ssh://git@127.0.0.1:{}/x.git", listener.local_addr().unwrap().port());
    let source = Arc::new(super::open(&uri, &config));
    let loading = thread::spawn({
        let source = Arc::clone(&source);
        move || failure(&source)
    });
    // Once it is connected, it waits for a greeting that never comes.
    let peer = listener.accept().unwrap().0;

    block_on(source.close()).unwrap();

    assert_eq!(loading.join().unwrap().kind(), ErrorKind::Cancelled);
    end_of(peer);
}

#[test]
fn without_a_transport_it_says_what_is_missing() {
    let flags = Flags::new();
    let error = failure(&GitSource::open("git+https://localhost/x.git", flags.config()).unwrap());
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.hint_text().unwrap().contains("transport"));
}

#[test]
fn a_server_that_hangs_ends_in_a_timeout() {
    let flags = Flags::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("git+http://127.0.0.1:{}/x.git", listener.local_addr().unwrap().port());
    let peer = thread::spawn(move || end_of(listener.accept().unwrap().0));
    let (_server, transport) = flags.http();
    let mut config = flags.config();
    config.timeout_ms = 300;

    let error = failure(&GitSource::open(&uri, config).unwrap().with_transport(transport));

    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.chain());
    peer.join().unwrap();
}

#[test]
fn a_repository_over_the_cap_is_not_fetched() {
    let flags = Flags::new();
    let (server, transport) = flags.http();
    flags.repository.commit(&[("blob.bin", &noise(3_000_000))]);
    for (cap, kind) in [(1_000_000, Some(ErrorKind::LimitExceeded)), (5_000_000, None)] {
        let mut config = flags.config();
        config.max_fetch_bytes = cap;
        let source = GitSource::open(&server.uri("", "open", "flags#main:payments"), config).unwrap();
        let result = block_on(source.with_transport(Arc::clone(&transport) as _).load(None));
        assert_eq!(result.err().map(|e| e.kind()), kind);
    }
    // Compresses to next to nothing.
    flags.repository.commit(&[("blob.bin", &"0".repeat(30_000_000))]);
    let mut config = flags.config();
    config.max_fetch_bytes = 5_000_000;
    let source = GitSource::open(&server.uri("", "open", "flags#main:payments"), config).unwrap();
    let error = failure(&source.with_transport(transport));
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain());
    assert_eq!(flags.leftovers(), 0);
}

#[test]
fn dropping_the_load_at_any_point_leaves_the_source_usable() {
    let flags = Flags::new();
    let (server, transport) = flags.http();
    let source = open(&server, &transport, &flags, "open", "flags#main:payments");

    dropped_everywhere(&source);

    assert_eq!(number(&whole(&source)), "2");
    assert_eq!(flags.leftovers(), 0);
}

struct Place {
    flags: Flags,
    transport: Arc<TestTransport>,
    server: Option<GitHttp>,
    count: usize,
}

impl source::Place for Place {
    fn change(&mut self) {
        self.count += 1;
        self.flags.repository.commit(&[(FLAG, &format!("number = {}", self.count))]);
    }

    fn break_it(&mut self) -> bool {
        fs::rename(self.flags.repository.path(), self.flags.folder("away")).unwrap();
        true
    }

    fn mend(&mut self) {
        fs::rename(self.flags.folder("away"), self.flags.repository.path()).unwrap();
    }

    fn tells(&self) -> bool {
        false
    }

    fn secret(&self) -> Option<&str> {
        Some(TOKEN)
    }
}

fn fixture() -> source::Fixture<GitSource> {
    let flags = Flags::new();
    let (server, transport) = flags.http();
    let source = open(&server, &transport, &flags, "bearer", "flags#main:payments")
        .with_auth(UriAuth::Bearer(TOKEN.to_owned()));
    source::Fixture::new(source, Place { flags, transport, server: Some(server), count: 100 })
}

impl Drop for Place {
    fn drop(&mut self) {
        // The server goes before its files do.
        drop(self.server.take());
        assert!(self.transport.received() < 10_000_000);
    }
}

leverframe::source_conformance!(git_over_https, fixture);
