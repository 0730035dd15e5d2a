//! What the source does when the object is missing, too large or cut, the store refuses, hangs or is gone.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leverframe::{
    ErrorKind, Retry, Secret, UriAuth,
    config::ambient_environment,
    document::{Content, Revision},
    live::block_on,
    traits::{Load, Source},
};
use source_object_store::{ObjectStoreConfig, ObjectStoreSource};

use crate::support::{
    Place, fresh_name, load,
    peer::{Answer, Peer, object, status},
    s3::SERVER,
    shown,
};

mod support;

/// A source whose store is a peer of the test.
fn of_peer(peer: &Peer) -> ObjectStoreSource {
    of_peer_with(peer, |_| {})
}

fn of_peer_with(peer: &Peer, edit: impl FnOnce(&mut ObjectStoreConfig)) -> ObjectStoreSource {
    let mut config = ObjectStoreConfig::default();
    config.endpoint = peer.endpoint();
    config.access_key_id = Secret::new("AKIDPEER");
    config.secret_access_key = Secret::new("hunter2");
    edit(&mut config);
    ObjectStoreSource::open("s3://flags/manifest.tar.gz", config, None).unwrap()
}

fn content(load: Load) -> bytes::Bytes {
    match load {
        Load::Snapshot(document) => match document.into_content() {
            Content::Bytes(bytes) => bytes,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_object_or_a_bucket_that_is_missing_is_not_found() {
    for uri in ["s3://flags/tests/missing.tar.gz", "s3://no-such-bucket/manifest.tar.gz"] {
        let source = ObjectStoreSource::open(uri, SERVER.config(), None).unwrap();

        let error = load(&source).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(uri), "{error}");
    }
}

#[test]
fn credentials_that_the_s3_server_refuses_are_denied_and_not_shown() {
    let name = fresh_name();
    let _place = Place::new(SERVER.client(), &name);
    let uri = format!("s3://flags/{name}");
    for (id, secret) in [(SERVER.id.as_str(), "hunter2/wrong"), ("AKIDNOBODY", "hunter2/wrong")] {
        let mut config = SERVER.config_without_credentials();
        (config.access_key_id, config.secret_access_key) = (Secret::new(id), Secret::new(secret));
        let source = ObjectStoreSource::open(&uri, config.clone(), None).unwrap();

        let error = load(&source).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(!error.retry_state().may_retry());
        let all = format!("{} {config:?}", shown(&error, &source));
        assert!(!all.contains("hunter2") && !all.contains(id), "{all}");
    }
}

#[test]
fn credentials_may_come_with_the_uri() {
    let name = fresh_name();
    let _place = Place::new(SERVER.client(), &name);
    let auth = UriAuth::Basic { user: SERVER.id.clone(), pass: SERVER.secret.clone() };

    let config = SERVER.config_without_credentials();
    let source = ObjectStoreSource::open(&format!("s3://flags/{name}"), config, Some(&auth)).unwrap();

    assert_eq!(content(load(&source).unwrap()), "state 1");
}

#[test]
fn credentials_of_the_environment_sign_requests() {
    let name = fresh_name();
    let _place = Place::new(SERVER.client(), &name);

    // A process of its own: the environment of this one belongs to all its tests.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_a_process_with_credentials_in_its_environment", "--nocapture"])
        .env("AWS_ACCESS_KEY_ID", &SERVER.id)
        .env("AWS_SECRET_ACCESS_KEY", &SERVER.secret)
        .env("AWS_REGION", "us-east-1")
        // Not read: it would let anybody be the store.
        .env("AWS_ALLOW_INVALID_CERTIFICATES", "true")
        .env("TEST_ENDPOINT", SERVER.endpoint())
        .env("TEST_URI", format!("s3://flags/{name}"))
        .output()
        .unwrap();

    let printed = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success(), "{printed}");
    assert!(printed.contains("1 passed"), "{printed}");
}

/// The child of the test above; alone, it has nothing to do.
#[test]
fn in_a_process_with_credentials_in_its_environment() {
    let given = ambient_environment(&["TEST_ENDPOINT", "TEST_URI"]);
    let [(_, endpoint), (_, uri)] = {
        let mut given = given;
        given.sort_by(|a, b| a.0.cmp(&b.0));
        match <[_; 2]>::try_from(given) {
            Ok(given) => given,
            Err(_) => return,
        }
    };
    let mut config = ObjectStoreConfig::default();
    config.endpoint = endpoint.expose().to_owned();

    let source = ObjectStoreSource::open(uri.expose(), config, None).unwrap();

    assert_eq!(content(load(&source).unwrap()), "state 1");
}

#[test]
fn an_object_of_an_s3_server_beyond_the_limit_is_refused_and_one_at_it_is_read() {
    let name = fresh_name();
    let place = Place::new(SERVER.client(), &name);
    let mut config = SERVER.config();
    config.max_object_bytes = 1_000;
    let source = ObjectStoreSource::open(&format!("s3://flags/{name}"), config, None).unwrap();

    place.put(vec![b'x'; 1_001]);
    let error = load(&source).unwrap_err();
    place.put(vec![b'x'; 1_000]);

    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.hint_text().unwrap().contains("max_object_bytes"));
    assert_eq!(content(load(&source).unwrap()).len(), 1_000);
}

