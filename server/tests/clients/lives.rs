//! What a client lives through: restarts of the server, a revoked token, a start of its own.

use std::{sync::Arc, time::Duration};

use leverframe::{
    Namespace,
    backends::clock_system::SystemClock,
    live::{Origin, Outcome},
    testing::ManualClock,
};

use crate::following::{Following, address, builder, files, upload};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_is_followed_again_without_a_word_to_callers() {
    let mut following = Following::start().await;
    // The database stays where it was; what serves it is new.
    let clock = Arc::new(SystemClock::new());
    let store = leverframe_server::store::open(following.server.data(), None, clock).await.unwrap();
    let next = following.server.join(store).await;
    following.proxy.set_down(true);
    let before = std::mem::replace(&mut following.server, next);
    before.running.stop(Some(Duration::ZERO)).await;
    following.until("loss of the stream", |f| f.stream().connected_since.is_none()).await;
    following.uploads(2).await;
    assert_eq!(following.limit(), 1);
    following.proxy.lead_to(address(&following.server));
    following.proxy.set_down(false);

    following.clock.advance(Duration::from_secs(2));

    following.until("state 2", |f| f.limit() == 2).await;
    following.publishes(3).await;
    assert_eq!(following.error(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_the_stream_is_told_and_evaluation_goes_on() {
    let following = Following::start().await;
    let path = format!("/api/v1/tokens/{}", following.token_id);

    let answer = following.server.delete(&path, &following.server.root).await;

    assert!(answer.status.is_success(), "{}", answer.text);
    following.until("loss of the stream", |f| f.stream().connected_since.is_none()).await;
    following.clock.advance(Duration::from_secs(2));
    following.until("the refusal", |f| f.error().contains("unauthenticated")).await;
    assert_eq!(following.limit(), 1);
    assert!(!following.error().contains(&following.token));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_with_other_reflex_rules_alone_is_nothing_to_those_who_follow_flags() {
    let following = Following::start().await;
    following.publishes(2).await;
    let (seen, fetched) = (following.stream(), following.closures());
    let with_rules = |number: i64, errors: u32| {
        let mut tree = files("payments", number);
        let rules = format!(
            "[[rule]]\ntag = \"free\"\nmetric = \"errors\"\noperator = \">\"\nthreshold = {errors}\naction = \"block\"\n"
        );
        tree.insert("gate.toml", leverframe::document::Entry::File(rules.into()));
        tree
    };

    upload(&following.server, "payments", &with_rules(2, 50)).await;
    upload(&following.server, "payments", &with_rules(2, 60)).await;
    upload(&following.server, "payments", &with_rules(3, 60)).await;
    following.until("state 3", |f| f.limit() == 3).await;

    // The one event since is the change of the flag, which fits what is served: nothing was fetched.
    assert_eq!(following.stream().events, seen.events + 1);
    assert_eq!(following.closures(), fetched);
    let hash = following.client.snapshot().snapshot.fingerprint.clone();
    following.proxy.cut();
    following.reconnects().await;
    upload(&following.server, "payments", &files("payments", 3)).await;
    following.proxy.cut();
    following.reconnects().await;
    assert_eq!((following.closures(), &following.client.snapshot().snapshot.fingerprint), (fetched, &hash));
    following.publishes(4).await;
    assert_eq!(following.closures(), fetched);
    assert_eq!(following.error(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_start_transfers_nothing_and_one_without_the_server_serves_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let following = Following::start_as(|b| b.working_tree(dir.path())).await;
    following.publishes(2).await;
    following.client.close().await.unwrap();
    let closures = following.closures().0;
    let start = |clock: &ManualClock| {
        builder(&following.proxy, clock, &following.token).working_tree(dir.path()).build()
    };

    let warm = start(&following.clock).await.unwrap();

    assert_eq!((warm.status().origin, following.closures().0), (Origin::Kept, closures));
    warm.close().await.unwrap();
    following.proxy.set_down(true);
    let cold = start(&following.clock).await.unwrap();
    assert_eq!(cold.int_flag_sync("limit", &leverframe::EvalContext::new(), -1), 2);
    assert!(cold.last_refresh_error().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_of_an_unchanged_manifest_are_answered_without_a_body() {
    let following = Following::start().await;
    let (url, token) = (following.proxy.url(), following.token.clone());
    let open = move || Namespace::builder().server(url).namespace("payments").api_token(token).build();
    let namespace = tokio::task::spawn_blocking(open).await.unwrap().unwrap();
    let poll = |namespace: &Namespace| {
        let namespace = namespace.clone();
        tokio::task::spawn_blocking(move || namespace.poll().unwrap())
    };

    assert_eq!(poll(&namespace).await.unwrap(), Outcome::Unchanged);
    upload(&following.server, "payments", &files("payments", 2)).await;
    assert_eq!(poll(&namespace).await.unwrap(), Outcome::Swapped(2));

    let asked = following.proxy.asked("/manifest");
    assert!(asked[1].contains("if-none-match: \"v1\""), "{asked:#?}");
}
