//! What reads and refreshes cost, counted.

use allocation_counter::measure;
use serde::Deserialize;
use serde_json::json;

use super::stage::{Fault, Stage, config, flag, secret};

#[test]
fn reads_allocate_nothing() {
    #[derive(Deserialize)]
    struct Limits {
        rps: u32,
    }
    let stage = Stage::filled();
    stage.publish(|document| document.configs["port"] = config(8080));
    let (client, _clock) = stage.client();
    let limits = client.bind::<Limits>("limits").unwrap();

    let cost = measure(|| {
        for _ in 0..1_000 {
            assert!(client.get_flag("checkout", false));
            assert_eq!(client.find_flag("none"), None);
            assert!(matches!(client.get_config_as::<u16>("port"), Ok(Some(8080))));
            assert_eq!(limits.load().rps, 10);
            assert!(!client.billing_overdue());
            assert_eq!(client.key_type(), "sk");
        }
    });

    assert_eq!(cost.count_total, 0);
}

/// 4,000 configs, 2,000 secrets, 4,000 flags.
fn ten_thousand() -> Stage {
    let stage = Stage::start();
    stage.publish(|document| {
        document.configs = (0..4_000).map(|n| (format!("config.{n}"), config(n))).collect();
        document.secrets =
            (0..2_000).map(|n| (format!("secret.{n}"), secret(&format!("value {n}"), 1))).collect();
        document.flags = (0..4_000).map(|n| (format!("flag.{n}"), flag(n % 2 == 0))).collect();
    });
    stage
}

#[test]
fn ten_thousand_keys_are_taken_over_with_a_few_allocations_each() {
    let stage = ten_thousand();
    let (client, _clock) = stage.client();
    stage.publish(|document| document.flags["flag.0"] = flag(false));

    // The calling thread reads, decodes and swaps.
    let cost = measure(|| client.sync().unwrap());

    assert!(!client.get_flag("flag.0", true) && client.get_flag("flag.3998", false));
    assert_eq!(client.get_secret("secret.1999").unwrap().expose(), "value 1999");
    assert!(cost.count_total < 60_000, "{} allocations", cost.count_total);
}

#[test]
fn an_unchanged_answer_costs_the_same_however_much_is_held() {
    let (small, large) = (Stage::filled(), ten_thousand());
    let cost = |stage: &Stage| {
        let (client, _clock) = stage.client();
        client.sync().unwrap();
        let cost = measure(|| client.sync().unwrap());
        assert_eq!(client.status().version, 1);
        cost
    };

    let (few, many) = (cost(&small), cost(&large));

    // One request and the status of the feed; no document, no table, no buffer for a body. Of the whole process, with a
    // real server, see `polls.rs`.
    assert!(many.bytes_max < 8 * 1024 && many.count_total < 40, "{many:?}");
    assert!(many.bytes_max < few.bytes_max + 1024, "{few:?} {many:?}");
}

#[test]
fn failures_in_a_row_leave_the_heap_as_it_was() {
    let stage = ten_thousand();
    let (client, _clock) = stage.client();
    stage.fail_always("/v1/sync", Fault::status(500));
    let fail = || {
        for _ in 0..100 {
            assert!(client.sync().is_err());
        }
    };
    fail();

    let cost = measure(fail);

    // What is handed to the transport's thread is given back there: here it only grows less.
    assert!(cost.bytes_current < 1024, "{cost:?}");
    assert_eq!(client.status().consecutive_failures, 200);
}

#[test]
fn a_snapshot_is_whole_while_it_is_replaced() {
    let stage = Stage::start();
    stage.publish(|document| document.configs = json!({"a": config(0), "b": config(0)}));
    let (client, _clock) = stage.client();
    let reader = std::thread::spawn({
        let client = client.clone();
        move || {
            loop {
                let all = client.get_all_configs();
                assert_eq!(all["a"], all["b"]);
                if all["a"] == 20 {
                    return;
                }
            }
        }
    });

    for n in 1..=20 {
        stage.publish(|document| document.configs = json!({"a": config(n), "b": config(n)}));
        client.sync().unwrap();
    }

    reader.join().unwrap();
}
