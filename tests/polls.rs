//! What a poll of an unchanged source costs: one request, no body, and next to no memory.
#![cfg(all(feature = "testing", feature = "http-in-process"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/real/mod.rs"]
mod real;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use leverframe::{
    LoadOptions, Namespace, NexusClient,
    backends::{
        clock_system::SystemClock, http_client::HttpClientConfig, layers, transport_reqwest::ReqwestTransport,
    },
    document::Tree,
    live::Outcome,
    manifest::archive,
    traits::Transport,
};
use leverframe_counting::{Count, Counting, LARGE, live};
use real::nginx::Nginx;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most allocations of more than 4 KiB that a poll may make.
const MOST_LARGE: u64 = 2;
/// How many polls are looked at, after as many to warm up as it takes for buffers to have found their size.
const POLLS: usize = 20;
const WARM_UP: usize = 5;

/// The counters are the whole process's, so tests take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing behind that another could trip over.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn flags() -> Tree {
    let flags = (0..100).map(|i| {
        let text = "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\n[flag.environments._]\nvariant = \"on\"\n";
        (format!("flags/flag-{i}.toml"), text)
    });
    flags.collect()
}

/// The default transport in its layers, trusting one authority more.
fn transport(ca_file: PathBuf) -> Arc<dyn Transport> {
    let mut config = HttpClientConfig::default();
    config.ca_file = ca_file;
    layers::standard(Arc::new(ReqwestTransport::open(&config).unwrap()), Arc::new(SystemClock::new()))
}

/// Polls, each time to no avail, and holds each poll's allocations against the limit.
#[track_caller]
fn polls_are_light(namespace: &Namespace) {
    let mut large = Vec::with_capacity(POLLS);
    for _ in 0..POLLS {
        let before = Count::now();
        assert_eq!(namespace.poll().unwrap(), Outcome::Unchanged);
        large.push(Count::now().since(before).large);
    }
    assert!(large.iter().all(|large| *large <= MOST_LARGE), "{large:?}");
}

fn warm_up(namespace: &Namespace) {
    for _ in 0..WARM_UP {
        assert_eq!(namespace.poll().unwrap(), Outcome::Unchanged);
    }
}

#[test]
fn the_counter_sees_other_threads() {
    let _alone = alone();
    let before = Count::now();

    std::thread::spawn(|| drop(std::hint::black_box(vec![0_u8; LARGE + 1]))).join().unwrap();

    assert!(Count::now().since(before).large > 0);
}

#[test]
fn an_unchanged_archive_costs_one_request_and_no_body() {
    let _alone = alone();
    let server = Nginx::start();
    server.put("m.tar.gz", archive::pack(&flags()).unwrap());
    let options = LoadOptions::new().with_transport(transport(server.ca_file()));
    let namespace = Namespace::from_uri_with_options(server.https("/files/m.tar.gz"), &options).unwrap();
    warm_up(&namespace);

    polls_are_light(&namespace);

    let requests = 1 + WARM_UP + POLLS;
    let log = server.sizes(requests);
    assert_eq!(log.len(), requests, "{log:?}");
    assert_eq!(log[1..], vec!["GET /files/m.tar.gz 304 0"; WARM_UP + POLLS]);
}

