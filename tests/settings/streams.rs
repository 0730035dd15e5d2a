//! The event stream: what it costs, and what it survives.

use std::{sync::Arc, time::Duration};

use leverframe::{
    NexusClient, NexusError, settings::WriteOptions, sse::StreamState, testing::ManualClock, traits::Clock,
};
use serde_json::json;

use super::stage::{Fault, Stage, eventually, flag, pass};

/// A client with a stream, whose first look is over.
fn streaming(stage: &Stage) -> (NexusClient, ManualClock) {
    let (client, clock) = stage.client();
    client.run_stream();
    stage.wait_for_streams(1);
    stage.wait_for("/v1/sync", 2);
    eventually("the look is over", || steady(&client));
    (client, clock)
}

fn steady(client: &NexusClient) -> bool {
    let status = client.status();
    status.refreshes >= 1 && status.stream.is_some_and(|stream| stream.state == StreamState::Steady)
}

fn events(client: &NexusClient) -> u64 {
    client.status().stream.map_or(0, |stream| stream.events)
}

/// Waits until so many events came; the short rests of the client between two looks pass meanwhile.
#[track_caller]
fn come(client: &NexusClient, clock: &ManualClock, number: u64) {
    eventually("the events come", || {
        let rest = clock.deadlines().first().map(|first| *first - clock.now());
        if let Some(rest) = rest.filter(|rest| *rest <= Duration::from_millis(20)) {
            clock.advance(rest);
        }
        events(client) >= number
    });
}

#[test]
fn opening_the_stream_costs_one_look_and_a_second_call_none() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);

    client.run_stream();
    client.clone().run_stream();
    pass(&clock, Duration::from_secs(5));

    eventually("the stream is steady", || steady(&client));
    assert_eq!((stage.syncs(), stage.asked("/v1/stream").len()), (2, 1));
    assert_eq!(stage.asked("/v1/stream")[0].header("accept"), Some("text/event-stream"));
}

#[test]
fn a_service_that_says_nothing_at_first_is_looked_at_all_the_same() {
    let stage = Stage::filled();
    stage.be_mute();
    let (client, clock) = stage.client();
    client.run_stream();
    stage.wait_for_streams(1);
    eventually("the stream is open", || {
        client.status().stream.is_some_and(|s| s.state != StreamState::Connecting)
    });

    pass(&clock, Duration::from_millis(500));

    stage.wait_for("/v1/sync", 2);
}

#[test]
fn a_hundred_events_in_a_row_cost_at_most_two_looks() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);
    pass(&clock, Duration::from_secs(5));
    stage.publish(|document| document.flags = json!({"checkout": flag(false)}));

    for n in 0..100 {
        stage.tell(["flag.toggled", "config.updated", "secret.created", "resync"][n % 4]);
        // One after the other, so that each could be a reason of its own to look.
        come(&client, &clock, n as u64 + 2);
    }
    eventually("the flag is off", || !client.get_flag("checkout", true));
    pass(&clock, Duration::from_secs(5));
    eventually("the stream is steady", || steady(&client));

    let looks = stage.syncs() - 2;
    assert!((1..=2).contains(&looks), "{looks} looks");
}

#[test]
fn events_that_keep_coming_are_followed_ever_less_often() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);

    // One every 10 ms, for 10 s.
    for n in 0..1_000 {
        stage.tell("config.updated");
        come(&client, &clock, n + 2);
        pass(&clock, Duration::from_millis(10));
    }

    let looks = stage.syncs() - 2;
    assert!((8..=30).contains(&looks), "{looks} looks");
}

