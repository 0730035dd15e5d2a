//! Secrets that cannot be opened: what needs them fails, by name, and all else goes on.

use std::{fs, path::Path, sync::Arc};

use leverframe::{ErrorKind, backends::clock_system::SystemClock};
use leverframe_server::{
    settings::{
        Keyring, NewSettingsKey,
        model::{EntryKind, Kind, ServiceId},
    },
    store,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    postgres::Postgres,
    stage::Stage,
    support::{Answer, TestServer},
};

/// Changes the database of a server past its store, which is not told.
fn tamper(stage: &Stage, script: &str) {
    let handle = rusqlite::Connection::open(stage.server.data().join("leverframe.db")).unwrap();
    handle.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    handle.execute_batch(script).unwrap();
}

/// Damages a version of a secret, and has the server look.
async fn spoil(stage: &Stage, id: &ServiceId, key: &str) {
    let place = format!("environment = '{}' AND name = '{key}'", id.environment);
    tamper(
        stage,
        &format!("UPDATE settings_secret_versions SET sealed = zeroblob(length(sealed)) WHERE {place}"),
    );
    let looked = |answer: &Answer| answer.json()["configs"]["looked"]["value"].as_u64();
    let before = looked(&stage.get("/v1/sync", &stage.public).await).unwrap_or_default();
    let next = (before + 1).to_string();
    stage.put_behind(id, EntryKind::Config, "looked", &next).await;
    stage.until(&stage.public, "/v1/sync", |answer| looked(answer).filter(|now| *now > before)).await;
}

/// What a secret key is told.
async fn refusal(stage: &Stage) -> (u16, String, Value) {
    let answer = stage.get("/v1/sync", &stage.secret).await;
    (answer.status.as_u16(), answer.code(), answer.json())
}

#[tokio::test]
async fn a_damaged_secret_fails_who_would_get_it_and_is_mended_by_writing_it_again() {
    let stage = Stage::new().await;
    stage.secret("DB", "canary-one").await;
    stage.secret("API", "canary-two").await;
    stage.config("port", json!(1)).await;
    stage.config("url", json!("db://{{secret:DB}}")).await;
    stage.flag("on", json!({"is_active": true})).await;
    let mut events = stage.listen(&stage.secret).await;
    let mut others = stage.listen(&stage.public).await;
    assert_eq!((events.event().await, others.event().await), ("resync".into(), "resync".into()));

    spoil(&stage, &stage.id, "DB").await;

    let (status, code, body) = refusal(&stage).await;
    assert_eq!((status, &*code, &body["key"]), (500, "secret_damaged", &json!("DB")));
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("`DB`") && message.contains("write the secret again"), "{message}");
    assert!(!body.to_string().contains("canary"));
    let public = stage.sync(&stage.public).await;
    assert_eq!(
        (&public["configs"]["port"]["value"], &public["flags"]["on"]["is_active"]),
        (&json!(1), &json!(true))
    );
    let asked = json!({"keys": ["on"], "user_id": "ann"});
    assert_eq!(stage.post("/v1/flags/evaluate-ab", &asked).await.json(), json!({"results": {"on": true}}));

    // Both streams stay, hear of what there is, and of nothing that would be gone.
    assert_eq!(
        (events.event().await, others.event().await),
        ("config.created looked".into(), "config.created looked".into())
    );
    stage.config("port", json!(2)).await;
    stage.secret("NEW", "three").await;
    stage.config("other", json!("{{secret:DB}}{{secret:NEW}}")).await;
    for told in ["config.updated port", "secret.created NEW", "config.created other"] {
        assert_eq!(events.event().await, told);
    }
    assert_eq!(others.event().await, "config.updated port");
    // It is there, although nobody can read it.
    assert_eq!(stage.delete("/v1/secrets/DB").await.code(), "referenced");
    let cycle = stage.put("/v1/configs/url", &json!({"value": "{{secret:DB}}{{config:url}}"})).await;
    assert_eq!(cycle.code(), "bad_request");
    let root = &stage.server.root;
    let place = "/api/v1/tenants/acme/namespaces/payments/settings/environments/prod/secrets/DB";
    let read = stage.server.get(&format!("{place}/value"), root).await;
    assert_eq!((read.status.as_u16(), &*read.code()), (500, "secret_damaged"));

    stage.secret("DB", "again").await;

    assert_eq!(events.event().await, "secret.updated DB");
    let whole = stage.sync(&stage.secret).await;
    assert_eq!(whole["secrets"]["DB"]["value"], "again");
    assert_eq!(whole["configs"]["url"]["value"], "db://again");
    assert_eq!(whole["configs"]["other"]["value"], "againthree");
    assert_eq!(stage.server.get(&format!("{place}/value"), root).await.json()["value"], "again");
}

