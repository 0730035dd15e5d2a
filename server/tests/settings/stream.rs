//! The stream.

use std::{sync::Arc, time::Duration};

use leverframe::{rfc3339, testing::ManualClock, traits::Clock};
use leverframe_server::settings::model::{EntryKind, Kind};
use reqwest::Method;
use serde_json::json;

use crate::stage::Stage;

#[tokio::test]
async fn the_first_event_is_resync_and_each_change_is_one_in_the_words_of_the_protocol() {
    let stage = Stage::new().await;
    let mut events = stage.listen(&stage.secret).await;
    assert_eq!(events.next().await.as_deref(), Some("event: resync\ndata: {}"));

    stage.config("a", json!(1)).await;
    // First for those who know the state before; everybody else goes by what follows.
    assert!(events.next().await.is_some_and(|block| block.starts_with("event: settings.patch\ndata: {")));
    assert_eq!(events.next().await.as_deref(), Some("event: config.created\ndata: {\"key\":\"a\"}"));
    stage.config("a", json!(2)).await;
    assert_eq!(events.event().await, "config.updated a");
    stage.delete("/v1/configs/a").await;
    assert_eq!(events.event().await, "config.deleted a");
    stage.flag("f", json!({"is_active": true})).await;
    assert_eq!(events.event().await, "flag.created f");
    stage.flag("f", json!({"is_active": false})).await;
    assert_eq!(events.event().await, "flag.toggled f");
    stage.flag("f", json!({"is_active": false, "rollout_percent": 5})).await;
    assert_eq!(events.event().await, "flag.updated f");
    stage.delete("/v1/flags/f").await;
    assert_eq!(events.event().await, "flag.deleted f");
    stage.secret("S", "1").await;
    assert_eq!(events.event().await, "secret.created S");
    stage.secret("S", "2").await;
    assert_eq!(events.event().await, "secret.updated S");
    stage.delete("/v1/secrets/S?version=2").await;
    assert_eq!(events.event().await, "secret.updated S");
    stage.delete("/v1/secrets/S").await;
    assert_eq!(events.event().await, "secret.deleted S");
}

#[tokio::test]
async fn a_sync_finds_what_an_event_told_of_also_when_somebody_else_wrote_it() {
    let stage = Stage::new().await;
    let mut events = stage.listen(&stage.public).await;
    assert_eq!(events.event().await, "resync");

    for n in 0..10 {
        stage.put_behind(&stage.id, EntryKind::Config, "a", &n.to_string()).await;
        let event = events.event().await;
        assert_eq!(event, if n == 0 { "config.created a" } else { "config.updated a" });
        assert_eq!(stage.sync(&stage.public).await["configs"]["a"]["value"], n);
    }
}

#[tokio::test]
async fn a_public_key_hears_nothing_of_secrets_nor_of_what_leads_to_one() {
    let stage = Stage::new().await;
    let mut events = stage.listen(&stage.public).await;
    assert_eq!(events.event().await, "resync");

    stage.secret("S", "1").await;
    stage.config("url", json!("{{secret:S}}")).await;
    stage.secret("S", "2").await;
    stage.flag("f", json!({"is_active": true})).await;

    assert_eq!(events.event().await, "flag.created f");
}

#[tokio::test]
async fn flags_that_turn_by_themselves_are_told_and_so_is_what_is_inherited() {
    let clock = ManualClock::new();
    let stage = Stage::with(Arc::new(clock.clone()), |_| {}).await;
    let umbrella = stage.umbrella().await;
    let starts = rfc3339(clock.wall() + Duration::from_secs(5));
    stage.flag("sale", json!({"is_active": true, "starts_at": starts})).await;
    let mut events = stage.listen(&stage.secret).await;
    assert_eq!(events.event().await, "resync");

    clock.advance(Duration::from_secs(5));
    assert_eq!(events.event().await, "flag.toggled sale");
    assert_eq!(stage.sync(&stage.secret).await["flags"]["sale"]["is_active"], true);

    stage.put_behind(&umbrella, EntryKind::Config, "shared", "1").await;
    assert_eq!(events.event().await, "config.created shared");
    stage.config("shared", json!(2)).await;
    assert_eq!(events.event().await, "config.updated shared");
    assert_eq!(stage.delete("/v1/configs/shared").await.status, 204);
    assert_eq!(events.event().await, "config.updated shared", "the umbrella's is there again");
    assert_eq!(
        stage.sync(&stage.secret).await["configs"]["shared"],
        json!({"value": 1, "source": "umbrella"})
    );
}

