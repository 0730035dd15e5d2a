//! Configs, flags and secrets.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use leverframe::ErrorKind;
use leverframe_server::{
    model::{TokenRecord, TokenType},
    settings::model::{Change, Entry, EntryKind, Kind, ServiceId, SettingsKey, Standing, Write, Written},
    store::Notice,
};

use super::fixtures::{id, put, put_secret, service, standing, with_service, write};
use crate::{
    conformance::on_every_engine,
    place::{Place, at, heard, with_namespace},
};

on_every_engine!(
    what_is_written_is_held_until_it_is_deleted_and_no_version_is_given_twice,
    a_write_that_expects_something_else_is_not_done,
    of_twenty_writes_with_one_expectation_exactly_one_is_done,
    writers_of_one_service_follow_each_other_and_none_is_lost,
    what_is_held_is_of_one_moment,
    changes_are_told_to_every_process_and_what_changes_nothing_is_not,
);

async fn what_is_written_is_held_until_it_is_deleted_and_no_version_is_given_twice(place: Place) {
    let store = place.open().await;
    let service = with_service(&*store, Kind::Backend).await;
    let empty = store.settings_held(&id()).await.unwrap().unwrap();

    for (kind, key, change) in [
        (EntryKind::Config, "b", put("1")),
        (EntryKind::Config, "a", put("{\"x\":\"\u{20ac}\"}")),
        (EntryKind::Flag, "a", put("true")),
        (EntryKind::Secret, "a", put_secret("sealed")),
        (EntryKind::Config, "b", put("2")),
    ] {
        let expected = standing(&*store, kind, key).await.last + 1;
        assert_eq!(write(&*store, kind, key, change).await, Written::Done(expected));
    }

    let held = store.settings_held(&id()).await.unwrap().unwrap();
    let mut configs = [Entry::new("a", 1, "{\"x\":\"\u{20ac}\"}", at(2)), Entry::new("b", 2, "2", at(2))];
    configs.iter_mut().for_each(|config| config.updated_by = "tok_1".to_owned());
    assert_eq!((empty.revision, empty.configs.len()), (0, 0));
    assert_eq!((held.service, held.revision), (service, 5));
    assert_eq!(held.configs, configs);
    assert_eq!(held.flags.iter().map(|flag| flag.content.as_str()).collect::<Vec<_>>(), ["true"]);
    let secrets: Vec<_> = held.secrets.iter().map(|secret| (&*secret.key, &secret.sealed[..])).collect();
    assert_eq!(secrets, [("a", &b"sealed"[..])]);

    for kind in [EntryKind::Config, EntryKind::Flag, EntryKind::Secret] {
        assert_eq!(write(&*store, kind, "a", Change::Delete).await, Written::Done(1));
        assert_eq!(write(&*store, kind, "a", Change::Delete).await, Written::Absent);
        assert_eq!(standing(&*store, kind, "a").await, Standing::new(1, None));
    }
    let held = store.settings_held(&id()).await.unwrap().unwrap();
    assert_eq!((held.configs.len(), held.flags.len(), held.secrets.len()), (1, 0, 0));
    for (kind, change) in
        [(EntryKind::Config, put("3")), (EntryKind::Flag, put("3")), (EntryKind::Secret, put_secret("3"))]
    {
        assert_eq!(write(&*store, kind, "a", change).await, Written::Done(2));
        assert_eq!(standing(&*store, kind, "a").await, Standing::new(2, Some(2)));
    }
    let nowhere = ServiceId::new("acme", "payments", "staging");
    let refused = Write::new(EntryKind::Config, "a", put("1"), Standing::default());
    let refused = store.write_settings(&nowhere, &refused, at(2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(store.settings_held(&nowhere).await.unwrap().is_none());
}

async fn a_write_that_expects_something_else_is_not_done(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let attempt = async |change: Change, expected: Standing| {
        let write = Write::new(EntryKind::Config, "a", change, expected);
        store.write_settings(&id(), &write, at(3)).await.unwrap()
    };

    for wrong in [Standing::new(1, None), Standing::new(1, Some(1)), Standing::new(u64::MAX, Some(u64::MAX))]
    {
        for change in [put("x"), Change::Delete] {
            assert_eq!(attempt(change, wrong).await, Written::Moved);
        }
    }
    assert_eq!(attempt(put("1"), Standing::default()).await, Written::Done(1));
    for wrong in
        [Standing::default(), Standing::new(1, None), Standing::new(2, Some(1)), Standing::new(2, None)]
    {
        for change in [put("x"), Change::Delete] {
            assert_eq!(attempt(change, wrong).await, Written::Moved);
        }
    }
    assert_eq!(attempt(Change::Delete, Standing::new(1, Some(1))).await, Written::Done(1));
    // Who has seen it before it was deleted has seen something else.
    for wrong in [Standing::default(), Standing::new(1, Some(1))] {
        assert_eq!(attempt(put("x"), wrong).await, Written::Moved);
    }
    assert_eq!(attempt(put("2"), Standing::new(1, None)).await, Written::Done(2));

    let held = store.settings_held(&id()).await.unwrap().unwrap();
    assert_eq!((held.revision, held.configs[0].content.as_str()), (3, "2"));
}

async fn of_twenty_writes_with_one_expectation_exactly_one_is_done(place: Place) {
    let stores = [place.open().await, place.open().await];
    with_service(&*stores[0], Kind::Backend).await;

    // Created, changed, deleted and created again; of either sort.
    for (kind, round) in
        [EntryKind::Config, EntryKind::Secret].into_iter().flat_map(|k| (0..4).map(move |r| (k, r)))
    {
        let expected = standing(&*stores[0], kind, "a").await;
        let calls: Vec<_> = (0..20)
            .map(|number| {
                let store = Arc::clone(&stores[number % 2]);
                let change = match (round, kind) {
                    (2, _) => Change::Delete,
                    (_, EntryKind::Secret) => put_secret(&number.to_string()),
                    _ => put(&number.to_string()),
                };
                let write = Write::new(kind, "a", change, expected);
                tokio::spawn(async move { store.write_settings(&id(), &write, at(2)).await.unwrap() })
            })
            .collect();
        let mut done = Vec::new();
        for (number, call) in calls.into_iter().enumerate() {
            match call.await.unwrap() {
                Written::Done(version) => done.push((version, number.to_string())),
                other => assert_eq!(other, Written::Moved),
            }
        }

        let version = [1, 2, 2, 3][round];
        assert_eq!((done.len(), done[0].0), (1, version), "{kind:?} in round {round}");
        let held = stores[1].settings_held(&id()).await.unwrap().unwrap();
        let contents = held.configs.into_iter().map(|config| (config.version, config.content));
        let secrets = held.secrets.into_iter();
        let secrets =
            secrets.map(|secret| (secret.version, String::from_utf8(secret.sealed.to_vec()).unwrap()));
        let now: Vec<_> = if kind == EntryKind::Secret { secrets.collect() } else { contents.collect() };
        assert_eq!(now, if round == 2 { vec![] } else { done });
    }
}

async fn writers_of_one_service_follow_each_other_and_none_is_lost(place: Place) {
    let stores = [place.open().await, place.open().await];
    with_service(&*stores[0], Kind::Backend).await;

    let writers: Vec<_> = (0..8_usize)
        .map(|writer| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                // Half of them write the same entry, as often as it takes.
                let key = if writer < 4 { "shared".to_owned() } else { format!("own{writer}") };
                let mut done = 0;
                while done < 5 {
                    let written = write(&*store, EntryKind::Config, &key, put(&writer.to_string())).await;
                    done += u32::from(matches!(written, Written::Done(_)));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }

    let held = stores[0].settings_held(&id()).await.unwrap().unwrap();
    let versions: Vec<_> = held.configs.iter().map(|config| config.version).collect();
    assert_eq!((held.revision, versions), (40, vec![5, 5, 5, 5, 20]));
}

async fn what_is_held_is_of_one_moment(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let done = Arc::new(AtomicBool::new(false));
    let states = Arc::new(AtomicUsize::new(0));
    let writer = tokio::spawn({
        let (store, done, states) = (place.open().await, Arc::clone(&done), Arc::clone(&states));
        async move {
            let mut rounds = 0_u64;
            // On until something of it was seen, however late the reader begins.
            while rounds < 40 || states.load(Ordering::Acquire) < 2 && rounds < 10_000 {
                write(&*store, EntryKind::Secret, "first", put_secret("x")).await;
                write(&*store, EntryKind::Config, "second", put("x")).await;
                write(&*store, EntryKind::Flag, "third", put("x")).await;
                rounds += 1;
            }
            done.store(true, Ordering::Release);
            rounds
        }
    });

    let mut seen = BTreeSet::new();
    while !done.load(Ordering::Acquire) {
        let held = store.settings_held(&id()).await.unwrap().unwrap();
        let version = |entries: &[Entry]| entries.first().map_or(0, |entry| entry.version);
        let first = held.secrets.first().map_or(0, |secret| secret.version);
        let (second, third) = (version(&held.configs), version(&held.flags));
        assert_eq!(held.revision, first + second + third);
        assert!(first >= second && second >= third && third + 1 >= first, "{first} {second} {third}");
        seen.insert(held.revision);
        states.store(seen.len(), Ordering::Release);
    }
    let rounds = writer.await.unwrap();

    assert!(seen.len() > 1, "nothing was written meanwhile: {seen:?}");
    assert_eq!(store.settings_held(&id()).await.unwrap().unwrap().revision, rounds * 3);
}

async fn changes_are_told_to_every_process_and_what_changes_nothing_is_not(place: Place) {
    let store = place.open().await;
    let there = place.open().await;
    with_namespace(&*store).await;
    let mut notices = [store.notices(), there.notices()];
    let other = ServiceId::new("acme", "payments", "other");

    let first = store.put_settings_service(&service(id(), Kind::Backend)).await.unwrap().unwrap();
    assert!(store.put_settings_service(&service(id(), Kind::Backend)).await.unwrap().is_none());
    let mut wrong = first.clone();
    wrong.slug = String::new();
    store.put_settings_service(&wrong).await.unwrap_err();
    write(&*store, EntryKind::Config, "a", Change::Delete).await;
    let mut remembered = Write::new(EntryKind::Config, "a", put("1"), Standing::default());
    remembered.request = Some([1; 32]);
    for _ in 0..2 {
        store.write_settings(&id(), &remembered, at(2)).await.unwrap();
    }
    remembered.request = None;
    assert_eq!(store.write_settings(&id(), &remembered, at(2)).await.unwrap(), Written::Moved);
    let keys = [(id(), first.data_key.clone(), Bytes::from_static(b"next"))];
    assert!(store.replace_settings_data_keys(&keys).await.unwrap());
    store.put_settings_service(&service(other.clone(), Kind::Backend)).await.unwrap().unwrap();
    store.create_settings_key(&SettingsKey::new("set_1", id(), false, at(1)), &[1; 32]).await.unwrap();
    store
        .create_settings_key(&SettingsKey::new("set_1", other.clone(), false, at(1)), &[1; 32])
        .await
        .unwrap_err();
    assert!(!store.revoke_settings_key(&other, "set_1", at(2)).await.unwrap());
    assert!(store.revoke_settings_key(&id(), "set_1", at(2)).await.unwrap());
    store.put_settings_service(&first).await.unwrap().unwrap();
    // Read by its column, beside those of services.
    store.create_token(&TokenRecord::new("tok_1", TokenType::Superadmin, at(0)), &[1; 32]).await.unwrap();
    store.revoke_token("tok_1", at(3)).await.unwrap();

    for notices in &mut notices {
        for of in [id(), id(), other.clone(), id(), id(), id()] {
            let ServiceId { tenant, namespace, environment, .. } = of;
            assert_eq!(heard(notices).await, Notice::Settings { tenant, namespace, environment });
        }
        assert_eq!(heard(notices).await, Notice::TokenRevoked { id: "tok_1".to_owned() });
    }
}
