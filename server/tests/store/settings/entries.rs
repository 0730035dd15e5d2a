//! Configs, flags and secrets.

use leverframe::ErrorKind;
use leverframe_server::settings::model::{
    Change, Entry, EntryKind, Kind, ServiceId, Standing, Write, Written,
};

use super::fixtures::{id, put, put_secret, standing, with_service, write};
use crate::{
    conformance::on_every_engine,
    place::{Place, at},
};

on_every_engine!(what_is_written_is_held_until_it_is_deleted_and_no_version_is_given_twice,);

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
