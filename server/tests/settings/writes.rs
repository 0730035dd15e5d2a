//! Writing with a key.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use leverframe::eval::bucket;
use leverframe_server::{model::PageRequest, settings::model::Kind};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    stage::Stage,
    support::{Answer, logs},
};

#[tokio::test]
async fn a_secret_has_versions_and_the_newest_one_that_is_left_is_handed_out() {
    let stage = Stage::new().await;
    let current = async || stage.sync(&stage.secret).await["secrets"]["DB:PASSWORD"].clone();

    for n in 1..=3 {
        let body = json!({"key": "DB:PASSWORD", "value": format!("v{n}"), "type": "text"});
        let written = stage.post("/v1/secrets", &body).await;
        assert_eq!(written.status, 201);
        assert_eq!(written.json(), json!({"key": "DB:PASSWORD", "version": n}));
    }

    assert_eq!(current().await, json!({"value": "v3", "version": 3, "type": "text", "source": "service"}));
    assert_eq!(stage.delete("/v1/secrets/DB%3APASSWORD?version=3").await.status, 204);
    assert_eq!(current().await["value"], "v2");
    assert_eq!(stage.delete("/v1/secrets/DB%3APASSWORD?version=3").await.status, 404);
    assert_eq!(stage.delete("/v1/secrets/DB%3APASSWORD").await.status, 204);
    assert_eq!(current().await, Value::Null);
    for unknown in ["DB%3APASSWORD", "OTHER", "no%2Fname", "%00"] {
        let answer = stage.delete(&format!("/v1/secrets/{unknown}")).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (404, "not_found"), "{unknown}");
    }
    stage.secret("DB:PASSWORD", "again").await;
    assert_eq!(current().await["version"], 4, "no version is given twice");
}

#[tokio::test]
async fn files_are_handed_out_as_files() {
    let stage = Stage::new().await;
    for body in [
        json!({"key": "CERT", "value": "-----BEGIN\n", "type": "file"}),
        json!({"key": "KEYSTORE", "value": "AAH/", "type": "file", "encoding": "base64"}),
        json!({"key": "PLAIN", "value": ""}),
    ] {
        assert_eq!(stage.post("/v1/secrets", &body).await.status, 201, "{body}");
    }

    let secrets = stage.sync(&stage.secret).await["secrets"].clone();

    assert_eq!(
        secrets["CERT"],
        json!({"value": "-----BEGIN\n", "version": 1, "type": "file", "source": "service"})
    );
    assert_eq!(
        secrets["KEYSTORE"],
        json!({"value": "AAH/", "version": 1, "type": "file", "encoding": "base64", "source": "service"})
    );
    assert_eq!(secrets["PLAIN"]["type"], "text");
}

#[tokio::test]
async fn what_cannot_be_is_refused_without_a_word_of_the_secret() {
    let stage = Stage::new().await;
    let canary = "canary-e1a9";
    for body in [
        json!({"key": "1A", "value": canary}),
        json!({"key": "", "value": canary}),
        json!({"key": "a/b", "value": canary}),
        json!({"key": "A".repeat(257), "value": canary}),
        json!({"key": "A", "value": canary, "type": "image"}),
        json!({"key": "A", "value": canary, "type": "text", "encoding": "base64"}),
        json!({"key": "A", "value": canary, "type": "file", "encoding": "base64"}),
        json!({"key": "A", "value": [canary]}),
        json!({"key": [canary], "value": canary}),
        json!({"value": canary}),
        json!([canary]),
    ] {
        let answer = stage.post("/v1/secrets", &body).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.code()),
            (400, "bad_request"),
            "{body}: {}",
            answer.text
        );
        assert!(!answer.text.contains(canary), "{}", answer.text);
    }
    let cut =
        stage.ask(Method::POST, "/v1/secrets", &stage.secret).header("content-type", "application/json");
    let answer = stage.server.send(cut.body(format!("{{\"key\":\"A\",\"value\":\"{canary}"))).await;
    assert_eq!(answer.status, 400);
    assert!(!answer.text.contains(canary));
    let long = stage.post("/v1/secrets", &json!({"key": "A", "value": "x".repeat(1_048_577)})).await;
    assert_eq!(long.status, 413);
    for (path, body) in [
        ("/v1/configs/a%20b", json!({"value": 1})),
        ("/v1/configs/a", json!({})),
        ("/v1/configs/a", json!({"value": 1, "more": 2})),
        ("/v1/flags/f", json!({"is_active": "yes"})),
        ("/v1/flags/f", json!({"is_active": true, "rollout_percent": 101})),
        ("/v1/flags/f", json!({"is_active": true, "starts_at": "soon"})),
        (
            "/v1/flags/f",
            json!({"is_active": true, "rules": [{"attribute": "a", "op": "roughly", "value": "b"}]}),
        ),
    ] {
        let answer = stage.put(path, &body).await;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
    }

    assert_eq!(stage.sync(&stage.secret).await["secrets"], json!({}));
    assert!(!logs().contains(canary));
}

