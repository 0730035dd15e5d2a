//! Browsers of other origins.

use leverframe_server::model::TokenType;
use reqwest::{Method, header};
use serde_json::json;

use crate::{
    stage::{PAYMENTS, ask},
    support::{Answer, TestServer},
};

const SHOP: &str = "https://shop.example";

async fn ask_from(server: &TestServer, origin: &str, secret: &str, body: serde_json::Value) -> Answer {
    let request = server.request(Method::POST, &format!("{PAYMENTS}/evaluate"), secret);
    server.send(request.header(header::ORIGIN, origin).json(&body)).await
}

async fn with_client() -> (TestServer, String) {
    let (server, _) = TestServer::stocked().await;
    let (_, client) = server
        .mint_with(TokenType::NamespaceClient, "acme/payments/production", |token| {
            token.allowed_origins = vec![SHOP.into()];
        })
        .await;
    (server, client)
}

#[tokio::test]
async fn preflight_requests_need_no_token() {
    let server = TestServer::start().await;
    for path in [
        format!("{PAYMENTS}/evaluate"),
        format!("{PAYMENTS}/evaluate/all"),
        "/ofrep/v1/evaluate/flags".into(),
        "/ofrep/v1/evaluate/flags/checkout".into(),
    ] {
        let request = server.request(Method::OPTIONS, &path, "").header(header::ORIGIN, SHOP);
        let answer = server
            .send(
                request
                    .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
                    .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type"),
            )
            .await;

        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), SHOP);
        assert_eq!(answer.header("access-control-allow-methods"), "POST");
        assert_eq!(answer.header("access-control-max-age"), "600");
        assert!(answer.header("access-control-allow-headers").contains("authorization, content-type"));
        assert!(answer.header("vary").contains("origin"));
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
}

#[tokio::test]
async fn allowed_origins_read_the_answer_and_others_are_refused() {
    let (server, client) = with_client().await;
    let body = ask(&["limits"], json!({}));

    let allowed = ask_from(&server, SHOP, &client, body.clone()).await;
    let native = server.post(&format!("{PAYMENTS}/evaluate"), &client, &body).await;

    assert_eq!((allowed.status.as_u16(), allowed.header("access-control-allow-origin")), (200, SHOP));
    assert!(allowed.header("access-control-expose-headers").contains("x-request-id"));
    assert_eq!((native.status.as_u16(), native.header("access-control-allow-origin")), (200, ""));
    for origin in [
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "null",
        "https://shop.example.evil",
    ] {
        let refused = ask_from(&server, origin, &client, body.clone()).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (403, "forbidden"), "{origin}");
    }
}

#[tokio::test]
async fn refusals_can_be_read_by_the_page_that_asked() {
    let (server, client) = with_client().await;

    let malformed = ask_from(&server, SHOP, &client, json!({"flags": 3})).await;
    let nobody = ask_from(&server, SHOP, "", ask(&[], json!({}))).await;
    let other = ask_from(&server, SHOP, &client, json!({"environment": "staging", "flags": []})).await;

    for (answer, status) in [(malformed, 400), (nobody, 401), (other, 403)] {
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("access-control-allow-origin"), SHOP);
        assert!(!answer.code().is_empty());
    }
}

#[tokio::test]
async fn answers_to_secret_tokens_are_not_for_other_origins() {
    let (server, read) = TestServer::stocked().await;

    let answer = ask_from(&server, SHOP, &read, ask(&["limits"], json!({}))).await;

    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, ""));
}
