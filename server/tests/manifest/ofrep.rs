//! OFREP 0.3, as its own document and examples have it.

use leverframe_server::model::TokenType;
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::{
    stage::{LIMITS, files_with},
    support::{Answer, TestServer},
};

const BULK: &str = "/ofrep/v1/evaluate/flags";

async fn one(server: &TestServer, secret: &str, key: &str, context: Value) -> Answer {
    server.post(&format!("{BULK}/{key}"), secret, &json!({"context": context})).await
}

async fn with_client() -> (TestServer, String) {
    let (server, _) = TestServer::stocked().await;
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;
    (server, client)
}

#[tokio::test]
async fn one_flag_is_evaluated_with_reason_and_variant() {
    let (server, client) = with_client().await;

    let targeted =
        one(&server, &client, "checkout", json!({"targetingKey": "u1", "user": {"plan": "pro"}})).await;
    let fixed = one(&server, &client, "limits", json!({"targetingKey": "u1"})).await;
    let split = one(&server, &client, "checkout", json!({"targetingKey": "u1"})).await;

    assert_eq!(targeted.status, 200, "{}", targeted.text);
    assert_eq!(
        targeted.json(),
        json!({
            "key": "checkout",
            "value": true,
            "reason": "TARGETING_MATCH",
            "variant": "on",
            "metadata": {"ruleMatched": "rule:0", "flagVersion": 1},
        })
    );
    assert_eq!(fixed.json()["reason"], "STATIC");
    assert_eq!(split.json()["reason"], "SPLIT");
}

#[tokio::test]
async fn the_targeting_key_stands_for_entity_ids_that_are_absent() {
    let (server, client) = with_client().await;
    let inside =
        (0..).map(|n| format!("u{n}")).find(|id| leverframe::eval::bucket(id, "tenth") < 1000).unwrap();
    let outside =
        (0..).map(|n| format!("u{n}")).find(|id| leverframe::eval::bucket(id, "tenth") >= 1000).unwrap();

    let filled = one(&server, &client, "checkout", json!({"targetingKey": inside})).await;
    let named =
        one(&server, &client, "checkout", json!({"targetingKey": inside, "user": {"id": outside}})).await;
    let flat = one(&server, &client, "checkout", json!({"targetingKey": outside, "user.id": inside})).await;

    assert_eq!(filled.json()["value"], true);
    assert_eq!(named.json()["value"], false, "what is there is not replaced");
    assert_eq!(flat.json()["value"], true);
}

