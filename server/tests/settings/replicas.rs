//! Several servers on one database.

use std::{path::Path, sync::Arc};

use leverframe::backends::clock_system::SystemClock;
use leverframe_server::store::{self, Store};
use serde_json::json;

use crate::{
    postgres::Postgres,
    stage::{Key, Stage},
    support::TestServer,
};

async fn open(database: &leverframe::Secret) -> Arc<dyn Store> {
    store::open(Path::new("/nonexistent"), Some(database), Arc::new(SystemClock::new())).await.unwrap()
}

/// A service on one server, and the same as another server sees it, which shares the database and the master key.
async fn two(postgres: &Postgres) -> [Stage; 2] {
    let database = postgres.database().await;
    let first = Stage::of(TestServer::start_on(open(&database).await).await).await;
    let server = first.server.join(open(&database).await).await;
    let key = |key: &Key| key.clone();
    let (id, secret, public) = (first.id.clone(), key(&first.secret), key(&first.public));
    [first, Stage { server, id, secret, public }]
}

#[tokio::test]
async fn what_is_written_through_one_server_is_told_and_handed_out_by_the_other() {
    let postgres = Postgres::shared();
    let [first, second] = two(&postgres).await;
    let mut events = second.listen(&second.secret).await;
    assert_eq!(events.event().await, "resync");

    first.config("port", json!(8080)).await;
    assert_eq!(events.event().await, "config.created port");
    assert_eq!(second.sync(&second.secret).await["configs"]["port"]["value"], 8080);

    // Sealed by the one, opened by the other.
    first.secret("DB_PASSWORD", "hunter2").await;
    assert_eq!(events.event().await, "secret.created DB_PASSWORD");
    assert_eq!(second.sync(&second.secret).await["secrets"]["DB_PASSWORD"]["value"], "hunter2");

    second.flag("dark", json!({"is_active": true})).await;
    assert_eq!(events.event().await, "flag.created dark");
    first.delete("/v1/configs/port").await;
    assert_eq!(events.event().await, "config.deleted port");
}

#[tokio::test]
async fn a_state_has_the_same_tag_on_every_server() {
    let postgres = Postgres::shared();
    let [first, second] = two(&postgres).await;
    let mut events = second.listen(&second.secret).await;
    assert_eq!(events.event().await, "resync");

    first.config("a", json!(1)).await;
    assert_eq!(events.event().await, "config.created a");

    let tag = async |stage: &Stage| stage.get("/v1/sync", &stage.secret).await.header("etag").to_owned();
    assert_eq!(tag(&first).await, tag(&second).await);
}

#[tokio::test]
async fn a_key_revoked_through_one_server_is_refused_by_the_other_and_its_stream_ends() {
    let postgres = Postgres::shared();
    let [first, second] = two(&postgres).await;
    let mut events = second.listen(&second.secret).await;
    assert_eq!(events.event().await, "resync");
    let now = std::time::SystemTime::UNIX_EPOCH;

    assert!(first.store().revoke_settings_key(&first.id, &first.secret.record.id, now).await.unwrap());

    assert_eq!(events.next().await, None, "a clean end");
    second.until(&second.secret, "/v1/sync", |answer| (answer.status == 401).then_some(())).await;
    assert_eq!(second.get("/v1/sync", &second.public).await.status, 200);
}

#[tokio::test]
async fn of_writes_through_two_servers_on_one_condition_one_is_made() {
    let postgres = Postgres::shared();
    let [first, second] = two(&postgres).await;
    first.config("a", json!(0)).await;

    for version in 1..6 {
        let write = |stage: &Stage, value: u64| {
            let request = stage.server.request(reqwest::Method::PUT, "/v1/configs/a", "");
            let request = request.header("x-nexus-api-key", &stage.secret.text);
            let request = request.header("if-version", version).json(&json!({ "value": value }));
            async move { request.send().await.unwrap().status().as_u16() }
        };
        let (one, other) = tokio::join!(write(&first, 1), write(&second, 2));

        let mut both = [one, other];
        both.sort_unstable();
        assert_eq!(both, [200, 409]);
    }
}
