//! What the first client of this protocol promised, one test each.

use std::{collections::HashMap, sync::Arc, thread, time::Duration};

use leverframe::{
    NexusClient, NexusConfig, NexusError, WifConfig, rfc3339, testing::ManualClock, traits::Clock,
};
use serde_json::{Value, json};

use super::stage::{Fault, KEY, PUBLIC_KEY, Stage, eventually, flag, pass, secret, settled};

const TTL: Duration = Duration::from_secs(60);

#[test]
fn no_async_runtime_is_needed_and_every_getter_answers() {
    let stage = Stage::filled();

    let client = NexusClient::create(NexusConfig {
        api_key: KEY.to_string(),
        endpoint: format!("{}/", stage.url()),
        ttl: None,
        wif: None,
    })
    .unwrap();

    assert_eq!(client.get_config("greeting"), Some(Value::from("hello")));
    assert_eq!(client.get_config("none"), None);
    assert_eq!(client.get_all_configs()["limits"], json!({"rps": 10}));
    assert_eq!(client.get_secret("token").unwrap().expose_secret(), "s3cret-1");
    assert!(client.get_flag("checkout", false));
    assert!(!client.get_flag("banner", true));
    assert!(client.get_flag("none", true));
    assert_eq!((client.find_flag("banner"), client.find_flag("none")), (Some(false), None));
    assert_eq!(
        client.get_all_flags(),
        HashMap::from([("checkout".to_owned(), true), ("banner".to_owned(), false)])
    );
    assert_eq!(
        (client.kind().as_str(), client.key_type(), client.billing_overdue()),
        ("backend", "sk", false)
    );
    assert!(client.synced_at().is_some());
    assert!(matches!(client.get_secret("none"), Err(NexusError::SecretNotFound(key)) if key == "none"));
    let asked = &stage.asked("/v1/sync")[0];
    assert_eq!((asked.header("x-nexus-api-key"), asked.header("authorization")), (Some(KEY), None));
}

#[test]
fn a_stale_snapshot_is_served_while_all_who_read_share_one_refresh() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    stage.publish(|document| document.flags = json!({"checkout": flag(false)}));
    stage.fail("/v1/sync", Fault::Silence);

    pass(&clock, TTL);
    stage.wait_for("/v1/sync", 2);
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || (0..1_000).all(|_| client.get_flag("checkout", false)))
        })
        .collect();

    assert!(readers.into_iter().all(|reader| reader.join().unwrap()), "a read did not get the old value");
    assert_eq!(stage.syncs(), 2);
    stage.end_silence();
    eventually("the new value is served", || !client.get_flag("checkout", true));
    assert_eq!(stage.syncs(), 2);
}

#[test]
fn an_unchanged_answer_resets_the_interval_and_decodes_nothing() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    let before = client.status();

    pass(&clock, TTL);
    settled(&client, 1);

    let after = client.status();
    assert_eq!((after.version, after.bytes, after.staleness), (before.version, before.bytes, Duration::ZERO));
    assert_eq!(stage.asked("/v1/sync")[1].header("if-none-match"), Some("\"1-wxs\""));
    // Nine tenths at least pass before the next look.
    eventually("the thread waits", || clock.sleepers() > 0);
    assert!(clock.deadlines()[0] - clock.now() > TTL.mul_f64(0.89));
}

#[test]
fn a_state_without_a_name_is_asked_for_in_full_and_not_swapped_for_itself() {
    let stage = Stage::filled();
    stage.publish(|document| document.with_etag = false);
    let (client, _clock) = stage.client();

    client.sync().unwrap();

    assert_eq!(stage.asked("/v1/sync")[1].header("if-none-match"), None);
    assert_eq!(client.status().version, 1);
}

