use leverframe_server::model::TokenType;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::TestServer;

fn names(list: &Value) -> Vec<String> {
    let name = |namespace: &Value| {
        format!("{}/{}", namespace["tenant"].as_str().unwrap(), namespace["slug"].as_str().unwrap())
    };
    list["namespaces"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_answered_as_it_was_created_without_tokens() {
    let server = TestServer::start().await;
    let (admin, secret) = server.mint(TokenType::TenantAdmin, "acme").await;
    let body = json!({"slug": "billing", "display_name": "Billing", "description": "What is paid\nand when"});

    let answer = server.post("/api/v1/tenants/-/namespaces", &secret, &body).await;

    assert_eq!(answer.status, StatusCode::CREATED);
    let namespace = &answer.json()["namespace"];
    for (field, value) in [
        ("tenant", json!("acme")),
        ("slug", json!("billing")),
        ("display_name", json!("Billing")),
        ("description", json!("What is paid\nand when")),
        ("created_by", json!(admin.id)),
        ("version", json!(0)),
    ] {
        assert_eq!(namespace[field], value);
    }
    let read = server.get("/api/v1/tenants/acme/namespaces/billing", &secret).await.json();
    assert_eq!(read["namespace"], *namespace);
    let tokens = server.get("/api/v1/tokens?tenant=acme&namespace=billing", &secret).await.json();
    assert_eq!(tokens["tokens"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn slugs_are_unique_in_a_tenant_and_free_in_another() {
    let server = TestServer::start().await;
    let create = |tenant: &'static str, slug: &'static str| {
        let path = format!("/api/v1/tenants/{tenant}/namespaces");
        let server = &server;
        async move { server.post(&path, &server.root, &json!({"slug": slug})).await }
    };

    assert_eq!(create("acme", "search").await.code(), "already_exists");
    assert_eq!(create("rival", "search").await.status, StatusCode::CREATED);
    assert_eq!(create("nobody", "search").await.code(), "not_found");
    assert_eq!(create("acme", "Search").await.code(), "bad_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_lists_what_it_may_read() {
    let server = TestServer::start().await;
    let list = |secret: String| {
        let server = &server;
        async move { names(&server.get("/api/v1/namespaces", &secret).await.json()) }
    };
    let mint = |kind, bindings| {
        let server = &server;
        async move { server.mint(kind, bindings).await.1 }
    };

    assert_eq!(list(server.root.clone()).await, ["acme/payments", "acme/search", "rival/payments"]);
    assert_eq!(list(mint(TokenType::TenantAdmin, "acme").await).await, ["acme/payments", "acme/search"]);
    assert_eq!(list(mint(TokenType::NamespaceRead, "acme/search").await).await, ["acme/search"]);
    assert_eq!(list(mint(TokenType::NamespaceWrite, "rival/payments").await).await, ["rival/payments"]);
    let client = mint(TokenType::NamespaceClient, "acme/payments/production").await;
    assert!(list(client).await.is_empty());
    let of_tenant = server.get("/api/v1/tenants/rival/namespaces", &server.root).await.json();
    assert_eq!(names(&of_tenant), ["rival/payments"]);
    let absent = server.get("/api/v1/tenants/nobody/namespaces", &server.root).await;
    assert_eq!(absent.code(), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_slugs_in_a_path_find_nothing_and_break_nothing() {
    let server = TestServer::start().await;

    let long = "a".repeat(3_000);
    for slug in ["%00", "..%2F..%2Fetc", "%F0%9F%92%A9", "a'%20or%20'1'='1", "%ff%fe", &long] {
        for path in [
            format!("/api/v1/tenants/{slug}"),
            format!("/api/v1/tenants/acme/namespaces/{slug}"),
            format!("/api/v1/tokens/{slug}"),
            format!("/api/v1/tenants/{slug}/audit"),
        ] {
            let answer = server.get(&path, &server.root).await;
            assert!(answer.status.is_client_error(), "{path}: {} {}", answer.status, answer.text);
        }
    }
}
