use leverframe_server::model::TokenType;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_answered_as_it_was_created() {
    let server = TestServer::start().await;
    let body =
        json!({"slug": "globex", "login_mode": "sso", "sso_provider": "okta", "initial_admin_user_ids": []});

    let answer = server.post("/api/v1/tenants", &server.root, &body).await;

    assert_eq!(answer.status, StatusCode::CREATED);
    let tenant = &answer.json()["tenant"];
    let created_at = tenant["created_at"].as_str().unwrap();
    assert!(leverframe::from_rfc3339(created_at).is_some(), "{created_at}");
    assert_eq!(
        *tenant,
        json!({
            "slug": "globex", "display_name": "globex", "login_mode": "sso", "sso_provider": "okta",
            "email_domain": null, "created_at": created_at, "namespace_count": 0
        })
    );
    assert_eq!(answer.json()["request_id"], answer.header("x-request-id"));
    let read = server.get("/api/v1/tenants/globex", &server.root).await.json();
    assert_eq!(read["tenant"], *tenant);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_counts_its_namespaces_and_is_there_once() {
    let server = TestServer::start().await;

    let acme = server.get("/api/v1/tenants/acme", &server.root).await.json();
    assert_eq!(acme["tenant"]["namespace_count"], 2);

    let again = json!({"slug": "acme", "login_mode": "email_domain", "email_domain": "acme.example"});
    let answer = server.post("/api/v1/tenants", &server.root, &again).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::CONFLICT, "already_exists"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_may_not_be_is_refused_with_what_is_wrong() {
    let server = TestServer::start().await;

    for (body, told) in [
        (json!({"slug": "Globex", "login_mode": "sso", "sso_provider": "okta"}), "`slug`"),
        (json!({"slug": "-", "login_mode": "sso", "sso_provider": "okta"}), "`slug`"),
        (json!({"slug": "g".repeat(64), "login_mode": "sso", "sso_provider": "okta"}), "`slug`"),
        (json!({"slug": "globex", "login_mode": "sso"}), "`sso_provider`"),
        (json!({"slug": "globex", "login_mode": "magic"}), "magic"),
        (json!({"slug": "globex", "login_mode": "email_domain", "email_domain": "a b"}), "`email_domain`"),
        (json!({"slug": "globex", "login_mode": "sso", "sso_provider": "okta", "plan": 1}), "plan"),
        (json!({"slug": "globex", "login_mode": "sso", "sso_provider": "a\u{0}"}), "`sso_provider`"),
        (
            json!({"slug": "globex", "login_mode": "sso", "sso_provider": "o", "initial_admin_user_ids": ["usr_1"]}),
            "initial_admin_user_ids",
        ),
        (json!([]), "body"),
        (json!(null), "body"),
    ] {
        let answer = server.post("/api/v1/tenants", &server.root, &body).await;

        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "bad_request"),
            "{body}"
        );
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(told), "{body}: {message}");
    }
    assert_eq!(server.get("/api/v1/tenants/globex", &server.root).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_parts_that_make_the_whole() {
    let server = TestServer::start().await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());

    loop {
        let page = server.get(&format!("/api/v1/tenants?limit=1{cursor}"), &server.root).await.json();
        let tenants = page["tenants"].as_array().unwrap();
        assert!(tenants.len() <= 1);
        seen.extend(tenants.iter().map(|tenant| tenant["slug"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
        assert!(seen.len() < 10, "the list has no end");
    }

    assert_eq!(seen, ["acme", "rival"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_refuse_limits_cursors_and_filters_that_make_no_sense() {
    let server = TestServer::start().await;

    for list in ["/api/v1/tenants", "/api/v1/namespaces", "/api/v1/tokens", "/api/v1/audit"] {
        for query in
            ["limit=0", "limit=501", "limit=-1", "limit=x", "cursor=", "cursor=nonsense", "tenat=acme"]
        {
            let answer = server.get(&format!("{list}?{query}"), &server.root).await;
            assert_eq!(answer.code(), "bad_request", "{list}?{query}: {}", answer.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_sees_its_own_tenant_and_a_client_token_none() {
    let server = TestServer::start().await;
    let (_, admin) = server.mint(TokenType::TenantAdmin, "acme").await;
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;

    let seen = server.get("/api/v1/tenants", &admin).await.json();
    assert_eq!(seen["tenants"].as_array().unwrap().len(), 1);
    assert_eq!(seen["tenants"][0]["slug"], "acme");
    assert_eq!(server.get("/api/v1/tenants", &client).await.json()["tenants"], json!([]));
    let own = server.get("/api/v1/tenants/-", &admin).await.json();
    assert_eq!(own["tenant"]["slug"], "acme");
    assert_eq!(server.get("/api/v1/tenants/-", &server.root).await.code(), "bad_request");
}
