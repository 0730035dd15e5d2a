//! The failure table of the contract, row by row: evaluation goes on in each, and recovers by itself.

use std::time::Duration;

use leverframe::{EvalContext, document::Entry, flags::events::EventFile, manifest::archive};

use super::{
    following::{Following, with_flag},
    shop::files,
    stage::{Fault, TOKEN},
};

/// The requests for closures: how many, and whether the last was signed and whether it bore the token.
fn closures(following: &Following) -> (usize, bool, bool) {
    let asked = following.stage.asked("/closure");
    let last = asked.last().unwrap();
    (asked.len(), last.query.contains("sig="), last.header("authorization").is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn prev_closure_hash_mismatch_fetches_a_snapshot() {
    let following = Following::start().await;
    let mut event = following.stage.add_with_event("shop", files(2));
    event.prev_closure_hash = Some("sha256:another".to_owned());

    following.stage.send_event(&event);

    following.until("state 2", |f| f.limit() == 2);
    // The first is that of the start. An event with a change names no signed URL, so the token is needed.
    assert_eq!(closures(&following), (2, false, true));
    assert_eq!(following.stage.asked("/closure")[1].query, "flags=*&version=2");
    assert_eq!((following.client.flag_version(), following.error()), (2, String::new()));
    following.publishes(3);
    assert_eq!(closures(&following).0, 2, "changes apply again");
}

#[tokio::test(flavor = "multi_thread")]
async fn per_file_sha256_mismatch_fetches_a_snapshot() {
    let following = Following::start().await;
    let mut event = following.stage.add_with_event("shop", files(2));
    for file in event.files.values_mut() {
        file.content.push_str("# altered on the way\n");
    }

    following.stage.send_event(&event);

    following.until("state 2", |f| f.limit() == 2);
    assert_eq!(closures(&following), (2, false, true));
    following.publishes(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn post_apply_closure_hash_mismatch_fetches_a_snapshot() {
    let following = Following::start().await;
    let mut event = following.stage.add_with_event("shop", with_flag(2, "other", 5));
    // Each file is in order, and one is missing.
    event.files.remove("flags/other.toml");

    following.stage.send_event(&event);

    following.until("state 2", |f| f.limit() == 2);
    assert_eq!(following.client.int_flag_sync("other", &EvalContext::new(), -1), 5);
    assert_eq!(closures(&following), (2, false, true));
    assert_eq!(following.client.flag_version(), 2, "the change was never served");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_no_closure_has_are_not_applied() {
    let following = Following::start().await;
    for path in
        ["../outside.toml", "/etc/outside.toml", "flags/../../outside.toml", "flags/a/b.toml", "state.json"]
    {
        let number = following.limit() + 1;
        let mut event = following.stage.add_with_event("shop", files(number));
        event.files.insert(path.to_owned(), EventFile::new("x"));
        following.stage.send_event(&event);
        following.until("the snapshot instead", |f| f.limit() == number);
    }

    assert_eq!(closures(&following), (6, false, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_failure_after_apply_fetches_a_snapshot_and_tells_the_finding() {
    let following = Following::start().await;
    let mut broken = files(2);
    broken.insert(
        "flags/limit.toml",
        Entry::File("schema_version = \"0.1\"\n[flag]\ntype = \"colour\"\n".into()),
    );

    following.stage.publish("shop", broken);

    following.until("the finding", |f| f.error().contains("flags/limit.toml"));
    assert_eq!(closures(&following), (2, false, true));
    assert_eq!((following.limit(), following.client.flag_version()), (1, 1));
    assert!(following.client.status().quarantined.is_some());

    following.publishes(3);
    assert_eq!((following.error(), following.client.flag_version()), (String::new(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_network_error_is_tried_again_after_1_2_4_8_16_and_then_every_60_seconds() {
    let following = Following::start().await;
    for _ in 0..7 {
        following.stage.fail("/closure", Fault::Reset);
    }
    following.stage.send_resync("shop", Some(files(2)));

    for (attempt, seconds) in [1, 2, 4, 8, 16, 60, 60].into_iter().enumerate() {
        following.stage.wait_for("/closure", attempt + 2);
        following.until("the error", |f| f.client.status().consecutive_failures == attempt as u64 + 1);
        assert_eq!(following.limit(), 1);
        // Heartbeats go on meanwhile; else the stream would count as dead before the minute is over.
        following.beats();
        if seconds == 60 {
            let minute = Duration::from_secs(60);
            following.until("the pause", |f| f.is_asleep_for(minute));
            following.clock.advance(Duration::from_secs(30));
            following.beats();
            following.sleeps_for(Duration::from_secs(30));
        } else {
            following.sleeps_for(Duration::from_secs(seconds));
        }
    }

    following.until("state 2", |f| f.limit() == 2);
    assert_eq!(following.error(), "");
    assert_eq!(following.stage.asked("/closure").len(), 9);
    assert!(following.stage.asked("/manifest").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_untar_or_hash_failure_is_tried_again_and_told() {
    let following = Following::start().await;
    following.stage.fail("/closure", Fault::Body(b"no archive".to_vec()));
    following.stage.fail("/closure", Fault::Body(archive::pack(&files(9)).unwrap()));
    following.stage.send_resync("shop", Some(files(2)));

    following.until("the first error", |f| f.error().contains("read the archive"));
    following.sleeps_for(Duration::from_secs(1));
    following.until("the second error", |f| f.error().contains("verify a snapshot"));
    assert_eq!(following.limit(), 1);
    following.sleeps_for(Duration::from_secs(2));
    following.until("state 2", |f| f.limit() == 2);
    assert_eq!(following.error(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn closure_token_invalid_reconnects_for_a_fresh_url() {
    let following = Following::start().await;
    following.stage.fail("/closure", Fault::Refusal(401, "closure_token_invalid"));
    following.stage.send_resync("shop", Some(files(2)));

    following.until("the refusal", |f| f.error().contains("closure_token_invalid"));
    assert!(!following.error().contains("s3cret"), "{}", following.error());
    assert_eq!(following.limit(), 1);
    following.reconnects();
    following.until("state 2", |f| f.limit() == 2);
    assert_eq!(closures(&following), (3, true, false));
    assert_eq!(following.stage.asked("/events").len(), 2);
    assert_eq!(following.error(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn sse_drop_reconnects_with_last_event_id_and_begins_with_a_snapshot() {
    let following = Following::start().await;
    following.publishes(2);

    following.stage.drop_streams();
    following.reconnects();

    let asked = following.stage.asked("/events");
    let positions: Vec<_> = asked.iter().map(|asked| asked.header("last-event-id")).collect();
    assert_eq!(positions, [None, Some("2")]);
    assert_eq!(closures(&following).0, 1, "what is served is what the stream begins with");

    following.stage.drop_streams();
    following.until("loss of the stream", |f| f.stream().connected_since.is_none());
    following.stage.add("shop", files(3));
    following.clock.advance(Duration::from_secs(2));
    following.until("state 3", |f| f.limit() == 3);
    assert_eq!(closures(&following), (2, true, false));
    assert_eq!(following.error(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn resync_fetches_everything_and_goes_on() {
    let following = Following::start().await;
    following.stage.send_resync("shop", Some(files(2)));

    following.until("state 2", |f| f.limit() == 2);
    assert_eq!(closures(&following), (2, true, false));
    following.publishes(3);
    assert_eq!(closures(&following).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribed_flag_removed_gives_the_callers_default() {
    let stage = super::stage::Stage::start();
    stage.publish("shop", with_flag(1, "other", 5));
    let following = Following::start_as(stage, |b| b.event_stream_flags(["other", "limit"])).await;
    let other = |f: &Following| f.client.int_flag_sync("other", &EvalContext::new(), -1);
    assert_eq!(other(&following), 5);

    following.stage.publish("shop", files(1));

    following.until("the default", |f| other(f) == -1);
    assert_eq!((following.limit(), following.error()), (1, String::new()));
    assert_eq!(following.client.flag_version(), 2);
    assert!(!format!("{:?}", following.client.status()).contains(TOKEN));
}
