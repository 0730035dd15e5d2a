//! A limit that comes from a flag ramps, targets and rolls back with it.

use std::{sync::Arc, time::Duration};

use leverframe::{
    EvalContext, ExdClient, LoadOptions, Namespace,
    document::{Content, Tree},
    gate::limiter::{AdaptiveLimiter, FlagLimit, Permit},
    testing::{ManualClock, ScriptedSource},
};

const RANK: &str = r#"{ attribute = "user.country", op = "in", values = ["DE"] }"#;

/// A flag with what is usual and what the rule gives, if there is one.
fn flag(flag_type: &str, usual: &str, for_some: Option<&str>) -> String {
    let rule = for_some.map_or(String::new(), |_| {
        format!("[[flag.environments._.rules]]\npredicate = {RANK}\nvariant = \"some\"\n")
    });
    format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"{flag_type}\"\n[flag.variants]\nusual = {usual}\nsome = {}\n\
         [flag.environments._]\nvariant = \"usual\"\n{rule}",
        for_some.unwrap_or(usual)
    )
}

struct Stage {
    source: ScriptedSource,
    namespace: Namespace,
    clock: ManualClock,
}

impl Stage {
    fn new(content: &str) -> Self {
        let source = ScriptedSource::new(files(content)).named("payments");
        let namespace = Namespace::from_source(Arc::new(source.clone()), &LoadOptions::new()).unwrap();
        Self { source, namespace, clock: ManualClock::new() }
    }

    fn serve(&self, content: &str) {
        self.source.set(files(content));
        self.namespace.refresh().unwrap();
    }

    fn limiter(&self, country: &str) -> AdaptiveLimiter {
        self.limiter_with(FlagLimit::of_namespace(
            &self.namespace,
            "production",
            "checkout-limit",
            in_country(country),
        ))
    }

    fn limiter_with(&self, source: FlagLimit) -> AdaptiveLimiter {
        let clock = Arc::new(self.clock.clone());
        AdaptiveLimiter::builder().initial(30).max(100).clock(clock).source(source).build().unwrap()
    }
}

fn in_country(country: &str) -> EvalContext {
    EvalContext::builder().str("user.country", country).build()
}

fn files(flag: &str) -> Content {
    Content::Tree([("flags/checkout-limit.toml", flag.to_owned())].into_iter().collect())
}

fn take(limiter: &AdaptiveLimiter, most: usize) -> Vec<Permit> {
    (0..most).map_while(|_| limiter.acquire(None, None).ok()).collect()
}

#[test]
fn a_limit_targets_ramps_and_rolls_back_like_the_flag_and_no_permit_is_lost() {
    let stage = Stage::new(&flag("integer", "20", None));
    let (here, there) = (stage.limiter("DE"), stage.limiter("FR"));
    assert_eq!((here.snapshot().limit, there.snapshot().limit), (20, 20));
    let held = take(&here, 100);
    assert_eq!(held.len(), 20);

    stage.serve(&flag("integer", "20", Some("5")));
    assert!(here.acquire(None, None).is_err());
    assert_eq!(here.snapshot().limit, 20, "it is looked at every 100 ms at most");
    stage.clock.advance(Duration::from_millis(100));
    assert_eq!((here.snapshot().limit, there.snapshot().limit), (5, 20), "some are targeted");
    assert_eq!(here.snapshot().in_flight, 20, "those under way go on");

    stage.serve(&flag("integer", "20", Some("25")));
    stage.clock.advance(Duration::from_millis(100));
    // Nobody looks, and no call ends: the refusal sees it.
    assert!(here.acquire(None, None).is_err());
    assert_eq!(take(&here, 100).len(), 5, "ramped up");

    stage.serve(&flag("integer", "20", None));
    stage.clock.advance(Duration::from_millis(100));
    assert_eq!((here.snapshot().limit, there.snapshot().limit), (20, 20), "rolled back");
    assert_eq!(here.snapshot().in_flight, 20);
    drop(held);
    assert_eq!(here.snapshot().in_flight, 0);
}

