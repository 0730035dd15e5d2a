//! Writes that depend on what else there is.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use leverframe_server::{
    settings::model::{EntryKind, Kind, Seen, Service, ServiceId, Standing, Write, Written},
    store::Store,
};

use super::fixtures::{put, service};
use crate::{
    conformance::on_every_engine,
    place::{Place, at, with_namespace},
};

on_every_engine!(
    heirs_are_listed_with_the_revision_of_what_they_have,
    a_write_is_done_only_if_everything_that_was_seen_is_still_so,
    of_two_writes_that_depend_on_each_other_one_is_done,
    whoever_depends_on_others_waits_for_nobody_who_waits_for_them,
);

fn id(name: &str) -> ServiceId {
    ServiceId::new("acme", "payments", name)
}

async fn make(store: &dyn Store, name: &str, kind: Kind, inherits: Option<&str>) -> Service {
    let mut new = service(id(name), kind);
    new.inherits = inherits.map(id);
    store.put_settings_service(&new).await.unwrap().unwrap()
}

/// An umbrella service and two heirs, and somebody else.
async fn family(store: &dyn Store) {
    with_namespace(store).await;
    make(store, "base_", Kind::Umbrella, None).await;
    make(store, "basex", Kind::Umbrella, None).await;
    make(store, "b", Kind::Backend, Some("base_")).await;
    make(store, "a", Kind::Frontend, Some("base_")).await;
    make(store, "other", Kind::Backend, Some("basex")).await;
    make(store, "alone", Kind::Backend, None).await;
}

async fn entries(store: &dyn Store, name: &str) -> u64 {
    store.settings_held(&id(name)).await.unwrap().unwrap().revision
}

/// Sees everything as it is.
async fn seen(store: &dyn Store, name: &str) -> Seen {
    let held = store.settings_held(&id(name)).await.unwrap().unwrap();
    let mut seen = Seen::new(held.service.revision, held.revision);
    if let Some(umbrella) = held.service.inherits {
        let entries = store.settings_held(&umbrella).await.unwrap().unwrap().revision;
        seen.umbrella = Some((umbrella, entries));
    }
    seen.heirs = store.settings_heirs(&id(name)).await.unwrap();
    seen
}

/// Writes a config that depends on what was seen.
async fn write(store: &dyn Store, name: &str, key: &str, seen: Option<Seen>) -> Written {
    let expected = store.settings_standing(&id(name), EntryKind::Config, key).await.unwrap();
    let mut write = Write::new(EntryKind::Config, key, put("1"), expected);
    write.seen = seen;
    store.write_settings(&id(name), &write, at(2)).await.unwrap()
}

async fn heirs_are_listed_with_the_revision_of_what_they_have(place: Place) {
    let store = place.open().await;
    family(&*store).await;
    let heirs = async |name| store.settings_heirs(&id(name)).await.unwrap();
    assert_eq!(heirs("base_").await, [(id("a"), 0), (id("b"), 0)]);

    write(&*store, "b", "k", None).await;
    write(&*store, "other", "k", None).await;

    assert_eq!(heirs("base_").await, [(id("a"), 0), (id("b"), 1)]);
    assert_eq!(heirs("basex").await, [(id("other"), 1)], "of a name that is like the other");
    let elsewhere = ServiceId::new("rival", "payments", "base_");
    for none in [id("alone"), id("nobody"), id("\0"), id(""), elsewhere] {
        assert_eq!(store.settings_heirs(&none).await.unwrap(), []);
    }
    let mut gone = store.settings_service(&id("b")).await.unwrap().unwrap();
    gone.inherits = None;
    store.put_settings_service(&gone).await.unwrap().unwrap();
    assert_eq!(heirs("base_").await, [(id("a"), 0)]);
}

