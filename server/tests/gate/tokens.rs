//! Tokens, and what they are good for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    stage::{Key, Stage, key},
    support::{Answer, TestServer},
};

async fn ask(server: &TestServer, path: &str, key: &Key) -> Answer {
    server.post(path, "", &json!({"publishKey": key.publish, "secretKey": key.secret})).await
}

async fn token(server: &TestServer, key: &Key) -> String {
    let answer = ask(server, "/v1/auth/token", key).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn whoever_has_the_secret_gets_a_token_that_gets_the_policy() {
    let stage = Stage::new().await;

    for (ask_at, get_at) in [("/v1/auth/token", "/v1/policy/acme"), ("//v1/auth/token", "//v1/policy/acme")] {
        let answer = ask(&stage.server, ask_at, &stage.key).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let json = answer.json();
        assert_eq!(json["orgId"], "acme");
        assert_eq!(json["expiresAt"].as_u64(), Some(stage.now_ms() + 3_600_000));
        let policy = stage.server.get(get_at, json["token"].as_str().unwrap()).await;
        assert_eq!(policy.status, 200, "{}", policy.text);
        assert_eq!(policy.json()["leaseDurationSeconds"], 300);
    }
}

#[tokio::test]
async fn whoever_has_not_gets_none() {
    let stage = Stage::new().await;
    let other = key(&stage.server, "acme", None).await;
    let with = |publish: &str, secret: &str| json!({"publishKey": publish, "secretKey": secret});

    for body in [
        with(&stage.key.publish, &other.secret),
        with(&stage.key.publish, ""),
        with(&stage.key.publish, &"x".repeat(10_000)),
        with("", &stage.key.secret),
        with("wpk_%", &stage.key.secret),
        with(&format!("wpk_{}", "A".repeat(22)), &stage.key.secret),
    ] {
        let answer = stage.server.post("/v1/auth/token", "", &body).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (401, "unauthenticated"), "{body}");
    }
    for body in [json!({}), json!([]), json!(null), json!({"publishKey": 1, "secretKey": 2})] {
        let answer = stage.server.post("/v1/auth/token", "", &body).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "bad_request"), "{body}");
    }
}

#[tokio::test]
async fn a_token_is_good_for_an_hour_for_its_org_and_until_its_key_is_revoked() {
    let stage = Stage::new().await;
    let token = token(&stage.server, &stage.key).await;
    let get = async |org: &str, token: &str| {
        let answer = stage.server.get(&format!("/v1/policy/{org}"), token).await;
        (answer.status.as_u16(), answer.code())
    };
    let refused = (401, "unauthenticated".to_owned());

    assert_eq!(get("rival", &token).await, (403, "forbidden".to_owned()));
    for forged in ["", "wst_x.y", &token.replace('.', "x"), &token[..token.len() - 4], &stage.server.root] {
        assert_eq!(get("acme", forged).await, refused, "{forged}");
    }
    stage.clock.advance(Duration::from_millis(3_599_999));
    assert_eq!(get("acme", &token).await.0, 200);
    stage.clock.advance(Duration::from_millis(1));
    assert_eq!(get("acme", &token).await, refused);

    let fresh = self::token(&stage.server, &stage.key).await;
    assert_eq!(get("acme", &fresh).await.0, 200);
    let path = format!("/api/v1/gate/acme/keys/{}", stage.key.publish);
    assert_eq!(stage.server.delete(&path, &stage.server.root).await.status, 204);
    assert_eq!(get("acme", &fresh).await, refused);
    assert_eq!(ask(&stage.server, "/v1/auth/token", &stage.key).await.status, 401);
}

#[tokio::test]
async fn a_token_outlives_the_process_that_issued_it() {
    let mut stage = Stage::new().await;
    let token = token(&stage.server, &stage.key).await;

    stage.restart().await;

    assert_eq!(stage.server.get("/v1/policy/acme", &token).await.status, 200);
}

#[tokio::test]
async fn a_token_of_one_site_gets_its_policy_and_others_get_the_strictest() {
    let stage = Stage::new().await;
    stage.set(json!({"site": "eu", "tag_max_weights": {"free": 5}, "global_max_weight": 50})).await;
    stage.set(json!({"site": "us", "tag_max_weights": {"free": 3, "pro": 9}})).await;
    let eu = key(&stage.server, "acme", Some("eu")).await;

    let policy = async |key: &Key| -> Value {
        let token = token(&stage.server, key).await;
        stage.server.get("/v1/policy/acme", &token).await.json()
    };

    let (of_eu, of_all) = (policy(&eu).await, policy(&stage.key).await);
    assert_eq!((&of_eu["tagMaxWeights"], &of_eu["globalMaxWeight"]), (&json!({"free": 5.0}), &json!(50.0)));
    assert_eq!(of_all["tagMaxWeights"], json!({"free": 3.0, "pro": 9.0}));
    assert_eq!(of_all["globalMaxWeight"], json!(50.0));
}