#[test]
fn what_was_learned_survives_a_bound_that_comes_and_goes() {
    let stage = Stage::new(&flag("integer", "90", None));
    let limiter = stage.limiter("DE");
    for _ in 0..40 {
        let held = take(&limiter, 90);
        stage.clock.advance(Duration::from_millis(110));
        drop(held);
    }
    let learned = limiter.snapshot();
    assert_eq!(learned.limit, 90);
    let baseline = learned.baseline.unwrap();

    stage.serve(&flag("integer", "4", None));
    for _ in 0..40 {
        let held = take(&limiter, 90);
        stage.clock.advance(Duration::from_millis(110));
        drop(held);
    }
    assert_eq!(limiter.snapshot().limit, 4);

    stage.serve(&flag("integer", "90", None));
    stage.clock.advance(Duration::from_millis(110));
    let after = limiter.snapshot();
    assert_eq!(after.limit, 90, "at once, not learned anew");
    assert_eq!(after.baseline, Some(baseline));
}

#[test]
fn an_object_bounds_and_fixes_the_limit() {
    let stage = Stage::new(&flag("json", "{ min = 40 }", Some("{ min = 2, max = 8 }")));
    assert_eq!(stage.limiter("FR").snapshot().limit, 40);
    let limiter = stage.limiter("DE");
    assert_eq!(limiter.snapshot().limit, 8);

    stage.serve(&flag("json", "{ limit = 500 }", None));
    stage.clock.advance(Duration::from_millis(100));
    let snapshot = limiter.snapshot();
    assert_eq!(
        (snapshot.limit, snapshot.learned, snapshot.max),
        (500, 30, 100),
        "learning goes on beside it"
    );
    assert_eq!(take(&limiter, 1_000).len(), 500);
}

#[test]
fn an_integer_can_be_the_limit_itself() {
    let stage = Stage::new(&flag("integer", "77", None));
    let source = FlagLimit::of_namespace(&stage.namespace, "production", "checkout-limit", in_country("DE"));

    assert_eq!(stage.limiter_with(source.fixed()).snapshot().limit, 77);
}

#[test]
fn a_flag_that_gives_no_limit_leaves_the_last_in_force_and_shows() {
    let stage = Stage::new(&flag("integer", "20", None));
    let limiter = stage.limiter("DE");
    for (content, says) in [
        (flag("boolean", "true", None), "another type"),
        (flag("integer", "0", None), "no whole number"),
        (flag("json", "{ min = 50, max = 10 }", None), "min, max"),
        (flag("json", "{ maximum = 10 }", None), "none of"),
        (flag("json", "{ max = \"10\" }", None), "no whole number"),
    ] {
        stage.serve(&content);
        stage.clock.advance(Duration::from_millis(100));

        let snapshot = limiter.snapshot();
        assert_eq!(snapshot.limit, 20, "{content}");
        assert!(snapshot.source_error.as_ref().unwrap().contains(says), "{:?}", snapshot.source_error);
    }

    stage.source.set(Content::Tree(Tree::new()));
    stage.namespace.refresh().unwrap();
    stage.clock.advance(Duration::from_millis(100));
    let snapshot = limiter.snapshot();
    assert_eq!(snapshot.limit, 20);
    assert!(snapshot.source_error.unwrap().contains("unknown flag `checkout-limit`"));

    stage.serve(&flag("integer", "21", None));
    stage.clock.advance(Duration::from_millis(100));
    let snapshot = limiter.snapshot();
    assert_eq!((snapshot.limit, snapshot.source_error), (21, None));
}

#[tokio::test]
async fn a_client_that_refreshes_gives_its_limits() {
    let source = ScriptedSource::new(files(&flag("integer", "20", Some("6")))).named("payments");
    let clock = ManualClock::new();
    let client = ExdClient::builder()
        .namespace_source(Arc::new(source.clone()))
        .environment("production")
        .build()
        .await
        .unwrap();
    let limiter = |country: &str, flag: &str| {
        AdaptiveLimiter::builder()
            .initial(30)
            .clock(Arc::new(clock.clone()))
            .source(FlagLimit::of_client(&client, flag, in_country(country)))
            .build()
            .unwrap()
    };
    let (here, there, missing) =
        (limiter("DE", "checkout-limit"), limiter("FR", "checkout-limit"), limiter("FR", "chekout-limit"));
    assert_eq!((here.snapshot().limit, there.snapshot().limit, missing.snapshot().limit), (6, 20, 30));
    assert!(missing.snapshot().source_error.unwrap().contains("chekout-limit"));

    let seen = client.refreshes();
    source.set(files(&flag("integer", "20", Some("12"))));
    client.wait_for_refresh(seen).await;
    clock.advance(Duration::from_millis(100));

    assert_eq!((here.snapshot().limit, there.snapshot().limit), (12, 20));
    client.close().await.unwrap();
}