#[tokio::test]
async fn failures_have_the_codes_of_the_protocol() {
    let (server, client) = with_client().await;
    let path = format!("{BULK}/checkout");
    let send = |body: &'static str| {
        let request =
            server.request(Method::POST, &path, &client).header(header::CONTENT_TYPE, "application/json");
        server.send(request.body(body))
    };

    for (body, code) in [
        ("{", "PARSE_ERROR"),
        ("", "PARSE_ERROR"),
        (r#"{"context":{}"#, "PARSE_ERROR"),
        ("{}", "INVALID_CONTEXT"),
        ("[]", "PARSE_ERROR"),
        (r#"{"context":[]}"#, "INVALID_CONTEXT"),
        (r#"{"context":{"targetingKey":7}}"#, "INVALID_CONTEXT"),
        (r#"{"context":{"targetingKey":"u1","tags":[1]}}"#, "INVALID_CONTEXT"),
        (r#"{"context":{"targetingKey":"u1","user":{"plan":3}}}"#, "INVALID_CONTEXT"),
        (r#"{"context":{}}"#, "TARGETING_KEY_MISSING"),
        (r#"{"context":{"user":{"plan":"pro"}}}"#, "TARGETING_KEY_MISSING"),
    ] {
        let answer = send(body).await;
        let json = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &json["errorCode"]),
            (400, &json!(code)),
            "{body}: {}",
            answer.text
        );
        assert_eq!(json["key"], "checkout");
        assert!(json["errorDetails"].is_string());
    }
    let unknown = one(&server, &client, "nowhere", json!({"targetingKey": "u1"})).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(
        (&unknown.json()["key"], &unknown.json()["errorCode"]),
        (&json!("nowhere"), &json!("FLAG_NOT_FOUND"))
    );
    let keyless = one(&server, &client, "limits", json!({})).await;
    assert_eq!(keyless.status, 200, "a flag that nobody is split by needs no key");
    assert_eq!(one(&server, "", "limits", json!({})).await.status, 401);
}

#[tokio::test]
async fn all_flags_are_evaluated_at_once_with_their_own_failures() {
    let (server, client) = with_client().await;

    let answer =
        server.post(BULK, &client, &json!({"context": {"targetingKey": "u1", "user": {"plan": 3}}})).await;

    assert_eq!(answer.status, 200, "{}", answer.text);
    let flags = answer.json()["flags"].as_array().unwrap().clone();
    assert_eq!(flags[0]["key"], "checkout");
    assert_eq!(flags[0]["errorCode"], "INVALID_CONTEXT");
    assert_eq!(flags[1]["key"], "limits");
    assert_eq!(flags[1]["value"]["most"], 10);
    assert_eq!(answer.json()["metadata"]["version"], 1);
}

#[tokio::test]
async fn what_has_not_changed_is_not_evaluated_again() {
    let (server, client) = with_client().await;
    let ask = |context: Value, tag: &str| {
        let request = server.request(Method::POST, BULK, &client).json(&json!({"context": context}));
        server.send(if tag.is_empty() { request } else { request.header(header::IF_NONE_MATCH, tag) })
    };

    let first = ask(json!({"targetingKey": "u1", "a": 1}), "").await;
    let tag = first.header("etag").to_owned();
    let again = ask(json!({"a": 1, "targetingKey": "u1"}), &tag).await;
    let weak = ask(json!({"a": 1, "targetingKey": "u1"}), &format!("\"x\", W/{tag}")).await;
    let other = ask(json!({"targetingKey": "u2", "a": 1}), &tag).await;
    server.push(&server.root, &files_with("flags/more.toml", LIMITS)).await;
    let changed = ask(json!({"targetingKey": "u1", "a": 1}), &tag).await;

    assert!(tag.starts_with('"') && tag.ends_with('"'));
    assert_eq!((again.status.as_u16(), again.text.as_str(), again.header("etag")), (304, "", &*tag));
    assert_eq!(weak.status, 304);
    assert_eq!(other.status, 200);
    assert_eq!((changed.status.as_u16(), changed.json()["flags"].as_array().unwrap().len()), (200, 3));
}

#[tokio::test]
async fn tokens_that_are_not_bound_name_the_place() {
    let (server, read) = TestServer::stocked().await;
    let (_, admin) = server.mint(TokenType::TenantAdmin, "acme").await;
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;
    let root = server.root.clone();
    for (secret, query, status) in [
        (&read, "environment=production", 200),
        (&read, "namespace=payments&environment=production", 200),
        (&read, "", 400),
        (&read, "environment=nowhere", 400),
        (&read, "namespace=search&environment=production", 403),
        (&admin, "namespace=payments&environment=staging", 200),
        (&admin, "environment=staging", 400),
        (&admin, "tenant=rival&namespace=payments&environment=staging", 403),
        (&root, "tenant=acme&namespace=payments&environment=production", 200),
        (&root, "namespace=payments&environment=production", 400),
        (&client, "environment=production&namespace=payments&tenant=acme", 200),
        (&client, "environment=staging", 403),
        (&client, "namespace=search", 403),
    ] {
        let body = json!({"context": {"targetingKey": "u1"}});
        for path in [format!("{BULK}?{query}"), format!("{BULK}/limits?{query}")] {
            let answer = server.post(&path, secret, &body).await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
            if status == 400 {
                assert_eq!(answer.json()["errorCode"], "GENERAL");
            }
        }
    }
}

#[tokio::test]
async fn the_key_may_come_in_the_header_of_api_keys() {
    let (server, client) = with_client().await;
    let send = |key: &str| {
        let request = server.request(Method::POST, BULK, "").header("x-api-key", key);
        server.send(request.json(&json!({"context": {"targetingKey": "u1"}})))
    };

    assert_eq!(send(&client).await.status, 200);
    assert_eq!(send("nonsense").await.status, 401);
}

#[tokio::test]
async fn a_request_that_follows_an_event_sees_what_the_event_told() {
    let (server, client) = with_client().await;
    let body = json!({"context": {"targetingKey": "u1"}});

    for tag in ["v1", "%22v1%22", "v999", "nonsense"] {
        let answer = server
            .post(&format!("{BULK}?flagConfigEtag={tag}&flagConfigLastModified=1771622898"), &client, &body)
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["metadata"]["version"].as_u64()),
            (200, Some(1)),
            "{tag}"
        );
    }
}

#[tokio::test]
async fn origins_are_held_to_the_token() {
    let (server, _) = TestServer::stocked().await;
    let (_, client) = server
        .mint_with(TokenType::NamespaceClient, "acme/payments/production", |token| {
            token.allowed_origins = vec!["https://shop.example".into()];
        })
        .await;
    for (origin, status) in [("https://shop.example", 200), ("https://evil.example", 403)] {
        let request = server.request(Method::POST, BULK, &client).header(header::ORIGIN, origin);
        let answer = server.send(request.json(&json!({"context": {"targetingKey": "u1"}}))).await;

        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
    }
}
