//! Connections that break, answers that are lost, processes that are killed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use leverframe::backends::clock_system::SystemClock;
use leverframe_server::{
    settings::{
        SettingsStore,
        model::{Change, EntryKind, Kind, Service, SettingsKey, Standing, Write, Written},
    },
    store::{PostgresStore, Store},
};

use super::fixtures::{id, put, put_secret, service, versions, with_service, write};
use crate::{
    conformance::on_every_engine,
    place::{Place, at, with_namespace},
    postgres::Postgres,
    proxy::Proxy,
    victim::{acknowledge, kill_after, store_to_work_on},
};

on_every_engine!(no_acknowledged_write_is_lost_or_done_twice_after_kill_9);

#[tokio::test]
async fn writes_whose_answer_is_lost_are_done_once_and_said_to_be() {
    let server = Postgres::shared();
    let url = server.database().await;
    let proxy = Proxy::before(&server).await;
    let store = PostgresStore::connect(&proxy.url(&url), Arc::new(SystemClock::new())).await.unwrap();
    with_service(&store, Kind::Backend).await;
    let mut kept = Write::new(EntryKind::Config, "a", put("1"), Standing::default());
    kept.request = Some([1; 32]);
    let mut again = kept.clone();
    again.expected = Standing::new(1, Some(1));
    let send = async |kind, change, expected| {
        proxy.lose_the_next_answer_to_a_commit();
        store.write_settings(&id(), &Write::new(kind, "a", change, expected), at(2)).await.unwrap()
    };

    // With a request that is remembered, the first call is told apart from what repeats it.
    proxy.lose_the_next_answer_to_a_commit();
    assert_eq!(store.write_settings(&id(), &kept, at(1)).await.unwrap(), Written::Done(1));
    proxy.lose_the_next_answer_to_a_commit();
    assert_eq!(store.write_settings(&id(), &again, at(2)).await.unwrap(), Written::Before(1));
    // Without one likewise; and what it did is not done to what came of it.
    let one = Standing::new(1, Some(1));
    assert_eq!(send(EntryKind::Config, put("2"), one).await, Written::Done(2));
    assert_eq!(send(EntryKind::Config, put("2"), one).await, Written::Moved);
    assert_eq!(send(EntryKind::Config, Change::Delete, Standing::new(2, Some(2))).await, Written::Done(2));
    assert_eq!(send(EntryKind::Config, Change::Delete, Standing::new(2, None)).await, Written::Absent);
    assert_eq!(send(EntryKind::Secret, put_secret("1"), Standing::default()).await, Written::Done(1));
    assert_eq!(send(EntryKind::Secret, put_secret("2"), one).await, Written::Done(2));
    let two = Standing::new(2, Some(2));
    assert_eq!(send(EntryKind::Secret, Change::DeleteVersion(2), two).await, Written::Done(2));

    assert_eq!(proxy.lost(), 9);
    let held = store.settings_held(&id()).await.unwrap().unwrap();
    assert_eq!((held.revision, held.configs.len(), held.secrets[0].version), (6, 0, 1));
}

#[tokio::test]
async fn services_and_keys_whose_answer_is_lost_are_written_once() {
    let server = Postgres::shared();
    let url = server.database().await;
    let proxy = Proxy::before(&server).await;
    let store = PostgresStore::connect(&proxy.url(&url), Arc::new(SystemClock::new())).await.unwrap();
    with_namespace(&store).await;
    let key = SettingsKey::new("set_1", id(), false, at(1));
    let put = async |service: &Service| {
        proxy.lose_the_next_answer_to_a_commit();
        store.put_settings_service(service).await.unwrap()
    };

    let first = put(&service(id(), Kind::Backend)).await.unwrap();
    let second = put(&first).await.unwrap();
    // Of the same revision, but not the change that was made.
    let mut other = first.clone();
    other.updated_by = "somebody else".to_owned();
    let late = [put(&other).await, put(&{ service(id(), Kind::Frontend) }).await];
    proxy.lose_the_next_answer_to_a_commit();
    store.create_settings_key(&key, &[1; 32]).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let revoked = store.revoke_settings_key(&id(), "set_1", at(2)).await.unwrap();
    let keys = [(id(), first.data_key.clone(), Bytes::from_static(b"next"))];
    proxy.lose_the_next_answer_to_a_commit();
    let replaced = store.replace_settings_data_keys(&keys).await.unwrap();

    assert_eq!(proxy.lost(), 7);
    assert_eq!((first.revision, second.revision, late), (1, 2, [None, None]));
    assert!(revoked && replaced);
    let now = store.settings_service(&id()).await.unwrap().unwrap();
    assert_eq!((now.revision, &now.data_key[..]), (2, &b"next"[..]));
}

