//! Several servers on one database.

use std::{path::Path, sync::Arc};

use leverframe::backends::clock_system::SystemClock;
use leverframe_server::store::{self, Store};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::{
    postgres::Postgres,
    stage::{Key, Stage},
    support::{Answer, TestServer},
};

async fn open(database: &leverframe::Secret) -> Arc<dyn Store> {
    store::open(Path::new("/nonexistent"), Some(database), Arc::new(SystemClock::new())).await.unwrap()
}

/// Has two requests under way at once; returns how they were answered.
async fn at_once(one: RequestBuilder, other: RequestBuilder) -> [u16; 2] {
    let send = async |request: RequestBuilder| request.send().await.unwrap().status().as_u16();
    let (one, other) = tokio::join!(send(one), send(other));
    [one, other]
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

#[tokio::test]
async fn configs_written_through_two_servers_never_refer_to_each_other_in_a_circle() {
    let postgres = Postgres::shared();
    let [first, second] = two(&postgres).await;

    for round in 0..30 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        first.config(&a, json!("x")).await;
        first.config(&b, json!("y")).await;
        let is_there = |answer: &Answer| answer.json()["configs"].get(&b).map(|_| ());
        second.until(&second.secret, "/v1/sync", is_there).await;
        let put = |stage: &Stage, key: &str, other: &str| {
            let value = json!({"value": format!("{{{{config:{other}}}}}")});
            stage.ask(Method::PUT, &format!("/v1/configs/{key}"), &stage.secret).json(&value)
        };
        let mut both = at_once(put(&first, &a, &b), put(&second, &b, &a)).await;

        both.sort_unstable();
        assert_eq!(both, [200, 400], "round {round}");
        let whole = first.sync(&first.secret).await["configs"].as_object().unwrap().len();
        assert_eq!(whole, 2 * (round + 1), "a config is left out");
    }
}

/// Has an umbrella service delete a secret while an heir begins to refer to it, thirty times.
async fn an_heir_refers_to_what_its_umbrella_deletes(of_umbrella: &Stage, of_heir: &Stage) {
    of_umbrella.umbrella().await;
    let place = "/api/v1/tenants/acme/namespaces/payments/settings/environments/shared/secrets";
    let root = &of_umbrella.server.root;
    for round in 0..30 {
        let secret = format!("{place}/S{round}");
        let put = of_umbrella.server.request(Method::PUT, &secret, root).json(&json!({"value": "s"}));
        let answer = of_umbrella.server.send(put).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let is_there = |answer: &Answer| answer.json()["secrets"].get(format!("S{round}")).map(|_| ());
        of_heir.until(&of_heir.secret, "/v1/sync", is_there).await;

        let delete = of_umbrella.server.request(Method::DELETE, &secret, root);
        let config = json!({"value": format!("{{{{secret:S{round}}}}}")});
        let refer = of_heir.ask(Method::PUT, &format!("/v1/configs/c{round}"), &of_heir.secret).json(&config);
        let both = at_once(delete, refer).await;

        assert!([[200, 400], [409, 200]].contains(&both), "round {round}: {both:?}");
        let (key, is_kept) = (format!("c{round}"), both == [409, 200]);
        let held = of_heir.sync(&of_heir.secret).await;
        assert_eq!(held["configs"].get(&key).is_some(), is_kept, "a config is left out");
        assert_eq!(held["secrets"].get(format!("S{round}")).is_some(), is_kept);
    }
}

#[tokio::test]
async fn what_an_heir_refers_to_is_not_deleted_through_another_server() {
    let postgres = Postgres::shared();
    let [first, second] = two(&postgres).await;

    an_heir_refers_to_what_its_umbrella_deletes(&first, &second).await;
}

#[tokio::test]
async fn what_an_heir_refers_to_is_not_deleted_through_the_same_server() {
    let stage = Stage::new().await;

    an_heir_refers_to_what_its_umbrella_deletes(&stage, &stage).await;
}