#[tokio::test]
async fn any_json_is_a_config_and_comes_back_as_it_is() {
    let stage = Stage::new().await;
    let values = [
        json!(null),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(0.1),
        json!("ü\"\\\n\u{1}"),
        json!({"a": [{}]}),
        json!(false),
    ];
    for (n, value) in values.iter().enumerate() {
        stage.config(&format!("c{n}"), value.clone()).await;
    }

    let configs = stage.sync(&stage.public).await["configs"].clone();

    for (n, value) in values.iter().enumerate() {
        assert_eq!(configs[format!("c{n}")]["value"], *value);
    }
    assert_eq!(stage.delete("/v1/configs/c0").await.status, 204);
    assert_eq!(stage.delete("/v1/configs/c0").await.status, 404);
    assert_eq!(stage.sync(&stage.public).await["configs"].get("c0"), None);
}

#[tokio::test]
async fn references_to_nothing_and_to_themselves_are_refused_when_they_are_written() {
    let stage = Stage::new().await;
    stage.secret("PASSWORD", "pw").await;
    stage.config("b", json!("1")).await;
    stage.config("a", json!("{{config:b}} {{secret:PASSWORD}}")).await;
    let (_, front) = stage.other("front", Kind::Frontend).await;

    for (key, value, words) in [
        ("b", json!(["{{config:a}}"]), "refer to itself"),
        ("c", json!("{{config:c}}"), "refer to itself"),
        ("c", json!("{{secret:NONE}}"), "does not exist"),
        ("c", json!({"x": "{{flag:none}}"}), "does not exist"),
    ] {
        let answer = stage.put(&format!("/v1/configs/{key}"), &json!({"value": value})).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "bad_request"), "{value}");
        assert!(answer.json()["message"].as_str().unwrap().contains(words), "{}", answer.text);
    }
    for path in ["/v1/secrets/PASSWORD", "/v1/secrets/PASSWORD?version=1", "/v1/configs/b"] {
        let answer = stage.delete(path).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (409, "referenced"), "{}", answer.text);
    }
    assert_eq!(
        stage
            .server
            .send(stage.ask(Method::PUT, "/v1/configs/x", &front).json(&json!({"value": "{{secret:A}}"})))
            .await
            .status,
        403
    );
    assert_eq!(stage.delete("/v1/configs/a").await.status, 204);
    assert_eq!(stage.delete("/v1/secrets/PASSWORD").await.status, 204);
}

