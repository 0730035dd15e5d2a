//! What a shared database promises besides: servers hear of each other, and outlive its restarts.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leverframe::{ErrorKind, Retry, backends::clock_system::SystemClock, testing::ManualClock};
use leverframe_server::{
    model::{AuditEvent, PageRequest, Stored, TokenRecord, TokenType},
    store::{Notice, PostgresStore, Store},
};
use tokio::sync::broadcast::Receiver;

use crate::{
    place::{Place, accepted, at, heard, tenant, version, with_namespace},
    ports::free_port,
    postgres::{Postgres, execute},
    proxy::Proxy,
};

/// Has everything of which a notice may tell be told; returns the versions that were.
async fn heard_up_to(notices: &mut Receiver<Notice>, last: u64) -> BTreeSet<u64> {
    let mut versions = BTreeSet::new();
    while !versions.contains(&last) {
        match heard(notices).await {
            Notice::Manifest { version, .. } => versions.insert(version),
            Notice::Everything => versions.insert(last),
            other => panic!("{other:?}"),
        };
    }
    versions
}

/// Lets one look follow the other until there is a notice: one may have begun just before what it is to see, and the
/// next is five seconds away.
async fn told_in_time(clock: &ManualClock, notices: &Receiver<Notice>) {
    let told = async {
        while notices.is_empty() {
            clock.advance(Duration::from_secs(5));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("a notice in time");
}

#[tokio::test]
async fn a_notification_alone_carries_a_change_to_the_other_server() {
    let place = Place::on_postgres().await;
    // A clock that stands still: nothing that is done every so often happens.
    let clock = ManualClock::new();
    let here = place.open_with(Arc::new(clock.clone())).await;
    let there = place.open_with(Arc::new(clock)).await;
    with_namespace(&*there).await;
    here.create_token(&TokenRecord::new("tok_1", TokenType::Superadmin, at(0)), &[1; 32]).await.unwrap();
    let mut notices = here.notices();

    for number in 1..=20 {
        accepted(
            there.put_version("acme", "payments", &version(&format!("{number}"), None), at(2)).await.unwrap(),
        );
        assert!(heard_up_to(&mut notices, number).await.contains(&number));
    }
    there.revoke_token("tok_1", at(3)).await.unwrap();

    assert_eq!(heard(&mut notices).await, Notice::TokenRevoked { id: "tok_1".to_owned() });
}

#[tokio::test]
async fn a_lost_notification_is_no_lost_change() {
    let place = Place::on_postgres().await;
    let clock = ManualClock::new();
    let here = place.open_with(Arc::new(clock.clone())).await;
    let there = place.open().await;
    with_namespace(&*there).await;
    place.tamper("ALTER TABLE change_counter DISABLE TRIGGER change_told").await;
    let mut notices = here.notices();

    accepted(there.put_version("acme", "payments", &version("a", None), at(2)).await.unwrap());
    told_in_time(&clock, &notices).await;

    assert!(matches!(heard(&mut notices).await, Notice::Manifest { version: 1, .. } | Notice::Everything));
}

#[tokio::test]
async fn a_connection_that_listened_and_was_ended_is_replaced_and_no_change_is_lost() {
    let place = Place::on_postgres().await;
    let here = place.open().await;
    let there = place.open().await;
    with_namespace(&*there).await;
    let mut notices = here.notices();

    for number in 1..=3 {
        place
            .tamper(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND query LIKE 'LISTEN%'",
            )
            .await;
        accepted(
            there.put_version("acme", "payments", &version(&format!("{number}"), None), at(2)).await.unwrap(),
        );
        heard_up_to(&mut notices, number).await;
    }
    // It ends with the store: nothing listens any more.
    here.close().await;
    there.close().await;
}

#[tokio::test]
async fn connections_that_were_ended_are_replaced_and_no_error_surfaces() {
    let place = Place::on_postgres().await;
    let store = place.open().await;
    with_namespace(&*store).await;

    for number in 1..=5 {
        place
            .tamper(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
        accepted(
            store.put_version("acme", "payments", &version(&format!("{number}"), None), at(2)).await.unwrap(),
        );
        assert_eq!(store.version("acme", "payments", None).await.unwrap().unwrap().version, number);
    }
}

#[tokio::test]
async fn a_database_that_restarts_or_crashes_costs_no_version_and_no_error() {
    let server = Arc::new(Postgres::start(&[]));
    let url = server.database().await;
    let clock = || Arc::new(SystemClock::new());
    let stores: Vec<Arc<dyn Store>> = vec![
        Arc::new(PostgresStore::connect(&url, clock()).await.unwrap()),
        Arc::new(PostgresStore::connect(&url, clock()).await.unwrap()),
    ];
    with_namespace(&*stores[0]).await;
    let mut notices = stores[1].notices();
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, done) = (Arc::clone(&stores[writer % 2]), Arc::clone(&done));
            tokio::spawn(async move {
                let mut stored = Vec::new();
                let mut number = 0;
                while !done.load(Ordering::Relaxed) {
                    number += 1;
                    let new = version(&format!("{writer} {number}"), None);
                    stored.push(accepted(
                        store.put_version("acme", "payments", &new, at(number)).await.unwrap(),
                    ));
                    assert!(store.version("acme", "payments", None).await.unwrap().is_some());
                }
                stored
            })
        })
        .collect();

    for how in ["fast", "immediate", "fast"] {
        let server = Arc::clone(&server);
        let restart = tokio::task::spawn_blocking(move || {
            server.stop(how);
            server.run();
        });
        restart.await.unwrap();
        // Writes go on before it is stopped again.
        let before = stores[0].namespace("acme", "payments").await.unwrap().unwrap().version;
        while stores[0].namespace("acme", "payments").await.unwrap().unwrap().version < before + 8 {
            tokio::task::yield_now().await;
        }
    }
    done.store(true, Ordering::Relaxed);
    let mut stored = Vec::new();
    for writer in writers {
        stored.extend(writer.await.unwrap());
    }

    // Each was stored once, under a number of its own, and nothing besides.
    stored.sort_by_key(|record| record.version);
    assert!(stored.iter().map(|record| record.version).eq(1..=stored.len() as u64));
    let head = stores[1].namespace("acme", "payments").await.unwrap().unwrap().version;
    assert_eq!(head, stored.len() as u64);
    for record in &stored {
        let kept = stores[1].version("acme", "payments", Some(record.version)).await.unwrap();
        assert_eq!(kept.as_ref(), Some(record));
    }
    // And what was missed meanwhile was made up for.
    let last = accepted(stores[0].put_version("acme", "payments", &version("z", None), at(2)).await.unwrap());
    let mut everything = false;
    loop {
        match tokio::time::timeout(Duration::from_secs(20), notices.recv()).await.unwrap() {
            Ok(Notice::Everything) => everything = true,
            Ok(Notice::Manifest { version, .. }) if version == last.version => break,
            // A receiver that lags looks at everything.
            Err(_) => everything = true,
            Ok(_) => {}
        }
    }
    assert!(everything);
}