#[tokio::test]
async fn a_stream_says_that_it_is_alive_and_ends_cleanly_when_the_server_stops() {
    let clock = ManualClock::new();
    let stage = Stage::with(Arc::new(clock.clone()), |_| {}).await;
    let mut events = stage.listen(&stage.secret).await;
    assert_eq!(events.next().await.as_deref(), Some("event: resync\ndata: {}"));

    let mut seconds = 0;
    let ping = loop {
        tokio::select! {
            biased;
            ping = events.next() => break ping,
            () = tokio::task::yield_now() => {
                clock.advance(Duration::from_secs(1));
                seconds += 1;
            }
        }
        assert!(seconds < 1_000_000);
    };
    assert_eq!(ping.as_deref(), Some(": ping"));

    let stopping = stage.server.running.stop(None);
    let (cut, end) = tokio::join!(stopping, async {
        while let Some(block) = events.next().await {
            assert_eq!(block, ": ping");
        }
    });
    assert_eq!((cut, end), (0, ()));
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_streams_hear_of_a_change_and_streams_of_other_services_do_not() {
    let stage = Stage::new().await;
    let (_, other) = stage.other("staging", Kind::Backend).await;
    let mut bystander = stage.listen(&other).await;
    assert_eq!(bystander.event().await, "resync");
    let opened = (0..300).map(|n| stage.listen(if n % 2 == 0 { &stage.secret } else { &stage.public }));
    let mut streams = futures_util::future::join_all(opened).await;
    for events in &mut streams {
        assert_eq!(events.event().await, "resync");
    }
    assert_eq!(stage.server.running.app().metrics().streams_open.value(), 301);

    stage.flag("f", json!({"is_active": true})).await;

    for events in &mut streams {
        assert_eq!(events.event().await, "flag.created f");
    }
    drop(streams);
    let own = stage.ask(Method::PUT, "/v1/flags/mine", &other).json(&json!({"is_active": true}));
    assert_eq!(stage.server.send(own).await.status, 200);
    assert_eq!(bystander.event().await, "flag.created mine", "the first that it hears");
}

#[tokio::test]
async fn what_is_no_secret_is_told_with_its_values_from_one_tag_to_the_next() {
    let stage = Stage::new().await;
    for key in [&stage.secret, &stage.public] {
        let mut events = stage.listen(key).await;
        assert_eq!(events.event().await, "resync");
        let tag = async || stage.get("/v1/sync", key).await.header("etag").to_owned();
        let before = tag().await;

        stage.put_behind(&stage.id, EntryKind::Config, "a", "{\"b\":[1]}").await;

        let (name, patch) = events.named().await;
        assert_eq!(name, "settings.patch");
        assert_eq!((&patch["base"], &patch["etag"]), (&before.into(), &tag().await.into()));
        assert_eq!(patch["configs"], serde_json::json!({"a": {"value": {"b": [1]}, "source": "service"}}));
        assert_eq!(events.event().await, "config.created a");

        // What holds a secret has to be asked for.
        stage.secret("S", "1").await;
        if !key.record.public {
            assert_eq!(events.named().await.0, "secret.created");
        }
        stage.delete("/v1/secrets/S").await;
        stage.delete("/v1/configs/a").await;
    }
}
