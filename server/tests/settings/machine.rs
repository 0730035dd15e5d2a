//! What operators do on the machine itself.

use leverframe::ErrorKind;
use leverframe_server::{
    model::PageRequest,
    settings::{
        Keyring, MadeSettingsKey, NewSettingsKey,
        model::{Kind, ServiceId},
    },
};

use crate::support::TestServer;

async fn made(server: &TestServer, id: &ServiceId, kind: Kind) -> leverframe::Result<MadeSettingsKey> {
    let keyring = Keyring::in_directory(server.data()).unwrap();
    server.admin.settings_key(&keyring, &NewSettingsKey::new(id.clone(), false), kind).await
}

#[tokio::test]
async fn the_first_key_brings_tenant_namespace_and_service_and_the_second_one_nothing() {
    let server = TestServer::start().await;
    let id = ServiceId::new("newcomer", "shop", "prod_eu");

    let first = made(&server, &id, Kind::Backend).await.unwrap();
    let second = made(&server, &id, Kind::Backend).await.unwrap();

    let names = ["tenant newcomer", "namespace newcomer/shop", "service newcomer/shop/prod_eu"];
    assert_eq!(first.created, names);
    assert_eq!(first.service.slug, "newcomer-shop-prod-eu", "what hosts cannot have is replaced");
    assert!(second.created.is_empty());
    assert!(first.issued.secret.expose().starts_with("wxs_"));
    assert_ne!(first.issued.key.id, second.issued.key.id);
    let held = server.admin.settings_keys(&id, &PageRequest::first(10)).await.unwrap().items;
    let ids: Vec<&str> = held.iter().map(|key| &*key.id).collect();
    assert_eq!(ids, [&first.issued.key.id, &second.issued.key.id]);
    let all = server.admin.settings_services(Some("newcomer"), None, &PageRequest::first(10)).await.unwrap();
    assert_eq!(all.items.len(), 1);
    let log = server.get("/api/v1/tenants/newcomer/audit", &server.root).await.json();
    let actions: Vec<&str> =
        log["events"].as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap()).collect();
    let key = "settings_key.create";
    assert_eq!(actions, [key, key, "settings.create", "namespace.create", "tenant.create"]);
    assert!(!log.to_string().contains(first.issued.secret.expose()));
}

#[tokio::test]
async fn a_service_of_another_kind_is_a_conflict_that_says_so() {
    let server = TestServer::start().await;
    let id = ServiceId::new("acme", "payments", "prod");
    made(&server, &id, Kind::Frontend).await.unwrap();

    let error = made(&server, &id, Kind::Backend).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.hint_text().unwrap().contains("`acme/payments/prod` exists as `frontend`"), "{error:?}");
    let keys = server.admin.settings_keys(&id, &PageRequest::first(10)).await.unwrap();
    assert_eq!(keys.items.len(), 1);
}

#[tokio::test]
async fn what_cannot_have_a_key_gets_none_and_leaves_nothing_behind() {
    let server = TestServer::start().await;
    let umbrella = made(&server, &ServiceId::new("late", "shop", "base"), Kind::Umbrella).await.unwrap_err();
    let name = made(&server, &ServiceId::new("late", "shop", "Prod"), Kind::Backend).await.unwrap_err();
    let mut long = NewSettingsKey::new(ServiceId::new("late", "shop", "prod"), true);
    long.name = "x".repeat(201);
    let keyring = Keyring::in_directory(server.data()).unwrap();
    let long = server.admin.settings_key(&keyring, &long, Kind::Backend).await.unwrap_err();

    for error in [umbrella, name, long] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    }
    assert!(server.store.tenant("late").await.unwrap().is_none());
}

#[tokio::test]
async fn names_that_join_to_the_same_slug_are_told_apart_by_a_digest() {
    let server = TestServer::start().await;
    let one = made(&server, &ServiceId::new("a", "b-c", "d"), Kind::Backend).await.unwrap().service;

    let other = made(&server, &ServiceId::new("a-b", "c", "d"), Kind::Backend).await.unwrap().service;

    assert_eq!(one.slug, "a-b-c-d");
    assert!(other.slug.starts_with("a-b-c-d-") && other.slug.len() == 20, "{}", other.slug);
}

#[tokio::test]
async fn a_key_is_revoked_once_and_by_its_service() {
    let server = TestServer::start().await;
    let id = ServiceId::new("acme", "payments", "prod");
    let other = ServiceId::new("acme", "search", "prod");
    let key = made(&server, &id, Kind::Backend).await.unwrap().issued.key.id;
    made(&server, &other, Kind::Backend).await.unwrap();

    let elsewhere = server.admin.revoke_settings_key(&other, &key).await.unwrap_err();
    let revoked = server.admin.revoke_settings_key(&id, &key).await.unwrap();
    let again = server.admin.revoke_settings_key(&id, &key).await.unwrap();

    assert_eq!(elsewhere.kind(), ErrorKind::NotFound);
    assert_eq!((revoked, again), (true, false));
    let held = server.admin.settings_keys(&id, &PageRequest::first(10)).await.unwrap().items;
    assert!(held[0].revoked_at.is_some());
    let nobody = ServiceId::new("acme", "payments", "nobody");
    let nobody = server.admin.settings_keys(&nobody, &PageRequest::first(10)).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::NotFound);
}