#[test]
fn both_generations_of_writing_are_read_and_what_is_no_event_of_ours_is_not() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);
    let look = |raw: &str, looks: usize| {
        pass(&clock, Duration::from_secs(5));
        let before = (stage.syncs(), events(&client));
        stage.send_raw(raw.as_bytes());
        come(&client, &clock, before.1 + 1);
        if looks > 0 {
            stage.wait_for("/v1/sync", before.0 + looks);
        }
        eventually("the stream is steady", || steady(&client));
        assert_eq!(stage.syncs() - before.0, looks, "{raw:?}");
    };

    look("event:flag.toggled\ndata:{}\n\n", 1);
    look("event: flag.toggled\r\ndata: {}\r\n\r\n", 1);
    look("data: x\ndata: y\ndata: z\nevent: config.deleted\nid: 7\n\n", 1);
    look("event: later.event\ndata: {}\n\n", 0);
    look("data: {}\n\n", 0);
    look(": ping\n\nevent: secret.read\ndata: {}\n\n", 0);
    assert_eq!(client.status().stream.unwrap().last_event_id.as_deref(), Some("7"));
}

#[test]
fn a_stream_that_breaks_is_opened_again_for_ever_with_growing_pauses() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);
    stage.fail_always("/v1/stream", Fault::status(503));
    let start = clock.now();

    stage.break_streams();
    for attempts in 2..12 {
        stage.while_time_passes(&clock, "it is tried again", || stage.asked("/v1/stream").len() >= attempts);
    }

    let took = clock.now() - start;
    assert!(took > Duration::from_secs(60), "ten attempts within {took:?}");
    assert!(client.status().stream.unwrap().last_error.is_some());
    stage.recover();
    stage.publish(|document| document.flags = json!({"checkout": flag(false)}));
    stage.while_time_passes(&clock, "it is open again, and the flag off", || {
        steady(&client) && !client.get_flag("checkout", true)
    });
}

#[test]
fn a_connection_that_was_healthy_for_a_minute_leaves_no_failures_behind() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);
    stage.fail("/v1/stream", Fault::status(503));
    stage.fail("/v1/stream", Fault::status(503));
    stage.break_streams();
    stage.while_time_passes(&clock, "it is open again", || client.status().stream.unwrap().connections == 2);
    for _ in 0..3 {
        pass(&clock, Duration::from_secs(25));
        let before = events(&client);
        stage.send_raw(b": ping\n\nevent: x\ndata: {}\n\n");
        come(&client, &clock, before + 1);
    }

    stage.break_streams();
    eventually("the loss is known", || client.status().stream.unwrap().connected_since.is_none());

    // The first pause again: a second at most.
    pass(&clock, Duration::from_secs(1));
    stage.wait_for_streams(3);
}

#[test]
fn a_connection_without_a_sign_of_life_is_dead_after_ninety_seconds() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);

    for _ in 0..89 {
        pass(&clock, Duration::from_secs(1));
    }
    assert_eq!(stage.asked("/v1/stream").len(), 1);
    pass(&clock, Duration::from_secs(1));
    eventually("the loss is known", || client.status().stream.unwrap().connected_since.is_none());

    // The first pause: a second at most.
    pass(&clock, Duration::from_secs(1));
    stage.wait_for_streams(2);
    eventually("another is open", || client.status().stream.unwrap().connections == 2);
}

#[test]
fn a_stopped_stream_ends_and_can_be_run_again() {
    let stage = Stage::filled();
    let client = stage.builder().stream(true).build().unwrap();
    stage.wait_for_streams(1);

    client.stop_stream();
    assert_eq!(client.status().stream, None);
    client.run_stream();

    stage.wait_for_streams(2);
}

#[test]
fn what_is_no_stream_is_told_and_polled_instead() {
    let stage = Stage::filled();
    stage.fail_always("/v1/stream", Fault::body("<html>"));
    let clock = ManualClock::new();
    let client = stage.builder().clock(Arc::new(clock.clone())).stream(true).build().unwrap();

    eventually("it is told", || client.status().stream.is_some_and(|stream| stream.last_error.is_some()));
    stage.publish(|document| document.flags = json!({"checkout": flag(false)}));
    stage.while_time_passes(&clock, "the poll brings it", || !client.get_flag("checkout", true));
}

/// A change as the stream tells it with its values, and the event that other clients go by.
fn patch(base: &str, etag: &str, rest: &str) -> String {
    let (base, etag) = (json!(base), json!(etag));
    format!(
        "event: settings.patch\ndata: {{\"base\":{base},\"etag\":{etag},\"events\":1,{rest}}}\n\n\
         event: flag.toggled\ndata: {{}}\n\n"
    )
}