#[test]
fn public_keys_of_both_generations_are_restricted_before_any_request() {
    for key in ["pk_live_1", PUBLIC_KEY] {
        let stage = Stage::filled();
        stage.fail("/v1/sync", Fault::body(br#"{"synced_at":"t"}"#));
        let client = stage.builder().api_key(key).build().unwrap();
        let before = stage.asked("").len();

        let refused = [
            client.get_secret("token").map(drop),
            client.get_secret_file_path("token").map(drop),
            client.set_secret("token", "x"),
            client.delete_secret("token"),
            client.delete_secret_version("token", 1),
        ];

        assert!(
            refused.iter().all(|refused| matches!(refused, Err(NexusError::PublicKeyRestricted))),
            "{refused:?}"
        );
        assert_eq!((client.key_type(), stage.asked("").len()), ("pk", before));
    }
}

#[test]
fn what_the_service_says_of_a_key_goes_before_its_spelling() {
    let stage = Stage::filled();
    stage.publish(|document| document.key_type = Some("pk"));
    let (client, _clock) = stage.client();

    assert_eq!(client.key_type(), "pk");
    assert!(matches!(client.get_secret("token"), Err(NexusError::PublicKeyRestricted)));
}

#[test]
fn a_frontend_service_has_no_secrets() {
    let stage = Stage::filled();
    stage.publish(|document| document.kind = "frontend");
    let (client, _clock) = stage.client();
    let before = stage.asked("").len();

    assert!(matches!(client.get_secret("token"), Err(NexusError::ServiceKindMismatch)));
    assert!(matches!(client.get_secret_file_path("token"), Err(NexusError::ServiceKindMismatch)));
    assert!(matches!(client.set_secret("token", "x"), Err(NexusError::ServiceKindMismatch)));
    assert_eq!((client.kind().as_str(), stage.asked("").len()), ("frontend", before));
}

#[test]
fn debts_halt_the_refresh_and_not_the_reads_and_a_success_clears_them() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    stage.fail_always("/v1/sync", Fault::status(402));

    let by_hand = client.sync();

    assert!(matches!(by_hand, Err(NexusError::Billing)));
    assert!(client.billing_overdue() && client.get_flag("checkout", false));
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-1");
    for minutes in 1..5 {
        pass(&clock, TTL);
        settled(&client, 1 + minutes);
    }
    assert_eq!(stage.syncs(), 2, "it was asked again within 300 s");
    stage.recover();
    client.sync().unwrap();
    assert!(!client.billing_overdue());
}

#[test]
fn a_refresh_of_its_own_clears_debts_after_the_hold() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    stage.fail("/v1/sync", Fault::status(402));
    assert!(client.sync().is_err());

    pass(&clock, Duration::from_secs(301));

    stage.wait_for("/v1/sync", 3);
    eventually("the debts are cleared", || !client.billing_overdue());
}

#[test]
fn a_quarantine_keeps_requests_away_until_its_end() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    let end = rfc3339(clock.wall() + Duration::from_secs(200));
    stage.fail_always("/v1/sync", Fault::quarantine(&end));

    let Err(NexusError::Quarantined { reason, expires_at }) = client.sync() else { panic!("no quarantine") };

    assert_eq!((reason.as_str(), &expires_at), ("bulk_delete", &end));
    assert_eq!(client.held_for(), Some(Duration::from_secs(200)));
    for step in 1..4 {
        pass(&clock, TTL);
        settled(&client, 1 + step);
    }
    assert_eq!(stage.syncs(), 2);
    stage.recover();
    pass(&clock, TTL);
    stage.wait_for("/v1/sync", 3);
    eventually("it works again", || client.status().consecutive_failures == 0);
}

#[test]
fn no_quarantine_lasts_longer_than_a_day_and_an_unreadable_one_ten_minutes() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    let far = rfc3339(clock.wall() + Duration::from_secs(10 * 86_400));
    for (expires_at, hold) in [(far.as_str(), 86_400), ("soon", 600), ("", 600)] {
        stage.fail("/v1/sync", Fault::quarantine(expires_at));

        assert!(matches!(client.sync(), Err(NexusError::Quarantined { .. })));

        assert_eq!(client.held_for(), Some(Duration::from_secs(hold)), "{expires_at}");
    }
}

