//! What the cache does when the server is away, hangs, refuses, or holds what nobody can trust.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    pin::pin,
    task::{Context, Waker},
    thread,
    time::{Duration, SystemTime},
};

use cache_redis::RedisCache;
use leverframe::{
    Error, ErrorKind,
    backends::cache_entry,
    document::Revision,
    live::block_on,
    traits::{CacheEntry, CacheKey, CacheStore},
};
use redis::Commands;

use crate::server::{Server, config};

mod server;

fn key(text: &str) -> CacheKey {
    CacheKey::new(text).unwrap()
}

fn entry(text: &str) -> CacheEntry {
    let stored_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    CacheEntry::new(text.to_owned(), stored_at).with_revision(Revision::new("v8"))
}

fn put(cache: &RedisCache, at: &str, entry: CacheEntry) {
    block_on(cache.put(&key(at), entry)).unwrap();
}

fn get(cache: &RedisCache, at: &str) -> Result<Option<CacheEntry>, Error> {
    block_on(cache.get(&key(at)))
}

/// Everything that an error shows anywhere.
fn shown(error: &Error) -> String {
    format!("{error} {error:?} {} {:?}", error.chain(), error.hint_text())
}

#[test]
fn a_server_that_is_down_at_the_start_keeps_nobody_from_starting_and_is_found_when_it_comes() {
    let mut server = Server::start(&[]);
    server.down();
    let cache = server.cache();

    let error = get(&cache, "k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_state().may_retry());
    assert!(error.to_string().contains("redis.sock"), "{error}");

    assert!(server.up());
    assert_eq!(get(&cache, "k").unwrap(), None);
}

#[test]
fn a_server_killed_and_restarted_between_calls_is_not_noticed() {
    let mut server = Server::start(&[]);
    let cache = server.cache();
    put(&cache, "k", entry("before"));

    server.down();
    assert!(server.up());

    // The test's server keeps nothing on disk: what counts is that the call works, and says so truly.
    assert_eq!(get(&cache, "k").unwrap(), None);
    server.down();
    assert!(server.up());
    put(&cache, "k", entry("after"));
    assert_eq!(get(&cache, "k").unwrap(), Some(entry("after")));
}

#[test]
fn a_server_killed_and_gone_is_unavailable_until_it_is_back() {
    let mut server = Server::start(&[]);
    let cache = server.cache();
    put(&cache, "k", entry("content"));
    server.down();

    for _ in 0..3 {
        assert_eq!(get(&cache, "k").unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(block_on(cache.put(&key("k"), entry("x"))).unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(block_on(cache.remove(&key("k"))).unwrap_err().kind(), ErrorKind::Unavailable);
    }

    assert!(server.up());
    put(&cache, "k", entry("content"));
    assert_eq!(get(&cache, "k").unwrap(), Some(entry("content")));
}

#[test]
fn a_server_that_hangs_ends_in_a_time_out_and_works_again_after_it() {
    let server = Server::start(&[]);
    let mut config = server.config();
    (config.connect_timeout_ms, config.timeout_ms) = (1_000, 300);
    let cache = RedisCache::open(config).unwrap();
    // By one that waits longer: this one is to go well.
    put(&server.cache(), "k", entry("content"));
    server.freeze(true);

    let known = get(&cache, "k").unwrap_err();
    let again = get(&cache, "k").unwrap_err();
    server.freeze(false);

    assert_eq!((known.kind(), again.kind()), (ErrorKind::Timeout, ErrorKind::Timeout));
    assert!(known.retry_state().may_retry());
    // Bounded by attempts: the thawed server may need a moment longer than the short limit.
    let back = (0..100).find_map(|_| get(&cache, "k").ok());
    assert_eq!(back, Some(Some(entry("content"))));
}

#[test]
fn a_server_that_answers_byte_by_byte_does_not_outlast_the_limit() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        // Each byte comes well within the time that one wait may take; writing fails once the cache has hung up.
        while stream.write_all(b"$").is_ok() {
            thread::park_timeout(Duration::from_millis(20));
            if stream.write_all(b"9").is_err() || wrote_enough(&mut stream) {
                return;
            }
        }
    });
    let mut config = config(&format!("redis://127.0.0.1:{port}"));
    (config.connect_timeout_ms, config.timeout_ms) = (2_000, 150);

    let outcome = get(&RedisCache::open(config).unwrap(), "k");

    assert!(outcome.is_err(), "{outcome:?}");
    peer.join().unwrap();
}