#[tokio::test]
async fn what_an_umbrella_gets_has_to_be_right_for_those_who_inherit_it() {
    let stage = Stage::new().await;
    let umbrella = stage.umbrella().await;
    let place = "/api/v1/tenants/acme/namespaces/payments/settings/environments";
    let write = async |environment: &str, method: Method, entry: &str, body: Value| -> Answer {
        let path = format!("{place}/{environment}/{entry}");
        stage.server.send(stage.server.request(method, &path, &stage.server.root).json(&body)).await
    };
    let (front, _) = stage.other("front", Kind::Frontend).await;
    stage.change(&front, |service| service.inherits = Some(umbrella.clone())).await;
    let put = Method::PUT;

    assert_eq!(write("shared", put.clone(), "configs/a", json!({"value": "1"})).await.status, 200);
    assert_eq!(write("shared", put.clone(), "secrets/S", json!({"value": "s"})).await.status, 200);
    assert_eq!(
        write("prod", put.clone(), "configs/b", json!({"value": "{{config:a}}{{secret:S}}"})).await.status,
        200
    );
    let circle = write("shared", put.clone(), "configs/a", json!({"value": "{{config:b}}"})).await;
    assert_eq!(circle.status, 400, "there is no `b` in the umbrella itself");
    assert_eq!(write("shared", put.clone(), "configs/b", json!({"value": "2"})).await.status, 200);
    let circle = write("shared", put.clone(), "configs/a", json!({"value": "{{config:b}}"})).await;
    assert!(circle.status == 400 && circle.text.contains("refer to itself"), "{}", circle.text);
    for entry in ["configs/a", "secrets/S"] {
        let refused = write("shared", Method::DELETE, entry, Value::Null).await;
        assert_eq!((refused.status.as_u16(), &*refused.code()), (409, "referenced"), "{entry}");
    }
    // For a frontend service it is left out, which is no reason to refuse anything else.
    assert_eq!(write("shared", put.clone(), "configs/c", json!({"value": "{{secret:S}}"})).await.status, 200);
    assert_eq!(write("front", put.clone(), "configs/d", json!({"value": "{{config:a}}"})).await.status, 200);
    assert_eq!(write("front", put, "configs/e", json!({"value": "{{secret:S}}"})).await.status, 400);
}

#[tokio::test]
async fn a_write_may_be_made_on_condition_and_once_however_often_it_is_sent() {
    let stage = Stage::new().await;
    let put = async |value: i32, headers: &[(&str, &str)]| -> Answer {
        let request = stage.ask(Method::PUT, "/v1/configs/a", &stage.secret).json(&json!({"value": value}));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        stage.server.send(request).await
    };

    assert_eq!(put(1, &[("if-version", "0")]).await.json()["version"], 1);
    let conflict = put(2, &[("if-version", "0")]).await;
    assert_eq!((conflict.status.as_u16(), &*conflict.code()), (409, "version_conflict"));
    assert_eq!(conflict.json()["current_version"], 1);
    let once = [("if-version", "1"), ("idempotency-key", "rotation-1")];
    assert_eq!(put(2, &once).await.json()["version"], 2);
    stage.config("a", json!(3)).await;
    assert_eq!(put(2, &once).await.json()["version"], 2, "what it came to then");
    assert_eq!(stage.sync(&stage.secret).await["configs"]["a"]["value"], 3);
    assert_eq!(put(9, &[("if-version", "1"), ("idempotency-key", "other")]).await.status, 409);
    for bad in [[("if-version", "x")], [("if-version", "-1")], [("idempotency-key", "")]] {
        assert_eq!(put(9, &bad).await.status, 400, "{bad:?}");
    }
    let delete = stage.ask(Method::DELETE, "/v1/configs/a", &stage.secret).header("if-version", "2");
    assert_eq!(stage.server.send(delete).await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writes_at_once_each_makes_a_version_and_of_those_on_condition_one() {
    let stage = Stage::new().await;

    let plain = join_all((0..20).map(|n| {
        let stage = &stage;
        async move { stage.post("/v1/secrets", &json!({"key": "A", "value": n.to_string()})).await.json() }
    }));
    let versions: BTreeSet<u64> = plain.await.iter().map(|json| json["version"].as_u64().unwrap()).collect();
    let conditional = join_all((0..10).map(|n| {
        let request = stage.ask(Method::PUT, "/v1/configs/c", &stage.secret).header("if-version", "0");
        stage.server.send(request.json(&json!({"value": n})))
    }));
    let statuses: Vec<u16> = conditional.await.iter().map(|answer| answer.status.as_u16()).collect();

    assert_eq!(versions, (1..=20).collect());
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 9, "{statuses:?}");
}

#[tokio::test]
async fn no_write_makes_an_answer_too_long_for_clients() {
    let stage = Stage::new().await;
    // Six bytes each where it is written as JSON.
    let value = "\u{1}".repeat(400_000);
    let mut refused = None;

    for n in 0..4 {
        let answer = stage.post("/v1/secrets", &json!({"key": format!("S{n}"), "value": value})).await;
        if answer.status != 201 {
            assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "limit_exceeded"), "{}", answer.text);
            refused.get_or_insert(n);
        }
    }

    assert_eq!(refused, Some(3));
    assert!(stage.get("/v1/sync", &stage.secret).await.text.len() < 8 * 1024 * 1024);
    assert_eq!(stage.delete("/v1/secrets/S0").await.status, 204);
}