#[tokio::test]
async fn connections_that_were_ended_write_all_the_same() {
    let place = Place::on_postgres().await;
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;

    for version in 1..=5 {
        place
            .tamper(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
        assert_eq!(write(&*store, EntryKind::Config, "a", put("x")).await, Written::Done(version));
        assert_eq!(store.settings_held(&id()).await.unwrap().unwrap().revision, version);
    }
}

#[tokio::test]
async fn a_database_that_restarts_or_crashes_costs_no_write_and_does_none_twice() {
    let server = Arc::new(Postgres::start(&[]));
    let url = server.database().await;
    let clock = || Arc::new(SystemClock::new());
    let stores = [
        Arc::new(PostgresStore::connect(&url, clock()).await.unwrap()),
        Arc::new(PostgresStore::connect(&url, clock()).await.unwrap()),
    ];
    with_service(&*stores[0], Kind::Backend).await;
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4_usize)
        .map(|writer| {
            let (store, done) = (Arc::clone(&stores[writer % 2]), Arc::clone(&done));
            tokio::spawn(async move {
                let key = format!("k{writer}");
                let mut version = 0;
                while !done.load(Ordering::Relaxed) {
                    // Nobody else writes it: what is not said to be done was done by a call that failed.
                    let expected = Standing::new(version, Some(version).filter(|version| *version > 0));
                    let write = Write::new(EntryKind::Config, &key, put("x"), expected);
                    version += 1;
                    let written = store.write_settings(&id(), &write, at(version)).await.unwrap();
                    assert_eq!(written, Written::Done(version));
                }
                version
            })
        })
        .collect();

    for how in ["fast", "immediate"] {
        let server = Arc::clone(&server);
        let restart = tokio::task::spawn_blocking(move || {
            server.stop(how);
            server.run();
        });
        restart.await.unwrap();
        // Writing goes on before it is stopped again.
        let revision = async || stores[0].settings_held(&id()).await.unwrap().unwrap().revision;
        let before = revision().await;
        while revision().await < before + 8 {
            tokio::task::yield_now().await;
        }
    }
    done.store(true, Ordering::Relaxed);
    let mut versions = Vec::new();
    for writer in writers {
        versions.push(writer.await.unwrap());
    }

    let held = stores[1].settings_held(&id()).await.unwrap().unwrap();
    assert_eq!(held.configs.iter().map(|config| config.version).collect::<Vec<_>>(), versions);
    assert_eq!(held.revision, versions.iter().sum::<u64>());
}

const ROUNDS: u64 = 6;
const IN_ANOTHER_PROCESS: &str =
    "settings::replicas::on_sqlite::no_acknowledged_write_is_lost_or_done_twice_after_kill_9";

async fn no_acknowledged_write_is_lost_or_done_twice_after_kill_9(place: Place) {
    if let Some(store) = store_to_work_on().await {
        // Nobody cleans up after a process that is killed.
        drop(place);
        return write_until_killed(&*store).await;
    }
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    store.close().await;
    let mut sent = 0;

    for round in 1..=ROUNDS {
        // Another moment each time: right after an acknowledgement, when the next is under way.
        let acknowledged = kill_after(&place, IN_ANOTHER_PROCESS, 1 + round as usize * 2).len() as u64;

        let store = place.open().await;
        let held = store.settings_held(&id()).await.unwrap().unwrap();
        let there = held.secrets[0].version;
        assert!(there >= sent + acknowledged, "{there} of {sent} and {acknowledged}");
        // Whole or not at all: the secret, its version and what is counted.
        assert_eq!((held.revision, held.secrets[0].sealed.clone()), (there, content(there)));
        let kept = versions(&*store, &id(), "a").await;
        // One more, if the database had it already and went on without whoever sent it.
        assert!([there, there + 1].map(|count| count.min(100)).contains(&(kept.len() as u64)));
        assert!(kept.iter().all(|version| version.sealed == content(version.version)));
        // As a client does that was not told: it is sent again, and done once.
        assert_eq!(store.write_settings(&id(), &number(there), at(1)).await.unwrap(), Written::Before(there));
        let next = store.write_settings(&id(), &number(there + 1), at(1)).await.unwrap();
        assert!([Written::Done(there + 1), Written::Before(there + 1)].contains(&next), "{next:?}");
        sent = there + 1;
        assert_eq!(store.settings_held(&id()).await.unwrap().unwrap().revision, sent);
        store.close().await;
    }
}

/// Of some pages, so that a write takes more than one step.
fn content(number: u64) -> Bytes {
    Bytes::from(format!("{number} {}", "x".repeat(20_000)))
}

/// The so-manieth write.
fn number(number: u64) -> Write {
    let change = match put_secret("") {
        Change::PutSecret { form, .. } => Change::PutSecret { form, sealed: content(number) },
        other => other,
    };
    let before = number - 1;
    let expected = Standing::new(before, Some(before).filter(|before| *before > 0));
    let mut write = Write::new(EntryKind::Secret, "a", change, expected);
    let mut request = [0; 32];
    request[..8].copy_from_slice(&number.to_be_bytes());
    write.request = Some(request);
    write
}

async fn write_until_killed(store: &dyn Store) {
    let mut version = store.settings_standing(&id(), EntryKind::Secret, "a").await.unwrap().last;
    loop {
        version += 1;
        let written = store.write_settings(&id(), &number(version), at(1)).await.unwrap();
        assert_eq!(written, Written::Done(version));
        acknowledge(&version.to_string());
    }
}
