use std::{sync::Arc, time::Duration};

use leverframe::{rfc3339, testing::ManualClock, traits::Clock};
use leverframe_server::model::TokenType;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_issued_with_a_secret_that_is_shown_once() {
    let server = TestServer::start().await;
    let body = json!({
        "type": "namespace_client", "tenant": "acme", "namespace": "payments", "environment": "production",
        "name": "shop", "allowed_origins": ["https://shop.example.com"], "expires_at": "2999-01-01T00:00:00Z"
    });

    let answer = server.post("/api/v1/tokens", &server.root, &body).await;

    assert_eq!(answer.status, StatusCode::CREATED);
    let issued = answer.json();
    let secret = issued["secret"].as_str().unwrap();
    assert_eq!(secret.strip_prefix("exd_client_").map(str::len), Some(43));
    let token = &issued["token"];
    let id = token["id"].as_str().unwrap();
    assert!(id.starts_with("tok_") && id.len() == 30, "{id}");
    for field in ["type", "tenant", "namespace", "environment", "name", "allowed_origins"] {
        assert_eq!(token[field], body[field], "{field}");
    }
    assert_eq!(token["expires_at"], "2999-01-01T00:00:00.000Z");
    assert_eq!(answer.header("cache-control"), "no-store");
    // Nowhere else, neither the secret nor what it is found by.
    for path in [format!("/api/v1/tokens/{id}"), "/api/v1/tokens".into(), "/api/v1/audit".into()] {
        let read = server.get(&path, &server.root).await;
        assert!(read.text.contains(id) && !read.text.contains(secret), "{path}");
    }
    assert_eq!(server.get("/api/v1/tokens/self", secret).await.json()["token"], *token);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_issues_tokens_of_its_own_tenant_only() {
    let server = TestServer::start().await;
    let (_, admin) = server.mint(TokenType::TenantAdmin, "acme").await;
    let issue = |body: Value| {
        let (server, admin) = (&server, admin.clone());
        async move { server.post("/api/v1/tokens", &admin, &body).await }
    };

    for body in [
        json!({"type": "namespace_write", "namespace": "payments"}),
        json!({"type": "namespace_read", "tenant": "-", "namespace": "payments"}),
        json!({"type": "tenant_admin"}),
        json!({"type": "tenant_admin", "tenant": "acme"}),
    ] {
        let answer = issue(body.clone()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{body}: {}", answer.text);
        assert_eq!(answer.json()["token"]["tenant"], "acme");
    }
    for (body, code) in [
        (json!({"type": "superadmin"}), "forbidden"),
        (json!({"type": "superadmin", "tenant": "acme"}), "forbidden"),
        (json!({"type": "tenant_admin", "tenant": "rival"}), "forbidden"),
        (json!({"type": "namespace_read", "tenant": "rival", "namespace": "payments"}), "forbidden"),
        (json!({"type": "namespace_read", "tenant": "nobody", "namespace": "payments"}), "forbidden"),
        (json!({"type": "namespace_read", "namespace": "absent"}), "not_found"),
        (json!({"type": "namespace_read"}), "bad_request"),
        (
            json!({"type": "namespace_read", "namespace": "payments", "environment": "production"}),
            "bad_request",
        ),
        (json!({"type": "namespace_read", "namespace": "payments", "allowed_origins": ["*"]}), "bad_request"),
        (json!({"type": "namespace_client", "namespace": "payments"}), "bad_request"),
        (json!({"type": "namespace_read", "namespace": "payments", "expires_at": "tomorrow"}), "bad_request"),
        (
            json!({"type": "namespace_read", "namespace": "payments", "expires_at": "2000-01-01T00:00:00Z"}),
            "bad_request",
        ),
        (json!({"type": "agent", "namespace": "payments"}), "bad_request"),
        (json!({"type": "namespace_read", "namespace": "payments", "scopes": []}), "bad_request"),
        (json!({}), "bad_request"),
    ] {
        let answer = issue(body.clone()).await;
        assert_eq!(answer.code(), code, "{body}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_issue_is_not_told_what_is_wrong_with_the_request() {
    let server = TestServer::start().await;
    let (_, write) = server.mint(TokenType::NamespaceWrite, "acme/payments").await;

    let answer = server.post("/api/v1/tokens", &write, &json!({"type": "nonsense"})).await;

    assert_eq!(answer.code(), "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superadmin_names_the_tenant() {
    let server = TestServer::start().await;

    let answer = server.post("/api/v1/tokens", &server.root, &json!({"type": "tenant_admin"})).await;
    assert_eq!(answer.code(), "bad_request");
    let answer = server.post("/api/v1/tokens", &server.root, &json!({"type": "superadmin"})).await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_from_the_next_request_on() {
    let server = TestServer::start().await;
    let (token, secret) = server.mint(TokenType::NamespaceRead, "acme/payments").await;
    assert_eq!(server.get("/api/v1/tokens/self", &secret).await.status, StatusCode::OK);

    for _ in 0..2 {
        let revoked = server.delete(&format!("/api/v1/tokens/{}", token.id), &server.root).await;
        assert_eq!((revoked.status, revoked.text.as_str()), (StatusCode::NO_CONTENT, ""));
    }

    assert_eq!(server.get("/api/v1/tokens/self", &secret).await.code(), "unauthenticated");
    let read = server.get(&format!("/api/v1/tokens/{}", token.id), &server.root).await.json();
    assert!(read["token"]["revoked_at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_that_revokes_itself_is_out() {
    let server = TestServer::start().await;
    let (token, secret) = server.mint(TokenType::TenantAdmin, "acme").await;

    let revoked = server.delete(&format!("/api/v1/tokens/{}", token.id), &secret).await;

    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get("/api/v1/tokens/self", &secret).await.code(), "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_although_it_is_at_hand() {
    let clock = ManualClock::new();
    let server = TestServer::start_with(Arc::new(clock.clone()), |_| {}).await;
    let end = clock.wall() + Duration::from_secs(10);
    let body = json!({
        "type": "namespace_read", "tenant": "acme", "namespace": "payments", "expires_at": rfc3339(end)
    });
    let issued = server.post("/api/v1/tokens", &server.root, &body).await.json();
    let secret = issued["secret"].as_str().unwrap();

    clock.set_wall(end - Duration::from_millis(1));
    assert_eq!(server.get("/api/v1/tokens/self", secret).await.status, StatusCode::OK);
    clock.set_wall(end);
    assert_eq!(server.get("/api/v1/tokens/self", secret).await.code(), "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_tokens_can_be_narrowed_down() {
    let server = TestServer::start().await;
    server.mint(TokenType::NamespaceRead, "acme/payments").await;
    server.mint(TokenType::NamespaceWrite, "acme/search").await;
    let (revoked, _) = server.mint(TokenType::NamespaceRead, "acme/search").await;
    server.admin.revoke(&revoked.id).await.unwrap();
    let (_, admin) = server.mint(TokenType::TenantAdmin, "rival").await;
    let count = |query: &'static str, secret: String| {
        let server = &server;
        async move {
            let answer = server.get(&format!("/api/v1/tokens{query}"), &secret).await.json();
            answer["tokens"].as_array().unwrap().len()
        }
    };

    assert_eq!(count("", server.root.clone()).await, 5);
    assert_eq!(count("?tenant=acme", server.root.clone()).await, 3);
    assert_eq!(count("?tenant=acme&namespace=search", server.root.clone()).await, 2);
    assert_eq!(count("?tenant=acme&namespace=search&live=true", server.root.clone()).await, 1);
    assert_eq!(count("?type=superadmin", server.root.clone()).await, 1);
    assert_eq!(count("", admin).await, 1, "an admin sees its tenant's");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_any_other_form_are_none() {
    let server = TestServer::start().await;
    let send = |value: String| {
        let request = server.request(reqwest::Method::GET, "/api/v1/tokens/self", "");
        let server = &server;
        async move { server.send(request.header("authorization", value)).await }
    };
    let root = &server.root;

    assert_eq!(send(format!("bearer {root}")).await.status, StatusCode::OK, "the scheme has no case");
    for value in [
        root.clone(),
        format!("Basic {root}"),
        format!("Bearer  {root}"),
        format!("Bearer {root} "),
        format!("Bearer {root}x"),
        format!("Bearer {}", &root[..root.len() - 1]),
        format!("Bearer {}", root.to_uppercase()),
        format!("Bearer exd_admin_{}", "A".repeat(5_000)),
        "Bearer".into(),
        "Bearer ".into(),
        "Bearer \u{e9}".into(),
    ] {
        let answer = send(value.clone()).await;
        // White space at the end of a header's value is not part of it.
        let expected =
            if value.ends_with(' ') && value.trim_end() == format!("Bearer {root}") { 200 } else { 401 };
        assert_eq!(answer.status.as_u16(), expected, "{value}");
        if expected == 401 {
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    let twice = server.request(reqwest::Method::GET, "/api/v1/tokens/self", root).bearer_auth(root);
    let twice = twice.header("authorization", format!("Bearer {root}"));
    assert_eq!(server.send(twice).await.code(), "unauthenticated");
}