#[tokio::test]
async fn writes_are_recorded_with_the_key_that_made_them() {
    let stage = Stage::new().await;

    stage.secret("A", "canary-19c3").await;
    stage.config("a", json!("canary-19c3")).await;
    stage.flag("f", json!({"is_active": true})).await;
    stage.delete("/v1/secrets/A").await;
    stage.delete("/v1/flags/none").await;

    let page = stage.server.store.audit(Some("acme"), &PageRequest::first(5)).await.unwrap();
    let seen: Vec<String> = page
        .items
        .iter()
        .rev()
        .map(|event| {
            assert_eq!(event.principal, stage.secret.record.id);
            format!("{} {} {} {}", event.action, event.target, event.outcome, event.detail)
        })
        .collect();
    assert_eq!(
        seen,
        [
            "secret.set acme/payments/prod A ok version 1",
            "config.set acme/payments/prod a ok version 1",
            "flag.set acme/payments/prod f ok version 1",
            "secret.delete acme/payments/prod A ok version 1",
            "flag.delete acme/payments/prod none not_found ",
        ]
    );
    assert!(!logs().contains("canary-19c3"));
}

#[tokio::test]
async fn flags_are_decided_for_users_by_rules_first_and_then_by_share() {
    let stage = Stage::new().await;
    let pro = json!([{"attribute": "plan", "op": "in", "values": ["pro", "team"]}]);
    stage.flag("half", json!({"is_active": true, "rollout_percent": 50})).await;
    stage.flag("pro", json!({"is_active": true, "rollout_percent": 50, "rules": pro})).await;
    stage.flag("off", json!({"is_active": false})).await;
    stage.flag("all", json!({"is_active": true})).await;
    let ask = async |body: Value| {
        let request = stage.ask(Method::POST, "/v1/flags/evaluate-ab", &stage.public).json(&body);
        stage.server.send(request).await
    };
    let keys = ["half", "pro", "off", "all", "unknown"];

    for n in 0..40 {
        let user = format!("user-{n}");
        let plan = if n % 2 == 0 { "pro" } else { "free" };
        let answer = ask(json!({"keys": keys, "user_id": user, "attributes": {"plan": plan}})).await;
        let expected = json!({
            "half": bucket(&user, "half") < 5_000,
            "pro": n % 2 == 0 && bucket(&user, "pro") < 5_000,
            "off": false, "all": true, "unknown": false,
        });
        assert_eq!(answer.json(), json!({"results": expected}));
    }

    let many = |count: usize| (0..count).map(|n| format!("k{n}")).collect::<Vec<_>>();
    assert_eq!(
        ask(json!({"keys": many(200), "user_id": "u"})).await.json()["results"].as_object().unwrap().len(),
        200
    );
    for bad in [
        json!({"keys": [], "user_id": "u"}),
        json!({"keys": many(201), "user_id": "u"}),
        json!({"keys": ["a"]}),
        json!({"keys": ["a"], "user_id": "u", "attributes": {"age": 3}}),
        json!({"keys": ["a"], "user_id": "u", "attributes": {"x": null}}),
        json!({"keys": ["a"], "user_id": "u".repeat(1_025)}),
    ] {
        assert_eq!(ask(bad.clone()).await.status, 400, "{bad}");
    }
    stage.change(&stage.id, |service| service.ab_enabled = false).await;
    stage.flag("all", json!({"is_active": true, "rollout_percent": 1})).await;
    let refused = ask(json!({"keys": ["a"], "user_id": "u"})).await;
    assert_eq!((refused.status.as_u16(), &*refused.code()), (403, "ab_addon_not_active"));
}
