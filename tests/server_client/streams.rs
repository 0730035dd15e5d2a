//! The event stream: what it carries, what a silent or lying peer achieves, and what is told of it.

use std::time::Duration;

use leverframe::{ExdClient, ExdError, HttpBackend, live::metrics_text, sse::StreamState, traits::Clock};

use super::{
    following::{Following, builder, with_flag},
    shop::files,
    stage::{Fault, Stage, TOKEN},
};

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_applied_from_the_stream_alone() {
    let following = Following::start().await;

    for number in 2..6 {
        following.publishes(number);
    }

    assert_eq!(following.client.flag_version(), 5);
    let asked: Vec<String> = following.stage.asked("").iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(asked, ["/api/v1/events", "/api/v1/tenants/acme/namespaces/shop/closure"]);
    let subscribed = &following.stage.asked("/events")[0];
    assert_eq!(subscribed.query, "ns=shop:*");
    assert_eq!(subscribed.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(following.stage.asked("/closure")[0].header("authorization"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_curl_program_streams_as_well() {
    let following = Following::start_as(Stage::with_shop(1), |b| b.http_backend(HttpBackend::Curl)).await;

    following.publishes(2);
    following.stage.drop_streams();
    following.reconnects();
    following.publishes(3);

    let asked = following.stage.asked("/closure");
    assert_eq!(asked.len(), 1, "{asked:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_chosen_flags_brings_no_others() {
    let stage = Stage::start();
    stage.publish("shop", with_flag(1, "other", 5));
    let following = Following::start_as(stage, |b| b.event_stream_flags(["limit"])).await;
    let events = following.stream().events;

    following.stage.publish("shop", with_flag(1, "other", 6));
    following.stage.publish("shop", with_flag(2, "other", 6));

    following.until("state 2", |f| f.limit() == 2);
    assert_eq!(following.client.snapshot().snapshot.program.len(), 1);
    assert_eq!(following.stream().events, events + 1, "a change of what is not subscribed is not told");
    assert_eq!(following.stage.asked("/events")[0].query, "ns=shop:limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_the_stream_shows_in_status_and_metrics() {
    let following = Following::start().await;
    following.publishes(2);

    let stream = following.stream();
    assert_eq!(stream.state, StreamState::Steady);
    assert_eq!(stream.last_event_id.as_deref(), Some("2"));
    assert_eq!(stream.connected_since, Some(following.clock.wall()));
    assert_eq!((stream.connections, stream.events, stream.last_error), (1, 2, None));
    let text = metrics_text([("shop", &following.client.status())]);
    assert!(text.contains("leverframe_feed_stream_state{feed=\"shop\",state=\"steady\"} 1\n"), "{text}");
    assert!(text.contains("leverframe_feed_stream_events_total{feed=\"shop\"} 2\n"), "{text}");

    following.stage.drop_streams();
    following.until("loss of the stream", |f| f.stream().state == StreamState::Connecting);
    assert!(following.stream().last_error.is_some() && following.stream().connected_since.is_none());
    following.client.close().await.unwrap();
    following.stage.wait_for_streams(0);
    assert_eq!(following.limit(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_is_opened_again_and_a_heartbeat_keeps_it() {
    let following = Following::start().await;
    following.clock.advance(Duration::from_secs(30));
    following.beats();
    following.clock.advance(Duration::from_secs(44));
    assert_eq!(following.stage.asked("/events").len(), 1);

    following.clock.advance(Duration::from_secs(1));

    following.reconnects();
    assert_eq!(following.stage.asked("/events").len(), 2);
    following.publishes(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_safety_net_finds_what_the_stream_does_not_tell() {
    let stage = Stage::with_shop(1);
    let following = Following::start_as(stage, |b| b.safety_net_interval(Duration::from_secs(20))).await;
    following.sleeps_for_about(Duration::from_secs(20));
    let asked = following.stage.wait_for("/manifest", 1);
    assert_eq!(asked[0].header("if-none-match"), Some("\"v1\""));
    following.beats();
    following.stage.add("shop", files(2));

    following.sleeps_for_about(Duration::from_secs(20));

    following.until("state 2", |f| f.limit() == 2);
    // The stream goes on from what the poll brought.
    following.beats();
    following.publishes(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_at_another_origin_is_not_fetched_and_the_token_goes_nowhere_else() {
    let elsewhere = Stage::with_shop(9);
    let following = Following::start().await;
    following.stage.prefix_urls(elsewhere.url());
    following.stage.send_resync("shop", Some(files(2)));

    following.until("the refusal", |f| f.error().contains("another origin"));
    assert_eq!((following.limit(), elsewhere.asked("").len()), (1, 0));
    following.stage.prefix_urls(following.stage.url());
    following.stage.send_resync("shop", None);
    following.sleeps_for(Duration::from_secs(1));
    following.until("state 2", |f| f.limit() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_makes_no_sense_is_polled_over_and_an_endless_one_ends_the_stream() {
    let following = Following::start().await;
    following.stage.add("shop", files(2));
    following.stage.send_raw(b"event: version\ndata: {\"namespace\":\"shop\"}\n\n");
    following.until("state 2", |f| f.limit() == 2);
    following.stage.send_raw(b"event: something-new\ndata: x\n\n");

    following.stage.send_raw(&[b"data: ".as_slice(), &vec![b'x'; 1 << 20]].concat());

    following.reconnects();
    following.publishes(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_stream_is_to_be_had_the_server_is_polled() {
    let stage = Stage::with_shop(1);
    for _ in 0..2 {
        stage.fail("/events", Fault::Refusal(404, "not_found"));
    }
    let clock = leverframe::testing::ManualClock::new();
    let client = builder(&stage, &clock).build().await.unwrap();
    let following = Following { stage, clock, client };
    assert_eq!((following.limit(), following.stream().state), (1, StreamState::Connecting));
    following.stage.add("shop", files(2));

    following.clock.advance(Duration::from_secs(1));

    following.until("state 2", |f| f.limit() == 2);
    assert!(following.stream().last_error.unwrap().contains("not_found"));
    following.clock.advance(Duration::from_secs(3));
    following.until("the stream to be steady", |f| f.is_steady());
    following.publishes(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_told_and_evaluation_goes_on() {
    let following = Following::start().await;
    for what in ["/events", "/events", "/manifest", "/manifest", "/manifest"] {
        following.stage.fail(what, Fault::Refusal(401, "unauthenticated"));
    }

    following.stage.drop_streams();
    following.until("loss of the stream", |f| f.stream().connected_since.is_none());
    following.clock.advance(Duration::from_secs(2));

    following.until("the refusal", |f| f.error().contains("unauthenticated"));
    assert_eq!(following.limit(), 1);
    assert!(!following.error().contains("s3cret"));
}

#[tokio::test]
async fn an_event_stream_needs_a_server_and_keys_of_flags() {
    let error = ExdClient::builder()
        .namespace_uri("https://h/a.tar.gz")
        .event_stream(true)
        .environment("production")
        .build()
        .await
        .unwrap_err();
    assert!(matches!(error, ExdError::MissingField("server (event_stream requires a server source)")));

    let stage = Stage::with_shop(1);
    let clock = leverframe::testing::ManualClock::new();
    let error = builder(&stage, &clock).event_stream_flags(["a&ns=b"]).build().await.unwrap_err();
    assert_eq!(error.to_string(), "`a&ns=b` is not the key of a flag");
}
