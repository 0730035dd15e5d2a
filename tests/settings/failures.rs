//! What the service, the network and the clock can do wrong.

use std::{sync::Arc, thread, time::Duration};

use allocation_counter::measure;
use leverframe::{ErrorKind, NexusClient, NexusError, testing::ManualClock, traits::Clock};
use serde_json::json;

use super::{
    ports::free_port,
    stage::{Fault, KEY, Stage, config, eventually, flag, pass, settled},
};

const TTL: Duration = Duration::from_secs(60);

/// Everything that was there is served, and the failure shows.
#[track_caller]
fn goes_on(client: &NexusClient, case: &str) {
    assert!(client.get_flag("checkout", false), "{case}");
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-1", "{case}");
    assert_eq!(client.get_config("greeting").unwrap(), "hello", "{case}");
    let status = client.status();
    assert!(status.consecutive_failures > 0 && status.last_error.is_some(), "{case}: {status:?}");
}

#[test]
fn a_service_that_is_not_there_fails_the_start_with_a_hint() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());

    let error = NexusClient::builder().endpoint(nowhere).api_key(KEY).build().unwrap_err();

    assert!(matches!(error, NexusError::Transport(_)), "{error:?}");
    assert_eq!((error.kind(), error.status()), (ErrorKind::Unavailable, None));
    assert!(!format!("{error:?}").contains(KEY));
}

#[test]
fn a_service_that_hangs_is_given_up_at_the_deadline() {
    let stage = Stage::filled();
    stage.fail("/v1/sync", Fault::Silence);
    let clock = ManualClock::new();
    let builder = stage.builder().clock(Arc::new(clock.clone()));
    let starting = thread::spawn(move || builder.build());
    stage.wait_for("/v1/sync", 1);

    pass(&clock, Duration::from_secs(10));

    let error = starting.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
}

#[test]
fn whatever_the_service_sends_instead_of_settings_leaves_what_is_served_alone() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    let with = |fields: &str| Fault::body(format!(r#"{{"synced_at":"t","key_type":"sk",{fields}}}"#));
    let deep =
        format!(r#""configs":{{"c":{{"source":"s","value":{}1{}}}}}"#, "[".repeat(500), "]".repeat(500));
    for (case, fault, is_expected) in [
        ("reset", Fault::Reset, (|e| matches!(e, NexusError::Transport(_))) as fn(&NexusError) -> bool),
        ("cut", Fault::Cut, |e| matches!(e, NexusError::Transport(_))),
        ("empty", Fault::body(""), |e| matches!(e, NexusError::Json(_))),
        ("markup", Fault::body("<html><body>hello</body></html>"), |e| matches!(e, NexusError::Json(_))),
        ("bytes", Fault::body(vec![0xff; 1_000]), |e| matches!(e, NexusError::Json(_))),
        ("null", Fault::body("null"), |e| matches!(e, NexusError::Json(_))),
        ("no map", with(r#""flags":null"#), |e| matches!(e, NexusError::Json(_))),
        ("wrong type", with(r#""flags":{"f":{"is_active":1,"source":"s"}}"#), |e| {
            matches!(e, NexusError::Json(_))
        }),
        (
            "a key twice",
            with(r#""flags":{"f":{"is_active":true,"source":"s"},"f":{"is_active":false,"source":"s"}}"#),
            |e| matches!(e, NexusError::Json(_)),
        ),
        ("too deep", with(&deep), |e| matches!(e, NexusError::Json(_))),
        ("endless", Fault::Endless, |e| matches!(e, NexusError::ResponseTooLarge { limit: 8_388_608 })),
        ("no content", Fault::status(204), |e| e.kind() == ErrorKind::Invalid),
        ("unknown key", Fault::status(401), |e| matches!(e, NexusError::Unauthorized)),
        ("forbidden", Fault::status(403), |e| matches!(e, NexusError::Forbidden)),
        ("nothing there", Fault::status(404), |e| matches!(e, NexusError::NotFound)),
        ("odd status", Fault::status(418), |e| matches!(e, NexusError::SyncFailed(_))),
        ("broken", Fault::status(500), |e| {
            matches!(e, NexusError::Unavailable { status: 500, retry_after: None })
        }),
    ] {
        stage.fail("/v1/sync", fault);

        let error = client.sync().unwrap_err();

        assert!(is_expected(&error), "{case}: {error:?}");
        goes_on(&client, case);
    }
    stage.publish(|document| document.flags = json!({"checkout": flag(false)}));
    client.sync().unwrap();
    assert!(!client.get_flag("checkout", true));
    assert_eq!(client.status().last_error, None);
}

#[test]
fn an_answer_declared_too_large_is_not_read_at_all() {
    let stage = Stage::filled();
    let (client, _clock) = stage.client();
    // Nothing follows: reading on would wait for ever, on a clock that stands still.
    stage.fail("/v1/sync", Fault::Answer(200, "Content-Length: 8388609\r\n".to_owned(), Vec::new()));

    let error = client.sync().unwrap_err();

    // The stage declares an empty body besides; which of the two is believed is the transport's business.
    assert!(matches!(error, NexusError::ResponseTooLarge { .. } | NexusError::Transport(_)), "{error:?}");
}

#[test]
fn a_redirect_is_an_error_whatever_the_request() {
    let (stage, elsewhere) = (Stage::filled(), Stage::filled());
    let (client, _clock) = stage.client();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("Location: {}/v1/sync\r\n", elsewhere.url());
        for path in ["/v1/sync", "/v1/secrets"] {
            stage.fail(path, Fault::Answer(status, location.clone(), Vec::new()));
        }

        let refused = [client.sync(), client.delete_secret("token")];

        assert!(refused.iter().all(|r| matches!(r, Err(NexusError::SyncFailed(_)))), "{status}: {refused:?}");
    }
    assert_eq!(elsewhere.asked("").len(), 0);
}

#[test]
fn a_hundred_thousand_reads_of_a_stale_snapshot_cost_a_failing_service_one_request_a_step() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    stage.fail_always("/v1/sync", Fault::status(500));
    pass(&clock, TTL);
    settled(&client, 1);
    assert_eq!(stage.syncs(), 2);

    let cost = measure(|| {
        for _ in 0..100_000 {
            assert!(client.get_flag("checkout", false));
        }
    });

    assert_eq!((cost.count_total, stage.syncs()), (0, 2));
    // An hour of failures: pauses of up to 1, 2, 4, 8, 16 and 32 seconds, and then of the interval; each is shortened by
    // up to a half.
    let start = clock.now();
    let mut failures = 1;
    while clock.now() - start < Duration::from_secs(3_600) {
        eventually("the thread waits", || clock.sleepers() > 0);
        let next = *clock.deadlines().first().unwrap();
        clock.advance(next - clock.now());
        failures += 1;
        settled(&client, failures);
        assert!(client.get_flag("checkout", false));
    }
    assert_eq!(stage.syncs() as u64, 1 + failures);
    assert!((60..=130).contains(&failures), "{failures} requests in an hour");
}

#[test]
fn a_service_that_asks_to_be_left_alone_is() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    stage.fail_always("/v1/sync", Fault::Answer(503, "Retry-After: 150\r\n".to_owned(), Vec::new()));

    let error = client.sync().unwrap_err();

    assert_eq!((error.status(), error.retry_after()), (Some(503), Some(Duration::from_secs(150))));
    for n in 0..2 {
        pass(&clock, TTL);
        settled(&client, 2 + n);
    }
    assert_eq!(stage.syncs(), 2);
    stage.recover();
    pass(&clock, TTL);
    stage.wait_for("/v1/sync", 3);
}

#[test]
fn a_clock_that_jumps_changes_nothing_but_stamps() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    let day = Duration::from_secs(86_400);
    for wall in [clock.wall() + day * 3_650, std::time::UNIX_EPOCH, clock.wall() - day] {
        let refreshes = client.status().refreshes;
        let before = stage.syncs();
        clock.set_wall(wall);
        assert!(client.get_flag("checkout", false));

        pass(&clock, TTL);
        settled(&client, refreshes + 1);

        assert_eq!(stage.syncs(), before + 1);
        assert_eq!((client.synced_at(), client.status().staleness), (Some(clock.wall()), Duration::ZERO));
    }
}

#[test]
fn a_client_that_goes_during_a_refresh_waits_for_nothing() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    stage.fail("/v1/sync", Fault::Silence);
    pass(&clock, TTL);
    stage.wait_for("/v1/sync", 2);

    drop(client);

    // The refresh, its deadline and the thread's wait are gone, though the clock stands still.
    eventually("nobody waits any more", || clock.sleepers() == 0);
}

