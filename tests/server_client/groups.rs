//! Groups: one stream for all members, and none of them harmed by another.

use std::time::Duration;

use leverframe::{
    EvalContext, ExdClientGroup, ExdClientGroupBuilder, ExdError,
    backends::clock_system::SystemClock,
    document::{Entry, Tree},
    sse::StreamState,
    testing::ManualClock,
    traits::Clock,
};

use super::{
    following::with_flag,
    stage::{Fault, Stage, TOKEN},
};

/// State `number` of a namespace of that slug.
fn files(slug: &str, number: i64) -> Tree {
    let mut tree = super::shop::files(number);
    let namespace = format!("schema_version = \"0.1\"\n[namespace]\nslug = \"{slug}\"\n");
    tree.insert("namespace.toml", Entry::File(namespace.into()));
    tree
}

fn stage() -> Stage {
    let stage = Stage::start();
    stage.publish("billing", files("billing", 1));
    stage.publish("growth", files("growth", 1));
    stage
}

fn builder(stage: &Stage) -> ExdClientGroupBuilder {
    ExdClientGroup::builder().server(stage.url()).api_token(TOKEN)
}

fn limit(group: &ExdClientGroup, slug: &str) -> i64 {
    group.client(slug).unwrap().int_flag_sync("limit", &EvalContext::new(), -1)
}

#[track_caller]
fn until(group: &ExdClientGroup, what: &str, reached: impl Fn() -> bool) {
    let clock = SystemClock::new();
    let end = clock.now() + Duration::from_secs(30);
    while !reached() {
        assert!(clock.now() < end, "no {what}: {group:#?}");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_serves_every_member() {
    let stage = stage();
    let group = builder(&stage)
        .member("billing", "production")
        .member_with_flags("growth", "production", ["limit"])
        .build()
        .await
        .unwrap();
    assert_eq!((limit(&group, "billing"), limit(&group, "growth")), (1, 1));

    stage.publish("growth", files("growth", 2));
    until(&group, "state 2 of growth", || limit(&group, "growth") == 2);
    assert_eq!(limit(&group, "billing"), 1);
    stage.publish("billing", files("billing", 3));
    until(&group, "state 3 of billing", || limit(&group, "billing") == 3);

    let asked = stage.asked("/events");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].query, "ns=billing:*&ns=growth:limit");
    assert_eq!(stage.asked("/closure").len(), 2, "one for each start");
    assert!(stage.asked("/manifest").is_empty());
    assert!(group.client("experiments").is_none());
    let slugs: Vec<&str> = group.clients().map(|(slug, _)| slug).collect();
    assert_eq!(slugs, ["billing", "growth"]);

    group.close().await.unwrap();
    stage.wait_for_streams(0);
    assert_eq!((limit(&group, "billing"), limit(&group, "growth")), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_tells_the_whole_position() {
    let stage = stage();
    let clock = ManualClock::new();
    let group = builder(&stage)
        .member("billing", "production")
        .member("growth", "production")
        .clock(std::sync::Arc::new(clock.clone()))
        .build()
        .await
        .unwrap();
    stage.publish("growth", files("growth", 2));
    until(&group, "state 2 of growth", || limit(&group, "growth") == 2);
    stage.publish("growth", files("growth", 3));
    until(&group, "state 3 of growth", || limit(&group, "growth") == 3);
    let growth = group.client("growth").unwrap();

    stage.drop_streams();
    until(&group, "loss of the stream", || growth.status().stream.unwrap().connected_since.is_none());
    clock.advance(Duration::from_secs(2));

    let asked = stage.wait_for("/events", 2);
    // The position follows what is served a moment later: by now it is past the second state.
    let position = asked[1].header("last-event-id");
    assert!(matches!(position, Some("billing=1,growth=2" | "billing=1,growth=3")), "{position:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_change_of_one_member_leaves_the_others_alone() {
    let stage = stage();
    let group = builder(&stage).member("billing", "production").member("growth", "production");
    let group = group.build().await.unwrap();
    let mut broken = files("billing", 2);
    broken.insert("flags/limit.toml", Entry::File("[flag]\ntype = \"colour\"\n".into()));

    stage.publish("billing", broken);
    stage.publish("growth", files("growth", 2));

    until(&group, "state 2 of growth", || limit(&group, "growth") == 2);
    let billing = group.client("billing").unwrap();
    until(&group, "the finding", || billing.last_refresh_error().is_some());
    let growth = group.client("growth").unwrap();
    assert_eq!((growth.last_refresh_error(), limit(&group, "billing")), (None, 1));
    stage.publish("billing", files("billing", 3));
    until(&group, "state 3 of billing", || limit(&group, "billing") == 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_snapshot_hangs_delays_no_other() {
    let stage = stage();
    let group = builder(&stage).member("billing", "production").member("growth", "production");
    let group = group.build().await.unwrap();
    let billing = group.client("billing").unwrap();
    stage.fail("/billing/closure", Fault::Silence);

    stage.send_resync("billing", Some(files("billing", 2)));
    until(&group, "fetching", || billing.status().stream.unwrap().state == StreamState::SnapshotFetching);
    for number in 2..6 {
        stage.publish("growth", files("growth", number));
        until(&group, "growth", || limit(&group, "growth") == number);
    }

    assert_eq!(limit(&group, "billing"), 1);
    stage.end_silence();
    until(&group, "state 2 of billing", || limit(&group, "billing") == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_has_a_working_tree_of_its_slug() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage();
    let start = || {
        let group = builder(&stage).member("billing", "production").member("growth", "production");
        group.working_tree_root(dir.path()).build()
    };
    let group = start().await.unwrap();
    group.close().await.unwrap();
    assert!(dir.path().join("billing/state.json").exists() && dir.path().join("growth/state.json").exists());
    let before = stage.asked("/closure").len();

    let again = start().await.unwrap();

    assert_eq!((limit(&again, "billing"), stage.asked("/closure").len()), (1, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_lacks_something_or_has_it_twice_is_refused() {
    let stage = stage();
    let field = |error| match error {
        ExdError::MissingField(field) => field,
        other => panic!("{other:?}"),
    };
    let group = ExdClientGroup::builder;

    assert_eq!(field(group().api_token(TOKEN).member("a", "p").build().await.unwrap_err()), "server");
    assert_eq!(field(group().server(stage.url()).member("a", "p").build().await.unwrap_err()), "api_token");
    assert_eq!(field(builder(&stage).build().await.unwrap_err()), "member");
    assert_eq!(field(builder(&stage).member("a", "").build().await.unwrap_err()), "environment");
    let twice = builder(&stage).member("billing", "production").member("billing", "staging");
    assert!(matches!(twice.build().await.unwrap_err(), ExdError::ConflictingNamespaceSources));
    stage.publish("lonely", with_flag(1, "other", 2));
    let unknown = builder(&stage).member("billing", "production").member("nobody", "production");
    assert!(matches!(unknown.build().await.unwrap_err(), ExdError::Load(_)));
}
