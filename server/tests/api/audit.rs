use leverframe_server::model::TokenType;
use serde_json::{Value, json};

use crate::support::TestServer;

fn told(events: &Value) -> Vec<String> {
    let event = |event: &Value| {
        let text = |field: &str| event[field].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", text("action"), text("target"), text("outcome"))
    };
    events["events"].as_array().unwrap().iter().map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_and_what_was_refused_is_on_record_newest_first() {
    let server = TestServer::start().await;
    let (admin, secret) = server.mint(TokenType::TenantAdmin, "acme").await;

    let done = server.post("/api/v1/tenants/acme/namespaces", &secret, &json!({"slug": "billing"})).await;
    server.post("/api/v1/tenants/acme/namespaces", &secret, &json!({"slug": "billing"})).await;
    server.post("/api/v1/tenants/rival/namespaces", &secret, &json!({"slug": "billing"})).await;
    server.post("/api/v1/tenants", &secret, &json!({"slug": "x", "login_mode": "sso"})).await;
    let issued = json!({"type": "namespace_read", "namespace": "billing"});
    let issued = server.post("/api/v1/tokens", &secret, &issued).await.json();
    let id = issued["token"]["id"].as_str().unwrap();
    server.delete(&format!("/api/v1/tokens/{id}"), &secret).await;
    server.send(server.request(reqwest::Method::PUT, "/api/v1/tenants/acme/admins/usr_1", &secret)).await;

    let own = server.get("/api/v1/tenants/-/audit?limit=5", &secret).await.json();
    assert_eq!(
        told(&own),
        [
            "tenant.admin.add acme/usr_1 not_implemented".to_owned(),
            format!("token.revoke {id} ok"),
            format!("token.create {id} ok"),
            "namespace.create acme/billing already_exists".to_owned(),
            "namespace.create acme/billing ok".to_owned(),
        ]
    );
    let first = &own["events"][4];
    assert_eq!(first["principal"], admin.id);
    assert_eq!(first["request_id"], done.header("x-request-id"));
    assert_eq!(first["tenant"], "acme");
    let theirs = told(&server.get("/api/v1/tenants/rival/audit", &server.root).await.json());
    assert_eq!(theirs[0], "namespace.create rival/billing forbidden");
    let all = told(&server.get("/api/v1/audit", &server.root).await.json());
    assert!(all.contains(&"tenant.create x forbidden".to_owned()), "{all:?}");
    assert!(all.iter().any(|event| event.starts_with("admin.bootstrap")), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_and_requests_of_nobody_leave_no_record() {
    let server = TestServer::start().await;
    let before = server.get("/api/v1/audit", &server.root).await.json();

    server.get("/api/v1/tenants", &server.root).await;
    server.post("/api/v1/tenants", "", &json!({"slug": "x"})).await;
    server.delete("/api/v1/tokens/tok_x", "exd_admin_nobody").await;

    let after = server.get("/api/v1/audit", &server.root).await.json();
    assert_eq!(before["events"], after["events"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refused_client_wrote_is_kept_short_and_plain() {
    let server = TestServer::start().await;
    let (_, write) = server.mint(TokenType::NamespaceWrite, "acme/payments").await;
    let slug = format!("a\u{1b}[31m\u{0}{}", "x".repeat(10_000));

    let answer = server.post("/api/v1/tenants/acme/namespaces", &write, &json!({"slug": slug})).await;

    assert_eq!(answer.code(), "forbidden");
    let events = server.get("/api/v1/audit?limit=1", &server.root).await.json();
    let target = events["events"][0]["target"].as_str().unwrap();
    assert!(target.len() <= 200 && target.starts_with("acme/a[31mx"), "{target}");
}