#[tokio::test]
async fn a_database_that_stays_away_is_unavailable_and_back_when_it_is_back() {
    let server = Arc::new(Postgres::start(&[]));
    let url = server.database().await;
    let clock = ManualClock::new();
    let store = Arc::new(PostgresStore::connect(&url, Arc::new(clock.clone())).await.unwrap());
    with_namespace(&*store).await;
    let stopped = Arc::clone(&server);
    tokio::task::spawn_blocking(move || stopped.stop("fast")).await.unwrap();

    let ping = store.ping().await.unwrap_err();
    let calls = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let read = store.tenant("acme").await.unwrap_err();
            let write = store.put_version("acme", "payments", &version("a", None), at(2)).await.unwrap_err();
            [read, write]
        }
    });
    while !calls.is_finished() {
        clock.advance(Duration::from_millis(250));
        tokio::task::yield_now().await;
    }

    assert_eq!((ping.kind(), ping.retry_state()), (ErrorKind::Unavailable, Retry::Now));
    for error in calls.await.unwrap() {
        assert_eq!(
            (error.kind(), error.retry_state()),
            (ErrorKind::Unavailable, Retry::Exhausted),
            "{error}"
        );
    }
    let started = Arc::clone(&server);
    tokio::task::spawn_blocking(move || started.run()).await.unwrap();
    store.ping().await.unwrap();
    assert_eq!(store.version("acme", "payments", None).await.unwrap(), None);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_recognised_and_not_written_twice() {
    let server = Postgres::shared();
    let url = server.database().await;
    let proxy = Proxy::before(&server).await;
    let store = PostgresStore::connect(&proxy.url(&url), Arc::new(SystemClock::new())).await.unwrap();
    let token = TokenRecord::new("tok_1", TokenType::Superadmin, at(0));

    proxy.lose_the_next_answer_to_a_commit();
    store.create_tenant(&tenant("acme")).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    store.create_namespace(&crate::place::namespace("acme", "payments")).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let first = store.put_version("acme", "payments", &version("a", Some(0)), at(2)).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let second = store.put_version("acme", "payments", &version("b", None), at(2)).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let same = store.put_version("acme", "payments", &version("b", None), at(3)).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    store.create_token(&token, &[1; 32]).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let revoked = store.revoke_token("tok_1", at(5)).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    store.record(&AuditEvent::new(at(5), "token.revoke", "tok_1")).await.unwrap();

    assert_eq!(proxy.lost(), 8);
    assert_eq!(accepted(first).version, 1);
    let second = accepted(second);
    assert_eq!((second.version, same), (2, Stored::Same(second)));
    assert!(revoked);
    assert_eq!(store.versions("acme", "payments", &PageRequest::default()).await.unwrap().items.len(), 2);
    assert_eq!(store.audit(None, &PageRequest::default()).await.unwrap().items.len(), 1);
    // What another has made is a conflict all the same.
    proxy.lose_the_next_answer_to_a_commit();
    assert_eq!(store.create_tenant(&tenant("acme")).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_thousand_changes_that_were_missed_are_told_as_one() {
    let place = Place::on_postgres().await;
    let clock = ManualClock::new();
    let here = place.open_with(Arc::new(clock.clone())).await;
    place.tamper("ALTER TABLE change_counter DISABLE TRIGGER change_told").await;
    let mut notices = here.notices();

    place.tamper("UPDATE change_counter SET seq = seq + 1001").await;
    told_in_time(&clock, &notices).await;
    assert_eq!(heard(&mut notices).await, Notice::Everything);

    // Put back to an earlier state: nothing that was told can be relied upon.
    place.tamper("UPDATE change_counter SET seq = 0").await;
    told_in_time(&clock, &notices).await;
    assert_eq!(heard(&mut notices).await, Notice::Everything);
}

#[tokio::test]
async fn refusals_say_what_to_do_and_never_the_password() {
    let server = Postgres::prepare(&[]);
    std::fs::write(
        server.data().join("pg_hba.conf"),
        "local all postgres trust\nlocal all all scram-sha-256\n",
    )
    .unwrap();
    server.run();
    for statement in
        ["CREATE ROLE ann LOGIN PASSWORD 'right'", "CREATE DATABASE flags", "CREATE DATABASE closed"]
    {
        server.execute("postgres", statement).await;
    }
    execute(&server.url("closed"), "REVOKE CREATE ON SCHEMA public FROM public").await;
    execute(&server.url("flags"), "GRANT CREATE ON SCHEMA public TO ann").await;
    let connect = async |user: &str, database: &str| {
        let url = server.url(database).expose().replace("postgres@", user);
        PostgresStore::connect(&leverframe::Secret::new(url), Arc::new(SystemClock::new())).await
    };

    for (user, database, kind) in [
        ("ann:hunter2@", "flags", ErrorKind::Unauthenticated),
        ("ann@", "flags", ErrorKind::Unavailable),
        ("ann:right@", "nothing", ErrorKind::NotFound),
        ("ann:right@", "closed", ErrorKind::PermissionDenied),
    ] {
        let error = connect(user, database).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.chain());
        let shown = format!("{} {error:?}", error.chain());
        assert!(!shown.contains("hunter2") && !shown.contains("right"), "{shown}");
    }
    let store = connect("ann:right@", "flags").await.unwrap();
    store.create_tenant(&tenant("acme")).await.unwrap();
    assert!(!format!("{store:?}").contains("right"));
}

#[tokio::test]
async fn tls_is_verified_and_never_left_out() {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut of_authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    of_authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = of_authority.self_signed(&authority).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(of_authority, authority);
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let port = free_port();
    let server =
        Postgres::prepare(&["-c listen_addresses=localhost", &format!("-c port={port}"), "-c ssl=on"]);
    server.write("server.crt", &certificate.pem());
    server.write("server.key", &key.serialize_pem());
    server.run();
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), root.pem()).unwrap();
    let connect = async |host: &str, parameters: String| {
        let url = format!("postgres://postgres@{host}:{port}/postgres?connect_timeout=5&{parameters}");
        PostgresStore::connect(&leverframe::Secret::new(url), Arc::new(SystemClock::new())).await
    };
    let trusted = format!("sslrootcert={}", roots.path().display());

    for mode in ["require", "verify-ca", "verify-full"] {
        let store = connect("localhost", format!("sslmode={mode}&{trusted}")).await.unwrap();
        store.ping().await.unwrap();
        store.close().await;
        // By an authority that is not trusted, and for another name than was asked for.
        for (host, trusted) in [("localhost", ""), ("127.0.0.1", trusted.as_str())] {
            let refused = connect(host, format!("sslmode={mode}&{trusted}")).await.unwrap_err();
            assert_eq!((refused.kind(), refused.retry_state()), (ErrorKind::Unavailable, Retry::Never));
            assert!(
                refused.hint_text().is_some_and(|hint| hint.contains("certificate")),
                "{}",
                refused.chain()
            );
        }
    }
    // A server that has no TLS is not talked to without.
    server.stop("fast");
    server.run_with(&["-c ssl=off"]);
    let refused = connect("localhost", format!("sslmode=require&{trusted}")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.retry_state()), (ErrorKind::Unavailable, Retry::Never));
    connect("localhost", "sslmode=disable".to_owned()).await.unwrap().ping().await.unwrap();
}
