//! Settings: what services have, the one value that is shown on a click, and keys.

use serde_json::{Value, json};

use crate::house::House;

const PRODUCTION: &str = "tenants/acme/namespaces/payments/settings/environments/production";

/// A house in which the namespace `payments` has settings for `production`.
pub(crate) async fn with_settings() -> House {
    let house = House::with_payments().await;
    furnish(&house).await;
    house
}

/// Gives `payments` settings for `production`, and a key.
pub(crate) async fn furnish(house: &House) {
    let base = PRODUCTION.replace("production", "base");
    house.must("PUT", &base, Some(json!({"kind": "umbrella"}))).await;
    let inherits = json!({"namespace": "payments", "environment": "base"});
    house.must("PUT", PRODUCTION, Some(json!({"kind": "backend", "inherits": inherits}))).await;
    for (entry, body) in [
        ("configs/checkout.retries", json!({"value": 3})),
        (
            "configs/checkout.banner",
            json!({"value": "Free delivery from {{config:checkout.retries}} items on"}),
        ),
        ("configs/gateway", json!({"value": {"url": "https://pay.example", "timeout_ms": 2500}})),
        ("flags/new-checkout", json!({"is_active": true, "rollout_percent": 12.5})),
        ("flags/summer-sale", json!({"is_active": true, "starts_at": "2040-06-01T00:00:00Z"})),
        ("secrets/db.password", json!({"value": "first-of-two"})),
        ("secrets/db.password", json!({"value": "correct horse"})),
        ("secrets/tls.key", json!({"value": "c2VjcmV0", "type": "file", "encoding": "base64"})),
    ] {
        house.must("PUT", &format!("{PRODUCTION}/{entry}"), Some(body)).await;
    }
    house.must("POST", &format!("{PRODUCTION}/keys"), Some(json!({"type": "sk", "name": "checkout"}))).await;
}

