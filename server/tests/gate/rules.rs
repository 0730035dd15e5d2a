//! Reflex rules: they trip, tighten what is told, and recover.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{Stage, upload_rules};

const SHED: &str = r#"
schema_version = "0.1"

[[rule]]
name = "shed-free"
tag = "free"
metric = "p95_latency"
operator = ">"
threshold = 500
window_secs = 30
action = "block"
recover_below = 400
recover_after_secs = 60
"#;

/// A pulse with so many calls of `free` that took that long.
fn slow(stage: &Stage, instance: &str, calls: u64, ms: f64) -> Value {
    let mut buckets = [0; 8];
    let bounds = [50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0];
    buckets[bounds.iter().position(|bound| ms <= *bound).unwrap_or(7)] = calls;
    let mut pulse = stage.calls(instance, calls);
    pulse["tagMetrics"][0]["latency"] = json!(ms);
    pulse["tagMetrics"][0]["latencyBuckets"] = json!(buckets);
    pulse
}

fn rule(status: &Value) -> &Value {
    &status["sites"][0]["rules"][0]
}

fn in_force(status: &Value) -> bool {
    rule(status)["in_force"] == true
}

#[tokio::test]
async fn a_rule_trips_with_the_pulse_that_breaks_it_and_recovers_by_itself() {
    let stage = Stage::new().await;
    upload_rules(&stage.server, SHED).await;
    let calm = stage.pulse(&slow(&stage, "i", 10, 40.0)).await.json();
    assert_eq!(calm["tagMaxWeights"], json!({}));

    stage.clock.advance(Duration::from_secs(1));
    let tripped = stage.pulse(&slow(&stage, "j", 100, 800.0)).await.json();
    assert_eq!(tripped["tagMaxWeights"], json!({"free": -1.0}), "the answer shows what the pulse caused");

    let status = stage.status().await;
    let rule = rule(&status);
    assert_eq!((&rule["namespace"], &rule["name"]), (&json!("payments"), &json!("shed-free")));
    assert_eq!((&rule["in_force"], &rule["since"]), (&json!(true), &status["now"]));
    assert_eq!(rule["action"], json!({"kind": "block"}));
    let why = rule["why"].as_str().unwrap();
    assert!(why.starts_with("p95_latency was ") && why.ends_with(" over 30 s, above 500"), "{why}");
    assert_eq!(status["sites"][0]["policy"]["tagMaxWeights"]["free"], -1.0);

    // Nobody reports any more: half a minute until the window is empty, and a minute of calm.
    let seconds = stage.seconds_until(120, |status| !in_force(status)).await;
    assert!((85..=95).contains(&seconds), "{seconds} s");
    assert_eq!(stage.pulse(&stage.calls("i", 1)).await.json()["tagMaxWeights"], json!({}));
}

#[tokio::test]
async fn a_kill_whose_notice_was_lost_is_found_within_half_a_minute_however_busy_the_rules_are() {
    let stage = Stage::new().await;
    upload_rules(&stage.server, SHED).await;
    stage.set(json!({"kill_signal": false})).await;
    let told = async |second: u32| {
        stage.pulse(&slow(&stage, &format!("i-{second}"), 1, 40.0)).await.json()["killSignal"] == true
    };
    // Meanwhile the notices of what was set arrive, which would tell of what follows as well.
    for second in 0..5 {
        assert!(!told(second).await);
        stage.clock.advance(Duration::from_secs(1));
    }

    // As another server of the same database would, had the notice of it been lost.
    let database = rusqlite::Connection::open(stage.server.data().join("leverframe.db")).unwrap();
    let changed = database.execute(
        "UPDATE gate_settings SET content = replace(content, '\"kill_signal\":false', '\"kill_signal\":true')",
        [],
    );
    assert_eq!(changed.unwrap(), 1);

    for second in 5..36 {
        if told(second).await {
            return;
        }
        stage.clock.advance(Duration::from_secs(1));
    }
    panic!("not within 31 seconds");
}

