//! Writing.

use std::{sync::Arc, thread, time::Duration};

use leverframe::{
    NexusClient, NexusError, Secret,
    settings::{FlagWrite, WriteOptions},
    testing::ManualClock,
};
use serde_json::json;

use super::stage::{Fault, Stage, config, pass, settled};

const TTL: Duration = Duration::from_secs(60);

/// A client that gives no request up while the clock goes from one look to the next.
fn patient(stage: &Stage) -> (NexusClient, ManualClock) {
    let clock = ManualClock::new();
    let builder = stage.builder().clock(Arc::new(clock.clone())).deadline(TTL * 60);
    (builder.build().unwrap(), clock)
}

#[test]
fn a_write_is_made_only_if_the_expected_version_is_stored() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    let options = WriteOptions::new().if_version(1).idempotency_key("rotation-1");

    client.set_secret_with("token", &Secret::new("s3cret-2"), &options).unwrap();
    let again = client.set_secret_with("token", &Secret::new("s3cret-3"), &options);

    assert!(matches!(again, Err(NexusError::Conflict)), "{again:?}");
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-2");
    assert_eq!(client.snapshot().secrets["token"].version, 2);
    let asked = &stage.asked("/v1/secrets")[0];
    assert_eq!(
        (asked.header("if-version"), asked.header("idempotency-key")),
        (Some("1"), Some("rotation-1"))
    );
}

#[test]
fn configs_and_flags_are_written_read_back_at_once_and_deleted() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    let options = WriteOptions::new();

    client.set_config("limits", &json!({"rps": 20}), &options).unwrap();
    client.set_flag("banner", &FlagWrite::new(true).rollout_percent(50.0), &options).unwrap();
    assert_eq!(client.get_config("limits"), Some(json!({"rps": 20})));
    assert!(client.get_flag("banner", false));
    client.delete_config("limits").unwrap();
    client.delete_flag("banner").unwrap();

    assert_eq!((client.get_config("limits"), client.find_flag("banner")), (None, None));
    assert_eq!(stage.asked("/v1/configs")[0].json(), json!({"value": {"rps": 20}}));
    assert_eq!(stage.asked("/v1/flags")[0].json(), json!({"is_active": true, "rollout_percent": 50.0}));
}

#[test]
fn the_writer_reads_what_it_wrote_although_no_sync_confirms_it() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    stage.fail_always("/v1/sync", Fault::status(500));

    client.set_secret("token", "s3cret-2").unwrap();
    client.set_config("greeting", &json!("bonjour"), &WriteOptions::new()).unwrap();
    client.set_flag("checkout", &FlagWrite::new(false), &WriteOptions::new()).unwrap();
    client.delete_config("limits").unwrap();

    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-2");
    assert_eq!(client.get_config("greeting"), Some("bonjour".into()));
    assert_eq!((client.find_flag("checkout"), client.get_config("limits")), (Some(false), None));
    // What the service says later is the truth again.
    stage.recover();
    stage.publish(|document| document.configs["greeting"]["value"] = "hola".into());
    client.sync().unwrap();
    assert_eq!(client.get_config("greeting"), Some("hola".into()));
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-2");
}

#[test]
fn a_look_that_began_before_a_write_does_not_take_it_back() {
    let stage = Stage::filled();
    let (client, clock) = patient(&stage);
    stage.fail("/v1/sync", Fault::Silence);
    pass(&clock, TTL);
    stage.wait_for("/v1/sync", 2);
    stage.fail_always("/v1/sync", Fault::status(500));
    client.set_secret("token", "s3cret-2").unwrap();
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-2");

    stage.end_silence();

    // The next look begins after what the first came to was taken over.
    stage.while_time_passes(&clock, "the service is asked again", || stage.syncs() >= 4);
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-2");
}

