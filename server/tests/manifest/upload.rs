//! Pushing: what is accepted, what becomes of it, and who wins.

use leverframe::manifest::archive;
use leverframe_server::model::{PageRequest, TokenType};
use reqwest::Method;
use serde_json::json;

use crate::{
    stage::{CHECKOUT, LIMITS, NAMESPACE, PAYMENTS, files, files_with, packed, tree},
    support::TestServer,
};

#[tokio::test]
async fn a_push_is_answered_with_its_version_and_what_lint_found() {
    let server = TestServer::start().await;
    let (token, secret) = server.mint(TokenType::NamespaceWrite, "acme/payments").await;

    let answer = server.push(&secret, &files()).await;

    assert_eq!(answer.status, 200, "{}", answer.text);
    let json = answer.json();
    assert_eq!(json["version"], 1);
    assert_eq!((json["flag_count"].as_u64(), json["segment_count"].as_u64()), (Some(2), Some(1)));
    assert!(json["uploaded_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(json["lint"]["errors"], serde_json::json!([]));
    assert_eq!(json["lint"]["infos"][0]["code"], "I001");
    assert_eq!(json["lint"]["infos"][0]["severity"], "info");
    assert_eq!(json["request_id"], answer.header("x-request-id"));
    let stored = server.store.version("acme", "payments", None).await.unwrap().unwrap();
    assert_eq!(stored.uploaded_by, token.id);
    let audit = server.store.audit(Some("acme"), &PageRequest::default()).await.unwrap();
    let event = audit.items.iter().find(|event| event.action == "manifest.upload").unwrap();
    assert_eq!((&*event.target, &*event.outcome, &*event.detail), ("acme/payments", "ok", "version 1"));
    assert_eq!(event.principal, token.id);
}

#[tokio::test]
async fn the_dash_stands_for_the_tenant_of_the_token() {
    let (server, read) = TestServer::stocked().await;

    let own = server.get("/api/v1/tenants/-/namespaces/payments/manifest/versions", &read).await;
    let none = server.get("/api/v1/tenants/-/namespaces/payments/manifest/versions", &server.root).await;

    assert_eq!(own.status, 200);
    assert_eq!((none.status.as_u16(), none.code().as_str()), (400, "bad_request"));
}

#[tokio::test]
async fn equal_content_stores_nothing_new() {
    let (server, read) = TestServer::stocked().await;
    // Another archive of the same files: in other order, with what is left out.
    let again = server.push(&server.root, &files_with("README.md", "not part of it")).await;

    assert_eq!(again.status, 200);
    assert_eq!(again.json()["version"], 1);
    let versions = server.get(&format!("{PAYMENTS}/manifest/versions"), &read).await;
    assert_eq!(versions.json()["versions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn pull_then_push_is_idempotent_and_a_signature_stays() {
    let server = TestServer::start().await;
    let signed = files_with("leverframe.sig", "a signature");
    server.push(&server.root, &signed).await;

    let get = server.request(Method::GET, &format!("{PAYMENTS}/manifest"), &server.root);
    let (_, _, pulled) = server.bytes(get).await;
    let again = server.push_archive(&server.root, &pulled, Some(1)).await;
    let other = server.push(&server.root, &files_with("leverframe.sig", "another signature")).await;

    assert_eq!(pulled, packed(&signed));
    assert_eq!(archive::unpack(&pulled).unwrap().tree, tree(&signed));
    assert_eq!(again.json()["version"], 1);
    assert_eq!(other.json()["version"], 2, "a namespace that is signed anew is another version");
}

/// Reflex rules that throttle `free` above so many errors.
fn reflex_rules(errors: u32) -> String {
    format!(
        "[[rule]]\nname = \"shed-free\"\ntag = \"free\"\nmetric = \"errors\"\noperator = \">\"\n\
         threshold = {errors}\naction = {{ throttle_percent = 50 }}\n"
    )
}

#[tokio::test]
async fn a_push_of_reflex_rules_alone_is_a_new_version_and_pull_brings_them_back() {
    let (server, read) = TestServer::stocked().await;
    let with_rules = files_with("gate.toml", &reflex_rules(50));

    let pushed = server.push(&server.root, &with_rules).await;
    let again = server.push(&server.root, &with_rules).await;
    let get = server.request(Method::GET, &format!("{PAYMENTS}/manifest"), &read);
    let (_, _, pulled) = server.bytes(get).await;
    let head = server.running.app().heads().current("acme", "payments").await.unwrap().unwrap();
    let without = server.push(&server.root, &files()).await;

    assert_eq!((&pushed.json()["version"], &again.json()["version"]), (&json!(2), &json!(2)));
    assert_eq!(archive::unpack(&pulled).unwrap().tree, tree(&with_rules));
    assert_eq!(head.manifest.reflex_rules.len(), 1);
    assert_eq!(head.manifest.reflex_rules[0].name, "shed-free");
    assert_eq!(without.json()["version"], 3);
    let refused = server.push(&server.root, &files_with("gate.toml", "[[rule]]\ntag = \"free\"\n")).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (422, "manifest_lint_failed"));
    assert_eq!(refused.json()["error"]["details"]["lint"]["errors"][0]["file"], "gate.toml");
}

#[tokio::test]
async fn lint_errors_refuse_the_whole_and_leave_the_current_version() {
    let (server, read) = TestServer::stocked().await;

    let answer = server
        .push(&server.root, &files_with("flags/checkout.toml", &CHECKOUT.replace("\"off\"", "\"of\"")))
        .await;

    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "manifest_lint_failed"));
    let lint = &answer.json()["error"]["details"]["lint"];
    assert_eq!(lint["errors"][0]["code"], "E004");
    assert_eq!(lint["errors"][0]["file"], "flags/checkout.toml");
    assert_eq!(lint["errors"][0]["line"], 9);
    assert_eq!(lint["errors"][0]["help"], "did you mean `off`?");
    let head = server.request(Method::HEAD, &format!("{PAYMENTS}/manifest"), &read);
    assert_eq!(server.send(head).await.header("etag"), "\"v1\"");
}

#[tokio::test]
async fn another_major_of_the_schema_is_refused_as_such() {
    let server = TestServer::start().await;

    let answer =
        server.push(&server.root, &files_with("flags/limits.toml", &LIMITS.replace("0.1", "1.0"))).await;

    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, "schema_version_mismatch"));
    let details = &answer.json()["error"]["details"];
    assert_eq!(details["files"], serde_json::json!(["flags/limits.toml"]));
    assert_eq!(details["supported_major"], 0);
}

