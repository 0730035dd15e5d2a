//! Pulses: what is counted, what is not, and what the answer is.

use std::time::Duration;

use leverframe_server::limit::Rate;
use serde_json::{Value, json};

use crate::{
    stage::{Key, Stage, calls_of, key, signed},
    support::{Answer, logs},
};

fn is_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), &*answer.code()), (status, code), "{}", answer.text);
}

async fn calls(stage: &Stage) -> u64 {
    stage.totals().await.values().map(|counted| counted.calls).sum()
}

#[tokio::test]
async fn a_pulse_is_counted_and_answered_with_the_policy_with_one_slash_or_two() {
    let stage = Stage::new().await;

    for (instance, path) in [("i-1", "/v1/pulse"), ("i-2", "//v1/pulse")] {
        let pulse = stage.calls(instance, 3).to_string();
        let request = signed(&stage.server, &stage.key, path, pulse.as_bytes(), stage.now_ms());
        let answer = stage.server.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.json()["killSignal"], false);
    }

    assert_eq!(calls(&stage).await, 6);
    let status = stage.status().await;
    let site = &status["sites"][0];
    assert_eq!((&site["site"], &site["instances"]), (&json!("default"), &json!(2)));
    assert_eq!(site["totals"]["pulses"], 2);
    assert_eq!(site["last_pulse_at"], status["now"]);
}

#[tokio::test]
async fn what_a_client_does_not_say_is_taken_as_it_means_it() {
    let stage = Stage::new().await;
    let minimal = r#"{"instanceId":"i","usageDelta":0,"bouncedUnits":0,"metrics":{"latency":null,"errors":null},"ts":1}"#;

    let request = signed(&stage.server, &stage.key, "/v1/pulse", minimal.as_bytes(), stage.now_ms());
    assert_eq!(stage.server.send(request).await.status, 200);

    let mut odd = stage.calls("j", 0);
    odd["tagMetrics"] = json!([
        {"tag": "b", "latency": 1.0, "count": 0, "customMetrics": {"depth": {"min": null, "max": null, "sum": null, "count": 0}}},
        {"tag": "a", "latency": 0.0, "count": 5},
        {"tag": "__default__", "latency": 0.0, "count": 2},
    ]);
    assert_eq!(stage.pulse(&odd).await.status, 200);
    assert_eq!(calls(&stage).await, 7, "the sum of the tags need not be that of the pulse");
}

#[tokio::test]
async fn a_wrong_key_or_signature_counts_nothing() {
    let stage = Stage::new().await;
    let other = key(&stage.server, "acme", None).await;
    let body = stage.calls("i", 1).to_string();
    let now = stage.now_ms();
    let good = || stage.signed(&stage.calls("i", 1));
    let with = |publish: &str, secret: &str| {
        let key = Key { publish: publish.to_owned(), secret: secret.to_owned() };
        signed(&stage.server, &key, "/v1/pulse", body.as_bytes(), now)
    };
    let unknown = format!("wpk_{}", "A".repeat(22));
    // A signature by what is kept of the secret: too short for HMAC to take its digest for the key.
    let digest = leverframe::encoding::hex(&leverframe_server::app::secret_hash(&stage.key.secret));
    let at = |timestamp: &str| {
        let signature = leverframe::gate::signing::sign_pulse(&body, timestamp, &stage.key.secret);
        let request = stage.server.http.post(stage.server.url("/v1/pulse")).body(body.clone());
        request
            .header("x-waitstate-id", &stage.key.publish)
            .header("x-waitstate-signature", signature)
            .header("x-waitstate-timestamp", timestamp)
    };

    for (what, request) in [
        ("a key that was never made", with(&unknown, &stage.key.secret)),
        ("what is no key", with("x", &stage.key.secret)),
        ("what is no key and long", with(&"wpk_".repeat(2_000), &stage.key.secret)),
        ("another key's secret", with(&stage.key.publish, &other.secret)),
        ("another key's name", with(&other.publish, &stage.key.secret)),
        ("the digest", with(&stage.key.publish, &digest)),
        ("no secret", with(&stage.key.publish, "")),
        ("another body", good().body(stage.calls("i", 2).to_string())),
        ("another time", good().header("x-waitstate-timestamp", (now + 1).to_string())),
        ("no headers", stage.server.http.post(stage.server.url("/v1/pulse")).body(body.clone())),
        ("two signatures", good().header("x-waitstate-signature", "0".repeat(64))),
        ("a time that is none", at("now")),
        ("a time with a sign", at(&format!("-{now}"))),
        ("a time that is too long", at(&"1".repeat(40))),
    ] {
        let answer = stage.server.send(request).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (401, "unauthenticated"), "{what}");
    }
    assert_eq!(calls(&stage).await, 0);
    assert_eq!(stage.server.send(good()).await.status, 200, "the same, right");
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_the_time() {
    let stage = Stage::new().await;
    let now = stage.now_ms();
    let at = |at: u64| {
        let body = stage.calls(&format!("i-{at}"), 1).to_string();
        signed(&stage.server, &stage.key, "/v1/pulse", body.as_bytes(), at)
    };

    for off in [now - 300_001, now + 300_001, 0, u64::MAX] {
        let answer = stage.server.send(at(off)).await;
        is_refused(&answer, 401, "clock_skew");
        assert_eq!(answer.header("date"), "Thu, 28 May 2026 20:26:40 GMT");
        assert_eq!(answer.json()["error"]["details"]["server_time_ms"], now);
    }
    assert_eq!(calls(&stage).await, 0);
    for right in [now - 300_000, now + 300_000] {
        assert_eq!(stage.server.send(at(right)).await.status, 200);
    }
    // Whoever cannot sign learns nothing of the time.
    let body = stage.calls("i", 1).to_string();
    let stranger = Key { publish: stage.key.publish.clone(), secret: "x".to_owned() };
    let answer = stage.server.send(signed(&stage.server, &stranger, "/v1/pulse", body.as_bytes(), 0)).await;
    is_refused(&answer, 401, "unauthenticated");
}