/// Goes on with the length of an answer that never comes.
fn wrote_enough(stream: &mut std::net::TcpStream) -> bool {
    (0..1_000).any(|_| {
        thread::park_timeout(Duration::from_millis(20));
        stream.write_all(b"0").is_err()
    })
}

#[test]
fn a_wrong_password_is_unauthenticated_and_no_password_is_shown() {
    let server = Server::start(&["--requirepass", "right-one"]);

    for url in [
        format!("{}?pass=hunter2", server.url()),
        format!("{}?user=somebody&pass=hunter2", server.url()),
        server.url(),
    ] {
        let cache = RedisCache::open(config(&url)).unwrap();
        let error = get(&cache, "k").unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(!error.retry_state().may_retry());
        let all = format!("{} {cache:?} {:?}", shown(&error), config(&url));
        assert!(!all.contains("hunter2") && !all.contains("right-one"), "{all}");
    }
    let cache = RedisCache::open(config(&format!("{}?pass=right-one", server.url()))).unwrap();
    assert_eq!(get(&cache, "k").unwrap(), None);
}

#[test]
fn a_user_without_the_right_to_write_is_denied() {
    let server = Server::start(&["--user", "reader", "on", ">pw", "~*", "+get"]);
    let cache = RedisCache::open(config(&format!("{}?user=reader&pass=pw", server.url()))).unwrap();

    assert_eq!(get(&cache, "k").unwrap(), None);
    assert_eq!(block_on(cache.put(&key("k"), entry("x"))).unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[test]
fn a_value_damaged_at_any_byte_or_cut_at_any_length_is_corrupt() {
    let server = Server::start(&[]);
    let cache = server.cache();
    put(&cache, "k", entry("content"));
    let mut raw = server.raw();
    let whole: Vec<u8> = raw.get("leverframe:k").unwrap();

    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        for bytes in [&damaged[..], &whole[..at]] {
            let () = raw.set("leverframe:k", bytes).unwrap();
            assert_eq!(get(&cache, "k").unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
        }
    }

    let () = raw.set("leverframe:k", whole).unwrap();
    assert_eq!(get(&cache, "k").unwrap(), Some(entry("content")));
}

#[test]
fn a_value_of_a_newer_format_is_corrupt_and_says_so() {
    let server = Server::start(&[]);
    let cache = server.cache();
    let mut newer = cache_entry::encode(&entry("content")).unwrap();
    newer[7] = b'2';
    let () = server.raw().set("leverframe:k", newer).unwrap();

    let error = get(&cache, "k").unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("newer release"), "{error}");
}

#[test]
fn a_key_that_holds_something_else_is_corrupt_and_is_mended_by_removing_or_replacing() {
    let server = Server::start(&[]);
    let cache = server.cache();
    let mut raw = server.raw();

    let () = raw.lpush("leverframe:k", "x").unwrap();
    assert_eq!(get(&cache, "k").unwrap_err().kind(), ErrorKind::Corrupt);
    block_on(cache.remove(&key("k"))).unwrap();
    assert_eq!(get(&cache, "k").unwrap(), None);

    let () = raw.lpush("leverframe:k", "x").unwrap();
    put(&cache, "k", entry("content"));
    assert_eq!(get(&cache, "k").unwrap(), Some(entry("content")));
}

#[test]
fn entries_beyond_the_limit_are_neither_written_nor_read() {
    let server = Server::start(&[]);
    put(&server.cache(), "k", entry(&"x".repeat(200_000)));
    let mut config = server.config();
    config.max_entry_bytes = 1_000;
    let small = RedisCache::open(config).unwrap();

    assert_eq!(get(&small, "k").unwrap_err().kind(), ErrorKind::Corrupt);
    let error = block_on(small.put(&key("k"), entry(&"x".repeat(1_001)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    // The connection on which half an answer waits is not used again.
    assert_eq!(get(&small, "other").unwrap(), None);
    put(&small, "other", entry("fits"));
    assert_eq!(get(&small, "other").unwrap(), Some(entry("fits")));
}

#[test]
fn two_stores_share_entries_under_one_prefix_and_none_under_two() {
    let server = Server::start(&[]);
    let (writer, reader) = (server.cache(), server.cache());
    let mut config = server.config();
    config.prefix = "another:".to_owned();
    let apart = RedisCache::open(config).unwrap();

    put(&writer, "k", entry("shared"));

    assert_eq!(get(&reader, "k").unwrap(), Some(entry("shared")));
    assert_eq!(get(&apart, "k").unwrap(), None);
    block_on(reader.remove(&key("k"))).unwrap();
    assert_eq!(get(&writer, "k").unwrap(), None);
}

#[test]
fn entries_live_as_long_as_the_settings_say() {
    let server = Server::start(&[]);
    let mut config = server.config();
    config.ttl_seconds = 600;
    put(&server.cache(), "for.ever", entry("x"));
    put(&RedisCache::open(config.clone()).unwrap(), "for.a.while", entry("x"));

    let mut raw = server.raw();
    let ever: i64 = raw.ttl("leverframe:for.ever").unwrap();
    let while_: i64 = raw.ttl("leverframe:for.a.while").unwrap();

    assert_eq!(ever, -1);
    assert!((1..=600).contains(&while_), "{while_}");
    config.ttl_seconds = u64::MAX;
    assert_eq!(RedisCache::open(config).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn a_full_server_is_unavailable_and_keeps_the_old_entry() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let cache = server.cache();
    put(&cache, "k", entry("old"));
    let () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).exec(&mut server.raw()).unwrap();

    let error = block_on(cache.put(&key("k"), entry("new"))).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.hint_text().unwrap().contains("maxmemory"));
    assert_eq!(get(&cache, "k").unwrap(), Some(entry("old")));
}

#[test]
fn a_writer_that_dies_within_a_put_leaves_the_old_entry() {
    let server = Server::start(&[]);
    let cache = server.cache();
    put(&cache, "k", entry("old"));
    let new = cache_entry::encode(&entry(&"new".repeat(100_000))).unwrap();
    let command = redis::cmd("SET").arg("leverframe:k").arg(new).get_packed_command();

    for cut in [1, 20, command.len() / 2, command.len() - 1] {
        let mut dying = UnixStream::connect(server.socket()).unwrap();
        dying.write_all(&command[..cut]).unwrap();
        drop(dying);

        assert_eq!(get(&cache, "k").unwrap(), Some(entry("old")), "cut at {cut}");
    }
}

#[test]
fn answers_that_are_none_are_errors_whatever_their_form() {
    let deep = [b"*1\r\n".repeat(10_000), b"+x\r\n".to_vec()].concat();
    for (answer, kind) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], ErrorKind::Invalid),
        (b":5\r\n", ErrorKind::Invalid),
        (b"+OK\r\n", ErrorKind::Invalid),
        (b"*0\r\n", ErrorKind::Invalid),
        (b"$x\r\n", ErrorKind::Invalid),
        (b"$3\r\nabcd\r\n", ErrorKind::Invalid),
        (b"$3\r\nabc\r\n", ErrorKind::Corrupt),
        (b"-ERR hunter2\r\n", ErrorKind::Invalid),
        (b"$99999999999\r\nabc", ErrorKind::Unavailable),
        (b"*2000000000\r\n+x\r\n", ErrorKind::Unavailable),
        (&deep, ErrorKind::Invalid),
        (b"", ErrorKind::Unavailable),
    ] {
        let shown_answer = String::from_utf8_lossy(&answer[..answer.len().min(20)]).into_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = answer.to_vec();
        let peer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            // The cache may hang up at the first byte that cannot be.
            let _ = stream.write_all(&answer);
        });

        let error = get(&RedisCache::open(config(&format!("redis://127.0.0.1:{port}"))).unwrap(), "k");

        let error = error.expect_err(&shown_answer);
        assert_eq!(error.kind(), kind, "{shown_answer:?}: {error}");
        assert!(!shown(&error).contains("hunter2"), "{error}");
        peer.join().unwrap();
    }
}

