//! Versions, rollback, lint and difference.

use leverframe_server::model::{PageRequest, TokenType};
use reqwest::Method;
use serde_json::json;

use crate::{
    stage::{CHECKOUT, LIMITS, PAYMENTS, files, files_with, packed},
    support::{Answer, TestServer},
};

async fn rollback(server: &TestServer, secret: &str, body: serde_json::Value) -> Answer {
    server.post(&format!("{PAYMENTS}/manifest/rollback"), secret, &body).await
}

#[tokio::test]
async fn versions_are_listed_newest_first_in_parts() {
    let (server, read) = TestServer::stocked().await;
    for n in 2..=5 {
        server
            .push(&server.root, &files_with("flags/more.toml", &LIMITS.replace("10", &format!("{n}"))))
            .await;
    }

    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let list = server.get(&format!("{PAYMENTS}/manifest/versions?limit=2{cursor}"), &read).await.json();
        let versions = list["versions"].as_array().unwrap();
        assert!(versions.len() <= 2);
        seen.extend(versions.iter().map(|version| version["version"].as_u64().unwrap()));
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }

    assert_eq!(seen, [5, 4, 3, 2, 1]);
    let newest =
        &server.get(&format!("{PAYMENTS}/manifest/versions?limit=1"), &read).await.json()["versions"][0];
    let mut keys: Vec<&String> = newest.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        ["flag_count", "segment_count", "sha256", "size", "uploaded_at", "uploaded_by", "version"]
    );
    assert_eq!(newest["flag_count"], 3);
    for query in ["limit=0", "limit=501", "limit=x", "cursor=", "cursor=nonsense", "page=2"] {
        let answer = server.get(&format!("{PAYMENTS}/manifest/versions?{query}"), &read).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_request"), "{query}");
    }
}

#[tokio::test]
async fn a_rollback_makes_old_content_a_new_version() {
    let (server, _) = TestServer::stocked().await;
    let (token, write) = server.mint(TokenType::NamespaceWrite, "acme/payments").await;
    server.push(&write, &files_with("flags/more.toml", LIMITS)).await;

    let back = rollback(&server, &write, json!({"version": 1})).await;

    assert_eq!(back.status, 200, "{}", back.text);
    assert_eq!((back.json()["version"].as_u64(), back.json()["flag_count"].as_u64()), (Some(3), Some(2)));
    let get = server.request(Method::GET, &format!("{PAYMENTS}/manifest"), &write);
    let (_, headers, body) = server.bytes(get).await;
    assert_eq!(headers["etag"], "\"v3\"");
    assert_eq!(body, packed(&files()));
    let audit = server.store.audit(Some("acme"), &PageRequest::default()).await.unwrap();
    let event = audit.items.iter().find(|event| event.action == "manifest.rollback").unwrap();
    assert_eq!((&*event.principal, &*event.detail), (&*token.id, "version 3"));
}

#[tokio::test]
async fn a_rollback_is_refused_like_a_push() {
    let (server, read) = TestServer::stocked().await;
    server.push(&server.root, &files_with("flags/more.toml", LIMITS)).await;
    let root = server.root.clone();

    for (secret, body, status, code) in [
        (&root, json!({"version": 9}), 404, "not_found"),
        (&root, json!({"version": 0}), 404, "not_found"),
        (&root, json!({"version": 1, "if_version": 1}), 409, "version_conflict"),
        (&root, json!({"version": "1"}), 400, "bad_request"),
        (&root, json!({"version": -1}), 400, "bad_request"),
        (&root, json!({}), 400, "bad_request"),
        (&root, json!({"version": 1, "why": "x"}), 400, "bad_request"),
        (&read, json!({"version": 1}), 403, "forbidden"),
    ] {
        let answer = rollback(&server, secret, body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{body}");
    }
    let same = rollback(&server, &root, json!({"version": 2, "if_version": 2})).await;
    assert_eq!(same.json()["version"], 2, "the current version is what it is already");
}

#[tokio::test]
async fn lint_tells_what_a_push_would_and_changes_nothing() {
    let (server, read) = TestServer::stocked().await;
    let path = format!("{PAYMENTS}/manifest/lint");
    let wrong = packed(&files_with("flags/checkout.toml", &CHECKOUT.replace("\"off\"", "\"of\"")));
    let newer = packed(&files_with("flags/checkout.toml", &CHECKOUT.replace("0.1", "7.0")));
    let more = packed(&files_with("flags/more.toml", LIMITS));

    let wrong = server.send(server.upload(Method::POST, &path, &read, &wrong)).await;
    let newer = server.send(server.upload(Method::POST, &path, &read, &newer)).await;
    let passed = server.send(server.upload(Method::POST, &path, &read, &more)).await;

    assert_eq!((wrong.status.as_u16(), &wrong.json()["passed"]), (200, &json!(false)));
    assert_eq!(wrong.json()["lint"]["errors"][0]["code"], "E004");
    assert_eq!(newer.json()["passed"], false);
    assert_eq!(passed.json()["passed"], true);
    assert_eq!(passed.json()["flag_count"], 3);
    assert_eq!(server.store.version("acme", "payments", None).await.unwrap().unwrap().version, 1);
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;
    assert_eq!(server.send(server.upload(Method::POST, &path, &client, b"")).await.status, 403);
}

#[tokio::test]
async fn a_difference_names_changes_and_whom_they_move() {
    let (server, read) = TestServer::stocked().await;
    let wider = "schema_version = \"0.1\"\n[segment]\n[segment.bucket]\nentity_id_attribute = \"user.id\"\nstart = 0\nend = 1999\n";
    server.push(&server.root, &files_with("segments/tenth.toml", wider)).await;

    let diff = server.get(&format!("{PAYMENTS}/manifest/diff?from=1"), &read).await;
    let back = server.get(&format!("{PAYMENTS}/manifest/diff?from=latest&to=1"), &read).await;
    let none = server.get(&format!("{PAYMENTS}/manifest/diff?from=2&to=latest"), &read).await;

    assert_eq!(diff.status, 200, "{}", diff.text);
    let json = diff.json();
    assert_eq!((json["from"].as_u64(), json["to"].as_u64()), (Some(1), Some(2)));
    assert_eq!(json["changes"][0]["kind"], "changed");
    assert_eq!(json["changes"][0]["subject"], "segment `tenth`");
    assert_eq!(json["max_moved"]["percent"], 10.0);
    assert_eq!(json["moves"][0]["flag"], "checkout");
    assert_eq!(back.json()["from"], 2);
    assert_eq!(none.json()["changes"], json!([]));
    for (query, status) in [("from=9", 404), ("from=x", 400), ("", 400), ("from=1&to=2&x=1", 400)] {
        let answer = server.get(&format!("{PAYMENTS}/manifest/diff?{query}"), &read).await;
        assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text);
    }
}
