//! What comes over a stream, and in which order.

use leverframe::flags::events::{Delivery, FlagFilter, INLINE_LIMIT};

use crate::{
    sse::Request,
    stage::{Stage, closure_of, flag, segment, start, tree, with},
};

#[tokio::test]
async fn a_stream_begins_with_retry_and_a_snapshot_and_goes_on_with_deltas() {
    let stage = Stage::new().await;
    let first = start("payments");
    stage.upload("payments", &first).await;

    let mut reader = stage.read("ns=payments").await;

    assert_eq!(reader.header("content-type"), Some("text/event-stream"));
    assert_eq!(reader.header("cache-control"), Some("no-store"));
    assert_eq!(reader.header("x-accel-buffering"), Some("no"));
    assert_eq!(reader.block().await.unwrap().retry.as_deref(), Some("1000"));
    let block = reader.event().await;
    let event = block.version();
    let (_, hash) = closure_of("payments", &first, &FlagFilter::All);
    assert_eq!(block.id.as_deref(), Some("1"));
    assert_eq!((event.version, event.delivery, &event.closure_hash), (1, Delivery::Snapshot, &hash));
    assert_eq!(event.namespace, "payments");
    assert!(event.snapshot_url.unwrap().starts_with("/api/v1/tenants/acme/namespaces/payments/closure?"));

    let mut second = with(&first, "flags/new.toml", flag("new", &[]));
    second.remove("flags/ship.toml");
    stage.upload("payments", &second).await;

    let block = reader.event().await;
    let event = block.version();
    let (_, next) = closure_of("payments", &second, &FlagFilter::All);
    assert_eq!(block.id.as_deref(), Some("2"));
    assert_eq!((event.version, event.delivery), (2, Delivery::Inline));
    assert_eq!((event.prev_closure_hash, event.closure_hash), (Some(hash), next));
    assert_eq!(event.removed, ["flags/ship.toml"]);
    assert_eq!(event.files.keys().collect::<Vec<_>>(), ["flags/new.toml"]);
    let file = &event.files["flags/new.toml"];
    assert!(file.is_intact() && file.content == flag("new", &[]));
}

#[tokio::test]
async fn the_first_event_is_a_snapshot_whatever_position_a_reader_comes_back_with() {
    let stage = Stage::new().await;
    stage.upload("payments", &start("payments")).await;
    let address = stage.server.running.address();

    for id in ["1", "0", "99", "payments=1", "nonsense"] {
        let request = Request::new("/api/v1/events?ns=payments", &stage.token).header("Last-Event-ID", id);
        let mut reader = request.open(address).await;
        assert_eq!(reader.event().await.version().delivery, Delivery::Snapshot, "{id}");
    }
}

#[tokio::test]
async fn a_namespace_without_a_manifest_is_silent_until_the_first_upload() {
    let stage = Stage::new().await;
    let mut reader = stage.read("ns=payments").await;
    assert!(reader.block().await.unwrap().retry.is_some());

    stage.upload("payments", &start("payments")).await;

    let event = reader.event().await.version();
    assert_eq!((event.version, event.delivery), (1, Delivery::Snapshot));
}

#[tokio::test]
async fn a_change_outside_of_what_is_read_sends_nothing() {
    let stage = Stage::new().await;
    let first = start("payments");
    stage.upload("payments", &first).await;
    let mut reader = stage.read("ns=payments:pay").await;
    let (_, hash) = closure_of("payments", &first, &FlagFilter::only(["pay"]));
    assert_eq!(reader.event().await.version().closure_hash, hash);

    let second = with(&first, "flags/ship.toml", flag("ship later", &[]));
    stage.upload("payments", &second).await;
    let third = with(&second, "segments/pro.toml", segment("pros only", None));
    stage.upload("payments", &third).await;

    let event = reader.event().await.version();
    assert_eq!(event.version, 3, "the second version is not told");
    assert_eq!(event.prev_closure_hash, Some(hash));
    assert_eq!(event.files.keys().collect::<Vec<_>>(), ["segments/pro.toml"]);
    assert_eq!(event.closure_hash, closure_of("payments", &third, &FlagFilter::only(["pay"])).1);
    let mut late = stage.read("ns=payments:pay").await;
    assert_eq!(late.event().await.version().version, 3);
}