/// What the service calls the state that the client has.
fn served(stage: &Stage) -> String {
    let asked = stage.asked("/v1/sync");
    asked.last().unwrap().header("if-none-match").unwrap().to_owned()
}

const OFF: &str = r#""flags":{"checkout":{"is_active":false,"source":"service"}}"#;

#[test]
fn a_change_that_is_told_with_its_values_is_taken_over_without_asking() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);
    let first = served(&stage);
    let (told, telling) = std::sync::mpsc::channel();
    let _watching = client.on_change(move |change| told.send(change.clone()).unwrap());
    assert!(client.get_flag("checkout", false));

    stage.send_raw(patch(&first, "\"next\"", OFF).as_bytes());
    stage.while_time_passes(&clock, "the flag is off", || !client.get_flag("checkout", true));
    assert_eq!(telling.recv().unwrap().flags, ["checkout"]);

    pass(&clock, Duration::from_secs(5));
    let more = r#""configs":{"new":{"value":[1],"source":"umbrella"}},"gone":{"flags":["checkout"]}"#;
    stage.send_raw(patch("\"next\"", "\"last\"", more).as_bytes());
    stage.while_time_passes(&clock, "the config is there", || client.get_config("new") == Some(json!([1])));
    assert_eq!(client.find_flag("checkout"), None);

    pass(&clock, Duration::from_secs(5));
    eventually("the stream is steady", || steady(&client));
    assert_eq!(stage.syncs(), 2);
    // Whoever asks is answered by the service, which is asked by the name of the state that was told last.
    client.sync().unwrap();
    assert_eq!((stage.syncs(), served(&stage)), (3, "\"last\"".to_owned()));
}

/// Has the service say, of another request, that it wants to be left alone for a minute.
fn hold(stage: &Stage, client: &NexusClient) {
    stage.fail("/v1/flags", Fault::Answer(429, "Retry-After: 60\r\n".to_owned(), Vec::new()));
    let refused = client.evaluate_ab(&["checkout"], "ann", &Default::default());
    assert!(matches!(refused, Err(NexusError::RateLimited)), "{refused:?}");
    assert_eq!(client.held_for(), Some(Duration::from_secs(60)));
}

#[test]
fn what_is_told_with_its_values_is_taken_over_while_the_service_wants_to_be_left_alone() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);
    pass(&clock, Duration::from_secs(5));
    hold(&stage, &client);

    stage.send_raw(patch(&served(&stage), "\"next\"", OFF).as_bytes());

    come(&client, &clock, 3);
    eventually("the flag is off", || !client.get_flag("checkout", true));
    eventually("the stream is steady", || steady(&client));
    assert_eq!((stage.syncs(), client.status().failures), (2, 0));
}

#[test]
fn what_is_told_without_values_waits_for_the_end_of_a_hold_and_nobody_spins_meanwhile() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);
    let strange = patch("\"other\"", "\"next\"", OFF);
    // That a patch does not fit shows when it is tried; the pauses after a failure are those of every refresh.
    for (told, most) in [("event: config.updated\ndata: {}\n\n", 2), (strange.as_str(), 4)] {
        pass(&clock, Duration::from_secs(5));
        hold(&stage, &client);
        let (syncs, failures, seen) = (stage.syncs(), client.status().failures, events(&client));
        stage.publish(|document| document.configs["n"] = super::stage::config(syncs));
        stage.send_raw(told.as_bytes());
        come(&client, &clock, seen + 1);

        let start = clock.now();
        stage
            .while_time_passes(&clock, "five seconds pass", || clock.now() - start >= Duration::from_secs(5));

        let failed = client.status().failures - failures;
        assert!(failed <= most, "{failed} failures: {told}");
        assert_eq!(stage.syncs(), syncs);
        stage.while_time_passes(&clock, "the change is there", || {
            client.get_config("n") == Some(json!(syncs))
        });
        assert_eq!(client.held_for(), None);
        eventually("the stream is steady", || steady(&client));
    }
}