#[tokio::test]
async fn a_damaged_secret_can_be_deleted() {
    let stage = Stage::new().await;
    stage.secret("DB", "one").await;
    stage.secret("API", "two").await;
    spoil(&stage, &stage.id, "DB").await;
    assert_eq!(refusal(&stage).await.0, 500);

    assert_eq!(stage.delete("/v1/secrets/DB").await.status, 204);

    assert_eq!(stage.sync(&stage.secret).await["secrets"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_secret_of_an_umbrella_or_of_an_heir_stops_no_write() {
    let stage = Stage::new().await;
    let umbrella = stage.umbrella().await;
    let place = "/api/v1/tenants/acme/namespaces/payments/settings/environments/shared";
    let put = async |path: &str, body: Value| {
        let request = stage.server.request(Method::PUT, &format!("{place}/{path}"), &stage.server.root);
        let answer = stage.server.send(request.json(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    put("secrets/SHARED", json!({"value": "s"})).await;
    stage.secret("OWN", "o").await;

    spoil(&stage, &umbrella, "SHARED").await;

    let (_, code, body) = refusal(&stage).await;
    assert_eq!((&*code, &body["key"]), ("secret_damaged", &json!("SHARED")));
    assert!(body["message"].as_str().unwrap().contains("of the umbrella service"));
    stage.config("port", json!(1)).await;
    put("configs/shared", json!({"value": 1})).await;
    put("secrets/SHARED", json!({"value": "t"})).await;
    assert_eq!(stage.sync(&stage.secret).await["secrets"]["SHARED"]["value"], "t");

    spoil(&stage, &stage.id, "OWN").await;

    assert_eq!(refusal(&stage).await.1, "secret_damaged");
    put("configs/shared", json!({"value": "{{secret:SHARED}}"})).await;
    put("secrets/SHARED", json!({"value": "u"})).await;
    stage.secret("OWN", "p").await;
    assert_eq!(stage.sync(&stage.secret).await["configs"]["shared"]["value"], "u");
}

#[tokio::test]
async fn the_stream_of_a_revoked_key_ends_although_nothing_else_can_be_read() {
    let stage = Stage::new().await;
    stage.secret("DB", "one").await;
    let mut events = stage.listen(&stage.secret).await;
    assert_eq!(events.event().await, "resync");
    // Damage that leaves nothing of the service to be told.
    tamper(&stage, "DELETE FROM settings_secret_versions");
    let now = stage.server.running.app().clock().wall();

    assert!(stage.store().revoke_settings_key(&stage.id, &stage.secret.record.id, now).await.unwrap());

    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn without_a_master_key_secrets_are_refused_and_all_else_works() {
    let postgres = Postgres::shared();
    let database = postgres.database().await;
    let open = async || {
        store::open(Path::new("/nonexistent"), Some(&database), Arc::new(SystemClock::new())).await.unwrap()
    };
    let first = Stage::of(TestServer::start_on(open().await).await).await;
    first.secret("DB", "canary-one").await;
    first.config("url", json!("db://{{secret:DB}}")).await;
    // As a server has it that nobody gave the master key to.
    let server = first.server.join_without_key(open().await).await;
    let stage =
        Stage { server, id: first.id.clone(), secret: first.secret.clone(), public: first.public.clone() };
    let mut events = stage.listen(&stage.secret).await;
    assert_eq!(events.event().await, "resync");

    let (status, code, _) = refusal(&stage).await;
    assert_eq!((status, &*code), (503, "no_master_key"));
    assert_eq!(stage.sync(&stage.public).await["configs"], json!({}));
    stage.config("port", json!(1)).await;
    stage.flag("on", json!({"is_active": true})).await;
    assert_eq!(events.event().await, "config.created port");
    assert_eq!(stage.sync(&stage.public).await["configs"]["port"]["value"], 1);
    let written = stage.post("/v1/secrets", &json!({"key": "DB", "value": "two"})).await;
    assert_eq!((written.status.as_u16(), &*written.code()), (503, "no_master_key"));
    assert_eq!(stage.delete("/v1/configs/url").await.status, 204);
    let place = "/api/v1/tenants/acme/namespaces/payments/settings/environments/prod/secrets/DB/value";
    assert_eq!(stage.server.get(place, &stage.server.root).await.code(), "no_master_key");
    assert_eq!(first.sync(&first.secret).await["secrets"]["DB"]["value"], "canary-one");
}

#[tokio::test]
async fn a_master_key_that_opens_nothing_of_the_store_seals_nothing_either() {
    let stage = Stage::new().await;
    stage.secret("DB", "one").await;
    let stray = tempfile::tempdir().unwrap();
    let stray = Keyring::in_directory(stray.path()).unwrap();
    let new = |environment: &str| NewSettingsKey::new(ServiceId::new("late", "payments", environment), false);

    let refused = stage.server.admin.settings_key(&stray, &new("eu"), Kind::Backend).await.unwrap_err();

    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.hint_text().unwrap().contains("--master-key-file"), "{refused:?}");
    assert!(stage.server.store.tenant("late").await.unwrap().is_none(), "nothing is left behind");
    let right = Keyring::in_directory(stage.server.data()).unwrap();
    stage.server.admin.settings_key(&right, &new("eu"), Kind::Backend).await.unwrap();
}

#[tokio::test]
async fn a_server_whose_key_file_is_gone_makes_no_other_one_for_the_same_store() {
    let stage = Stage::new().await;
    stage.secret("DB", "one").await;
    stage.config("port", json!(1)).await;
    let kept = stage.server.data().join("settings.key");
    fs::remove_file(&kept).unwrap();
    let clock = Arc::new(SystemClock::new());
    let store = store::open(stage.server.data(), None, clock).await.unwrap();
    let server = stage.server.join_in_place(store).await;
    let next =
        Stage { server, id: stage.id.clone(), secret: stage.secret.clone(), public: stage.public.clone() };

    assert_eq!(refusal(&next).await.1, "no_master_key");
    assert_eq!(next.sync(&next.public).await["configs"]["port"]["value"], 1);
    assert!(!kept.exists());
    // A service that is made now gets its key with its first secret.
    let place = "/api/v1/tenants/acme/namespaces/payments/settings/environments/late";
    let request =
        next.server.request(Method::PUT, place, &next.server.root).json(&json!({"kind": "backend"}));
    assert_eq!(next.server.send(request).await.status, 201);
    let made = next.store().settings_service(&ServiceId::new("acme", "payments", "late")).await.unwrap();
    assert!(made.unwrap().data_key.is_empty());
}
