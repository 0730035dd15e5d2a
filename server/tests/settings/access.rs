//! Who is answered.

use std::{sync::Arc, time::Duration};

use leverframe::{rfc3339, testing::ManualClock, traits::Clock};
use leverframe_server::{
    limit::Rate,
    settings::model::{EntryKind, Kind, Quarantine},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    stage::{Key, Stage},
    support::Answer,
};

/// Every route, with something to send.
fn routes() -> Vec<(Method, &'static str, Value)> {
    vec![
        (Method::GET, "/v1/sync", Value::Null),
        (Method::GET, "/v1/stream", Value::Null),
        (Method::POST, "/v1/secrets", json!({"key": "A", "value": "canary-77f0"})),
        (Method::DELETE, "/v1/secrets/A", Value::Null),
        (Method::PUT, "/v1/configs/a", json!({"value": 1})),
        (Method::DELETE, "/v1/configs/a", Value::Null),
        (Method::PUT, "/v1/flags/a", json!({"is_active": true})),
        (Method::DELETE, "/v1/flags/a", Value::Null),
        (Method::POST, "/v1/flags/evaluate-ab", json!({"keys": ["a"], "user_id": "u"})),
    ]
}

async fn ask_all(stage: &Stage, key: &Key) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (method, path, body) in routes() {
        let request = stage.ask(method, path, key);
        answers.push(stage.server.send(if body.is_null() { request } else { request.json(&body) }).await);
    }
    answers
}

