//! Namespaces of a server that a configuration names.

use std::time::Duration;

use leverframe::{
    ErrorKind, EvalContext, Leverframe, LeverframeBuilder, backends::clock_system::SystemClock,
    config::Config, traits::Clock,
};

use super::{
    shop::files,
    stage::{Stage, TOKEN},
};

fn frame(
    stage: &Stage,
    change: impl FnOnce(leverframe::config::ConfigBuilder) -> leverframe::config::ConfigBuilder,
) -> LeverframeBuilder {
    let config = Config::builder()
        .environment([("EXD_SERVER_URL", stage.url()), ("EXD_API_TOKEN", TOKEN.to_owned())])
        .set("flags.shop.source", "server")
        .set("flags.shop.environment", "production");
    Leverframe::builder().config(change(config))
}

fn limit(frame: &Leverframe) -> i64 {
    frame.flags("shop").unwrap().int_flag_sync("limit", &EvalContext::new(), -1)
}

#[track_caller]
fn until(what: &str, reached: impl Fn() -> bool) {
    let clock = SystemClock::new();
    let end = clock.now() + Duration::from_secs(30);
    while !reached() {
        assert!(clock.now() < end, "no {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_table_names_a_namespace_by_its_own_name_and_is_told_of_changes() {
    let stage = Stage::with_shop(1);
    let frame = frame(&stage, |c| c.set("flags.shop.event_stream", true)).build().unwrap();
    assert_eq!(limit(&frame), 1);
    stage.wait_for_streams(1);

    stage.publish("shop", files(2));

    until("state 2", || limit(&frame) == 2);
    assert!(frame.metrics().contains("leverframe_feed_stream_state{feed=\"shop\",state=\"steady\"} 1\n"));
    assert!(!format!("{:?}", frame.explain()).contains(TOKEN));
    frame.close().unwrap();
}

#[test]
fn a_table_is_polled_unless_it_says_otherwise() {
    let stage = Stage::with_shop(1);
    let frame = frame(&stage, |c| {
        c.set("flags.shop.poll_interval_ms", 5)
            .set("flags.shop.namespace", "shop")
            .set("flags.shop.tenant", "acme")
    });
    let frame = frame.build().unwrap();

    stage.publish("shop", files(2));

    until("state 2", || limit(&frame) == 2);
    assert!(stage.asked("/events").is_empty());
    assert!(stage.asked("/tenants/acme/namespaces/shop/manifest").len() > 1);
}

#[test]
fn what_cannot_be_meant_names_its_key() {
    let stage = Stage::with_shop(1);
    let lacking = Config::builder().set("flags.shop.source", "server").set("flags.shop.environment", "p");
    let error = Leverframe::builder().config(lacking).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("flags.shop.uri"), "{error}");

    let error = frame(&stage, |c| {
        c.set("flags.shop.source", "https")
            .set("flags.shop.uri", "https://h/a")
            .set("flags.shop.event_stream", true)
    });
    let error = error.build().unwrap_err();
    assert!(error.to_string().contains("flags.shop.event_stream"), "{error}");
}