#[test]
fn a_store_that_hangs_before_or_within_the_object_ends_in_a_time_out() {
    for head in [Vec::new(), object("\"1\"", 100, b"half of it")] {
        let hangs = Arc::new(AtomicBool::new(true));
        let peer = Peer::start({
            let hangs = Arc::clone(&hangs);
            move |_, _| match hangs.load(Ordering::SeqCst) {
                true => Answer::Hang(head.clone()),
                false => Answer::Bytes(object("\"1\"", 4, b"done")),
            }
        });
        let source = of_peer_with(&peer, |config| config.timeout_ms = 500);

        let error = load(&source).unwrap_err();
        hangs.store(false, Ordering::SeqCst);

        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.retry_state().may_retry());
        // Each try has half a second, which a busy machine may not give it.
        let loaded = (0..50).find_map(|_| load(&source).ok());
        assert_eq!(content(loaded.expect("it answers again")), "done");
    }
}

#[test]
fn a_store_that_hangs_up_or_is_gone_is_unavailable_and_the_next_load_starts_afresh() {
    let peer = Peer::start(|number, _| match number {
        0 => Answer::Bytes(Vec::new()),
        1 => Answer::Bytes(object("\"1\"", 100, b"half of it")),
        _ => Answer::Bytes(object("\"1\"", 4, b"done")),
    });
    let source = of_peer(&peer);

    for what in ["hanging up", "cutting the object"] {
        let error = load(&source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
        assert!(error.retry_state().may_retry(), "{what}");
    }
    assert_eq!(content(load(&source).unwrap()), "done");

    drop(peer);
    let error = load(&source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.retry_state().may_retry());
    assert!(!shown(&error, &source).contains("hunter2"));
}

#[test]
fn a_load_is_tried_once() {
    let peer = Peer::start(|_, _| Answer::Bytes(status("500 Internal Server Error", "")));

    let error = load(&of_peer(&peer)).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(peer.heads().len(), 1);
}

#[test]
fn refusals_become_kinds_that_a_caller_can_act_on() {
    for (line, headers, kind, retry) in [
        ("503 Slow Down", "Retry-After: 7\r\n", ErrorKind::Unavailable, Retry::After(Duration::from_secs(7))),
        ("429 Too Many Requests", "", ErrorKind::Unavailable, Retry::Now),
        ("401 Unauthorized", "", ErrorKind::Unauthenticated, Retry::Never),
        ("403 Forbidden", "", ErrorKind::PermissionDenied, Retry::Never),
        ("404 Not Found", "", ErrorKind::NotFound, Retry::Never),
        ("400 Bad Request", "", ErrorKind::Invalid, Retry::Never),
        ("301 Moved Permanently", "", ErrorKind::Config, Retry::Never),
    ] {
        let peer = Peer::start(move |_, _| Answer::Bytes(status(line, headers)));

        let error = load(&of_peer(&peer)).unwrap_err();

        assert_eq!((error.kind(), error.retry_state()), (kind, retry), "{line}: {error}");
    }
}

#[test]
fn an_error_page_without_end_is_not_read() {
    let peer = Peer::start(|_, _| {
        let head =
            "HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n";
        Answer::Flood(head.as_bytes().to_vec())
    });

    let error = load(&of_peer(&peer)).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn an_object_without_a_length_is_refused_rather_than_read_without_end() {
    let peer = Peer::start(|_, _| {
        let head = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nLast-Modified: Sat, 21 Nov 2026 07:28:00 GMT\r\nConnection: close\r\n\r\n";
        Answer::Flood(head.as_bytes().to_vec())
    });

    let error = load(&of_peer(&peer)).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[test]
fn a_store_that_does_not_know_conditions_is_not_read_again_for_the_same_tag() {
    let peer = Peer::start(|_, _| Answer::Bytes(object("\"1\"", 4, b"same")));
    let source = of_peer(&peer);

    let Load::Snapshot(document) = load(&source).unwrap() else { panic!("nothing came") };
    let again = block_on(source.load(Some(document.revision()))).unwrap();

    assert_eq!(document.revision(), &Revision::new("\"1\""));
    assert_eq!(again, Load::Unchanged);
}

#[test]
fn google_and_azure_doubles_are_asked_signed_and_with_the_condition() {
    let answer = |number: usize, _: &support::peer::Head| match number {
        0 => Answer::Bytes(object("\"tag\"", 5, b"hello")),
        _ => Answer::Bytes(status("304 Not Modified", "ETag: \"tag\"\r\n")),
    };
    for (uri, auth, target, authorization) in [
        ("gs://flags/a/manifest.tar.gz", UriAuth::Bearer("hunter2".into()), "/flags/a", "Bearer hunter2"),
        (
            "az://flags/a/manifest.tar.gz",
            UriAuth::Bearer("hunter2".into()),
            "/flags/a/manifest.tar.gz",
            "Bearer hunter2",
        ),
        (
            "az://flags/a/manifest.tar.gz",
            UriAuth::Basic { user: "acme".into(), pass: "aHVudGVyMg==".into() },
            "/flags/a/manifest.tar.gz",
            "SharedKey acme:",
        ),
    ] {
        let peer = Peer::start(answer);
        let mut config = ObjectStoreConfig::default();
        (config.endpoint, config.account) = (peer.endpoint(), "acme".to_owned());
        let source = ObjectStoreSource::open(uri, config, Some(&auth)).unwrap();

        let Load::Snapshot(document) = load(&source).unwrap() else { panic!("nothing came") };
        let again = block_on(source.load(Some(document.revision()))).unwrap();

        assert_eq!((document.name(), again), (Some("manifest.tar.gz"), Load::Unchanged));
        let heads = peer.heads();
        assert!(heads[0].target.starts_with(target), "{uri}: {heads:?}");
        assert!(heads[0].header("authorization").unwrap().starts_with(authorization), "{uri}: {heads:?}");
        assert_eq!(heads[1].header("if-none-match"), Some("\"tag\""), "{uri}");
    }
}

#[test]
fn public_buckets_are_read_unsigned() {
    for uri in ["s3://flags/manifest.tar.gz", "gs://flags/manifest.tar.gz", "az://flags/manifest.tar.gz"] {
        let peer = Peer::start(|_, _| Answer::Bytes(object("\"1\"", 5, b"hello")));
        let mut config = ObjectStoreConfig::default();
        (config.endpoint, config.account, config.anonymous) = (peer.endpoint(), "acme".to_owned(), true);

        let source = ObjectStoreSource::open(uri, config, None).unwrap();

        assert_eq!(content(load(&source).unwrap()), "hello", "{uri}");
        assert_eq!(peer.heads()[0].header("authorization"), None, "{uri}");
    }
}

#[test]
fn credentials_that_cannot_be_used_are_refused_at_the_start_and_not_shown() {
    let bearer = UriAuth::Bearer("hunter2".into());
    let basic = UriAuth::Basic { user: "me".into(), pass: "hunter2 is no base64".into() };
    let mut half = ObjectStoreConfig::default();
    half.secret_access_key = Secret::new("hunter2");
    for (uri, config, auth) in [
        ("s3://flags/a", ObjectStoreConfig::default(), Some(&bearer)),
        ("s3://flags/a", half, None),
        ("gs://flags/a", ObjectStoreConfig::default(), Some(&basic)),
        ("az://flags/a", ObjectStoreConfig::default(), Some(&basic)),
    ] {
        let error = ObjectStoreSource::open(uri, config, auth).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Config, "{uri}");
        assert!(!format!("{error:?} {}", error.chain()).contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_runtime_of_one_thread_goes_on_while_the_store_hangs() {
    let peer = Peer::start(|_, _| Answer::Hang(Vec::new()));
    let source = Arc::new(of_peer_with(&peer, |config| config.timeout_ms = 300));

    let waiting = tokio::spawn({
        let source = Arc::clone(&source);
        async move { source.load(None).await }
    });
    let mut turns = 0;
    while !waiting.is_finished() {
        tokio::task::yield_now().await;
        turns += 1;
    }

    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    // A call that blocks the thread is over after the first.
    assert!(turns > 1, "the runtime stood still: {turns} turns");
}

#[test]
fn closing_ends_a_load_that_hangs() {
    let peer = Peer::start(|_, _| Answer::Hang(Vec::new()));
    let source = Arc::new(of_peer(&peer));
    let waiting = std::thread::spawn({
        let source = Arc::clone(&source);
        move || load(&source)
    });
    // Bounded by attempts: the request is at the peer within moments.
    for _ in 0..2_000 {
        if !peer.heads().is_empty() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }

    block_on(source.close()).unwrap();

    assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
}

mod over_tls {
    use rustls::{
        ServerConfig, ServerConnection, StreamOwned,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };

    use super::*;
    use crate::support::certs::Pki;

    fn secured(pki: &Pki) -> Peer {
        let (cert, key) = pki.server("server");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(cert).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);
        let wrap = move |stream| -> Box<dyn support::peer::Stream> {
            Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream))
        };
        Peer::wrapped(Box::new(wrap), |_, _| Answer::Bytes(object("\"1\"", 5, b"hello")))
    }

    fn of(peer: &Peer, edit: impl FnOnce(&mut ObjectStoreConfig)) -> ObjectStoreSource {
        of_peer_with(peer, |config| {
            config.endpoint = format!("https://localhost:{}", peer.port());
            edit(config);
        })
    }

    #[test]
    fn a_store_whose_authority_is_named_is_read_and_the_process_wide_provider_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new(dir.path());
        let peer = secured(&pki);
        let source = of(&peer, |config| config.ca_file = pki.ca_file());

        assert_eq!(content(load(&source).unwrap()), "hello");

        assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    }

    #[test]
    fn a_store_that_nobody_vouches_for_is_not_asked() {
        let dir = tempfile::tempdir().unwrap();
        let peer = secured(&Pki::new(dir.path()));

        let error = load(&of(&peer, |_| {})).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.chain().contains("certificate"), "{error}");
        assert!(peer.heads().is_empty());
    }

    #[test]
    fn a_file_without_authorities_is_refused_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        for file in [empty, dir.path().join("missing.pem")] {
            let mut config = ObjectStoreConfig::default();
            config.ca_file = file;

            let error = ObjectStoreSource::open("s3://flags/a", config, None).unwrap_err();

            assert_eq!(error.kind(), ErrorKind::Config);
        }
    }
}