#[tokio::test]
async fn a_rule_in_force_outlives_the_process_and_recovers_in_the_next() {
    let mut stage = Stage::new().await;
    upload_rules(&stage.server, SHED).await;
    stage.pulse(&slow(&stage, "i", 100, 800.0)).await;
    assert!(in_force(&stage.status().await));

    stage.restart().await;

    assert!(in_force(&stage.status().await));
    let told = stage.pulse(&stage.calls("j", 0)).await.json();
    assert_eq!(told["tagMaxWeights"]["free"], -1.0);
    // Nobody asks but the server itself, which has to find the site first.
    stage.restart().await;
    let seconds = stage.seconds_until(120, |status| !in_force(status)).await;
    assert!((85..=95).contains(&seconds), "{seconds} s");
}

#[tokio::test]
async fn rules_change_with_the_namespace_that_has_them() {
    let stage = Stage::new().await;
    stage.pulse(&slow(&stage, "i", 100, 800.0)).await;
    let told = async |instance: &str| {
        stage.clock.advance(Duration::from_secs(1));
        stage.pulse(&slow(&stage, instance, 100, 800.0)).await.json()
    };
    // Notices are told within moments, in whichever order.
    let until = async |expected: Value| {
        for attempt in 0..1_000 {
            if told(&format!("{attempt}-{expected}")).await["tagMaxWeights"] == expected {
                return;
            }
        }
        panic!("never {expected}");
    };

    upload_rules(&stage.server, SHED).await;
    until(json!({"free": -1.0})).await;
    upload_rules(&stage.server, &SHED.replace("\"block\"", "{ limit_weight = 3 }")).await;
    until(json!({"free": 3.0})).await;
    upload_rules(&stage.server, &SHED.replace("threshold = 500", "threshold = 5000")).await;
    // What is in force stays so until it has recovered.
    stage.clock.advance(Duration::from_secs(31));
    stage.seconds_until(120, |status| !in_force(status)).await;
    until(json!({})).await;
}

#[tokio::test]
async fn a_rule_of_one_site_leaves_the_others_alone() {
    let stage = Stage::new().await;
    upload_rules(&stage.server, &format!("{SHED}site = \"eu\"\n")).await;
    let at = async |site: &str| {
        let mut pulse = slow(&stage, "i", 100, 800.0);
        pulse["siteId"] = json!(site);
        stage.pulse(&pulse).await.json()["tagMaxWeights"].clone()
    };

    assert_eq!(at("us").await, json!({}));
    assert_eq!(at("eu").await, json!({"free": -1.0}));
    let status = stage.status().await;
    let rules: Vec<usize> = status["sites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|site| site["rules"].as_array().unwrap().len())
        .collect();
    assert_eq!(rules, [1, 0]);
}

#[tokio::test]
async fn a_throttled_tag_is_a_percentage_for_our_client_and_exactly_that_share_of_intervals_for_others() {
    let stage = Stage::new().await;
    let throttled = SHED.replace("\"block\"", "{ throttle_percent = 30 }");
    upload_rules(&stage.server, &throttled).await;
    let ours = stage.our_pulse(&slow(&stage, "ours", 100, 800.0)).await.json();
    assert_eq!(ours["throttle"], json!({"free": 30}));
    assert_eq!(ours["tagMaxWeights"], json!({}));

    let mut refused = 0;
    for _ in 0..100 {
        stage.clock.advance(Duration::from_secs(5));
        // Slow still, so that the rule stays in force.
        let told = stage.pulse(&slow(&stage, "theirs", 100, 800.0)).await;
        assert!(!told.text.contains("throttle") && !told.text.contains("null}"), "{}", told.text);
        let limit = told.json()["tagMaxWeights"]["free"].as_f64().expect("a number, whatever it is");
        assert!(limit == -1.0 || limit == f64::MAX, "{limit}");
        refused += usize::from(limit == -1.0);
    }

    assert_eq!(refused, 30);
}