#[test]
fn a_quarantine_holds_the_stream_back_too() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    let end = rfc3339(clock.wall() + Duration::from_secs(50));
    stage.fail("/v1/stream", Fault::quarantine(&end));

    client.run_stream();
    stage.wait_for("/v1/stream", 1);
    eventually("the quarantine is known", || client.held_for().is_some());
    for _ in 0..49 {
        pass(&clock, Duration::from_secs(1));
        assert_eq!(stage.asked("/v1/stream").len(), 1);
    }

    // The end, and up to a half more at random.
    let is_open = || client.status().stream.is_some_and(|stream| stream.connections == 1);
    stage.while_time_passes(&clock, "the stream is open", is_open);
    assert!(stage.asked("/v1/stream").len() > 1);
}

#[test]
fn too_many_writes_are_reported_as_such() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    stage.fail("/v1/secrets", Fault::status(429));

    assert!(matches!(client.set_secret("token", "x"), Err(NexusError::RateLimited)));
}

#[test]
fn secrets_are_written_read_back_at_once_and_deleted() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();

    client.set_secret("a/b c", "new").unwrap();
    assert_eq!(client.get_secret("a/b c").unwrap().expose(), "new");
    client.delete_secret("a/b c").unwrap();
    assert!(matches!(client.get_secret("a/b c"), Err(NexusError::SecretNotFound(_))));
    assert!(matches!(client.delete_secret("a/b c"), Err(NexusError::NotFound)));
    client.delete_secret_version("token", 7).unwrap();

    let asked = stage.asked("/v1/secrets");
    assert_eq!(asked[0].json(), json!({"key": "a/b c", "value": "new", "type": "text"}));
    assert_eq!(asked[1].target, "/v1/secrets/a%2Fb%20c");
    assert_eq!(
        (asked[3].method.as_str(), asked[3].target.as_str()),
        ("DELETE", "/v1/secrets/token?version=7")
    );
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-0");
}

#[test]
fn flags_are_evaluated_for_a_user_and_many_keys_take_several_requests() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    let attributes = HashMap::from([("plan".to_owned(), json!("pro"))]);
    let mut keys = vec!["checkout", "unknown"];
    let more: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    keys.extend(more.iter().map(String::as_str));

    let results = client.evaluate_ab(&keys, "ann", &attributes).unwrap();

    assert_eq!(results.len(), 302);
    assert_eq!(
        results.iter().filter(|(_, on)| **on).map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
        ["checkout"]
    );
    let asked = stage.asked("/v1/flags/evaluate-ab");
    assert_eq!(
        asked.iter().map(|asked| asked.json()["keys"].as_array().unwrap().len()).collect::<Vec<_>>(),
        [200, 102]
    );
    assert_eq!(asked[0].json()["attributes"], json!({"plan": "pro"}));
    let numbers = HashMap::from([("age".to_owned(), json!(3))]);
    assert!(matches!(client.evaluate_ab(&["a"], "ann", &numbers), Err(NexusError::BadRequest)));
    for (body, status) in [(&b"{\"error\":\"ab_addon_not_active\"}"[..], true), (b"{}", false)] {
        stage.fail("/v1/flags/evaluate-ab", Fault::Answer(403, String::new(), body.to_vec()));
        let refused = client.evaluate_ab(&["a"], "ann", &HashMap::new()).unwrap_err();
        assert_eq!(matches!(refused, NexusError::AbAddonNotAvailable), status, "{refused}");
    }
}

#[test]
fn a_stream_brings_a_toggled_flag_at_once() {
    let stage = Stage::filled();
    let client = stage.builder().stream(true).build().unwrap();
    stage.wait_for("/v1/sync", 2);
    stage.publish(|document| document.flags = json!({"checkout": flag(false)}));

    stage.tell("flag.toggled");

    eventually("the flag is off", || !client.get_flag("checkout", true));
}