#[test]
fn unchanged_settings_cost_one_request_no_parse_and_at_most_one_allocation_of_more_than_4_kib() {
    let _alone = alone();
    let server = Nginx::start();
    let flags: Vec<String> =
        (0..10_000).map(|n| format!(r#""flag.{n}":{{"is_active":true,"source":"service"}}"#)).collect();
    let answer = format!(r#"{{"synced_at":"t","key_type":"sk","flags":{{{}}}}}"#, flags.join(","));
    std::fs::create_dir(server.files().join("v1")).unwrap();
    server.put("v1/sync", answer);
    let client = settings(&server);
    assert!(client.get_flag("flag.9999", false));
    for _ in 0..WARM_UP {
        client.sync().unwrap();
    }

    let costs: Vec<Count> = (0..POLLS)
        .map(|_| {
            let before = Count::now();
            client.sync().unwrap();
            Count::now().since(before)
        })
        .collect();

    assert!(costs.iter().all(|cost| cost.large <= 1), "{costs:?}");
    // Ten thousand keys would take as many.
    assert!(costs.iter().all(|cost| cost.all < 200), "{costs:?}");
    let requests = 1 + WARM_UP + POLLS;
    let log = server.sizes(requests);
    assert_eq!(log[1..], vec!["GET /files/v1/sync 304 0"; WARM_UP + POLLS]);
}

#[test]
fn failures_and_a_hundred_thousand_reads_of_what_is_stale_leave_the_heap_of_the_process_as_it_was() {
    const FAILURES: usize = 50;
    let _alone = alone();
    let server = Nginx::start();
    std::fs::create_dir(server.files().join("v1")).unwrap();
    server.put(
        "v1/sync",
        r#"{"synced_at":"t","key_type":"sk","flags":{"on":{"is_active":true,"source":"s"}}}"#,
    );
    let client = settings(&server);
    std::fs::remove_file(server.files().join("v1/sync")).unwrap();
    let fail = || {
        for _ in 0..FAILURES {
            assert!(client.sync().is_err());
            assert!((0..2_000).all(|_| client.get_flag("on", false)));
        }
        live()
    };
    let before = fail();

    let after = fail();

    // Less than a failure's error is long, and far less than one of their answers.
    assert!(after - before < 40 * FAILURES as i64, "{} bytes more", after - before);
}

fn settings(server: &Nginx) -> NexusClient {
    let builder = NexusClient::builder().endpoint(server.https("/files")).api_key("wxs_1");
    builder.transport(transport(server.ca_file())).build().unwrap()
}

#[cfg(feature = "source-git")]
#[test]
fn an_unmoved_branch_costs_one_question_for_it() {
    use leverframe::sources::git::{GitConfig, GitSource};
    use real::{certs::Pki, githttp::GitHttp, repository::Repository};

    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::new(&dir.path().join("root/flags"));
    let files: Vec<(String, String)> = flags()
        .iter()
        .map(|(path, _)| (path.to_owned(), String::from_utf8(flags().file(path).unwrap().to_vec()).unwrap()))
        .collect();
    repository.commit(&files.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect::<Vec<_>>());
    let pki = Pki::new(dir.path());
    let server = GitHttp::start(&dir.path().join("http"), &dir.path().join("root"), &pki);
    let source = GitSource::open(&server.uri("", "open", "flags#main"), GitConfig::default()).unwrap();
    let source = source.with_transport(transport(pki.ca_file()));
    let namespace = Namespace::from_source(Arc::new(source), &LoadOptions::new()).unwrap();
    warm_up(&namespace);

    polls_are_light(&namespace);

    // The first load greets, asks for the branch and fetches.
    let requests = 3 + WARM_UP + POLLS;
    let log = server.requests(requests);
    assert_eq!(log.len(), requests, "{log:?}");
    assert_eq!(log[3..], vec!["POST /open/flags/git-upload-pack 200 version=2"; WARM_UP + POLLS]);
    let sizes = server.sizes();
    assert!(sizes[3..].iter().all(|bytes| *bytes < 100), "more than one ref was told: {sizes:?}");
}

#[cfg(feature = "source-ftps")]
#[test]
fn an_unchanged_file_costs_two_questions_and_no_transfer() {
    use leverframe::sources::ftps::{FtpsConfig, FtpsSource};
    use real::vsftpd::{Options, Vsftpd, write_old};

    let _alone = alone();
    let server = Vsftpd::start(Options::default());
    write_old(&server.files().join("m.tar.gz"), &archive::pack(&flags()).unwrap(), 1);
    let mut config = FtpsConfig::default();
    config.ca_file = server.ca_file();
    let source = FtpsSource::open(&server.uri("m.tar.gz"), None, config).unwrap();
    let namespace = Namespace::from_source(Arc::new(source), &LoadOptions::new()).unwrap();
    warm_up(&namespace);
    let before = server.commands().len();

    polls_are_light(&namespace);

    assert_eq!(server.commands()[before..], ["MDTM", "SIZE"].repeat(POLLS));
}
