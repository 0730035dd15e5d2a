//! Who may read, and how many at once.

use leverframe_server::model::TokenType;

use crate::stage::{Stage, start, until};

#[tokio::test]
async fn every_namespace_has_to_be_readable_or_the_whole_connection_is_refused() {
    let stage = Stage::new().await;
    let server = &stage.server;
    let (_, read) = server.mint(TokenType::NamespaceRead, "acme/payments").await;
    let (_, write) = server.mint(TokenType::NamespaceWrite, "acme/payments").await;
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;
    let (_, rival) = server.mint(TokenType::TenantAdmin, "rival").await;

    for (query, token, expected) in [
        ("ns=payments", read.as_str(), 200),
        ("ns=payments", &write, 200),
        ("ns=payments:a,b", &read, 200),
        ("ns=payments&ns=search", &stage.token, 200),
        ("ns=payments&tenant=acme", &read, 200),
        ("ns=payments&tenant=-", &read, 200),
        ("ns=payments&tenant=acme", &server.root, 200),
        ("ns=search", &read, 403),
        ("ns=payments&ns=search", &read, 403),
        ("ns=unknown", &stage.token, 403),
        ("ns=payments&ns=unknown", &stage.token, 403),
        ("ns=payments&tenant=unknown", &server.root, 403),
        ("ns=payments&tenant=acme", &rival, 403),
        ("ns=payments", &client, 403),
        ("ns=payments", &server.root, 400),
        ("ns=payments&tenant=-", &server.root, 400),
        ("ns=payments", "", 401),
        ("ns=payments", "exd_read_unknown", 401),
    ] {
        assert_eq!(stage.try_read(query, token).await.status, expected, "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_reason() {
    let stage = Stage::new().await;
    let many = (0..257).map(|n| format!("ns=n{n}")).collect::<Vec<_>>().join("&");
    let long = format!("ns=payments:{}", vec!["abcdefghij"; 1_200].join(","));

    for query in [
        "",
        "ns=",
        "ns=Payments",
        "ns=payments:",
        "ns=payments:a,,b",
        "ns=payments:*,a",
        "ns=payments&ns=payments:a",
        "ns=payments&flags=a",
        "ns=payments&tenant=acme&tenant=acme",
        &many,
        &long,
    ] {
        let mut reader = stage.try_read(query, &stage.token).await;
        let shown = &query[..query.len().min(60)];
        assert_eq!(reader.status, 400, "{shown}");
        let body: serde_json::Value = serde_json::from_str(&reader.body().await).unwrap();
        assert_eq!(body["error"]["code"], "bad_request", "{shown}");
        assert!(body["error"]["message"].as_str().unwrap().len() > 10, "{shown}");
    }
}

#[tokio::test]
async fn the_seventeenth_stream_of_a_token_is_refused_until_another_ends() {
    let stage = Stage::new().await;
    stage.upload("payments", &start("payments")).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(stage.read("ns=payments").await);
    }

    let mut refused = stage.try_read("ns=payments", &stage.token).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.body().await.contains("rate_limited"));
    let (_, other) = stage.server.mint(TokenType::NamespaceRead, "acme/payments").await;
    stage.read_as("ns=payments", &other).await.event().await;

    open.pop();
    let hub = stage.server.running.app().hub();
    // Without that one and the other token's.
    until(|| hub.open_streams() == 15).await;
    for reader in &mut open {
        reader.event().await;
    }
    stage.read("ns=payments").await.event().await;
}
