//! What instances are told, and when.

use std::time::Duration;

use leverframe::gate::Policy;
use serde_json::json;

use crate::stage::{Key, Stage};

#[tokio::test]
async fn a_policy_is_written_as_every_client_reads_it() {
    let stage = Stage::new().await;
    assert_eq!(
        stage.pulse(&stage.calls("i", 1)).await.text,
        r#"{"globalMaxWeight":null,"killSignal":false,"leaseDurationSeconds":300,"pulseInterval":5000,"status":null,"tagMaxWeights":{}}"#
    );

    stage
        .set(json!({
            "global_max_weight": 500, "tag_max_weights": {"free": 10, "pro": 0.5}, "status": "busy",
            "lease_duration_seconds": 90, "pulse_interval": 2_000,
        }))
        .await;

    let told = stage.pulse(&stage.calls("j", 1)).await.text;
    assert_eq!(
        told,
        r#"{"globalMaxWeight":500.0,"killSignal":false,"leaseDurationSeconds":90,"pulseInterval":2000,"status":"busy","tagMaxWeights":{"free":10.0,"pro":0.5}}"#
    );
    assert_eq!(stage.our_pulse(&stage.calls("k", 1)).await.text, told);
    let read: Policy = serde_json::from_str(&told).unwrap();
    assert_eq!(read.tag_max_weights.get("free"), Some(10.0));
}

#[tokio::test]
async fn a_kill_signal_reaches_the_next_pulse_and_ends_with_the_next() {
    let stage = Stage::new().await;
    stage.pulse(&stage.calls("i", 1)).await;

    stage.set(json!({"kill_signal": true})).await;
    assert_eq!(stage.pulse(&stage.calls("j", 1)).await.json()["killSignal"], true);

    stage.set(json!({"kill_signal": false})).await;
    assert_eq!(stage.pulse(&stage.calls("k", 1)).await.json()["killSignal"], false);
}

#[tokio::test]
async fn what_is_set_for_a_site_tightens_what_is_set_for_all() {
    let stage = Stage::new().await;
    stage.set(json!({"global_max_weight": 100, "tag_max_weights": {"free": 10}, "status": "all"})).await;
    stage
        .set(json!({"site": "eu", "global_max_weight": 200, "tag_max_weights": {"free": 5}, "status": "eu",
            "lease_duration_seconds": 120}))
        .await;
    let at = async |site: &str| {
        let mut pulse = stage.calls("i", 1);
        pulse["siteId"] = json!(site);
        stage.pulse(&pulse).await.json()
    };

    let (eu, us) = (at("eu").await, at("us").await);

    assert_eq!((&eu["globalMaxWeight"], &eu["tagMaxWeights"]["free"]), (&json!(100.0), &json!(5.0)));
    assert_eq!((&eu["status"], &eu["leaseDurationSeconds"]), (&json!("eu"), &json!(120)));
    assert_eq!((&us["tagMaxWeights"]["free"], &us["status"]), (&json!(10.0), &json!("all")));
    // An org's kill signal is no site's to take back.
    stage.set(json!({"kill_signal": true})).await;
    stage.set(json!({"site": "eu", "kill_signal": false})).await;
    stage.clock.advance(Duration::from_millis(1));
    assert_eq!(at("eu").await["killSignal"], true);
}

#[tokio::test]
async fn a_lease_is_never_told_that_late_reports_would_end() {
    let stage = Stage::new().await;
    let told = async |site: &str, instance: &str| {
        let mut pulse = stage.calls(instance, 1);
        pulse["siteId"] = json!(site);
        let policy = stage.pulse(&pulse).await.json();
        [&policy["leaseDurationSeconds"], &policy["pulseInterval"]].map(|number| number.as_u64().unwrap())
    };

    stage.set(json!({"pulse_interval": 300_000})).await;
    assert_eq!(told("us", "i").await, [900, 300_000], "nobody has set a lease");

    stage.set(json!({"pulse_interval": 30_000})).await;
    stage.set(json!({"site": "eu", "lease_duration_seconds": 90})).await;
    assert_eq!(told("eu", "j").await, [90, 30_000]);
    // What was right when it was set is not any more.
    stage.set(json!({"pulse_interval": 60_000})).await;
    assert_eq!((told("us", "k").await, told("eu", "l").await), ([300, 60_000], [180, 60_000]));
}

#[tokio::test]
async fn a_policy_by_token_is_what_pulses_were_told_last() {
    let stage = Stage::new().await;
    let Key { publish, secret } = &stage.key;
    let keys = json!({"publishKey": publish, "secretKey": secret});
    let token =
        stage.server.post("/v1/auth/token", "", &keys).await.json()["token"].as_str().unwrap().to_owned();

    for limit in [5, 7, 3] {
        stage.set(json!({"global_max_weight": limit})).await;
        let by_pulse = stage.pulse(&stage.calls(&format!("i-{limit}"), 1)).await.text;
        assert_eq!(stage.server.get("/v1/policy/acme", &token).await.text, by_pulse);
    }
}

#[tokio::test]
async fn counts_and_settings_outlive_the_process() {
    let mut stage = Stage::new().await;
    stage.set(json!({"tag_max_weights": {"free": 2}})).await;
    for instance in ["i", "j"] {
        assert_eq!(stage.pulse(&stage.calls(instance, 4)).await.status, 200);
    }
    let before = stage.status().await;

    stage.restart().await;

    let mut after = stage.status().await;
    after["request_id"] = before["request_id"].clone();
    assert_eq!(after, before);
    assert_eq!(after["sites"][0]["totals"]["calls"], 8);
    let told = stage.pulse(&stage.calls("k", 1)).await.json();
    assert_eq!(told["tagMaxWeights"]["free"], 2.0);
}

#[tokio::test]
async fn an_instance_that_is_silent_is_forgotten_and_its_counts_are_not() {
    let stage = Stage::new().await;
    stage.pulse(&stage.calls("i", 1)).await;
    assert_eq!(stage.status().await["sites"][0]["instances"], 1);

    stage.clock.advance(Duration::from_secs(61));

    let status = stage.status().await;
    assert_eq!(status["sites"][0]["instances"], 0);
    assert_eq!(status["sites"][0]["totals"]["calls"], 1);
}

#[tokio::test]
async fn pulses_on_their_way_when_the_server_stops_are_counted_and_answered() {
    let stage = Stage::new().await;
    let sending: Vec<_> =
        (0..50).map(|n| tokio::spawn(stage.signed(&stage.calls(&format!("i-{n}"), 1)).send())).collect();

    stage.server.running.stop(Some(Duration::from_secs(30))).await;

    let mut answered = 0;
    for sent in sending {
        // Whoever comes after the end is refused, and knows that nothing was counted.
        if sent.await.unwrap().is_ok_and(|answer| answer.status() == 200) {
            answered += 1;
        }
    }
    let mut stage = stage;
    stage.restart().await;
    let status = stage.status().await;
    let counted = status["sites"].get(0).map_or(0, |site| site["totals"]["pulses"].as_u64().unwrap());
    assert_eq!(counted, answered);
}
