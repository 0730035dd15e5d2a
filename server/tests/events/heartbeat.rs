//! Signs of life.

use std::{sync::Arc, time::Duration};

use leverframe::testing::ManualClock;

use crate::{stage::Stage, support::TestServer};

#[tokio::test]
async fn a_silent_stream_has_a_comment_every_fifteen_seconds() {
    let clock = ManualClock::new();
    let stage = Stage::of(TestServer::start_with(Arc::new(clock.clone()), |_| {}).await).await;
    let mut reader = stage.read("ns=payments").await;
    assert!(reader.block().await.unwrap().retry.is_some());

    for _ in 0..4 {
        clock.advance(Duration::from_secs(15));
        assert!(reader.block().await.unwrap().comment);
    }

    // After a jump, one comment and not many.
    clock.advance(Duration::from_secs(3_600));
    assert!(reader.block().await.unwrap().comment);
    stage.server.running.app().hub().close();
    assert_eq!(reader.block().await, None);
}
