//! The plain signal that a namespace has a new version, for streams of another kind.

use std::{future::poll_fn, task::Poll};

use leverframe_server::events::Signal;

use crate::stage::{Stage, flag, soon, start, with};

#[tokio::test]
async fn what_is_current_is_not_news_and_what_follows_is() {
    let stage = Stage::new().await;
    let hub = stage.server.running.app().hub();
    let mut empty = hub.watch("acme", "search").await.unwrap();
    stage.upload("payments", &start("payments")).await;
    let mut watch = hub.watch("acme", "payments").await.unwrap();

    let second = with(&start("payments"), "flags/ship.toml", flag("two", &[]));
    stage.upload("payments", &second).await;
    stage.upload("search", &start("search")).await;

    assert_eq!(soon(watch.changed()).await, 2);
    assert_eq!(soon(empty.changed()).await, 1);
}

#[tokio::test]
async fn a_lease_counts_and_ends_with_the_hub() {
    let stage = Stage::new().await;
    let hub = stage.server.running.app().hub();
    let token = stage.server.store.token(&stage.token_id).await.unwrap().unwrap();

    let lease = hub.admit(&token, 1).unwrap();
    assert_eq!(hub.admit(&token, 1).unwrap_err().status(), 429);
    let silent = poll_fn(|cx| Poll::Ready(lease.poll_signal(cx).is_pending())).await;
    assert!(silent);
    hub.close();

    assert_eq!(soon(poll_fn(|cx| lease.poll_signal(cx))).await, Signal::End);
    drop(lease);
    let late = hub.admit(&token, 1).unwrap();
    assert_eq!(soon(poll_fn(|cx| late.poll_signal(cx))).await, Signal::End);
}
