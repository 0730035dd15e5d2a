//! Connections that break, answers that are lost, processes that are killed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use leverframe::backends::clock_system::SystemClock;
use leverframe_server::{
    gate::{
        GateStore,
        model::{GateKey, Pulse, Settings, SiteId, Verdict},
    },
    store::{PostgresStore, Store},
};

use super::fixtures::{counted, kept_pulse, pulse, site, window};
use crate::{
    conformance::on_every_engine,
    place::{Place, at},
    postgres::Postgres,
    proxy::Proxy,
    victim::{acknowledge, kill_after, store_to_work_on},
};

on_every_engine!(no_acknowledged_pulse_is_lost_or_counted_twice_after_kill_9);

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_counted_once_and_said_to_be() {
    let server = Postgres::shared();
    let url = server.database().await;
    let proxy = Proxy::before(&server).await;
    let store = PostgresStore::connect(&proxy.url(&url), Arc::new(SystemClock::new())).await.unwrap();
    let batch = [pulse("a", 1, 1), kept_pulse("b", 1, "p", 1), pulse("a", 1, 1)];
    let verdicts = [Verdict::Counted, Verdict::Counted, Verdict::Replayed];

    // The first commit of all finds that there is no site yet.
    proxy.lose_the_next_answer_to_a_commit();
    store.count_pulses(&[pulse("c", 1, 1)], at(1)).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let first = store.count_pulses(&batch, at(1)).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let again = store.count_pulses(&batch, at(2)).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let next = store.count_pulses(&[pulse("a", 2, 1)], at(2)).await.unwrap();

    assert_eq!(proxy.lost(), 4);
    assert_eq!(first, verdicts);
    assert_eq!(again, [Verdict::Replayed, Verdict::CountedBefore, Verdict::Replayed]);
    assert_eq!(next, [Verdict::Counted]);
    assert_eq!(store.gate_totals(&site()).await.unwrap()["free"].calls, 4);
    assert_eq!(store.gate_site(&site()).await.unwrap().pulses, 4);
    assert_eq!(store.gate_window(&site(), 2, at(2)).await.unwrap()["free"].calls, 4);
}

#[tokio::test]
async fn keys_and_settings_whose_answer_is_lost_are_written_once() {
    let server = Postgres::shared();
    let url = server.database().await;
    let proxy = Proxy::before(&server).await;
    let store = PostgresStore::connect(&proxy.url(&url), Arc::new(SystemClock::new())).await.unwrap();
    let mut settings = Settings::default();
    (settings.updated_at, settings.kill_signal) = (Some(at(1)), true);
    let key = GateKey::new("acme", "wpk_1", at(1));

    proxy.lose_the_next_answer_to_a_commit();
    store.create_gate_key(&key, &[1; 32]).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let set = store.put_gate_settings("acme", None, &settings).await.unwrap().unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let next = store.put_gate_settings("acme", None, &set).await.unwrap().unwrap();
    // Of the same revision, but not the change that was made.
    let mut other = set.clone();
    other.updated_at = Some(at(2));
    proxy.lose_the_next_answer_to_a_commit();
    let conflict = store.put_gate_settings("acme", None, &other).await.unwrap();
    proxy.lose_the_next_answer_to_a_commit();
    let revoked = store.revoke_gate_key("acme", "wpk_1", at(3)).await.unwrap();

    assert_eq!(proxy.lost(), 5);
    assert_eq!((set.revision, next.revision, conflict, revoked), (1, 2, None, true));
    assert_eq!(store.gate_settings("acme", None).await.unwrap(), next);
}

