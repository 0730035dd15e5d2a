//! Readers that do not read.

use leverframe::flags::events::FlagFilter;

use crate::{
    sse::Request,
    stage::{Stage, closure_of, flag, start, until, with},
};

/// About as much as one inline event takes.
fn large(number: usize) -> String {
    flag("ship", &[]) + &format!("# {number} {}", "x".repeat(60_000))
}

#[tokio::test]
async fn a_reader_that_never_reads_is_told_to_fetch_everything_and_costs_the_others_nothing() {
    let stage = Stage::new().await;
    let first = start("payments");
    stage.upload("payments", &first).await;
    let address = stage.server.running.address();
    let mut slow = Request::new("/api/v1/events?ns=payments", &stage.token)
        .with_receive_buffer(4_096)
        .open(address)
        .await;
    let mut others = Vec::new();
    for _ in 0..4 {
        let (_, token) =
            stage.server.mint(leverframe_server::model::TokenType::NamespaceRead, "acme/payments").await;
        for _ in 0..12 {
            let mut reader = stage.read_as("ns=payments", &token).await;
            reader.event().await;
            others.push(reader);
        }
    }
    assert_eq!(slow.event().await.version().version, 1);

    // What the system keeps of a connection that nobody reads is a few megabytes at most.
    let (mut last, mut queued) = (first.clone(), 0);
    let hub = stage.server.running.app().hub();
    let mut overflown = false;
    for number in 0..400 {
        last = with(&first, "flags/ship.toml", large(number));
        let version = stage.upload("payments", &last).await;
        // Each of them within the patience of the tests, whatever the slow one does.
        for reader in &mut others {
            let block = reader.event().await;
            assert_eq!(block.id, Some(version.to_string()));
            assert!(block.data.unwrap().contains("\"delivery\":\"inline\""));
        }
        let of_slow = hub.readers("acme", "payments", None, 1).remove(0);
        if of_slow.queued < queued {
            overflown = true;
            break;
        }
        queued = of_slow.queued;
    }
    assert!(overflown, "the queue of the slow reader only grew, to {queued}");

    // It reads what was on its way, then the resync, and goes on from there.
    let resync = loop {
        let block = slow.event().await;
        if block.event.as_deref() == Some("resync") {
            break block.resync();
        }
    };
    let (_, hash) = closure_of("payments", &last, &FlagFilter::All);
    assert_eq!((resync.reason.as_str(), &resync.closure_hash), ("slow_reader", &hash));
    assert_eq!(resync.namespace, "payments");
    let fetched = stage.server.get(&resync.snapshot_url, "").await;
    assert_eq!(fetched.status, 200);
    let next = stage.upload("payments", &first).await;
    let event = slow.event().await.version();
    assert_eq!((event.version, event.prev_closure_hash), (next, Some(hash)));
    until(|| hub.readers("acme", "payments", None, 1)[0].queued == 0).await;
}