#[test]
fn a_write_whose_own_look_no_longer_counts_is_read_all_the_same() {
    let stage = Stage::filled();
    let (client, clock) = patient(&stage);
    stage.fail("/v1/sync", Fault::Silence);
    let writing = thread::spawn({
        let client = client.clone();
        move || client.set_secret("token", "s3cret-2")
    });
    stage.wait_for("/v1/sync", 2);
    // One that began later has failed by then.
    stage.fail_always("/v1/sync", Fault::status(500));
    pass(&clock, TTL);
    settled(&client, 1);

    stage.end_silence();
    writing.join().unwrap().unwrap();

    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-2");
    stage.recover();
    client.sync().unwrap();
    assert_eq!(client.snapshot().secrets["token"].source, "service");
}

#[test]
fn what_a_reference_stands_for_is_left_to_the_service() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    stage.fail_always("/v1/sync", Fault::status(500));
    client.set_config("greeting", &json!("bonjour"), &WriteOptions::new()).unwrap();

    for value in [json!("postgres://{{secret:P}}@h"), json!({"a": [{"b": "{{config:c}}"}]})] {
        client.set_config("greeting", &value, &WriteOptions::new()).unwrap();
        // Neither as it was written, nor what it replaces.
        assert_eq!(client.get_config("greeting"), Some("hello".into()));
    }
    client.set_config("limits", &json!({"a": {"b": {}}}), &WriteOptions::new()).unwrap();
    assert_eq!(client.get_config("limits"), Some(json!({"a": {"b": {}}})));

    stage.recover();
    stage.publish(|document| document.configs["greeting"] = config("postgres://resolved@h"));
    client.sync().unwrap();
    assert_eq!(client.get_config("greeting"), Some("postgres://resolved@h".into()));
}

#[test]
fn what_is_left_of_a_deleted_entry_where_others_are_inherited_is_left_to_the_service() {
    let stage = Stage::filled();
    stage.publish(|document| {
        document.configs["base"] = json!({"value": 1, "source": "umbrella"});
    });
    let (client, _clock) = stage.client();
    stage.fail_always("/v1/sync", Fault::status(500));
    client.set_config("base", &json!(2), &WriteOptions::new()).unwrap();
    assert_eq!(client.get_config("base"), Some(json!(2)));

    client.delete_config("base").unwrap();
    client.delete_config("greeting").unwrap();
    client.delete_flag("checkout").unwrap();
    client.delete_secret("token").unwrap();

    assert_eq!(client.get_config("base"), Some(json!(1)));
    assert_eq!(
        (client.get_config("greeting"), client.find_flag("checkout")),
        (Some("hello".into()), Some(true))
    );
    stage.recover();
    client.sync().unwrap();
    assert_eq!((client.get_config("greeting"), client.find_flag("checkout")), (None, None));
    assert!(matches!(client.get_secret("token"), Err(NexusError::SecretNotFound(_))));
}

#[test]
fn a_write_that_is_refused_changes_nothing_here() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    let before = stage.syncs();
    for (status, is_expected) in [
        (400, (|e| matches!(e, NexusError::BadRequest)) as fn(&NexusError) -> bool),
        (402, |e| matches!(e, NexusError::Billing)),
        (403, |e| matches!(e, NexusError::Forbidden)),
        (409, |e| matches!(e, NexusError::Conflict)),
        (412, |e| matches!(e, NexusError::Conflict)),
        (503, |e| matches!(e, NexusError::Unavailable { .. })),
    ] {
        stage.fail("/v1/secrets", Fault::status(status));
        let error = client.set_secret("token", "x").unwrap_err();
        assert!(is_expected(&error), "{status}: {error:?}");
    }

    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-1");
    assert_eq!(stage.syncs(), before);
    assert!(client.billing_overdue());
}

#[test]
fn keys_that_paths_have_another_use_for_are_refused_before_any_request() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    let before = stage.asked("").len();

    for key in ["", ".", ".."] {
        assert!(matches!(client.delete_secret(key), Err(NexusError::BadRequest)));
        assert!(matches!(client.delete_flag(key), Err(NexusError::BadRequest)));
    }

    assert_eq!(stage.asked("").len(), before);
}
