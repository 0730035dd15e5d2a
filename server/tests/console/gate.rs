//! The gate: what a fleet does shows by itself, and what is set here is obeyed there.

use std::time::Duration;

use leverframe::gate::{GateReason, WaitState, WaitStateConfig};
use serde_json::json;

use crate::house::{House, payments};

/// A rule that six errors trip, and that stays in force for longer than any test takes.
const RULES: &str = "[[rule]]\nname = \"shed-free\"\ntag = \"free\"\nmetric = \"errors\"\noperator = \">\"\n\
                     threshold = 5\nwindow_secs = 3600\naction = \"block\"\nrecover_after_secs = 3600\n\
                     [[rule]]\nname = \"slow-for-all\"\ntag = \"*\"\nmetric = \"p95_latency\"\noperator = \">\"\n\
                     threshold = 2000\nwindow_secs = 60\naction = { throttle_percent = 50 }\nrecover_below = 1500\n";

/// A house whose namespace has rules, with a client that reports when it is told to.
pub(crate) async fn with_fleet() -> (House, WaitState) {
    let house = House::open().await;
    house.namespace("payments").await;
    house.upload("payments", &payments_with_rules()).await;
    let client = client(&house).await;
    (house, client)
}

pub(crate) fn payments_with_rules() -> Vec<(String, String)> {
    let mut files = payments();
    files.push(("gate.toml".to_owned(), RULES.to_owned()));
    files
}

async fn client(house: &House) -> WaitState {
    let made = house.must("POST", "gate/acme/keys", Some(json!({"name": "console tests"}))).await;
    let client = WaitState::start(WaitStateConfig {
        publish_key: made["key"]["publish_key"].as_str().unwrap().to_owned(),
        secret_key: made["secret_key"].as_str().unwrap().to_owned(),
        base_url: house.server.url(),
        pulse_interval_secs: 300,
        ..WaitStateConfig::default()
    });
    assert!(client.ready(Duration::from_secs(30)).await, "{:?}", client.state());
    client
}