#[tokio::test]
async fn a_database_that_restarts_or_crashes_costs_no_pulse_and_counts_none_twice() {
    let server = Arc::new(Postgres::start(&[]));
    let url = server.database().await;
    let clock = || Arc::new(SystemClock::new());
    let stores = [
        Arc::new(PostgresStore::connect(&url, clock()).await.unwrap()),
        Arc::new(PostgresStore::connect(&url, clock()).await.unwrap()),
    ];
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4_usize)
        .map(|writer| {
            let (store, done) = (Arc::clone(&stores[writer % 2]), Arc::clone(&done));
            tokio::spawn(async move {
                let mut ts = 0;
                while !done.load(Ordering::Relaxed) {
                    ts += 1;
                    let pulses: Vec<_> = (0..5)
                        .map(|number| {
                            let site = SiteId::new("acme", format!("s{number}"));
                            Pulse::new(site, format!("{writer}"), ts, window([("free", 1)]))
                        })
                        .collect();
                    // Each counts, and is said to: a client that is told otherwise would report it again.
                    let verdicts = store.count_pulses(&pulses, at(ts)).await.unwrap();
                    assert_eq!(verdicts, [Verdict::Counted; 5]);
                }
                ts
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
        // Counting goes on before it is stopped again.
        let pulses = async || stores[0].gate_site(&SiteId::new("acme", "s0")).await.unwrap().pulses;
        let before = pulses().await;
        while pulses().await < before + 8 {
            tokio::task::yield_now().await;
        }
    }
    done.store(true, Ordering::Relaxed);
    let mut all = 0;
    for writer in writers {
        all += writer.await.unwrap();
    }

    for number in 0..5 {
        let site = SiteId::new("acme", format!("s{number}"));
        assert_eq!(stores[1].gate_totals(&site).await.unwrap()["free"].calls, all);
        assert_eq!(stores[1].gate_site(&site).await.unwrap().pulses, all);
    }
}

#[tokio::test]
async fn connections_that_were_ended_count_all_the_same() {
    let place = Place::on_postgres().await;
    let store = place.open().await;

    for ts in 1..=5 {
        place
            .tamper(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
        assert_eq!(store.count_pulses(&[pulse("a", ts, 1)], at(ts)).await.unwrap(), [Verdict::Counted]);
        assert_eq!(store.gate_totals(&site()).await.unwrap()["free"].calls, ts);
    }
}

const ROUNDS: u64 = 8;
const IN_ANOTHER_PROCESS: &str =
    "gate::replicas::on_sqlite::no_acknowledged_pulse_is_lost_or_counted_twice_after_kill_9";

async fn no_acknowledged_pulse_is_lost_or_counted_twice_after_kill_9(place: Place) {
    if let Some(store) = store_to_work_on().await {
        // Nobody cleans up after a process that is killed.
        drop(place);
        return count_until_killed(&*store).await;
    }
    place.open().await.close().await;
    let mut sent = 0;

    for round in 1..=ROUNDS {
        // Another moment each time: right after an acknowledgement, when the next is under way.
        let acknowledged = kill_after(&place, IN_ANOTHER_PROCESS, 1 + round as usize * 2).len() as u64;

        let store = place.open().await;
        let calls = async || store.gate_totals(&site()).await.unwrap()["free"].clone();
        let before = calls().await.calls;
        assert!(before >= sent + acknowledged, "{before} of {sent} and {acknowledged}");
        // As a client does that was not told: it is sent again, and counts once.
        let last = [report(before), report(before + 1)];
        let verdicts = store.count_pulses(&last, at(1)).await.unwrap();
        assert_eq!(verdicts[0], Verdict::CountedBefore);
        // Unless the database had it already, and went on without whoever sent it.
        assert!([Verdict::Counted, Verdict::CountedBefore].contains(&verdicts[1]));
        sent = before + 1;
        assert_eq!(calls().await, counted_ones(sent));
        assert_eq!(store.gate_site(&site()).await.unwrap().pulses, sent);
        assert_eq!(store.gate_window(&site(), 1, at(1)).await.unwrap()["free"], counted_ones(sent));
        store.close().await;
    }
}

/// One call, reported as the so-manieth.
fn report(number: u64) -> Pulse {
    kept_pulse("a", number, &format!("p{number}"), 1)
}

/// What so many single calls add up to.
fn counted_ones(count: u64) -> leverframe::gate::reflex::Aggregate {
    let mut sum = counted(0);
    for _ in 0..count {
        sum.merge(&counted(1));
    }
    sum
}

async fn count_until_killed(store: &dyn Store) {
    let known = store.gate_totals(&site()).await.unwrap();
    let mut number = known.get("free").map_or(0, |counted| counted.calls);
    loop {
        number += 1;
        let verdicts = store.count_pulses(&[report(number)], at(1)).await.unwrap();
        assert_eq!(verdicts, [Verdict::Counted]);
        acknowledge(&number.to_string());
    }
}