async fn markup(house: &House) -> String {
    house.browser.get("document.documentElement.outerHTML").await.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_created_and_its_entries_are_written_by_form() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    house.log_in(&house.token("namespace_write", Some("payments")).await).await;
    house.go("payments", "settings").await;
    browser.wait_for_text("No service has settings here yet").await;

    browser.click(".drawer > summary").await;
    browser.fill(".drawer [name=environment]", "production").await;
    browser.click(".drawer [type=submit]").await;
    browser.wait_for_text("acme-payments-production.").await;
    assert_eq!(browser.get("location.hash").await, "#/t/acme/n/payments/settings/production");

    browser.click("#entry > summary").await;
    browser.fill("#entry-key", "retries").await;
    browser.fill("#entry-type", "number").await;
    browser.fill("#entry-value", "18446744073709551615").await;
    browser.click("#entry-form [type=submit]").await;
    browser.wait_for("[data-key='configs retries']").await;
    let held = house.must("GET", &format!("{PRODUCTION}/configs/retries"), None).await;
    assert_eq!(held["config"]["text"], "18446744073709551615", "to the last digit");

    // A number that readers of JSON would round is edited as it is.
    browser.click("[aria-label='Edit retries']").await;
    browser.wait("document.getElementById('entry-value').value === '18446744073709551615'").await;
    browser.fill("#entry-value", "!").await;
    browser.click("#entry-form [type=submit]").await;
    browser
        .wait("document.querySelector('#entry-form .form-error').textContent.includes('is no JSON')")
        .await;

    browser
        .run(
            "const kind = document.getElementById('entry-kind'); kind.value = 'flags';
             kind.dispatchEvent(new Event('change'))",
            json!([]),
        )
        .await;
    browser.click("#entry-active").await;
    browser.fill("#entry-percent", "250").await;
    browser.click("#entry-form [type=submit]").await;
    browser.wait("document.querySelector('#entry-form .form-error').textContent.includes('0 to 100')").await;
    browser.run("document.getElementById('entry-percent').value = ''", json!([])).await;
    browser.fill("#entry-percent", "25").await;
    browser.click("#entry-form [type=submit]").await;
    browser.wait_for("[data-key='flags retries']").await;
    assert!(browser.text("[data-key='flags retries']").await.contains("25 %"));

    // A name that is there already, after the value: what was typed stays, and what it would replace is said.
    browser.run("document.getElementById('entry-percent').value = ''", json!([])).await;
    browser.fill("#entry-percent", "50").await;
    browser.run("document.getElementById('entry-key').value = ''", json!([])).await;
    browser.fill("#entry-key", "retries").await;
    browser.click("#entry-percent").await;
    browser.wait_for_text("There is version 1 already").await;
    assert_eq!(browser.get("document.getElementById('entry-percent').value").await, "50");

    browser.click("[data-key='configs retries'] [aria-label='Delete retries']").await;
    browser.click("dialog .danger").await;
    browser.wait("!document.querySelector(\"[data-key='configs retries']\")").await;
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_shows_without_a_reload_and_is_not_overwritten() {
    let house = with_settings().await;
    let browser = &house.browser;
    house.log_in(&house.token("tenant_admin", None).await).await;
    house.go("payments", "settings/production").await;
    browser.wait_for("[data-key='configs gateway']").await;
    browser
        .run("window.row = document.querySelector(\"[data-key='configs checkout.retries']\")", json!([]))
        .await;
    browser.click("[aria-label='Edit checkout.retries']").await;
    browser.wait("document.getElementById('entry-value').value === '3'").await;
    browser.fill("#entry-value", "3").await;

    house.must("PUT", &format!("{PRODUCTION}/configs/checkout.retries"), Some(json!({"value": 7}))).await;

    browser.wait("window.row.innerText.includes('7')").await;
    browser.wait_for_text("Meanwhile version 2 was written").await;
    assert_eq!(
        browser.get("document.getElementById('entry-value').value").await,
        "33",
        "what is typed stays"
    );
    assert_eq!(browser.get("document.activeElement.id").await, "entry-value");
    assert_eq!(
        browser.get("window.row === document.querySelector(\"[data-key='configs checkout.retries']\")").await,
        json!(true)
    );
    browser.click("#entry-form [type=submit]").await;
    browser
        .wait("document.querySelector('#entry-form .form-error').textContent.includes('version is 2')")
        .await;
    browser.click("#entry-reload").await;
    browser.wait("document.getElementById('entry-value').value === '7'").await;
    browser.fill("#entry-value", "0").await;
    browser.click("#entry-form [type=submit]").await;
    browser.wait("window.row.innerText.includes('70')").await;

    browser.fill("#settings-search", "gate").await;
    browser.wait_for_text("1 of 3 configs").await;
    assert_eq!(browser.get("document.querySelectorAll(\"[data-key^='configs ']\").length").await, json!(1));
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_shows_on_a_click_alone_and_is_hidden_again() {
    let house = with_settings().await;
    let browser = &house.browser;
    house.log_in(&house.token("tenant_admin", None).await).await;
    house.go("payments", "settings/production").await;
    browser.wait_for("[data-key='secrets db.password']").await;
    assert!(!markup(&house).await.contains("correct horse"));

    browser.click("[aria-label='Show db.password']").await;
    browser.wait("document.getElementById('secret-value')?.textContent === 'correct horse'").await;
    assert_eq!(browser.get("document.activeElement.id").await, "shown-title");
    browser.click("#hide-value").await;
    browser.wait("!document.getElementById('secret-value')").await;
    assert!(!markup(&house).await.contains("correct horse"));

    // An older version, and a page that is not seen any more.
    browser.click("[aria-label='Versions of db.password']").await;
    browser.click("[aria-label='Show version 1 of db.password']").await;
    browser.wait("document.getElementById('secret-value')?.textContent === 'first-of-two'").await;
    browser
        .run(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true});
             document.dispatchEvent(new Event('visibilitychange'))",
            json!([]),
        )
        .await;
    browser.wait("!document.getElementById('secret-value')").await;
    browser
        .run(
            "Object.defineProperty(document, 'hidden', {value: false, configurable: true});
             document.dispatchEvent(new Event('visibilitychange'))",
            json!([]),
        )
        .await;

    // What is left is not there when somebody comes back, and no value stays in the form that wrote it.
    browser.click("[aria-label='Show db.password']").await;
    browser.wait_for("#secret-value").await;
    browser.click("[aria-label='Replace db.password']").await;
    assert_eq!(browser.get("document.getElementById('entry-secret').value").await, "");
    browser.fill("#entry-secret", "battery staple").await;
    browser.click("#entry-form [type=submit]").await;
    browser.wait_for_text("Saved as version 3").await;
    assert_eq!(browser.get("document.getElementById('entry-secret').value").await, "");
    browser.go("#/t/acme/n/payments/flags").await;
    browser.wait_for(".split").await;
    let page = markup(&house).await;
    assert!(!page.contains("correct horse") && !page.contains("battery staple"));

    let log = house.must("GET", "tenants/acme/audit", None).await;
    let read = |event: &&Value| event["action"] == "secret.read";
    assert_eq!(log["events"].as_array().unwrap().iter().filter(read).count(), 3);
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_a_secret_are_deleted_after_a_question() {
    let house = with_settings().await;
    let browser = &house.browser;
    house.log_in(&house.token("tenant_admin", None).await).await;
    house.go("payments", "settings/production").await;

    browser.click("[aria-label='Versions of db.password']").await;
    browser.click("[aria-label='Delete version 2 of db.password']").await;
    browser.click("dialog .danger").await;
    browser.wait("!document.getElementById('hide-versions')").await;
    browser.click("[aria-label='Show db.password']").await;
    browser.wait("document.getElementById('secret-value')?.textContent === 'first-of-two'").await;
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_shows_once_and_is_revoked() {
    let house = with_settings().await;
    let browser = &house.browser;
    house.log_in(&house.token("tenant_admin", None).await).await;
    house.go("payments", "settings/production").await;
    browser.wait_for("[aria-label='Revoke checkout']").await;

    browser.click("#key-drawer > summary").await;
    browser.fill("#key-drawer [name=name]", "storefront").await;
    browser.click("#key-form [type=submit]").await;
    let secret = browser.text("#secret").await;
    assert!(secret.starts_with("wxs_") && secret.len() == 47, "{}", secret.len());
    browser.click("#hide-secret").await;
    browser.wait("!document.getElementById('secret')").await;
    assert!(!markup(&house).await.contains(&secret));
    browser.click("[aria-label='Revoke storefront']").await;
    browser.click("dialog .danger").await;
    browser.wait("!document.querySelector('[aria-label=\"Revoke storefront\"]')").await;

    let keys = house.must("GET", &format!("{PRODUCTION}/keys"), None).await["keys"].clone();
    let revoked = |key: &&Value| key["revoked_at"].is_string();
    let names: Vec<&Value> =
        keys.as_array().unwrap().iter().filter(revoked).map(|key| &key["name"]).collect();
    assert_eq!(names, ["storefront"]);
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_offered_no_way_to() {
    let house = with_settings().await;
    let browser = &house.browser;
    house.log_in(&house.token("namespace_write", Some("payments")).await).await;
    house.go("payments", "settings/production").await;
    browser.wait_for("[aria-label='Replace db.password']").await;
    assert_eq!(browser.get("document.querySelector(\"[aria-label='Show db.password']\")").await, json!(null));
    let kinds = "[...document.querySelectorAll('#key-form option')].map(option => option.value)";
    assert_eq!(browser.get(kinds).await, json!(["pk"]));
    browser.click("#logout").await;

    house.log_in(&house.token("namespace_read", Some("payments")).await).await;
    house.go("payments", "settings/production").await;
    browser.wait_for("[data-key='secrets db.password']").await;
    assert_eq!(
        browser.get("document.querySelector('#entry, .danger, [aria-label^=Edit]')").await,
        json!(null)
    );
    assert_eq!(browser.get("document.getElementById('key-drawer').hidden").await, json!(true));
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_are_text() {
    let house = with_settings().await;
    let browser = &house.browser;
    let hostile = "<img src=x onerror=window.hurt=1>";
    for entry in ["configs", "secrets"] {
        let body = json!({"value": hostile});
        house.must("PUT", &format!("{PRODUCTION}/{entry}/hostile"), Some(body)).await;
    }
    house.log_in(&house.token("tenant_admin", None).await).await;

    house.go("payments", "settings/production").await;
    browser.wait_for_text("<img src=x").await;
    browser.click("[aria-label='Show hostile']").await;
    browser.wait_for("#secret-value").await;

    assert_eq!(browser.text("#secret-value").await, hostile);
    assert_eq!(browser.get("window.hurt ?? null").await, json!(null));
    assert_eq!(browser.get("document.querySelectorAll('main img, main script').length").await, json!(0));
    browser.expect_no_complaints().await;
}