/// Calls as a service makes them: of three tags, with latencies, and errors under one of them.
pub(crate) async fn load(client: &WaitState, errors: u32) {
    for call in 0..240 {
        for (tag, base) in [(Some("pro"), 18.0), (None, 4.0)] {
            client.gate(tag, Some(1.0));
            client.report_latency(base + f64::from(call % 40) * 3.0, tag);
        }
    }
    for call in 0..60 {
        client.gate(Some("free"), Some(if call % 3 == 0 { 20.0 } else { 1.0 }));
        client.report_latency(90.0 + f64::from(call) * 14.0, Some("free"));
    }
    client.report("queue_depth", 7.0, Some("pro"));
    for _ in 0..errors {
        client.report_error(Some("free"));
    }
    client.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn load_and_a_rule_that_trips_show_without_a_reload_and_leave_the_focus_alone() {
    let (house, client) = with_fleet().await;
    let browser = &house.browser;
    house.log_in(&house.token("tenant_admin", None).await).await;
    browser.go("#/t/acme/gate").await;
    browser.wait_for_text("Site default").await;
    browser.wait_for_text("payments/shed-free").await;
    assert_eq!(browser.get("document.querySelectorAll('.reflex-on').length").await, json!(0));
    browser
        .run(
            "window.site = document.querySelector('.site'); document.getElementById('gate-kill-default').focus()",
            json!([]),
        )
        .await;

    load(&client, 6).await;

    browser.wait_for("[data-key='tag free']").await;
    browser.wait_for(".reflex-on").await;
    let rule = browser.text(".reflex-on").await;
    assert!(
        rule.contains("payments/shed-free") && rule.contains("in force") && rule.contains("since"),
        "{rule}"
    );
    assert!(
        rule.contains("Why: ") && rule.contains("errors was 6") && rule.contains("refuse every call"),
        "{rule}"
    );
    let row = browser.text("[data-key='tag free']").await;
    assert!(row.contains("refused") && row.contains("ms"), "{row}");
    browser
        .wait("document.getElementById('assertive').textContent.includes('Rule shed-free is in force')")
        .await;
    // What was there is the same, and the keyboard where it was.
    assert_eq!(browser.get("window.site === document.querySelector('.site')").await, json!(true));
    assert_eq!(browser.get("document.activeElement.id").await, "gate-kill-default");
    let wide = browser
        .get("document.querySelector(\"[data-key='tag pro'] .load-bar\").getBoundingClientRect().width")
        .await;
    assert!(wide.as_f64().unwrap() > 5.0, "{wide}");
    client.flush().await.unwrap();
    assert_eq!(client.gate(Some("free"), None).reason, GateReason::TagBlocked);
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_asks_first_and_is_obeyed() {
    let (house, client) = with_fleet().await;
    let browser = &house.browser;
    house.log_in(&house.admin).await;
    browser.go("#/gate").await;
    browser.wait_for(".card").await;
    browser.go("#/t/acme/gate").await;
    browser.wait("!document.getElementById('gate-kill').hidden").await;

    browser.run("document.getElementById('gate-kill').focus()", json!([])).await;
    browser.press(crate::browser::ENTER).await;
    browser.wait_for("dialog[open]").await;
    browser.press(crate::browser::ESCAPE).await;
    browser.wait("!document.querySelector('dialog')").await;
    assert_eq!(house.must("GET", "gate/acme", None).await["settings"]["kill_signal"], json!(false));
    assert_eq!(browser.get("document.activeElement.id").await, "gate-kill");

    browser.press(crate::browser::ENTER).await;
    browser.click("dialog .danger").await;
    browser.wait_for_text("because somebody pulled the kill switch").await;
    client.flush().await.unwrap();
    assert_eq!(client.gate(None, None).reason, GateReason::KillSignal);

    browser.wait("document.getElementById('gate-kill').textContent === 'Let calls pass again'").await;
    browser.click("#gate-kill").await;
    browser.click("dialog .primary").await;
    browser.wait("!document.body.innerText.includes('because somebody pulled')").await;
    client.flush().await.unwrap();
    assert!(client.gate(None, None).allowed);

    // One site alone.
    browser.click("#gate-kill-default").await;
    browser.click("dialog .danger").await;
    browser.wait_for_text("Every call is refused at this site").await;
    client.flush().await.unwrap();
    assert_eq!(client.gate(None, None).reason, GateReason::KillSignal);
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_by_form_and_nobodys_change_is_overwritten() {
    let (house, client) = with_fleet().await;
    let browser = &house.browser;
    house.log_in(&house.token("tenant_admin", None).await).await;
    browser.go("#/t/acme/gate").await;
    browser.wait_for_text("Site default").await;

    browser.click("#gate-limits > summary").await;
    browser.fill("#gate-global", "500").await;
    browser.fill("#gate-tags", "free = 10\nbatch = -1").await;
    browser.click("#gate-limits [type=submit]").await;
    browser.wait_for_text("Saved.").await;
    browser.wait_for("[data-key='tag batch']").await;
    let set = house.must("GET", "gate/acme", None).await["settings"].clone();
    assert_eq!((&set["global_max_weight"], &set["revision"]), (&json!(500.0), &json!(1)));
    assert_eq!(set["tag_max_weights"], json!({"batch": -1.0, "free": 10.0}));
    client.flush().await.unwrap();
    assert_eq!(client.gate(Some("batch"), Some(0.0)).reason, GateReason::TagBlocked);

    // What is typed stays although something else arrives; saving over it is refused.
    browser.fill("#gate-status", "on call: Ada").await;
    house.must("PATCH", "gate/acme", Some(json!({"tag_max_weights": {"free": 20}}))).await;
    browser.wait_for_text("Meanwhile revision 2 was set").await;
    assert_eq!(browser.get("document.getElementById('gate-status').value").await, "on call: Ada");
    browser.click("#gate-limits [type=submit]").await;
    browser
        .wait("document.querySelector('#gate-limits .form-error').textContent.includes('revision 2')")
        .await;
    browser.click("#gate-reload").await;
    browser.wait("document.getElementById('gate-tags').value.includes('free = 20')").await;
    browser.fill("#gate-status", "on call: Ada").await;
    browser.run("document.getElementById('gate-global').value = ''", json!([])).await;
    browser.click("#gate-limits [type=submit]").await;
    browser.wait_for_text("on call: Ada").await;
    let set = house.must("GET", "gate/acme", None).await["settings"].clone();
    assert_eq!((&set["global_max_weight"], &set["status"]), (&json!(null), &json!("on call: Ada")));

    browser.fill("#gate-tags", "\nnonsense").await;
    browser.click("#gate-limits [type=submit]").await;
    browser
        .wait("document.querySelector('#gate-limits .form-error').textContent.includes('is no limit')")
        .await;
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_shows_as_such_and_what_was_there_stays() {
    let (mut house, client) = with_fleet().await;
    load(&client, 0).await;
    drop(client);
    house.log_in(&house.token("tenant_admin", None).await).await;
    house.browser.go("#/t/acme/gate").await;
    house.browser.wait_for("[data-key='tag pro']").await;
    house.browser.wait_for_text("Live").await;

    house.server.stop(Some(Duration::from_secs(5))).await;
    house.browser.wait_for(".gate-lost").await;
    house.browser.wait_for_text("Not refreshed: the server cannot be reached").await;
    assert!(house.browser.text(".fleet").await.contains("pro"));
    house.start_again().await;

    house.browser.wait("!document.querySelector('.gate-lost')").await;
    house.browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_sees_asks_nothing() {
    let (house, client) = with_fleet().await;
    let browser = &house.browser;
    house.log_in(&house.token("tenant_admin", None).await).await;
    browser.go("#/t/acme/gate").await;
    browser.wait_for_text("Site default").await;
    // The test has the page's clock in its hands: a look that is to follow another waits in `turns`.
    browser
        .run(
            "window.turns = [];
             const real = window.setTimeout;
             window.setTimeout = (run, ms, ...rest) => ms === 2000 ? (window.turns.push(run), 0) : real(run, ms, ...rest);
             window.hide = hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
                 document.dispatchEvent(new Event('visibilitychange')); };
             window.asked = () => performance.getEntriesByType('resource').filter(one => one.name.endsWith('/gate/acme')).length;",
            json!([]),
        )
        .await;
    browser.wait("window.turns.length === 1").await;

    // Hidden in the middle of a look: that one ends, and none follows.
    browser.run("window.before = window.asked(); window.turns.pop()(); window.hide(true);", json!([])).await;
    browser.wait("window.asked() === window.before + 1").await;
    load(&client, 0).await;
    assert_eq!(browser.get("[window.turns.length, window.asked() - window.before]").await, json!([0, 1]));

    browser.run("window.hide(false)", json!([])).await;
    browser.wait_for("[data-key='tag pro']").await;
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_of_hostile_clients_are_text() {
    let (house, client) = with_fleet().await;
    let browser = &house.browser;
    for tag in ["<img src=x onerror=window.hurt=1>", "\"><script>window.hurt=1</script>", "a]b\"c'd\\e"] {
        client.gate(Some(tag), None);
    }
    client.flush().await.unwrap();
    house.log_in(&house.token("tenant_admin", None).await).await;

    browser.go("#/t/acme/gate").await;
    browser.wait_for_text("<img src=x").await;
    browser.wait_for_text("a]b\"c'd\\e").await;

    assert_eq!(browser.get("window.hurt ?? null").await, json!(null));
    assert_eq!(browser.get("document.querySelectorAll('main img, main script').length").await, json!(0));
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_the_gate_is_offered_no_way_there_and_refused() {
    let (house, _client) = with_fleet().await;
    let browser = &house.browser;
    house.log_in(&house.token("namespace_write", Some("payments")).await).await;
    browser.wait_for(".tab").await;

    assert_eq!(
        browser.get("[...document.querySelectorAll('.tab')].some(tab => tab.textContent === 'Gate')").await,
        json!(false)
    );
    browser.go("#/t/acme/gate").await;
    browser.wait_for_text("The token does not reach this far").await;
    assert_eq!(browser.get("document.getElementById('gate-limits')").await, json!(null));
    assert_eq!(browser.get("document.getElementById('gate-kill').hidden").await, json!(true));
    browser.expect_no_complaints().await;
}