async fn a_write_is_done_only_if_everything_that_was_seen_is_still_so(place: Place) {
    let store = place.open().await;
    family(&*store).await;
    let done = |written: Written| matches!(written, Written::Done(_));

    // The service's own entries, and itself.
    let before = seen(&*store, "alone").await;
    assert!(done(write(&*store, "alone", "a", Some(before.clone())).await));
    assert_eq!(write(&*store, "alone", "b", Some(before)).await, Written::Moved);
    let before = seen(&*store, "alone").await;
    let held = store.settings_service(&id("alone")).await.unwrap().unwrap();
    store.put_settings_service(&held).await.unwrap().unwrap();
    assert_eq!(write(&*store, "alone", "b", Some(before)).await, Written::Moved);

    // What it inherits, and from whom.
    let before = seen(&*store, "b").await;
    assert!(done(write(&*store, "base_", "u", None).await));
    assert_eq!(write(&*store, "b", "k", Some(before)).await, Written::Moved);
    let before = seen(&*store, "b").await;
    assert!(before.umbrella.is_some() && done(write(&*store, "b", "k", Some(before)).await));
    let mut other = seen(&*store, "b").await;
    other.umbrella = Some((id("nobody"), 1));
    assert_eq!(write(&*store, "b", "k", Some(other)).await, Written::Moved);

    // Who inherits it, and what they have.
    let before = seen(&*store, "base_").await;
    assert!(before.heirs.len() == 2 && done(write(&*store, "b", "k", None).await));
    assert_eq!(write(&*store, "base_", "u", Some(before)).await, Written::Moved);
    let before = seen(&*store, "base_").await;
    make(&*store, "c", Kind::Backend, Some("base_")).await;
    assert_eq!(write(&*store, "base_", "u", Some(before)).await, Written::Moved);
    let before = seen(&*store, "base_").await;
    let mut leaves = store.settings_service(&id("c")).await.unwrap().unwrap();
    leaves.inherits = None;
    store.put_settings_service(&leaves).await.unwrap().unwrap();
    assert_eq!(write(&*store, "base_", "u", Some(before)).await, Written::Moved);
    let before = seen(&*store, "base_").await;
    assert!(done(write(&*store, "base_", "u", Some(before)).await));

    // Whoever depends on nothing else is not kept from anything, and what is remembered is recognised all the same.
    let mut again = Write::new(EntryKind::Config, "r", put("1"), Standing::default());
    again.request = Some([1; 32]);
    again.seen = Some(seen(&*store, "alone").await);
    for written in [Written::Done(1), Written::Before(1)] {
        assert_eq!(store.write_settings(&id("alone"), &again, at(2)).await.unwrap(), written);
    }
}

async fn of_two_writes_that_depend_on_each_other_one_is_done(place: Place) {
    let stores = [place.open().await, place.open().await];
    family(&*stores[0]).await;

    for round in 0..20 {
        // Of one service, or of an heir and its umbrella.
        let names = [["alone", "alone"], ["base_", "b"]][round % 2];
        let [one, other] = names;
        let all = [seen(&*stores[0], one).await, seen(&*stores[1], other).await];
        let before = entries(&*stores[0], one).await + entries(&*stores[0], other).await;
        let key = format!("k{round}");
        let writes = [0, 1].map(|at| {
            let (store, seen, key) = (Arc::clone(&stores[at]), all[at].clone(), format!("{key}{at}"));
            let name = names[at];
            tokio::spawn(async move { write(&*store, name, &key, Some(seen)).await })
        });
        let mut outcomes = Vec::new();
        for write in writes {
            outcomes.push(write.await.unwrap());
        }

        outcomes.sort_by_key(|outcome| *outcome == Written::Moved);
        assert_eq!(outcomes, [Written::Done(1), Written::Moved], "round {round}");
        let after = entries(&*stores[0], one).await + entries(&*stores[0], other).await;
        assert_eq!(after - before, if one == other { 2 } else { 1 });
    }
}

async fn whoever_depends_on_others_waits_for_nobody_who_waits_for_them(place: Place) {
    let stores = [place.open().await, place.open().await];
    family(&*stores[0]).await;

    let writers: Vec<_> = (0..12_usize)
        .map(|writer| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                for round in 0..10 {
                    match writer % 4 {
                        // Umbrella services and their heirs.
                        0 | 1 => {
                            let name = ["base_", "b", "a", "basex", "other"][(writer / 4 + round) % 5];
                            let seen = seen(&*store, name).await;
                            write(&*store, name, &format!("w{writer}"), Some(seen)).await;
                        }
                        // Heirs that come and go.
                        2 => {
                            let mut heir = store.settings_service(&id("other")).await.unwrap().unwrap();
                            heir.inherits = [Some(id("base_")), Some(id("basex")), None][round % 3].clone();
                            store.put_settings_service(&heir).await.unwrap();
                        }
                        // Everything at once.
                        _ => {
                            let keys = store.settings_data_keys().await.unwrap();
                            let next = Bytes::from(format!("{writer} {round}"));
                            let swaps: Vec<_> =
                                keys.into_iter().map(|(id, old)| (id, old, next.clone())).collect();
                            store.replace_settings_data_keys(&swaps).await.unwrap();
                        }
                    }
                }
            })
        })
        .collect();
    let all = async {
        for writer in writers {
            writer.await.unwrap();
        }
    };
    // A circle of those who wait would be broken up by the database, a second each time, ten times over.
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits for ever");
    for store in &stores {
        store.close().await;
    }
    assert_eq!(place.deadlocks().await, 0);
}
