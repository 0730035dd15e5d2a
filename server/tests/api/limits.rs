use std::{sync::Arc, time::Duration};

use leverframe::testing::ManualClock;
use leverframe_server::{limit::Rate, model::TokenType};
use reqwest::StatusCode;

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_asks_too_often_has_to_wait_and_the_others_have_not() {
    let clock = ManualClock::new();
    let server = TestServer::start_with(Arc::new(clock.clone()), |options| {
        options.limits.token = Rate::new(1, 3);
    })
    .await;
    let (_, busy) = server.mint(TokenType::NamespaceRead, "acme/payments").await;
    let (_, calm) = server.mint(TokenType::NamespaceRead, "acme/payments").await;

    for _ in 0..3 {
        assert_eq!(server.get("/api/v1/tokens/self", &busy).await.status, StatusCode::OK);
    }
    let refused = server.get("/api/v1/tokens/self", &busy).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(server.get("/api/v1/tokens/self", &calm).await.status, StatusCode::OK);
    assert_eq!(server.get("/healthz", "").await.status, StatusCode::OK);

    clock.advance(Duration::from_secs(1));
    assert_eq!(server.get("/api/v1/tokens/self", &busy).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_guesses_is_slowed_down_while_known_tokens_go_on() {
    let clock = ManualClock::new();
    let server = TestServer::start_with(Arc::new(clock.clone()), |options| {
        options.limits.stranger = Rate::new(1, 5);
    })
    .await;
    assert_eq!(server.get("/api/v1/tokens/self", &server.root).await.status, StatusCode::OK);

    let mut codes = Vec::new();
    for guess in 0..6 {
        codes.push(server.get("/api/v1/tokens/self", &format!("exd_admin_{guess}")).await.code());
    }

    assert_eq!(codes[..4], ["unauthenticated"; 4]);
    assert_eq!(codes[4..], ["rate_limited"; 2], "the first of five was the token that is known now");
    assert_eq!(server.get("/api/v1/tokens/self", &server.root).await.status, StatusCode::OK);
    clock.advance(Duration::from_secs(1));
    assert_eq!(server.get("/api/v1/tokens/self", "").await.code(), "unauthenticated");
}
