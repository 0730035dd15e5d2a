use leverframe::ErrorKind;
use leverframe_server::{
    model::{NamespaceRecord, PageRequest, TokenType},
    store::TokenQuery,
};
use reqwest::StatusCode;

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_superadmin_is_issued_once_unless_forced() {
    let server = TestServer::start().await;

    let refused = server.admin.bootstrap("root", false).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.hint_text().unwrap().contains("--force"));

    let second = server.admin.bootstrap("spare", true).await.unwrap();
    for secret in [&server.root, second.secret.expose()] {
        assert_eq!(server.get("/api/v1/audit", secret).await.status, StatusCode::OK);
    }
    assert!(!format!("{second:?}").contains(second.secret.expose()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superadmin_is_issued_again_once_the_last_was_revoked() {
    let server = TestServer::start().await;
    let held = server.admin.tokens(&TokenQuery::default(), &PageRequest::default()).await.unwrap();
    assert!(server.admin.revoke(&held.items[0].id).await.unwrap());
    assert!(!server.admin.revoke(&held.items[0].id).await.unwrap(), "once is enough");

    let issued = server.admin.bootstrap("root", false).await.unwrap();

    assert_eq!(issued.token.kind, TokenType::Superadmin);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_checks_hold_as_over_http() {
    let server = TestServer::start().await;
    let now = leverframe_now(&server);

    let mut token = server.admin.token(TokenType::NamespaceRead);
    token.tenant = Some("acme".into());
    assert_eq!(server.admin.mint(token.clone()).await.unwrap_err().kind(), ErrorKind::Invalid);
    token.namespace = Some("absent".into());
    assert_eq!(server.admin.mint(token).await.unwrap_err().kind(), ErrorKind::NotFound);
    let namespace = NamespaceRecord::new("acme", "No Slug", now);
    assert_eq!(server.admin.create_namespace(&namespace).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(server.admin.revoke("tok_absent").await.unwrap_err().kind(), ErrorKind::NotFound);
}

fn leverframe_now(server: &TestServer) -> std::time::SystemTime {
    server.running.app().clock().wall()
}