#[tokio::test]
async fn a_flag_that_does_not_exist_is_waited_for_and_one_that_is_deleted_goes() {
    let stage = Stage::new().await;
    let first = start("payments");
    stage.upload("payments", &first).await;
    let mut reader = stage.read("ns=payments:later").await;
    let event = reader.event().await.version();
    assert_eq!(event.closure_hash, closure_of("payments", &first, &FlagFilter::only(["later"])).1);

    stage.upload("payments", &with(&first, "flags/later.toml", flag("here", &["pro"]))).await;
    let event = reader.event().await.version();
    assert_eq!(event.files.keys().collect::<Vec<_>>(), ["flags/later.toml", "segments/pro.toml"]);

    stage.upload("payments", &first).await;
    let event = reader.event().await.version();
    assert_eq!(event.removed, ["flags/later.toml", "segments/pro.toml"]);
    assert!(event.files.is_empty());
}

#[tokio::test]
async fn several_namespaces_share_a_stream_and_each_id_is_the_whole_position() {
    let stage = Stage::new().await;
    stage.upload("payments", &start("payments")).await;
    let mut reader = stage.read("ns=search&ns=payments:pay").await;

    let block = reader.event().await;
    assert_eq!(
        (block.id.as_deref(), block.version().namespace.as_str()),
        (Some("payments=1,search=0"), "payments")
    );
    stage.upload("search", &start("search")).await;
    let block = reader.event().await;
    assert_eq!(
        (block.id.as_deref(), block.version().namespace.as_str()),
        (Some("payments=1,search=1"), "search")
    );
    assert_eq!(block.version().delivery, Delivery::Snapshot);
    stage.upload("search", &tree("search", [("flags/a.toml", flag("a", &[]))])).await;
    let block = reader.event().await;
    assert_eq!(
        (block.id.as_deref(), block.version().delivery),
        (Some("payments=1,search=2"), Delivery::Inline)
    );
}

#[tokio::test]
async fn an_inline_event_has_at_most_64_kib_of_json_and_what_is_larger_is_a_snapshot() {
    let stage = Stage::new().await;
    let first = start("payments");
    stage.upload("payments", &first).await;
    let mut reader = stage.read("ns=payments").await;
    reader.event().await;
    let (mut inline, mut snapshot) = (0, 0);

    // Around the limit in steps smaller than the event's frame.
    let around = (INLINE_LIMIT - 1_200..INLINE_LIMIT).step_by(150);
    for size in around {
        let text = flag("ship", &[]) + "#" + &"x".repeat(size - flag("ship", &[]).len() - 1);
        let version = stage.upload("payments", &with(&first, "flags/ship.toml", text)).await;
        let block = reader.event().await;
        let event = block.version();
        assert_eq!(event.version, version);
        match event.delivery {
            Delivery::Inline => {
                inline += 1;
                assert!(block.data.unwrap().len() <= INLINE_LIMIT);
            }
            _ => {
                snapshot += 1;
                assert!(event.files.is_empty() && event.snapshot_url.is_some());
            }
        }
    }

    assert!(inline > 0 && snapshot > 0, "{inline} inline, {snapshot} snapshots");
}

#[tokio::test]
async fn a_reader_never_sees_versions_go_back_during_a_burst() {
    let stage = Stage::new().await;
    let first = start("payments");
    stage.upload("payments", &first).await;
    let mut readers = Vec::new();
    for query in ["ns=payments", "ns=payments:ship", "ns=payments:ship,pay"] {
        readers.push(stage.read(query).await);
    }

    let uploads = (2..30).map(|number: u64| {
        let (stage, first) = (&stage, &first);
        async move {
            stage.upload("payments", &with(first, "flags/ship.toml", flag(&format!("{number}"), &[]))).await
        }
    });
    let versions = futures_util::future::join_all(uploads).await;

    let newest = *versions.iter().max().unwrap();
    for reader in &mut readers {
        let (mut at, mut hash) = (0, None);
        while at < newest {
            let event = reader.event().await.version();
            assert!(event.version > at, "{} after {at}", event.version);
            assert_eq!(event.prev_closure_hash, hash);
            (at, hash) = (event.version, Some(event.closure_hash));
        }
    }
}