#[test]
fn closing_during_a_refresh_waits_for_nothing_either() {
    let stage = Stage::filled();
    let (client, clock) = stage.client();
    stage.fail("/v1/sync", Fault::Silence);
    pass(&clock, TTL);
    stage.wait_for("/v1/sync", 2);

    client.close();

    assert!(client.get_flag("checkout", false));
}

#[test]
fn the_age_of_what_is_served_shows_and_takes_nothing_away() {
    let stage = Stage::filled();
    let clock = ManualClock::new();
    let client =
        stage.builder().clock(Arc::new(clock.clone())).max_stale(Duration::from_secs(100)).build().unwrap();
    stage.fail_always("/v1/sync", Fault::status(500));
    assert!(!client.status().expired);

    pass(&clock, Duration::from_secs(101));
    settled(&client, 1);

    let status = client.status();
    assert!(status.expired && status.staleness >= Duration::from_secs(101), "{status:?}");
    goes_on(&client, "expired");
}

#[test]
fn the_old_snapshot_is_freed_by_the_refresh_and_never_by_a_reader() {
    let stage = Stage::filled();
    stage.publish(|document| {
        document.configs = (0..5_000).map(|n| (format!("k{n}"), config("x".repeat(20)))).collect();
    });
    let (client, _clock) = stage.client();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looks = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let reader = thread::spawn({
        let (client, stop, looks) = (client.clone(), Arc::clone(&stop), Arc::clone(&looks));
        move || {
            // A thread's first look may make what its later ones are counted with.
            assert_eq!(client.find_flag("checkout"), Some(true));
            measure(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(client.find_flag("checkout").is_some_and(|on| on));
                    looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            })
        }
    });
    for n in 0..5 {
        stage.publish(|document| document.configs["k0"] = config(n));
        client.sync().unwrap();
        // Whoever was held up in the middle of a look has got to its end: the last one to hold a snapshot frees it.
        let before = looks.load(std::sync::atomic::Ordering::Relaxed);
        eventually("it looks on", || looks.load(std::sync::atomic::Ordering::Relaxed) > before + 1);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);

    // What a reader frees counts against what it allocates.
    let cost = reader.join().unwrap();
    assert_eq!((cost.count_total, cost.count_current), (0, 0), "{cost:?}");
}
