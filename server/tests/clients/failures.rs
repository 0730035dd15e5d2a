//! The failure table of the contract, so far as a way that fails can cause its rows.

use std::time::Duration;

use leverframe::{
    EvalContext,
    document::{Entry, Tree},
    flags::events::EventFile,
    manifest::Fingerprint,
};

use crate::{
    following::{Following, files, upload},
    proxy::Fault,
};

#[tokio::test(flavor = "multi_thread")]
async fn prev_closure_hash_mismatch_fetches_a_snapshot() {
    let following = Following::start().await;
    following.proxy.alter("\"prev_closure_hash\":\"sha256:", "\"prev_closure_hash\":\"sha999:");

    following.publishes(2).await;

    assert_eq!(following.closures(), (2, false));
    following.publishes(3).await;
    assert_eq!((following.closures().0, following.error()), (2, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn per_file_sha256_mismatch_fetches_a_snapshot() {
    let following = Following::start().await;
    following.proxy.alter("used = 2", "used = 9");

    following.publishes(2).await;

    assert_eq!(following.closures(), (2, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn post_apply_closure_hash_mismatch_fetches_a_snapshot() {
    let following = Following::start().await;
    following.proxy.alter("\"flags/limit.toml\"", "\"flags/tilim.toml\"");

    following.publishes(2).await;

    assert_eq!(following.closures(), (2, false));
    assert_eq!(following.client.int_flag_sync("tilim", &EvalContext::new(), -1), -1);
    assert_eq!(following.client.flag_version(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn lint_failure_after_an_apply_fetches_a_snapshot() {
    let following = Following::start().await;
    let sound = files("payments", 2);
    let text = text_of(&sound, "flags/limit.toml");
    let broken_text = text.replace("variant = \"used\"", "variant = \"lost\"");
    let mut broken = sound.clone();
    broken.insert("flags/limit.toml", Entry::File(broken_text.clone().into()));
    // Every digest is right: nothing but lint can tell.
    following.proxy.alter(r#"variant = \"used\""#, r#"variant = \"lost\""#);
    following.proxy.alter(&EventFile::new(text).sha256, &EventFile::new(broken_text).sha256);
    following.proxy.alter(Fingerprint::of(&sound).as_str(), Fingerprint::of(&broken).as_str());

    following.uploads(2).await;

    // What is fetched instead is not what the event promised, as it was tampered with: nothing of it is served.
    following.until("the closure of version 2", |f| f.closures() == (2, false)).await;
    following.until("the refusal", |f| !f.error().is_empty()).await;
    assert_eq!((following.limit(), following.client.flag_version()), (1, 1));
    following.uploads(3).await;
    following.until("the event of version 3", |f| f.stream().last_event_id.as_deref() == Some("3")).await;
    let pause = Duration::from_secs(1);
    following.until("the pause", |f| f.is_asleep_for(pause)).await;
    following.clock.advance(pause);
    following.until("state 3", |f| f.limit() == 3).await;
    assert_eq!(following.error(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn resync_fetches_its_snapshot_and_goes_on() {
    const CHANGES: i64 = 130;
    let following = Following::start().await;
    assert_eq!(following.closures(), (1, true));
    following.proxy.hold(true);
    for number in 2..=CHANGES {
        let mut tree = files("payments", number);
        // So much that the queue overflows, and little enough that each change is sent by itself.
        let text = format!("{}# {}\n", text_of(&tree, "flags/limit.toml"), "x".repeat(50_000));
        tree.insert("flags/limit.toml", Entry::File(text.into()));
        upload(&following.server, "payments", &tree).await;
    }

    following.proxy.hold(false);

    following.until("the last state", |f| f.limit() == CHANGES).await;
    let (fetched, signed) = following.closures();
    assert!(fetched > 1 && signed, "{fetched} closures");
    assert_eq!(following.proxy.asked("/events").len(), 1, "the stream went on");
    following.publishes(CHANGES + 1).await;
}

fn text_of(tree: &Tree, path: &str) -> String {
    String::from_utf8(tree.file(path).unwrap().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_failures_of_network_archive_and_signature_are_recovered_from() {
    let following = Following::start().await;
    following.proxy.set_down(true);
    following.until("loss of the stream", |f| f.stream().connected_since.is_none()).await;
    following.uploads(2).await;
    following.proxy.fail("/closure", Fault::Reset);
    following.proxy.fail("/closure", Fault::Body(b"no archive".to_vec()));
    following.proxy.fail("/closure", Fault::Ask("sig=", "sig=forged"));
    following.proxy.set_down(false);

    following.clock.advance(Duration::from_secs(2));
    for (pause, words) in [(1, "closure"), (2, "read the archive")] {
        following.until(words, |f| f.error().contains(words)).await;
        assert_eq!(following.limit(), 1);
        let pause = Duration::from_secs(pause);
        following.until("the pause", |f| f.is_asleep_for(pause)).await;
        following.clock.advance(pause);
    }
    following.until("the refusal", |f| f.error().contains("closure_token_invalid")).await;
    assert_eq!(following.limit(), 1);
    following.clock.advance(Duration::from_secs(4));

    following.until("state 2", |f| f.limit() == 2).await;
    assert_eq!((following.closures().1, following.error()), (true, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sse_drop_reconnects_with_last_event_id() {
    let following = Following::start().await;
    following.publishes(2).await;

    following.proxy.cut();
    following.reconnects().await;

    let asked = following.proxy.asked("/events");
    assert!(!asked[0].contains("last-event-id") && asked[1].contains("last-event-id: 2\r\n"), "{asked:#?}");
    assert_eq!(following.closures().0, 1, "what is served is what the stream begins with");
    following.publishes(3).await;
    assert_eq!(following.closures().0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribed_flag_removed_gives_the_callers_default() {
    let following = Following::start_as(|b| b.event_stream_flags(["limit", "other"])).await;
    let other = |f: &Following| f.client.int_flag_sync("other", &EvalContext::new(), -1);
    assert_eq!(other(&following), 7);
    let mut without = files("payments", 1);
    without.remove("flags/other.toml");

    upload(&following.server, "payments", &without).await;

    following.until("the default", |f| other(f) == -1).await;
    assert_eq!((following.limit(), following.error()), (1, String::new()));
}
