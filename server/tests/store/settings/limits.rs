//! How much a service may have, and what it may not.

use bytes::Bytes;
use leverframe::ErrorKind;
use leverframe_server::{
    settings::model::{
        Change, EntryKind, Kind, LONGEST_KEY, MOST_BYTES, MOST_ENTRIES, SecretForm, Standing, Write, Written,
    },
    store::Store,
};

use super::fixtures::{id, put, put_secret, standing, with_service, write};
use crate::{
    conformance::on_every_engine,
    place::{Place, at},
};

on_every_engine!(
    there_are_so_many_entries_of_a_kind_and_no_more,
    there_are_so_many_names_of_a_kind_and_no_more,
    values_come_to_so_much_and_no_more,
    what_an_entry_cannot_be_is_refused,
    a_frontend_service_has_no_secrets_and_an_umbrella_has,
);

async fn refused(store: &dyn Store, kind: EntryKind, key: &str, change: Change) -> ErrorKind {
    let write = Write::new(kind, key, change, standing(store, kind, key).await);
    store.write_settings(&id(), &write, at(2)).await.unwrap_err().kind()
}

/// Adds rows past the store, live or not.
async fn fill(place: &Place, kind: &str, count: u64, live: &str) {
    let script = format!(
        "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {count}) \
         INSERT INTO settings_entries (tenant, namespace, environment, kind, name, last_version, live_version, size, \
         updated_at, updated_by, content) \
         SELECT 'acme', 'payments', 'production', '{kind}', 'k' || number, 1, {live}, 1, 0, '', '1' FROM numbers"
    );
    place.tamper(&script).await;
}

async fn there_are_so_many_entries_of_a_kind_and_no_more(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    fill(&place, "config", MOST_ENTRIES - 1, "1").await;
    let config = EntryKind::Config;

    assert_eq!(write(&*store, config, "last", put("1")).await, Written::Done(1));
    assert_eq!(refused(&*store, config, "more", put("1")).await, ErrorKind::LimitExceeded);

    // What there is may be written, and other kinds have their own.
    assert_eq!(write(&*store, config, "last", put("2")).await, Written::Done(2));
    assert_eq!(write(&*store, EntryKind::Flag, "more", put("1")).await, Written::Done(1));
    assert_eq!(write(&*store, EntryKind::Secret, "more", put_secret("1")).await, Written::Done(1));
    write(&*store, config, "k1", Change::Delete).await;
    assert_eq!(write(&*store, config, "more", put("1")).await, Written::Done(1));
    // One that was deleted is one more when it comes back.
    assert_eq!(refused(&*store, config, "k1", put("1")).await, ErrorKind::LimitExceeded);
    assert_eq!(store.settings_held(&id()).await.unwrap().unwrap().configs.len() as u64, MOST_ENTRIES);
}

async fn there_are_so_many_names_of_a_kind_and_no_more(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    fill(&place, "flag", 10 * MOST_ENTRIES - 1, "NULL").await;

    assert_eq!(write(&*store, EntryKind::Flag, "last", put("1")).await, Written::Done(1));

    assert_eq!(refused(&*store, EntryKind::Flag, "more", put("1")).await, ErrorKind::LimitExceeded);
    // A name that is known is none of those.
    assert_eq!(write(&*store, EntryKind::Flag, "k1", put("1")).await, Written::Done(2));
    assert_eq!(write(&*store, EntryKind::Flag, "last", put("1")).await, Written::Done(2));
    assert_eq!(write(&*store, EntryKind::Config, "more", put("1")).await, Written::Done(1));
}