#[tokio::test]
async fn a_pulse_that_is_played_back_is_not_counted_again() {
    let stage = Stage::new().await;
    let pulse = stage.calls("i", 5);

    assert_eq!(stage.pulse(&pulse).await.status, 200);
    is_refused(&stage.pulse(&pulse).await, 409, "replayed");
    // Nor later, nor signed anew, nor with other numbers.
    stage.clock.advance(Duration::from_secs(299));
    is_refused(&stage.pulse(&pulse).await, 409, "replayed");
    let mut changed = pulse.clone();
    changed["usageDelta"] = json!(6);
    is_refused(&stage.pulse(&changed).await, 409, "replayed");

    assert_eq!(calls(&stage).await, 5);
    assert_eq!(stage.pulse(&stage.calls("i", 1)).await.status, 200, "of another time");
    assert_eq!(stage.pulse(&calls_of("j", 1, pulse["ts"].as_u64().unwrap())).await.status, 200, "of another");
    assert_eq!(calls(&stage).await, 7);
}

#[tokio::test]
async fn a_pulse_that_is_sent_again_is_answered_alike_and_counted_once() {
    let mut stage = Stage::new().await;
    let mut pulse = stage.calls("i", 5);
    pulse["pulseId"] = json!("p-1");
    let first = stage.our_pulse(&pulse).await;
    assert_eq!(first.status, 200, "{}", first.text);

    for _ in 0..2 {
        stage.clock.advance(Duration::from_secs(1));
        pulse["ts"] = json!(stage.now_ms());
        let again = stage.our_pulse(&pulse).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        stage.restart().await;
    }

    assert_eq!(calls(&stage).await, 5);
    let metrics = stage.server.get("/metrics", "").await.text;
    for line in ["outcome=\"counted_before\"} 0", "leverframe_gate_commit_seconds_count"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn what_is_no_pulse_is_refused_and_counts_nothing() {
    let stage = Stage::new().await;
    let send = async |body: &[u8]| {
        stage.server.send(signed(&stage.server, &stage.key, "/v1/pulse", body, stage.now_ms())).await
    };
    let with = |field: &str, value: Value| {
        let mut pulse = stage.calls("i", 1);
        pulse[field] = value;
        pulse.to_string().into_bytes()
    };
    let deflated = {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(stage.calls("i", 1).to_string().as_bytes()).unwrap();
        gzip.finish().unwrap()
    };

    for body in [
        b"".to_vec(),
        b"{}".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\xff\xfe".to_vec(),
        vec![b'['; 100_000],
        deflated.clone(),
        with("usageDelta", json!(-1)),
        with("usageDelta", json!("1")),
        with("instanceId", json!("")),
        with("instanceId", json!("i\u{0}")),
        with("instanceId", json!("i".repeat(10_000))),
        with("siteId", json!("../eu")),
        with("siteId", json!("")),
        with("ts", json!(1.5)),
        with("tagMetrics", json!(vec![json!({"tag": "t", "latency": 0, "count": 1}); 1_003])),
        with("tagMetrics", json!({})),
        stage.calls("i", 1).to_string().replace("0.0", "1e999").into_bytes(),
        stage.calls("i", 1).to_string().replace("0.0", "NaN").into_bytes(),
    ] {
        let answer = send(&body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "bad_request"), "{shown}");
    }
    is_refused(&send(&vec![b' '; 256 * 1_024 + 1]).await, 413, "payload_too_large");
    let encoded = stage.signed(&stage.calls("i", 1)).header("content-encoding", "gzip").body(deflated);
    assert!(stage.server.send(encoded).await.status.is_client_error());
    assert_eq!(calls(&stage).await, 0);
}

#[tokio::test]
async fn numbers_that_nobody_counts_to_break_nothing() {
    let stage = Stage::new().await;
    let most = u64::MAX;
    let tag = json!({
        "tag": "free", "latency": 1e308, "count": most, "denied": most, "errors": most, "latencySum": most,
        "latencyBuckets": [most, most, most, most, most, most, most, most],
        "customMetrics": {"depth": {"min": -1e308, "max": 1e308, "sum": 1e308, "count": most}},
    });

    for instance in 0..50 {
        let mut pulse = stage.calls(&format!("i-{instance}"), most);
        pulse["bouncedUnits"] = json!(most);
        pulse["metrics"] = json!({"latency": 1e308, "errors": 1e308});
        pulse["tagMetrics"] = json!([tag, tag]);
        assert_eq!(stage.pulse(&pulse).await.status, 200);
    }

    let status = stage.status().await;
    let free =
        status["sites"][0]["tags"].as_array().unwrap().iter().find(|row| row["tag"] == "free").unwrap();
    assert!(free["calls"].as_u64().unwrap() >= 1 << 53);
    assert!(free["custom"]["depth"]["sum"].is_number(), "{free}");
}

#[tokio::test]
async fn tags_without_end_are_counted_together() {
    let stage = Stage::new().await;

    for round in 0..12 {
        let mut pulse = stage.calls(&format!("i-{round}"), 1_000);
        let tags = (0..1_000).map(|n| json!({"tag": format!("user-{round}-{n}"), "latency": 0, "count": 1}));
        pulse["tagMetrics"] = tags.collect();
        let answer = stage.pulse(&pulse).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    let totals = stage.totals().await;
    // What is beyond is counted as one.
    assert!(totals.len() <= 10_010, "{} tags", totals.len());
    assert_eq!(calls(&stage).await, 12_000, "none is lost");
}

#[tokio::test]
async fn a_key_of_a_site_reports_for_that_site_only() {
    let stage = Stage::new().await;
    let eu = key(&stage.server, "acme", Some("eu")).await;
    let send = async |key: &Key, site: Option<&str>, instance: &str| {
        let mut pulse = stage.calls(instance, 1);
        pulse["siteId"] = json!(site);
        let body = pulse.to_string();
        stage.server.send(signed(&stage.server, key, "/v1/pulse", body.as_bytes(), stage.now_ms())).await
    };

    is_refused(&send(&eu, Some("us"), "i").await, 403, "forbidden");
    assert_eq!(send(&eu, Some("eu"), "i").await.status, 200);
    assert_eq!(send(&eu, None, "j").await.status, 200);
    assert_eq!(send(&stage.key, Some("us"), "i").await.status, 200);

    let status = stage.status().await;
    let sites: Vec<_> = status["sites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|site| (&site["site"], &site["totals"]["calls"]))
        .collect();
    assert_eq!(sites, [(&json!("eu"), &json!(2)), (&json!("us"), &json!(1))]);
}

#[tokio::test]
async fn an_org_has_only_so_many_sites() {
    let stage = Stage::new().await;
    let at = |site: usize| {
        let mut pulse = stage.calls("i", 1);
        pulse["siteId"] = json!(format!("s-{site}"));
        pulse
    };

    for site in 0..100 {
        assert_eq!(stage.pulse(&at(site)).await.status, 200, "{site}");
    }
    is_refused(&stage.pulse(&at(100)).await, 403, "forbidden");
    let mut known = at(0);
    known["instanceId"] = json!("j");
    assert_eq!(stage.pulse(&known).await.status, 200);
    let changes = json!({"site": "s-100", "kill_signal": true});
    is_refused(&crate::stage::change(&stage.server, "acme", &changes).await, 400, "bad_request");
}

#[tokio::test]
async fn a_revoked_key_counts_nothing_from_then_on() {
    let stage = Stage::new().await;
    assert_eq!(stage.pulse(&stage.calls("i", 1)).await.status, 200);
    let path = format!("/api/v1/gate/acme/keys/{}", stage.key.publish);

    assert_eq!(stage.server.delete(&path, &stage.server.root).await.status, 204);

    is_refused(&stage.pulse(&stage.calls("j", 1)).await, 401, "unauthenticated");
    assert_eq!(calls(&stage).await, 1);
    assert_eq!(stage.server.delete(&path, &stage.server.root).await.status, 204, "again");
    let elsewhere = path.replace("acme", "rival");
    is_refused(&stage.server.delete(&elsewhere, &stage.server.root).await, 404, "not_found");
}

#[tokio::test]
async fn whoever_guesses_is_slowed_down_and_whoever_has_a_key_is_not() {
    let stage = Stage::with(|options| options.limits.stranger = Rate::new(1, 3)).await;
    // The key is found once, which counts as a guess.
    assert_eq!(stage.pulse(&stage.calls("first", 1)).await.status, 200);
    let stranger = Key { publish: format!("wpk_{}", "A".repeat(22)), secret: "x".to_owned() };
    let guess = async |key: &Key| {
        let body = stage.calls("i", 1).to_string();
        let request = signed(&stage.server, key, "/v1/pulse", body.as_bytes(), stage.now_ms());
        stage.server.send(request).await
    };

    let mut refused = None;
    for _ in 0..5 {
        let answer = guess(&stranger).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        is_refused(&answer, 401, "unauthenticated");
    }
    let refused = refused.expect("after a few guesses");
    is_refused(&refused, 429, "rate_limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    let wrong = Key { secret: "x".to_owned(), ..stage.key.clone() };
    is_refused(&guess(&wrong).await, 429, "rate_limited");

    for instance in 0..20 {
        assert_eq!(stage.pulse(&stage.calls(&format!("i-{instance}"), 1)).await.status, 200);
    }
}

#[tokio::test]
async fn pulses_are_counted_by_what_became_of_them() {
    let stage = Stage::new().await;
    let pulse = stage.calls("i", 1);
    let stranger = Key { secret: "x".to_owned(), ..stage.key.clone() };
    let body = pulse.to_string();

    stage.pulse(&pulse).await;
    stage.pulse(&pulse).await;
    stage.server.send(signed(&stage.server, &stranger, "/v1/pulse", body.as_bytes(), stage.now_ms())).await;
    stage.server.send(signed(&stage.server, &stage.key, "/v1/pulse", body.as_bytes(), 0)).await;

    let metrics = stage.server.get("/metrics", "").await.text;
    for outcome in ["counted", "replayed", "unauthenticated", "clock_skew"] {
        let line = format!("leverframe_gate_pulses_total{{outcome=\"{outcome}\"}} 1\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert!(metrics.contains("leverframe_gate_committed_pulses_total 2\n"), "{metrics}");
}

#[tokio::test]
async fn the_log_names_no_secret() {
    let stage = Stage::new().await;
    let pulse = stage.calls("instance-canary", 1);
    stage.pulse(&pulse).await;
    stage.pulse(&pulse).await;
    let keys = json!({"publishKey": stage.key.publish, "secretKey": stage.key.secret});
    let token =
        stage.server.post("/v1/auth/token", "", &keys).await.json()["token"].as_str().unwrap().to_owned();
    stage.server.get("/v1/policy/acme", &token).await;
    let wrong = format!("{}canary", stage.key.secret);
    stage
        .server
        .post("/v1/auth/token", "", &json!({"publishKey": stage.key.publish, "secretKey": wrong}))
        .await;
    stage
        .server
        .send(stage.server.http.post(stage.server.url("/v1/auth/token")).body(format!("{{{wrong}")))
        .await;

    let logs = logs();

    let body = pulse.to_string();
    let signature =
        leverframe::gate::signing::sign_pulse(&body, &stage.now_ms().to_string(), &stage.key.secret);
    let digest = leverframe::encoding::hex(&leverframe_server::app::secret_hash(&stage.key.secret));
    for secret in [&stage.key.secret[4..], &token[4..], &signature, &digest, "instance-canary"] {
        assert!(!logs.contains(secret), "{secret}");
    }
    assert!(logs.contains("/v1/pulse"), "there is a log");
}
