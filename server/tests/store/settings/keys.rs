//! Keys of services.

use leverframe::ErrorKind;
use leverframe_server::{
    model::PageRequest,
    settings::model::{Kind, ServiceId, SettingsKey},
};

use super::fixtures::{id, service, with_service};
use crate::{
    conformance::on_every_engine,
    place::{Place, at},
};

on_every_engine!(
    a_key_is_found_by_the_digest_of_its_secret_as_it_was,
    a_key_is_kept_once_and_of_a_service_that_may_have_one,
    a_key_is_revoked_once_and_only_of_its_own_service,
    keys_are_listed_part_by_part,
);

async fn a_key_is_found_by_the_digest_of_its_secret_as_it_was(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Frontend).await;
    let mut public = SettingsKey::new("set_1", id(), true, at(1));
    public.name = "the “shop”".to_owned();
    public.created_by = "tok_1".to_owned();
    let mut revoked = SettingsKey::new("set_2", id(), false, at(2));
    revoked.revoked_at = Some(at(3));

    store.create_settings_key(&public, &[1; 32]).await.unwrap();
    store.create_settings_key(&revoked, &[2; 32]).await.unwrap();

    assert_eq!(store.settings_key_by_secret(&[1; 32]).await.unwrap(), Some(public));
    assert_eq!(store.settings_key_by_secret(&[2; 32]).await.unwrap(), Some(revoked));
    assert_eq!(store.settings_key_by_secret(&[0; 32]).await.unwrap(), None);
}

async fn a_key_is_kept_once_and_of_a_service_that_may_have_one(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let umbrella = ServiceId::new("acme", "payments", "shared");
    store.put_settings_service(&service(umbrella.clone(), Kind::Umbrella)).await.unwrap().unwrap();
    let key = |id: &str, of: ServiceId| SettingsKey::new(id, of, false, at(1));
    let nobody = ServiceId::new("acme", "payments", "nobody");
    let mut bad = key("set_3", id());
    bad.name = "a\0b".to_owned();
    store.create_settings_key(&key("set_1", id()), &[1; 32]).await.unwrap();

    for (refused, secret, kind) in [
        (key("set_1", id()), [2; 32], ErrorKind::Conflict),
        (key("set_2", id()), [1; 32], ErrorKind::Conflict),
        (key("set_1", id()), [1; 32], ErrorKind::Conflict),
        (key("set_2", umbrella.clone()), [2; 32], ErrorKind::Invalid),
        (key("set_2", nobody), [2; 32], ErrorKind::NotFound),
        (bad, [3; 32], ErrorKind::Invalid),
    ] {
        let refused = store.create_settings_key(&refused, &secret).await.unwrap_err();
        assert_eq!(refused.kind(), kind);
    }

    let page = PageRequest::default();
    assert_eq!(store.settings_keys(&id(), &page).await.unwrap().items, [key("set_1", id())]);
    assert_eq!(store.settings_keys(&umbrella, &page).await.unwrap().items, []);
    assert_eq!(store.settings_key_by_secret(&[2; 32]).await.unwrap(), None);
}

async fn a_key_is_revoked_once_and_only_of_its_own_service(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let other = ServiceId::new("acme", "payments", "other");
    store.put_settings_service(&service(other.clone(), Kind::Backend)).await.unwrap().unwrap();
    store.create_settings_key(&SettingsKey::new("set_1", id(), false, at(1)), &[1; 32]).await.unwrap();

    assert!(!store.revoke_settings_key(&other, "set_1", at(2)).await.unwrap());
    assert!(!store.revoke_settings_key(&id(), "set_2", at(2)).await.unwrap());
    assert!(!store.revoke_settings_key(&id(), "set_1\0", at(2)).await.unwrap());
    assert!(store.revoke_settings_key(&id(), "set_1", at(3)).await.unwrap());
    assert!(!store.revoke_settings_key(&id(), "set_1", at(3)).await.unwrap());
    assert!(!store.revoke_settings_key(&id(), "set_1", at(4)).await.unwrap());

    let found = store.settings_key_by_secret(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(found.revoked_at, Some(at(3)));
}

async fn keys_are_listed_part_by_part(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    for number in [2_u8, 0, 1] {
        let key = SettingsKey::new(format!("set_{number}"), id(), false, at(1));
        store.create_settings_key(&key, &[number; 32]).await.unwrap();
    }

    let first = store.settings_keys(&id(), &PageRequest::first(2)).await.unwrap();
    let cursor = first.next.unwrap();
    let second = store.settings_keys(&id(), &PageRequest::after(2, cursor.clone())).await.unwrap();

    let ids: Vec<_> = first.items.iter().chain(&second.items).map(|key| key.id.as_str()).collect();
    assert_eq!((ids, second.next), (vec!["set_0", "set_1", "set_2"], None));
    let wrong = store.settings_services(None, None, &PageRequest::after(2, cursor)).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Invalid);
}