#[test]
fn a_call_that_nobody_waits_for_any_more_does_no_harm() {
    let server = Server::start(&[]);
    let cache = server.cache();
    put(&cache, "k", entry("content"));

    for _ in 0..20 {
        let _ = pin!(cache.get(&key("k"))).as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    assert_eq!(get(&cache, "k").unwrap(), Some(entry("content")));
}

#[tokio::test]
async fn a_runtime_of_one_thread_goes_on_while_the_server_hangs() {
    let server = Server::start(&[]);
    let mut config = server.config();
    (config.connect_timeout_ms, config.timeout_ms) = (1_000, 300);
    let cache = std::sync::Arc::new(RedisCache::open(config).unwrap());
    server.freeze(true);

    let waiting = tokio::spawn({
        let cache = std::sync::Arc::clone(&cache);
        async move { cache.get(&key("k")).await }
    });
    let mut turns = 0;
    while !waiting.is_finished() {
        tokio::task::yield_now().await;
        turns += 1;
    }
    server.freeze(false);

    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    // A call that blocks the thread is over after the first.
    assert!(turns > 1, "the runtime stood still: {turns} turns");
}

#[cfg(feature = "tls")]
mod with_tls {
    use super::*;
    use crate::server::pki;

    fn secured(dir: &std::path::Path) -> (Server, server::certs::Pki) {
        let pki = pki(dir);
        let (cert, key) = pki.server("server");
        let (cert, key, ca) =
            (cert.display().to_string(), key.display().to_string(), pki.ca_file().display().to_string());
        let server = Server::listening(&[
            "--tls-port",
            "{port}",
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "no",
            "--requirepass",
            "s3cret",
        ]);
        (server, pki)
    }

    #[test]
    fn entries_travel_over_tls_to_a_server_whose_authority_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (mut server, pki) = secured(dir.path());
        let mut config = config(&format!("rediss://:s3cret@localhost:{}/1", server.port()));
        config.ca_file = pki.ca_file();
        let cache = RedisCache::open(config).unwrap();

        put(&cache, "k", entry(&"x".repeat(300_000)));
        assert_eq!(get(&cache, "k").unwrap(), Some(entry(&"x".repeat(300_000))));
        server.down();
        assert!(server.up());
        assert_eq!(get(&cache, "k").unwrap(), None);
    }

    #[test]
    fn a_server_that_nobody_vouches_for_gets_no_password() {
        let dir = tempfile::tempdir().unwrap();
        let (server, _pki) = secured(dir.path());
        let cache =
            RedisCache::open(config(&format!("rediss://:s3cret@localhost:{}", server.port()))).unwrap();

        let error = get(&cache, "k").unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!error.retry_state().may_retry());
        assert!(error.hint_text().unwrap().contains("ca_file"), "{error}");
        assert!(!shown(&error).contains("s3cret"));
    }

    #[test]
    fn a_certificate_for_another_host_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let pki = pki(dir.path());
        let (cert, key) = pki.leaf("other", &["cache.example.com"], |_| {});
        let (cert, key, ca) =
            (cert.display().to_string(), key.display().to_string(), pki.ca_file().display().to_string());
        let server = Server::listening(&[
            "--tls-port",
            "{port}",
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "no",
        ]);
        let mut config = config(&format!("rediss://localhost:{}", server.port()));
        config.ca_file = pki.ca_file();

        let error = get(&RedisCache::open(config).unwrap(), "k").unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!error.retry_state().may_retry());
    }

    #[test]
    fn a_server_without_tls_is_not_spoken_to_in_the_clear() {
        let server = Server::listening(&[]);
        let mut config = config(&format!("rediss://:s3cret@localhost:{}", server.port()));
        (config.connect_timeout_ms, config.timeout_ms) = (200, 200);

        // The server takes the beginning of the handshake for a command whose end it waits for.
        let error = get(&RedisCache::open(config).unwrap(), "k").unwrap_err();

        assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error}");
    }

    #[test]
    fn the_process_wide_provider_is_left_to_the_application() {
        let dir = tempfile::tempdir().unwrap();
        let (server, pki) = secured(dir.path());
        let mut config = config(&format!("rediss://:s3cret@localhost:{}", server.port()));
        config.ca_file = pki.ca_file();

        assert_eq!(get(&RedisCache::open(config).unwrap(), "k").unwrap(), None);

        assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    }

    #[test]
    fn a_file_that_holds_no_authority_is_refused_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();

        for file in [empty, dir.path().join("missing.pem")] {
            let mut config = config("rediss://localhost");
            config.ca_file = file;
            assert_eq!(RedisCache::open(config).unwrap_err().kind(), ErrorKind::Config);
        }
    }
}
