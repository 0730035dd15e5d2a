use std::collections::HashSet;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{routes::archive, support::TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_an_id_of_its_own_and_the_headers_that_browsers_heed() {
    let server = TestServer::start().await;
    let mut ids = HashSet::new();

    for path in ["/healthz", "/api/v1/tenants", "/api/v1/openapi.json", "/nowhere", "/api/v1/tenants/acme"] {
        let answer = server.get(path, &server.root).await;
        let id = answer.header("x-request-id");
        assert!(ulid::Ulid::from_string(id).is_ok(), "{path}: {id}");
        assert!(ids.insert(id.to_owned()));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_a_client_sends_is_not_taken_over() {
    let server = TestServer::start().await;

    let request = server.request(Method::GET, "/healthz", "").header("x-request-id", "mine");

    assert_ne!(server.send(request).await.header("x-request-id"), "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_router_refuses_has_the_envelope_too() {
    let server = TestServer::start().await;
    let root = &server.root;

    let nowhere = server.get("/api/v1/nowhere", root).await;
    assert_eq!((nowhere.status, nowhere.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    let method = server.delete("/api/v1/tenants", root).await;
    assert_eq!((method.status.as_u16(), method.code().as_str()), (405, "method_not_allowed"));
    assert!(method.header("allow").contains("POST"), "{:?}", method.headers);
    let path = server.get("/api/v1/tenants/%ff", root).await;
    assert_eq!((path.status.as_u16(), path.code().as_str()), (400, "bad_request"));
    for answer in [nowhere, method, path] {
        assert_eq!(answer.header("content-type"), "application/json");
        let json = answer.json();
        assert!(json["error"]["message"].is_string() && json["error"]["details"].is_object());
        assert_eq!(json["request_id"], answer.header("x-request-id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_must_be_json_and_say_so_and_be_short() {
    let server = TestServer::start().await;
    let send = |media: Option<&'static str>, body: Vec<u8>| {
        let request = server.request(Method::POST, "/api/v1/tenants", &server.root).body(body);
        let request = match media {
            Some(media) => request.header("content-type", media),
            None => request,
        };
        let server = &server;
        async move { server.send(request).await }
    };
    let good = json!({"slug": "globex", "login_mode": "sso", "sso_provider": "okta"}).to_string();

    for media in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let answer = send(media, good.clone().into()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_request"));
        assert!(answer.text.contains("application/json"));
    }
    let json = Some("application/json; charset=utf-8");
    for bad in
        ["", "{", "{\"slug\": 1}", "\u{feff}{}", "{\"slug\":\"a\",\"slug\":\"b\"}", &"[".repeat(100_000)]
    {
        let answer = send(json, bad.into()).await;
        assert_eq!(answer.code(), "bad_request", "{:.20}", bad);
        assert!(answer.text.len() < 1_000);
    }
    assert_eq!(send(json, b"{\"slug\": \"\xff\"}".to_vec()).await.code(), "bad_request");
    let long = send(json, vec![b' '; 300 * 1_024]).await;
    assert_eq!((long.status.as_u16(), long.code().as_str()), (413, "payload_too_large"));
    assert_eq!(send(json, good.into()).await.status, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_is_a_get_without_the_body() {
    let server = TestServer::start().await;

    let head = server.send(server.request(Method::HEAD, "/api/v1/tenants", &server.root)).await;

    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(head.header("content-type"), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_was_answered_by_template() {
    let server = TestServer::start().await;
    server.get("/api/v1/tenants/acme", &server.root).await;
    server.get("/api/v1/tenants/rival", &server.root).await;
    server.get("/api/v1/tenants/acme", "").await;
    server.get("/a/path/that/nobody/knows", "").await;

    let metrics = server.get("/metrics", "").await;

    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    let route = "method=\"GET\",route=\"/api/v1/tenants/{tenant}\"";
    for line in [
        format!("leverframe_requests_total{{{route},status=\"200\"}} 2"),
        format!("leverframe_requests_total{{{route},status=\"401\"}} 1"),
        format!("leverframe_request_seconds_count{{{route}}} 3"),
        "leverframe_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1".to_owned(),
        "leverframe_unauthenticated_total 1".to_owned(),
    ] {
        assert!(metrics.text.lines().any(|found| found == line), "{line} in {}", metrics.text);
    }
    // At least the one that asks; a client may leave others open.
    let open = metrics.text.lines().find_map(|line| line.strip_prefix("leverframe_connections_open "));
    assert!(open.is_some_and(|open| open != "0"), "{}", metrics.text);
    assert!(!metrics.text.contains("nobody/knows") && !metrics.text.contains("acme"));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_uploads_and_evaluations() {
    let server = TestServer::start().await;
    let root = &server.root;
    let manifest = "/api/v1/tenants/acme/namespaces/payments/manifest";
    server.send(archive(server.request(Method::PUT, manifest, root))).await;
    server.send(server.request(Method::PUT, manifest, root)).await;
    let body = json!({"environment": "production", "flags": ["hello", "absent"], "context": {}});
    let place = "/api/v1/tenants/acme/namespaces/payments";
    server.post(&format!("{place}/evaluate"), root, &body).await;
    let ofrep = "/ofrep/v1/evaluate/flags?tenant=acme&namespace=payments&environment=production";
    server.post(ofrep, root, &json!({"context": {}})).await;

    let metrics = server.get("/metrics", "").await.text;

    for line in ["uploads_accepted_total 1", "uploads_refused_total 1", "evaluations_total 3"] {
        assert!(metrics.contains(&format!("leverframe_{line}\n")), "{line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_with_a_token_are_read_with_it_only() {
    let clock = std::sync::Arc::new(leverframe::backends::clock_system::SystemClock::new());
    let server = TestServer::start_with(clock, |options| {
        options.metrics_token = Some(leverframe::Secret::new("scrape-me"));
    })
    .await;

    assert_eq!(server.get("/metrics", "").await.code(), "unauthenticated");
    assert_eq!(server.get("/metrics", &server.root).await.code(), "unauthenticated");
    assert_eq!(server.get("/metrics", "scrape-me").await.status, StatusCode::OK);
}