#[test]
fn clones_on_several_threads_are_one_client() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    let other = client.clone();

    thread::spawn(move || other.set_secret("token", "s3cret-2").unwrap()).join().unwrap();

    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-2");
}

#[test]
fn configurations_that_cannot_work_are_refused_by_name_and_without_their_secrets() {
    let config = |api_key: &str, endpoint: &str, ttl| NexusConfig {
        api_key: api_key.to_owned(),
        endpoint: endpoint.to_owned(),
        ttl,
        wif: None,
    };
    let short = Some(Duration::from_millis(999));
    for (config, word) in [
        (config("", "https://h", None), "api_key"),
        (config("canary\n", "https://h", None), "api_key"),
        (config(KEY, "http://h", None), "endpoint"),
        (config(KEY, "https://canary@h", None), "endpoint"),
        (config(KEY, "", None), "endpoint"),
        (config(KEY, "https://h", short), "ttl"),
        (NexusConfig { wif: Some(WifConfig::default()), ..config("", "https://h", None) }, "api_key"),
    ] {
        let shown = format!("{config:?}");
        let Err(NexusError::Config(reason)) = NexusClient::create(config) else { panic!("taken: {shown}") };
        assert!(reason.contains(word) && !reason.contains("canary"), "{reason}");
        assert!(!shown.contains("canary") && !shown.contains(KEY), "{shown}");
    }
}

#[test]
fn long_keys_are_cut_in_errors_and_no_answer_is_repeated() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    let key = "k".repeat(500);

    let Err(NexusError::SecretNotFound(shown)) = client.get_secret(&key) else { panic!("found") };

    assert_eq!(shown.len(), 128);
    for status in [400, 401, 402, 403, 404, 409, 418, 429, 500, 503] {
        stage.fail("/v1/sync", Fault::Answer(status, String::new(), b"{\"error\":\"canary<>\"}".to_vec()));
        let error = client.sync().unwrap_err();
        assert!(!format!("{error:?}{error}{}", client.status().last_error.unwrap()).contains("canary"));
        assert!(status == 418 || error.status() == Some(status), "{error:?}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn two_clients_in_one_process_do_not_disturb_each_other() {
    let (one, other) = (Stage::filled(), Stage::filled());
    other.publish(|document| document.secrets = json!({"token": secret("other", 1)}));
    let (first, _clock) = one.client();
    let (second, _) = other.client();

    drop(first.clone());
    first.close();

    second.sync().unwrap();
    assert_eq!(second.get_secret("token").unwrap().expose(), "other");
    assert_eq!(first.get_secret("token").unwrap().expose(), "s3cret-1");
}

#[test]
fn a_closed_client_says_so_and_asks_nobody() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    client.run_stream();
    stage.wait_for("/v1/sync", 2);

    client.close();
    client.close();

    let before = stage.asked("").len();
    for refused in [client.sync(), client.set_secret("a", "b")] {
        assert!(
            matches!(&refused, Err(NexusError::SyncFailed(reason)) if reason.contains("closed")),
            "{refused:?}"
        );
    }
    client.run_stream();
    clock.advance(TTL * 10);
    assert_eq!(stage.asked("").len(), before);
    assert!(client.get_flag("checkout", false));
    assert_eq!(client.status().stream, None);
}

#[test]
fn the_last_clone_ends_the_thread_also_while_the_stream_runs() {
    let stage = Stage::filled();
    let clock = ManualClock::new();
    let client = stage.builder().clock(Arc::new(clock.clone())).stream(true).build().unwrap();
    stage.wait_for("/v1/sync", 2);
    let clone = client.clone();
    drop(client);
    assert!(clone.get_flag("checkout", false));

    drop(clone);

    // What it waited for is gone with it.
    eventually("nobody waits any more", || clock.sleepers() == 0);
    let before = stage.asked("").len();
    clock.advance(TTL * 10);
    stage.tell("flag.toggled");
    assert_eq!(stage.asked("").len(), before);
}