#[tokio::test]
async fn an_archive_of_another_namespace_is_refused_with_both_names() {
    let server = TestServer::start().await;

    let other = NAMESPACE.replace("\"payments\"", "\"billing\"");
    let answer = server.push(&server.root, &files_with("namespace.toml", &other)).await;

    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_request"));
    let error = &answer.json()["error"];
    assert_eq!(
        (&error["details"]["expected"], &error["details"]["found"]),
        (&"payments".into(), &"billing".into())
    );
    assert!(error["message"].as_str().unwrap().contains("`billing`"));
}

#[tokio::test]
async fn a_namespace_without_its_own_file_takes_the_name_of_the_path() {
    let server = TestServer::start().await;
    let mut unnamed = files();
    unnamed.remove(0);

    assert_eq!(server.push(&server.root, &unnamed).await.json()["version"], 1);
}

#[tokio::test]
async fn if_version_is_held_against_the_current_one() {
    let server = TestServer::start().await;
    let first = packed(&files());
    let second = packed(&files_with("flags/more.toml", LIMITS));

    let early = server.push_archive(&server.root, &first, Some(3)).await;
    let accepted = server.push_archive(&server.root, &first, Some(0)).await;
    let again = server.push_archive(&server.root, &second, Some(0)).await;
    let next = server.push_archive(&server.root, &second, Some(1)).await;

    assert_eq!((early.status.as_u16(), early.code().as_str()), (409, "version_conflict"));
    assert_eq!(early.json()["error"]["details"]["current_version"], 0);
    assert_eq!(accepted.json()["version"], 1);
    assert_eq!(again.json()["error"]["details"]["current_version"], 1);
    assert_eq!(next.json()["version"], 2);
}

#[tokio::test]
async fn a_malformed_if_version_is_refused_before_anything_is_read() {
    let server = TestServer::start().await;
    for value in ["", "one", "-1", "1.5", "99999999999999999999"] {
        let request =
            server.upload(Method::PUT, &format!("{PAYMENTS}/manifest"), &server.root, &packed(&files()));
        let answer = server.send(request.header("if-version", value)).await;

        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad_request"), "{value}");
    }
    assert!(server.store.version("acme", "payments", None).await.unwrap().is_none());
}

#[tokio::test]
async fn of_concurrent_pushes_with_one_if_version_exactly_one_wins() {
    let (server, _) = TestServer::stocked().await;
    let archives: Vec<Vec<u8>> = (0..8)
        .map(|n| packed(&files_with("flags/raced.toml", &LIMITS.replace("10", &format!("{n}")))))
        .collect();

    let answers = futures_util::future::join_all(
        archives.iter().map(|a| server.push_archive(&server.root, a, Some(1))),
    )
    .await;

    let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(won[0].json()["version"], 2);
    for lost in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((lost.status.as_u16(), lost.code().as_str()), (409, "version_conflict"), "{}", lost.text);
        assert_eq!(lost.json()["error"]["details"]["current_version"], 2);
    }
    let winner = answers.iter().position(|answer| answer.status == 200).unwrap();
    let get = server.request(Method::GET, &format!("{PAYMENTS}/manifest"), &server.root);
    assert_eq!(server.bytes(get).await.2, archives[winner]);
}

#[tokio::test]
async fn unknown_namespaces_are_not_found_for_those_who_may_ask() {
    let server = TestServer::start().await;
    let (_, write) = server.mint(TokenType::NamespaceWrite, "acme/payments").await;
    let archive = packed(&files());

    for (path, secret, status) in [
        ("/api/v1/tenants/acme/namespaces/nowhere/manifest", &server.root, 404),
        ("/api/v1/tenants/acme/namespaces/nowhere/manifest", &write, 403),
        ("/api/v1/tenants/rival/namespaces/payments/manifest", &write, 403),
    ] {
        let put = server.send(server.upload(Method::PUT, path, secret, &archive)).await;
        let get = server.get(path, secret).await;
        let lint = server.send(server.upload(Method::POST, &format!("{path}/lint"), secret, &archive)).await;
        let versions = server.get(&format!("{path}/versions"), secret).await;

        for answer in [put, get, lint, versions] {
            assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_refused_push_is_in_the_audit_log() {
    let server = TestServer::start().await;
    let (read, secret) = server.mint(TokenType::NamespaceRead, "acme/payments").await;

    let answer = server.push(&secret, &files()).await;

    assert_eq!(answer.status, 403);
    let audit = server.store.audit(Some("acme"), &PageRequest::default()).await.unwrap();
    let event = audit.items.iter().find(|event| event.action == "manifest.upload").unwrap();
    assert_eq!((&*event.principal, &*event.outcome), (&*read.id, "forbidden"));
}
