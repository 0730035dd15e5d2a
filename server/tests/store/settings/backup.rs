//! Backups.

use bytes::Bytes;
use leverframe::ErrorKind;
use leverframe_server::{
    model::PageRequest,
    settings::model::{
        Change, EntryKind, Kind, Service, ServiceId, SettingsKey, Standing, Trust, Write, Written,
    },
    store::Store,
};

use super::fixtures::{id, put, put_secret, service, standing, trusting_services, with_service, write};
use crate::{
    conformance::{WITHOUT_SETTINGS, on_every_engine},
    place::{Place, at, tenant},
};

on_every_engine!(a_backup_carries_settings_into_the_other_engine, a_backup_from_before_settings_restores,);

/// Everything that a backup carries of settings.
async fn all_of(store: &dyn Store) -> (Vec<Service>, Vec<(ServiceId, Bytes)>, String) {
    let page = PageRequest::first(500);
    let services = store.settings_services(None, None, &page).await.unwrap().items;
    let mut rest = String::new();
    for service in &services {
        let held = store.settings_held(&service.id).await.unwrap().unwrap();
        rest += &format!("{:?} {:?}", held.revision, store.settings_keys(&service.id, &page).await.unwrap());
        for entry in held.configs.iter().chain(&held.flags) {
            rest += &format!("{entry:?} {} {:?} {}", entry.content, entry.updated_at, entry.updated_by);
        }
        for secret in held.secrets {
            for version in store.settings_secret_versions(&service.id, &secret.key).await.unwrap() {
                rest += &format!(
                    "{version:?} {:?} {:?} {}",
                    version.sealed, version.created_at, version.created_by
                );
            }
        }
    }
    (services, store.settings_data_keys().await.unwrap(), rest)
}

async fn a_backup_carries_settings_into_the_other_engine(place: Place) {
    let store = place.open().await;
    let mut first = with_service(&*store, Kind::Backend).await;
    // Listed before the umbrella that it inherits from.
    let umbrella = ServiceId::new("acme", "payments", "z");
    store.put_settings_service(&service(umbrella.clone(), Kind::Umbrella)).await.unwrap().unwrap();
    first.inherits = Some(umbrella);
    first.trusts = vec![Trust::new("t", "issuer", "a", "s")];
    store.put_settings_service(&first).await.unwrap().unwrap();
    let mut key = SettingsKey::new("set_1", id(), true, at(1));
    store.create_settings_key(&key, &[1; 32]).await.unwrap();
    store.revoke_settings_key(&id(), "set_1", at(2)).await.unwrap();
    key.revoked_at = Some(at(2));
    // More than is carried at once.
    for number in 0..70 {
        write(&*store, EntryKind::Config, &format!("k{number}"), put(&"x".repeat(number * 100))).await;
        write(&*store, EntryKind::Secret, "s", put_secret(&format!("sealed {number}"))).await;
    }
    write(&*store, EntryKind::Config, "gone", put("1")).await;
    write(&*store, EntryKind::Config, "gone", Change::Delete).await;
    write(&*store, EntryKind::Flag, "f", put("true")).await;

    let path = place.dir.path().join("backup.db");
    store.backup(&path).await.unwrap();
    let other = place.another().await;
    let restored = other.open().await;
    restored.restore(&path).await.unwrap();

    assert_eq!(all_of(&*restored).await, all_of(&*store).await);
    assert_eq!(restored.settings_key_by_secret(&[1; 32]).await.unwrap(), Some(key));
    assert_eq!(trusting_services(&*restored, "issuer").await.len(), 1);
    // And it goes on from there: no version is given twice, and what there is still counts.
    assert_eq!(standing(&*restored, EntryKind::Config, "gone").await, Standing::new(1, None));
    assert_eq!(write(&*restored, EntryKind::Config, "gone", put("2")).await, Written::Done(2));
    assert_eq!(write(&*restored, EntryKind::Secret, "s", put_secret("next")).await, Written::Done(71));
    let large = "x".repeat(1024 * 1024);
    let mut kept = 0;
    let refused = loop {
        let key = format!("large{kept}");
        let write = Write::new(EntryKind::Config, &key, put(&large), Standing::default());
        match restored.write_settings(&id(), &write, at(3)).await {
            Ok(_) => kept += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.kind(), kept), (ErrorKind::LimitExceeded, 7));
    let refused = restored.restore(&path).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
}

async fn a_backup_from_before_settings_restores(place: Place) {
    let source = Place::on_sqlite().await;
    let old = source.open().await;
    old.create_tenant(&tenant("other")).await.unwrap();
    let path = source.dir.path().join("backup.db");
    old.backup(&path).await.unwrap();
    let handle = rusqlite::Connection::open(&path).unwrap();
    handle.execute_batch(WITHOUT_SETTINGS).unwrap();
    drop(handle);
    let store = place.open().await;

    store.restore(&path).await.unwrap();

    assert!(store.tenant("other").await.unwrap().is_some());
    assert!(all_of(&*store).await.0.is_empty());
    with_service(&*store, Kind::Backend).await;
    assert_eq!(write(&*store, EntryKind::Config, "a", put("1")).await, Written::Done(1));
}