async fn values_come_to_so_much_and_no_more(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let mebibyte = 1024 * 1024;
    let large = |length: usize| "x".repeat(length);
    assert_eq!(MOST_BYTES, 8 * 1024 * 1024);

    for key in ["a", "b", "c", "d", "e", "f"] {
        write(&*store, EntryKind::Config, key, put(&large(mebibyte - 1))).await;
    }
    // Of a secret that has two versions one counts.
    for _ in 0..2 {
        write(&*store, EntryKind::Secret, "a", put_secret(&large(mebibyte - 1))).await;
    }
    write(&*store, EntryKind::Flag, "a", put(&large(mebibyte - 1))).await;
    assert_eq!(refused(&*store, EntryKind::Flag, "b", put("")).await, ErrorKind::LimitExceeded);
    assert_eq!(
        refused(&*store, EntryKind::Secret, "a", put_secret(&large(mebibyte))).await,
        ErrorKind::LimitExceeded
    );

    // What does not grow may be written, and what goes makes room.
    write(&*store, EntryKind::Config, "a", put(&large(mebibyte - 1))).await;
    write(&*store, EntryKind::Config, "a", put(&large(mebibyte - 2))).await;
    assert_eq!(write(&*store, EntryKind::Flag, "b", put("")).await, Written::Done(1));
    write(&*store, EntryKind::Secret, "a", Change::Delete).await;
    write(&*store, EntryKind::Secret, "b", put_secret(&large(mebibyte - 2))).await;
    write(&*store, EntryKind::Secret, "b", put_secret("")).await;
    write(&*store, EntryKind::Config, "g", put(&large(mebibyte - 2))).await;
    assert_eq!(refused(&*store, EntryKind::Flag, "c", put("1")).await, ErrorKind::LimitExceeded);
    // A version that is deleted may bring back a larger one: nothing is in the way of that, nor of going on from there.
    assert_eq!(write(&*store, EntryKind::Secret, "b", Change::DeleteVersion(2)).await, Written::Done(2));
    assert_eq!(write(&*store, EntryKind::Config, "g", put("")).await, Written::Done(2));
    let held = store.settings_held(&id()).await.unwrap().unwrap();
    let entries = held.configs.iter().chain(&held.flags).map(|entry| entry.key.len() + entry.content.len());
    let secrets = held.secrets.iter().map(|secret| secret.key.len() + secret.sealed.len());
    let sum = entries.chain(secrets).sum::<usize>();
    // What the store counted is what there is: refused otherwise, since a column holds no fraction.
    let script = format!(
        "UPDATE settings_services SET size = NULL WHERE size <> {sum}; \
         UPDATE settings_entries SET size = NULL WHERE live_version IS NULL AND size <> 0"
    );
    place.tamper(&script).await;
}

async fn what_an_entry_cannot_be_is_refused(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let mebibyte = 1024 * 1024;
    let long = "k".repeat(LONGEST_KEY);
    let sealed = |length| Change::PutSecret { form: SecretForm::Text, sealed: Bytes::from(vec![0; length]) };

    for (kind, key, change) in [
        (EntryKind::Config, "a", put_secret("x")),
        (EntryKind::Flag, "a", put_secret("x")),
        (EntryKind::Secret, "a", put("x")),
        (EntryKind::Config, "a", Change::DeleteVersion(1)),
        (EntryKind::Flag, "a", Change::DeleteVersion(1)),
        (EntryKind::Config, "", put("x")),
        (EntryKind::Config, "1a", put("x")),
        (EntryKind::Config, "a.", put("x")),
        (EntryKind::Config, "é", Change::Delete),
        (EntryKind::Config, "a\0b", put("x")),
        (EntryKind::Config, &format!("{long}k"), put("x")),
        (EntryKind::Config, "a", put("a\0b")),
        (EntryKind::Config, "a", put(&"x".repeat(mebibyte + 1))),
        (EntryKind::Secret, "a", sealed(mebibyte + 1_025)),
    ] {
        assert_eq!(refused(&*store, kind, key, change).await, ErrorKind::Invalid, "{kind:?} {key:?}");
    }
    let mut by = Write::new(EntryKind::Config, "a", put("1"), Standing::default());
    by.by = "\0".to_owned();
    assert_eq!(store.write_settings(&id(), &by, at(2)).await.unwrap_err().kind(), ErrorKind::Invalid);

    assert_eq!(store.settings_held(&id()).await.unwrap().unwrap().revision, 0);
    assert_eq!(standing(&*store, EntryKind::Config, "a\0b").await, Standing::default());
    write(&*store, EntryKind::Config, &long, put(&"x".repeat(mebibyte))).await;
    write(&*store, EntryKind::Secret, &long, sealed(mebibyte + 1_024)).await;
    write(&*store, EntryKind::Config, "a.b:c_d-e9", put("")).await;
    assert_eq!(store.settings_held(&id()).await.unwrap().unwrap().revision, 3);
}

async fn a_frontend_service_has_no_secrets_and_an_umbrella_has(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Frontend).await;
    let elsewhere = place.another().await;
    let other = elsewhere.open().await;
    with_service(&*other, Kind::Umbrella).await;

    for change in [put_secret("x"), Change::Delete, Change::DeleteVersion(1)] {
        assert_eq!(refused(&*store, EntryKind::Secret, "a", change).await, ErrorKind::Invalid);
    }

    assert_eq!(write(&*store, EntryKind::Config, "a", put("1")).await, Written::Done(1));
    assert_eq!(write(&*other, EntryKind::Secret, "a", put_secret("x")).await, Written::Done(1));
}
