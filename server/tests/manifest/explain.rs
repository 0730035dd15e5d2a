//! Why a flag resolves as it does.

use leverframe_server::model::TokenType;
use serde_json::json;

use crate::{stage::PAYMENTS, support::TestServer};

#[tokio::test]
async fn a_flag_is_explained_with_the_nearest_way_elsewhere() {
    let (server, read) = TestServer::stocked().await;
    let body = json!({"environment": "production", "flag": "checkout", "context": {"user.plan": "free"}, "want": "on"});

    let answer = server.post(&format!("{PAYMENTS}/explain"), &read, &body).await;

    assert_eq!(answer.status, 200, "{}", answer.text);
    let json = answer.json();
    assert_eq!(json["outcome"], json!({"value": false, "variant_key": "off", "rule_matched": "default"}));
    assert_eq!(json["decided_by"], "catchall");
    assert_eq!(json["trace"]["rules"][0]["state"], "not_matched");
    assert_eq!(json["why"][0]["reasons"][0]["fact"], r#"user.plan is not "pro""#);
    assert_eq!(json["nearest"]["variant"], "on");
    assert_eq!(json["nearest"]["steps"][0]["attribute"], "user.plan");
    assert_eq!(json["nearest"]["context"]["user.plan"], "pro");
    assert!(json["text"].as_str().unwrap().contains("rule[0] user.plan eq \"pro\" does not match"));
    assert!(json["text"].as_str().unwrap().contains("nearest:"));
}

#[tokio::test]
async fn a_mismatch_of_types_is_explained_as_one() {
    let (server, read) = TestServer::stocked().await;
    let body = json!({"environment": "production", "flag": "checkout", "context": {"user.plan": 3}});

    let json = server.post(&format!("{PAYMENTS}/explain"), &read, &body).await.json();

    assert_eq!(json["outcome"], json!(null));
    assert_eq!(
        json["error"],
        json!({"code": "attr_type_mismatch", "attribute": "user.plan", "expected": "string", "actual": "int"})
    );
}

#[tokio::test]
async fn what_cannot_be_explained_is_refused() {
    let (server, read) = TestServer::stocked().await;
    let path = format!("{PAYMENTS}/explain");
    for body in [
        json!({"environment": "production", "flag": "nowhere"}),
        json!({"environment": "nowhere", "flag": "checkout"}),
        json!({"environment": "production", "flag": "checkout", "want": "nothing"}),
        json!({"environment": "production"}),
        json!({"environment": "production", "flag": "checkout", "context": {"user": {}}}),
    ] {
        let answer = server.post(&path, &read, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_request"), "{body}");
    }
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;
    let body = json!({"environment": "production", "flag": "checkout"});
    assert_eq!(server.post(&path, &client, &body).await.code(), "forbidden");
    assert_eq!(
        server.post("/api/v1/tenants/acme/namespaces/search/explain", &server.root, &body).await.status,
        404
    );
}