#[test]
fn a_change_of_another_state_or_that_nobody_can_read_has_the_service_asked() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);
    let mut looks = 2;
    for told in [
        patch("\"other\"", "\"next\"", OFF),
        // A gap after what would fit.
        patch(&served(&stage), "\"next\"", OFF) + &patch("\"other\"", "\"last\"", OFF),
        patch(&served(&stage), "\"next\"", r#""flags":{"checkout":{"is_active":"no","source":"service"}}"#),
        patch(&served(&stage), "\"next\"", r#""flags":[]"#),
        "event: settings.patch\ndata: {\n\nevent: flag.toggled\ndata: {}\n\n".to_owned(),
        // Something more than what it tells.
        patch(&served(&stage), "\"next\"", OFF) + "event: secret.updated\ndata: {}\n\n",
    ] {
        pass(&clock, Duration::from_secs(5));
        looks += 1;
        stage.send_raw(told.as_bytes());

        stage.while_time_passes(&clock, "the service is asked", || stage.syncs() == looks);
        eventually("the stream is steady", || steady(&client));
        assert_eq!(stage.syncs(), looks, "{told}");
        assert!(client.get_flag("checkout", false), "{told}");
    }
}

#[test]
fn a_change_that_is_told_takes_nothing_back_that_was_written_and_not_confirmed() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);
    let first = served(&stage);
    stage.fail_always("/v1/sync", Fault::status(500));
    client.set_config("greeting", &json!("bonjour"), &WriteOptions::new()).unwrap();
    let looks = stage.syncs();

    stage.send_raw(patch(&first, "\"next\"", OFF).as_bytes());

    // The second look begins after what the first came to was taken over.
    stage.while_time_passes(&clock, "the service is asked", || stage.syncs() >= looks + 2);
    assert_eq!(client.get_config("greeting"), Some("bonjour".into()));
    stage.recover();
    stage.publish(|document| document.configs["greeting"]["value"] = "hola".into());
    client.sync().unwrap();
    assert_eq!(client.get_config("greeting"), Some("hola".into()));
}

#[test]
fn several_changes_that_follow_each_other_are_one() {
    let stage = Stage::filled();
    let (client, clock) = streaming(&stage);
    pass(&clock, Duration::from_secs(5));
    let first = patch(
        &served(&stage),
        "\"2\"",
        r#""configs":{"a":{"value":1,"source":"service"},"b":{"value":1,"source":"service"}}"#,
    );
    let second =
        patch("\"2\"", "\"3\"", r#""configs":{"b":{"value":2,"source":"service"}},"gone":{"configs":["a"]}"#);
    let third = patch("\"3\"", "\"4\"", r#""configs":{"a":{"value":3,"source":"service"}}"#);

    stage.send_raw((first + &second + &third).as_bytes());
    stage.while_time_passes(&clock, "the last one is there", || client.get_config("a") == Some(json!(3)));

    assert_eq!(client.get_config("b"), Some(json!(2)));
    pass(&clock, Duration::from_secs(5));
    eventually("the stream is steady", || steady(&client));
    assert_eq!(stage.syncs(), 2);
}

#[test]
fn a_client_that_keeps_what_it_has_asks_the_service_for_it() {
    let stage = Stage::filled();
    let (cache, clock) = (
        Arc::new(leverframe::backends::cache_memory::MemoryCache::new(Default::default())),
        ManualClock::new(),
    );
    let key = leverframe::Secret::new("k".repeat(32));
    let client = stage.builder().clock(Arc::new(clock.clone())).cache(cache, key).build().unwrap();
    client.run_stream();
    stage.wait_for("/v1/sync", 2);
    eventually("the look is over", || steady(&client));

    pass(&clock, Duration::from_secs(5));
    stage.send_raw(patch(&served(&stage), "\"next\"", OFF).as_bytes());

    stage.while_time_passes(&clock, "the service is asked", || stage.syncs() == 3);
    assert!(client.get_flag("checkout", false));
}
