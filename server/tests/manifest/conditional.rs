//! Downloads, and requests for what is at hand already.

use leverframe::manifest::archive;
use leverframe_server::model::TokenType;
use reqwest::{Method, header};

use crate::{
    stage::{LIMITS, PAYMENTS, files, files_with, packed, tree},
    support::TestServer,
};

#[tokio::test]
async fn a_download_is_the_archive_with_a_strong_tag_and_a_name() {
    let (server, read) = TestServer::stocked().await;

    let get = server.request(Method::GET, &format!("{PAYMENTS}/manifest"), &read);
    let (status, headers, body) = server.bytes(get).await;

    assert_eq!(status, 200);
    assert_eq!(headers[header::ETAG], "\"v1\"");
    assert_eq!(headers[header::CONTENT_TYPE], "application/octet-stream");
    assert_eq!(headers[header::CONTENT_DISPOSITION], "attachment; filename=\"payments-v1.tar.gz\"");
    assert_eq!(headers[header::CONTENT_LENGTH], body.len().to_string());
    assert_eq!(archive::unpack(&body).unwrap().tree, tree(&files()));
}

#[tokio::test]
async fn what_is_at_hand_is_not_sent_again() {
    let (server, read) = TestServer::stocked().await;
    for path in ["manifest", "manifest/versions/1"] {
        for (tags, status) in [
            ("\"v1\"", 304),
            ("W/\"v1\"", 304),
            ("*", 304),
            ("\"v0\", \"v1\"", 304),
            ("\"v2\"", 200),
            ("v1", 200),
            ("\"v1", 200),
        ] {
            let get = server.request(Method::GET, &format!("{PAYMENTS}/{path}"), &read);
            let (answered, headers, body) = server.bytes(get.header(header::IF_NONE_MATCH, tags)).await;

            assert_eq!(answered.as_u16(), status, "{path} {tags}");
            assert_eq!(headers[header::ETAG], "\"v1\"");
            assert_eq!(body.is_empty(), status == 304);
        }
    }
}

#[tokio::test]
async fn a_head_request_is_answered_like_a_get_without_its_body() {
    let (server, read) = TestServer::stocked().await;
    let size = packed(&files()).len().to_string();
    for path in ["manifest", "manifest/versions/1"] {
        let head = server.request(Method::HEAD, &format!("{PAYMENTS}/{path}"), &read);
        let (status, headers, body) = server.bytes(head).await;

        assert_eq!((status.as_u16(), body.len()), (200, 0));
        assert_eq!(headers[header::ETAG], "\"v1\"");
        assert_eq!(headers[header::CONTENT_LENGTH], *size);
    }
}

#[tokio::test]
async fn before_the_first_upload_there_is_nothing_to_download() {
    let server = TestServer::start().await;

    let current = server.get(&format!("{PAYMENTS}/manifest"), &server.root).await;
    let version = server.get(&format!("{PAYMENTS}/manifest/versions/1"), &server.root).await;
    let history = server.get(&format!("{PAYMENTS}/manifest/versions"), &server.root).await;

    assert_eq!((current.status.as_u16(), current.code().as_str()), (404, "not_found"));
    assert_eq!((version.status.as_u16(), version.code().as_str()), (404, "not_found"));
    assert_eq!(history.json()["versions"], serde_json::json!([]));
}

#[tokio::test]
async fn an_earlier_version_stays_as_it_was() {
    let (server, read) = TestServer::stocked().await;
    server.push(&server.root, &files_with("flags/more.toml", LIMITS)).await;

    let get = server.request(Method::GET, &format!("{PAYMENTS}/manifest/versions/1"), &read);
    let (_, headers, body) = server.bytes(get).await;
    let current = server.request(Method::GET, &format!("{PAYMENTS}/manifest"), &read);
    let (_, current, _) = server.bytes(current).await;

    assert_eq!(headers[header::ETAG], "\"v1\"");
    assert_eq!(body, packed(&files()));
    assert_eq!(current[header::ETAG], "\"v2\"");
    for (version, status) in [("3", 404), ("0", 404), ("one", 400), ("-1", 400)] {
        let answer = server.get(&format!("{PAYMENTS}/manifest/versions/{version}"), &read).await;
        assert_eq!(answer.status.as_u16(), status, "{version}");
    }
}

#[tokio::test]
async fn manifests_are_for_those_who_may_read_them() {
    let (server, _) = TestServer::stocked().await;
    for (kind, bindings, status) in [
        (TokenType::NamespaceRead, "acme/payments", 200),
        (TokenType::NamespaceWrite, "acme/payments", 200),
        (TokenType::TenantAdmin, "acme", 200),
        (TokenType::NamespaceRead, "acme/search", 403),
        (TokenType::NamespaceRead, "rival/payments", 403),
        (TokenType::TenantAdmin, "rival", 403),
        (TokenType::NamespaceClient, "acme/payments/production", 403),
    ] {
        let (_, secret) = server.mint(kind, bindings).await;
        for path in ["manifest", "manifest/versions", "manifest/versions/1", "manifest/diff?from=1&to=1"] {
            let get = server.request(Method::GET, &format!("{PAYMENTS}/{path}"), &secret);
            assert_eq!(server.bytes(get).await.0.as_u16(), status, "{kind:?} {bindings} {path}");
        }
    }
    assert_eq!(server.get(&format!("{PAYMENTS}/manifest"), "").await.status, 401);
}
