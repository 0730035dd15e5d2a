//! Several servers on one database.

use std::sync::Arc;

use leverframe::{backends::clock_system::SystemClock, flags::events::Delivery};
use leverframe_server::{model::TokenType, store};

use crate::{
    postgres::Postgres,
    stage::{Stage, flag, start, with},
    support::TestServer,
};

/// Two servers that share a database and nothing else.
async fn two(postgres: &Postgres) -> [Stage; 2] {
    let database = postgres.database().await;
    let first = TestServer::start_on(open(&database).await).await;
    let first = Stage::of(first).await;
    let second = first.server.join(open(&database).await).await;
    let (token, token_id) = (first.token.clone(), first.token_id.clone());
    [first, Stage { server: second, token, token_id }]
}

async fn open(database: &leverframe::Secret) -> Arc<dyn store::Store> {
    let nowhere = std::path::Path::new("/nonexistent");
    store::open(nowhere, Some(database), Arc::new(SystemClock::new())).await.unwrap()
}

#[tokio::test]
async fn a_change_through_one_server_reaches_the_streams_of_the_other() {
    let postgres = Postgres::shared();
    let [first, second] = two(&postgres).await;
    let mut readers = [first.read("ns=payments").await, second.read("ns=payments").await];

    let files = start("payments");
    first.upload("payments", &files).await;
    for reader in &mut readers {
        assert_eq!(reader.event().await.version().version, 1);
    }
    second.upload("payments", &with(&files, "flags/ship.toml", flag("two", &[]))).await;

    for reader in &mut readers {
        let event = reader.event().await.version();
        assert_eq!((event.version, event.delivery), (2, Delivery::Inline));
    }
}

#[tokio::test]
async fn a_snapshot_url_of_one_server_is_good_at_the_other() {
    let postgres = Postgres::shared();
    let [first, second] = two(&postgres).await;
    first.upload("payments", &start("payments")).await;

    let url = first.read("ns=payments").await.event().await.version().snapshot_url.unwrap();

    assert_eq!(second.server.get(&url, "").await.status, 200);
}

#[tokio::test]
async fn a_token_revoked_through_one_server_loses_its_streams_at_the_other() {
    let postgres = Postgres::shared();
    let [first, second] = two(&postgres).await;
    let (record, token) = first.server.mint(TokenType::NamespaceRead, "acme/payments").await;
    let mut reader = second.read_as("ns=payments", &token).await;

    let answer = first.server.delete(&format!("/api/v1/tokens/{}", record.id), &first.token).await;

    assert!(answer.status.is_success(), "{}", answer.text);
    assert_eq!(reader.end().await, 0);
}

#[tokio::test]
async fn a_database_that_restarts_loses_no_update_and_ends_no_stream() {
    let postgres = Postgres::start(&[]);
    let [first, second] = two(&postgres).await;
    let files = start("payments");
    first.upload("payments", &files).await;
    let mut readers = [first.read("ns=payments").await, second.read("ns=payments").await];
    for reader in &mut readers {
        reader.event().await;
    }

    postgres.stop("fast");
    postgres.run();
    // An upload may be refused until the server has a connection again; whoever uploads tries again.
    let changed = with(&files, "flags/ship.toml", flag("after", &[]));
    while second.try_upload("payments", &changed).await.status != 200 {
        tokio::task::yield_now().await;
    }

    for reader in &mut readers {
        assert_eq!(reader.event().await.version().version, 2, "on the stream that was open all the time");
    }
}
