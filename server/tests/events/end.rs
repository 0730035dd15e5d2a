//! How streams end.

use std::{sync::Arc, time::Duration};

use leverframe::testing::ManualClock;
use leverframe_server::model::TokenType;

use crate::{
    stage::{Stage, soon, start, until},
    support::TestServer,
};

#[tokio::test]
async fn revoking_a_token_ends_its_streams_at_once_and_no_others() {
    let stage = Stage::new().await;
    stage.upload("payments", &start("payments")).await;
    let (record, token) = stage.server.mint(TokenType::NamespaceRead, "acme/payments").await;
    let mut revoked =
        [stage.read_as("ns=payments", &token).await, stage.read_as("ns=payments:pay", &token).await];
    let mut other = stage.read("ns=payments").await;
    for reader in revoked.iter_mut().chain([&mut other]) {
        reader.event().await;
    }

    let answer = stage.server.delete(&format!("/api/v1/tokens/{}", record.id), &stage.token).await;
    assert!(answer.status.is_success(), "{}", answer.text);

    for reader in &mut revoked {
        assert_eq!(reader.end().await, 0);
    }
    assert_eq!(stage.try_read("ns=payments", &token).await.status, 401);
    stage
        .upload(
            "payments",
            &crate::stage::with(&start("payments"), "flags/x.toml", crate::stage::flag("x", &[])),
        )
        .await;
    assert_eq!(other.event().await.version().version, 2);
    until(|| stage.server.running.app().hub().open_streams() == 1).await;
}

#[tokio::test]
async fn a_token_that_expires_ends_its_streams() {
    let clock = ManualClock::new();
    let server = TestServer::start_with(Arc::new(clock.clone()), |_| {}).await;
    let stage = Stage::of(server).await;
    let until = leverframe::traits::Clock::wall(&clock) + Duration::from_secs(90);
    let (_, token) = stage
        .server
        .mint_with(TokenType::NamespaceRead, "acme/payments", |token| token.expires_at = Some(until))
        .await;
    let mut expiring = stage.read_as("ns=payments", &token).await;
    let mut other = stage.read("ns=payments").await;

    clock.advance(Duration::from_secs(89));
    assert!(expiring.block().await.unwrap().retry.is_some());
    assert!(expiring.block().await.unwrap().comment, "still there");
    clock.advance(Duration::from_secs(1));

    assert_eq!(expiring.end().await, 0);
    assert!(other.block().await.unwrap().retry.is_some());
    assert_eq!(stage.server.running.app().hub().open_streams(), 1);
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_at_once() {
    let stage = Stage::new().await;
    stage.upload("payments", &start("payments")).await;
    let mut readers = [stage.read("ns=payments").await, stage.read("ns=search").await];
    readers[0].event().await;

    // Without a minute to wait for them.
    let cut = soon(stage.server.running.stop(Some(Duration::from_secs(60)))).await;

    assert_eq!(cut, 0);
    for reader in &mut readers {
        assert_eq!(reader.end().await, 0);
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_nothing_behind() {
    let stage = Stage::new().await;
    stage.upload("payments", &start("payments")).await;
    let hub = stage.server.running.app().hub();
    let mut reader = stage.read("ns=payments&ns=search").await;
    reader.event().await;
    assert_eq!((hub.open_streams(), hub.readers("acme", "search", None, 9).len()), (1, 1));

    drop(reader);

    until(|| hub.open_streams() == 0).await;
    assert!(hub.readers("acme", "payments", None, 9).is_empty());
    assert!(!hub.is_read("acme", "payments"));
    assert_eq!(stage.server.running.app().metrics().streams_open.value(), 0);
}

#[tokio::test]
async fn a_token_revoked_past_the_server_loses_its_streams_too() {
    let stage = Stage::new().await;
    let (record, token) = stage.server.mint(TokenType::NamespaceRead, "acme/payments").await;
    let mut reader = stage.read_as("ns=payments", &token).await;

    // As `leverframe admin` does on the same data directory.
    assert!(stage.server.store.revoke_token(&record.id, std::time::SystemTime::UNIX_EPOCH).await.unwrap());

    assert_eq!(reader.end().await, 0);
}