#[tokio::test]
async fn the_key_of_the_hosts_service_is_asked_for_and_nothing_else_does() {
    let stage = Stage::new().await;
    let (_, other) = stage.other("staging", Kind::Backend).await;
    let get = |host: &'static str| stage.server.http.get(stage.server.url("/v1/sync")).header("host", host);
    let right = "acme-payments-prod.settings.example.com";
    let status = async |request: reqwest::RequestBuilder| stage.server.send(request).await.status.as_u16();

    assert_eq!(status(get(right).header("x-nexus-api-key", &stage.secret.text)).await, 200);
    assert_eq!(status(get(right).bearer_auth(&stage.public.text)).await, 200);
    assert_eq!(status(get("localhost:1").header("x-nexus-api-key", &other.text)).await, 200);
    for wrong in [
        get(right),
        get(right).header("x-nexus-api-key", &other.text),
        get("acme-payments.example.com").header("x-nexus-api-key", &stage.secret.text),
        get(right).header("x-nexus-api-key", "wxs_".to_owned() + &"A".repeat(43)),
        get(right).header("x-nexus-api-key", "nonsense"),
        get(right).header("x-nexus-api-key", &stage.secret.text).bearer_auth(&stage.secret.text),
        get(right).bearer_auth("wxt_AAAA.AAAA"),
        get(right).bearer_auth(&stage.server.root),
    ] {
        let answer = stage.server.send(wrong).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (401, "unauthenticated"));
        let json = answer.json();
        assert!(json["error"].is_string() && json["message"].is_string(), "{json}");
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_its_stream_ends() {
    let stage = Stage::new().await;
    let mut events = stage.listen(&stage.secret).await;
    let mut others = stage.listen(&stage.public).await;
    assert_eq!((events.event().await, others.event().await), ("resync".into(), "resync".into()));
    let now = stage.server.running.app().clock().wall();

    stage.store().revoke_settings_key(&stage.id, &stage.secret.record.id, now).await.unwrap();

    assert_eq!(events.next().await, None, "a clean end");
    stage.until(&stage.secret, "/v1/sync", |answer| (answer.status == 401).then_some(())).await;
    assert_eq!(stage.get("/v1/sync", &stage.public).await.status, 200);
    stage.put_behind(&stage.id, EntryKind::Flag, "f", "{\"is_active\":true}").await;
    assert_eq!(others.event().await, "flag.created f", "other keys' streams go on");
}

#[tokio::test]
async fn public_keys_and_frontend_services_write_nothing_whatever_the_client_believes() {
    let stage = Stage::new().await;
    let (_, frontend) = stage.other("front", Kind::Frontend).await;
    stage.config("a", json!(0)).await;

    for key in [&stage.public, &frontend] {
        let statuses: Vec<u16> = ask_all(&stage, key).await.iter().map(|a| a.status.as_u16()).collect();
        assert_eq!(statuses, [200, 200, 403, 403, 403, 403, 403, 403, 200]);
    }

    assert_eq!(stage.sync(&stage.secret).await["configs"]["a"]["value"], 0);
    let page = leverframe_server::model::PageRequest::first(100);
    let log = stage.server.store.audit(Some("acme"), &page).await.unwrap().items;
    let refused = log.iter().filter(|event| event.outcome == "forbidden").count();
    assert_eq!(refused, 12, "what was refused is recorded");
    assert!(!format!("{log:?}").contains("canary-77f0"));
}

/// A public key is in every web page.
#[tokio::test]
async fn what_public_keys_are_refused_is_recorded_a_few_times_a_minute() {
    let clock = ManualClock::new();
    let stage = Stage::with(Arc::new(clock.clone()), |_| {}).await;
    let recorded = async || {
        let page = leverframe_server::model::PageRequest::first(500);
        let log = stage.server.store.audit(Some("acme"), &page).await.unwrap().items;
        log.iter().filter(|event| event.outcome == "forbidden").count()
    };
    let try_often = async |times: usize| {
        for _ in 0..times {
            let write = stage.ask(Method::POST, "/v1/secrets", &stage.public);
            let answer = stage.server.send(write.json(&json!({"key": "A", "value": "x"}))).await;
            assert_eq!((answer.status.as_u16(), &*answer.code()), (403, "forbidden"));
        }
    };

    try_often(200).await;
    assert_eq!(recorded().await, 10);

    clock.advance(Duration::from_secs(60));
    try_often(1).await;
    assert_eq!(recorded().await, 11);
    assert_eq!(stage.post("/v1/secrets", &json!({"key": "A", "value": "x"})).await.status, 201);
}

#[tokio::test]
async fn a_quarantined_service_is_told_so_everywhere_until_it_ends() {
    let clock = ManualClock::new();
    let stage = Stage::with(Arc::new(clock.clone()), |_| {}).await;
    let mut events = stage.listen(&stage.secret).await;
    assert_eq!(events.event().await, "resync");
    let until = clock.wall() + Duration::from_secs(3_600);

    stage.change(&stage.id, |service| service.quarantine = Some(Quarantine::new("bulk_delete", until))).await;
    assert_eq!(events.next().await, None, "its streams end");

    for answer in ask_all(&stage, &stage.secret).await {
        assert_eq!(answer.status, 429);
        let json = answer.json();
        assert_eq!((&json["error"], &json["reason"]), (&json!("quarantined"), &json!("bulk_delete")));
        assert_eq!(json["expires_at"], rfc3339(until));
        assert_eq!(answer.header("retry-after"), "3600");
    }
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(stage.get("/v1/sync", &stage.secret).await.status, 200);

    let never = clock.wall() + Duration::from_secs(40 * 86_400);
    stage.change(&stage.id, |service| service.quarantine = Some(Quarantine::new("abuse", never))).await;
    let told = stage
        .until(&stage.secret, "/v1/sync", |answer| Some(answer.json()["expires_at"].as_str()?.to_owned()))
        .await;
    assert_eq!(told, rfc3339(clock.wall() + Duration::from_secs(86_400)), "a day at most");
}

#[tokio::test]
async fn a_service_that_owes_is_told_so_everywhere() {
    let stage = Stage::new().await;
    stage.change(&stage.id, |service| service.billing_overdue = true).await;
    stage.until(&stage.secret, "/v1/sync", |answer| (answer.status == 402).then_some(())).await;

    for answer in ask_all(&stage, &stage.secret).await {
        assert_eq!((answer.status.as_u16(), &*answer.code()), (402, "billing_overdue"));
    }
}

#[tokio::test]
async fn a_key_has_its_limit_and_so_have_strangers() {
    let clock = ManualClock::new();
    let stage = Stage::with(Arc::new(clock), |options| {
        options.limits.settings = Rate::new(1, 3);
        options.limits.stranger = Rate::new(1, 3);
    })
    .await;
    let wrong = Key { text: "wxs_".to_owned() + &"A".repeat(43), ..stage.secret.clone() };

    let mut own = Vec::new();
    for _ in 0..4 {
        own.push(stage.get("/v1/sync", &stage.secret).await);
    }
    let mut strange = Vec::new();
    for _ in 0..4 {
        strange.push(stage.get("/v1/sync", &wrong).await);
    }

    let statuses = |answers: &[Answer]| answers.iter().map(|a| a.status.as_u16()).collect::<Vec<_>>();
    assert_eq!(statuses(&own), [200, 200, 200, 429]);
    assert_eq!((&*own[3].code(), own[3].header("retry-after")), ("rate_limited", "1"));
    assert_eq!(statuses(&strange).last(), Some(&429));
    assert_eq!(
        stage.get("/v1/sync", &stage.public).await.status,
        429,
        "a key that is not known yet is a stranger's"
    );
}
