//! The published client `waitstate` 0.1.0, unmodified, against our control plane.
//!
//! Client and server share a thread: between a call of the test and the client's report nothing else happens, so that
//! what is expected is exact. The client reports and syncs each second; the tests wait for what follows and not for
//! the time to pass.

use leverframe_interop::{Keys, Log, Plane, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use waitstate::{GateReason, WaitState, WaitStateConfig};

fn client(base_url: String, keys: &Keys, site: Option<&str>) -> WaitState {
    WaitState::start(WaitStateConfig {
        publish_key: keys.publish.clone(),
        secret_key: keys.secret.clone(),
        base_url,
        site_id: site.map(str::to_owned),
        pulse_interval_secs: 1,
        sync_interval_secs: 1,
        ..Default::default()
    })
}

/// What the tests let the client do, and add up.
struct Counting {
    client: WaitState,
    calls: u64,
    denied: u64,
}

impl Counting {
    fn gate(&mut self, tag: Option<&str>, weight: f64) -> GateReason {
        let result = self.client.gate(tag, Some(weight));
        self.calls += 1;
        self.denied += u64::from(!result.allowed);
        result.reason
    }

    /// Waits until the client decides like this.
    async fn decides(&mut self, what: &str, tag: &str, weight: f64, reason: GateReason) {
        eventually(what, async || self.gate(Some(tag), weight) == reason).await;
    }
}

fn counting(client: WaitState) -> Counting {
    Counting { client, calls: 0, denied: 0 }
}

#[tokio::test]
async fn its_signature_is_accepted_and_our_policy_applied() {
    let plane = Plane::start().await;
    let keys = plane.keys("acme").await;
    plane.set("acme", json!({ "global_max_weight": 500, "tag_max_weights": { "free": 10 } })).await;

    let mut ws = counting(client(plane.url(), &keys, None));

    ws.decides("the tag is limited", "free", 10.5, GateReason::TagBlocked).await;
    assert_eq!(ws.gate(Some("free"), 10.0), GateReason::Allowed);
    assert_eq!(ws.gate(Some("pro"), 500.0), GateReason::Allowed);
    assert_eq!(ws.gate(Some("pro"), 501.0), GateReason::OverWeight);
    assert_eq!(ws.gate(None, 1.0), GateReason::Allowed);

    plane.set("acme", json!({ "tag_max_weights": { "free": 20, "pro": 50 } })).await;
    ws.decides("a change arrives", "pro", 51.0, GateReason::TagBlocked).await;
    assert_eq!(ws.gate(Some("free"), 20.0), GateReason::Allowed);
}

#[tokio::test]
async fn the_kill_switch_is_obeyed_and_let_go_of() {
    let plane = Plane::start().await;
    let keys = plane.keys("acme").await;
    let mut ws = counting(client(plane.url(), &keys, None));
    assert_eq!(ws.gate(Some("free"), 1.0), GateReason::Allowed);

    plane.set("acme", json!({ "kill_signal": true })).await;
    ws.decides("everything stops", "free", 1.0, GateReason::KillSignal).await;
    assert_eq!(ws.gate(None, 0.0), GateReason::KillSignal);

    plane.set("acme", json!({ "kill_signal": false })).await;
    ws.decides("everything goes on", "free", 1.0, GateReason::Allowed).await;
}

#[tokio::test]
async fn what_it_reports_is_what_we_count() {
    let plane = Plane::start().await;
    let keys = plane.keys("acme").await;
    plane.set("acme", json!({ "tag_max_weights": { "free": 10 } })).await;
    let mut ws = counting(client(plane.url(), &keys, Some("eu")));
    ws.decides("the policy is there", "free", 11.0, GateReason::TagBlocked).await;

    for i in 0..200_u32 {
        ws.gate(Some("free"), if i % 4 == 0 { 11.0 } else { 1.0 });
        ws.client.report_latency(f64::from(i * 10), Some("free"));
        ws.gate(None, 1.0);
        if i % 5 == 0 {
            ws.client.report_error(Some("free"));
            ws.client.report("queue_depth", f64::from(i), Some("free"));
        }
    }

    let mut site = Value::Null;
    let mut free = Value::Null;
    // The totals are those since ever, the tags' counts those of the last minute.
    eventually("all calls are counted", async || {
        site = plane.site("acme", "eu").await;
        let mut tags = site["tags"].as_array().into_iter().flatten();
        free = tags.find(|tag| tag["tag"] == "free").cloned().unwrap_or_default();
        site["totals"]["calls"] == ws.calls && free["custom"]["queue_depth"]["count"] == 40
    })
    .await;
    let totals = &site["totals"];
    assert_eq!(
        (&totals["denied"], &totals["errors"], &totals["samples"]),
        (&json!(ws.denied), &json!(40), &json!(200))
    );
    assert!(totals["pulses"].as_u64() >= Some(1), "{totals}");
    assert_eq!(site["instances"], 1, "{site}");
    let depth = &free["custom"]["queue_depth"];
    assert_eq!(
        (&depth["min"], &depth["max"], &depth["count"]),
        (&json!(0.0), &json!(195.0), &json!(40)),
        "{free}"
    );
    // (0 + … + 199) × 10 ms, divided by 200.
    assert_eq!(free["latency"], 995.0, "{free}");
    assert_eq!(plane.site("acme", "default").await, Value::Null, "the other site counts nothing");
}

#[tokio::test]
async fn a_rule_of_ours_blocks_what_it_reports_as_slow_and_lets_go_of_it_once_that_is_over() {
    let plane = Plane::start().await;
    let keys = plane.keys("acme").await;
    let rules = r#"
schema_version = "0.1"
[[rule]]
name = "shed-free"
tag = "free"
metric = "latency"
operator = ">"
threshold = 500
window_secs = 2
action = "block"
recover_after_secs = 1
"#;
    plane.rule("acme", rules).await;
    let mut ws = counting(client(plane.url(), &keys, None));

    eventually("the rule trips", async || {
        ws.client.report_latency(900.0, Some("free"));
        ws.gate(Some("free"), 0.0) == GateReason::TagBlocked
    })
    .await;
    assert_eq!(ws.gate(Some("pro"), 1.0), GateReason::Allowed);
    let rule = plane.site("acme", "default").await["rules"][0].clone();
    assert_eq!((&rule["name"], &rule["in_force"]), (&json!("shed-free"), &json!(true)), "{rule}");

    ws.decides("nothing is slow any more", "free", 0.0, GateReason::Allowed).await;
}

#[tokio::test]
async fn a_base_url_with_a_slash_at_its_end_works() {
    let plane = Plane::start().await;
    let keys = plane.keys("acme").await;
    plane.set("acme", json!({ "tag_max_weights": { "free": 10 } })).await;

    // It asks for `//v1/…` then.
    let mut ws = counting(client(plane.url() + "/", &keys, None));

    ws.decides("the tag is limited", "free", 11.0, GateReason::TagBlocked).await;
    eventually("its calls are counted", async || {
        plane.site("acme", "default").await["totals"]["calls"] == ws.calls
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_is_not_the_keys_is_refused_and_nothing_is_counted() {
    let plane = Plane::start().await;
    let keys = plane.keys("acme").await;
    plane.set("acme", json!({ "kill_signal": true })).await;
    let (log, _listening) = Log::listen();

    let wrong = Keys { secret: plane.keys("acme").await.secret, ..keys.clone() };
    let mut ws = counting(client(plane.url(), &wrong, None));
    for _ in 0..10 {
        ws.gate(Some("free"), 1.0);
    }

    eventually("its report is refused", async || log.text().contains("pulse response not OK status=401"))
        .await;
    eventually("so is its token", async || log.text().contains("sync: token refresh failed")).await;
    assert_eq!(ws.gate(Some("free"), 1.0), GateReason::Allowed, "it never had the policy");
    assert_eq!(plane.site("acme", "default").await["totals"]["calls"].as_u64().unwrap_or(0), 0);
    let logged = log.text();
    assert!(!logged.contains(&keys.secret) && !logged.contains(&wrong.secret), "{logged}");
}

#[tokio::test]
async fn a_revoked_key_is_refused_from_then_on() {
    let plane = Plane::start().await;
    let keys = plane.keys("acme").await;
    plane.set("acme", json!({ "tag_max_weights": { "free": 10 } })).await;
    let mut ws = counting(client(plane.url(), &keys, None));
    ws.decides("it has the policy", "free", 11.0, GateReason::TagBlocked).await;
    let (log, _listening) = Log::listen();

    plane.ask(Method::DELETE, &format!("/api/v1/gate/acme/keys/{}", keys.publish), &Value::Null).await;
    plane.set("acme", json!({ "kill_signal": true })).await;

    eventually("its reports are refused", async || log.text().contains("pulse response not OK status=401"))
        .await;
    assert_eq!(ws.gate(Some("free"), 11.0), GateReason::TagBlocked, "it goes by the policy that it had");
}
