use leverframe_server::model::TokenType;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestServer, logs};

/// Secrets wherever a client can put them, and then none of them in what was logged.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_gets_into_a_log() {
    let server = TestServer::start().await;
    let mut secrets = vec![server.root.clone(), "canary-7f3a".to_owned()];
    for (kind, bindings) in [
        (TokenType::NamespaceRead, "acme/payments"),
        (TokenType::NamespaceWrite, "acme/payments"),
        (TokenType::NamespaceClient, "acme/payments/production"),
        (TokenType::TenantAdmin, "acme"),
    ] {
        secrets.push(server.mint(kind, bindings).await.1);
    }
    let issued = json!({"type": "superadmin", "name": "canary-7f3a"});
    let issued = server.post("/api/v1/tokens", &server.root, &issued).await.json();
    secrets.push(issued["secret"].as_str().unwrap().to_owned());
    secrets.push("exd_read_canary-7f3a-that-nobody-issued".to_owned());

    let mut ids = Vec::new();
    for secret in &secrets {
        for request in [
            server.request(Method::GET, "/api/v1/tenants", secret),
            server.request(Method::GET, &format!("/api/v1/tenants?cursor={secret}"), &server.root),
            server.request(Method::GET, &format!("/api/v1/tenants/{secret}"), &server.root),
            server.request(Method::GET, &format!("/{secret}"), ""),
            server.request(Method::GET, "/healthz", "").header("x-secret", secret),
            server.request(Method::POST, "/api/v1/tenants", &server.root).json(&json!({"slug": secret})),
            server.request(Method::POST, "/api/v1/tenants", &server.root).body(secret.clone()),
            server.request(Method::DELETE, &format!("/api/v1/tokens/{secret}"), &server.root),
        ] {
            ids.push(server.send(request).await.header("x-request-id").to_owned());
        }
    }

    let logs = logs();
    for secret in &secrets {
        assert!(!logs.contains(secret.as_str()), "a secret was logged");
    }
    // The search means something: each request has left its line.
    for id in &ids {
        let line = logs.lines().find(|line| line.contains(id)).expect("a line for each request");
        let line: Value = serde_json::from_str(line).unwrap();
        for field in ["request_id", "method", "route", "status", "ms", "peer"] {
            assert!(!line["fields"][field].is_null(), "{field} in {line}");
        }
    }
    assert!(logs.contains("/api/v1/tenants/{tenant}"));
}
