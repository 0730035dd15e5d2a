//! Logging in, and reading what is there.

use serde_json::json;

use crate::{
    browser::{DOWN, END, ENTER, RIGHT, SHIFT, TAB},
    house::House,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_kept_in_memory_only_and_gone_after_a_reload() {
    let house = House::with_payments().await;
    let browser = &house.browser;

    house.log_in(&house.admin).await;
    browser.wait_for_text("Payments platform").await;

    let kept = browser
        .get(
            "JSON.stringify([location.href, document.cookie, {...localStorage}, {...sessionStorage}, history.state,
              performance.getEntriesByType('resource').map(entry => entry.name), document.documentElement.outerHTML,
              [...document.querySelectorAll('input')].map(input => input.value)])",
        )
        .await;
    assert!(!kept.as_str().unwrap().contains(&house.admin[10..]), "the page shows the token somewhere");
    browser.reload().await;
    browser.wait_for("#token").await;
    assert_eq!(browser.get("document.body.innerText.includes('Payments platform')").await, json!(false));
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_in_words_and_a_revoked_one_ends_the_session() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    let issued =
        json!({"type": "namespace_read", "tenant": "acme", "namespace": "payments", "name": "to be revoked"});
    let issued = house.must("POST", "tokens", Some(issued)).await;

    browser.visit(&format!("{}/", house.server.url())).await;
    browser.fill("#token", "not a token").await;
    browser.press(ENTER).await;
    browser.wait_for_text("This is no token").await;
    browser.run("document.getElementById('token').value = ''", json!([])).await;
    browser.fill("#token", "exd_read_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await;
    browser.press(ENTER).await;
    browser.wait_for_text("The server does not accept this token").await;

    house.log_in(issued["secret"].as_str().unwrap()).await;
    browser.wait_for_text("new-checkout").await;
    house.must_delete(&format!("tokens/{}", issued["token"]["id"].as_str().unwrap())).await;
    // The stream ends at once, and its next attempt is refused.
    browser.wait_for_text("The token is not valid any more").await;
    assert_eq!(browser.get("document.body.innerText.includes('new-checkout')").await, json!(false));
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_read_as_sentences_per_environment() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    house.log_in(&house.token("namespace_read", Some("payments")).await).await;

    // A token of one namespace begins there.
    browser.wait_for_text("16 flags").await;
    house.go("payments", "flags/chargeback-evidence?env=production").await;
    browser.wait_for_text("is more than").await;
    let panel = browser.text("#env-panel").await;
    assert!(panel.contains("account.chargebacks is more than 10"), "{panel}");
    assert!(panel.contains("flagged-by-risk"), "{panel}");
    assert!(panel.contains("Everybody else"), "{panel}");

    house.go("payments", "flags/crypto-settlement?env=production").await;
    browser.wait_for_text("Testing gate").await;
    assert!(browser.text("#env-panel").await.contains("merchant.labels contains “crypto-pilot”"));
    browser.click("#env-staging").await;
    browser.wait("!document.body.innerText.includes('Testing gate')").await;
    assert!(browser.get("location.hash").await.as_str().unwrap().contains("env=staging"));

    house.go("payments", "segments/instant-payout-tenth").await;
    browser.wait_for("#segment-instant-payout-tenth .bucket-fill").await;
    let card = browser.text("#segment-instant-payout-tenth").await;
    assert!(card.contains("10%") && card.contains("instant-payout"), "{card}");
    let bar = browser.get("document.querySelector('#segment-instant-payout-tenth .bucket-fill').getBoundingClientRect().width
        / document.querySelector('#segment-instant-payout-tenth .bucket-bar').clientWidth").await;
    assert!((bar.as_f64().unwrap() - 0.1).abs() < 0.01, "{bar}");
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_and_filters_find_flags_and_an_address_opens_what_it_was_copied_from() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    house.log_in(&house.admin).await;

    house.go("payments", "flags").await;
    browser.wait_for_text("16 flags").await;
    browser.fill("#flag-search", "risk").await;
    browser.wait_for_text("of 16 flags").await;
    let keys = "[...document.querySelectorAll('.row-key')].map(key => key.textContent)";
    assert!(browser.get(keys).await.as_array().unwrap().contains(&json!("fraud-threshold")));
    browser.run("const of = document.getElementById('flag-type'); of.value = 'float'; of.dispatchEvent(new Event('change'))", json!([])).await;
    browser.wait("document.querySelectorAll('.row-key').length === 1").await;
    let address = browser.get("location.href").await;

    browser.visit("about:blank").await;
    browser.visit(address.as_str().unwrap()).await;
    browser.fill("#token", &house.admin).await;
    browser.press(ENTER).await;
    browser.wait_for_text("1 of 16 flags").await;
    assert_eq!(browser.get("document.getElementById('flag-search').value").await, "risk");
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_reached_with_the_keyboard_alone() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    browser.visit(&format!("{}/", house.server.url())).await;
    browser.wait("document.activeElement.id === 'token'").await;

    browser.press(&house.admin).await;
    browser.press(ENTER).await;
    browser.wait_for_text("Payments platform").await;
    tab_to(browser, "document.activeElement.matches('.card-link')").await;
    browser.press(ENTER).await;
    browser.wait_for_text("16 flags").await;

    // One stop for the list; arrows move in it, Enter opens, and the focus does not get lost.
    tab_to(browser, "document.activeElement.matches('.vlink')").await;
    browser.press(&format!("{DOWN}{DOWN}{DOWN}{ENTER}")).await;
    browser.wait_for("#flag-title").await;
    assert_eq!(browser.text("#flag-title").await, "crypto-settlement");
    assert_eq!(browser.get("document.activeElement.closest('.vrow').dataset.key").await, "crypto-settlement");
    browser.press(END).await;
    browser.wait("document.activeElement.closest('.vrow').dataset.key === 'three-ds-exemption'").await;
    browser.press(ENTER).await;
    browser.wait("document.getElementById('flag-title').textContent === 'three-ds-exemption'").await;

    // Environments are tabs.
    tab_to(browser, "document.activeElement.matches('.frame-lever')").await;
    browser.press(RIGHT).await;
    browser
        .wait("document.activeElement.id === 'env-staging' && document.activeElement.ariaSelected === 'true'")
        .await;

    // The skip link jumps over the board, and back is back.
    browser.run("document.activeElement.blur(); scrollTo(0, 0)", json!([])).await;
    tab_to(browser, "document.activeElement.id === 'skip'").await;
    let seen = browser.get("document.getElementById('skip').getBoundingClientRect().top >= 0").await;
    assert_eq!(seen, json!(true));
    browser.press(ENTER).await;
    browser.wait("document.activeElement.id === 'main'").await;

    tab_to(browser, "document.activeElement.matches('#flag-search')").await;
    browser.press_with(SHIFT, TAB).await;
    tab_back_to(
        browser,
        "document.activeElement.matches('.tab') && document.activeElement.textContent === 'Playground'",
    )
    .await;
    browser.press(ENTER).await;
    browser
        .wait(
            "document.activeElement.textContent === 'Playground' && document.activeElement.tagName === 'H1'",
        )
        .await;
    tab_to(browser, "document.activeElement.id === 'evaluate'").await;
    browser.press(ENTER).await;
    browser.wait_for_text("16 flags").await;
    tab_back_to(browser, "document.activeElement.id === 'logout'").await;
    browser.press(ENTER).await;
    browser.wait("document.activeElement.id === 'token'").await;
    browser.expect_no_complaints().await;
}

/// Presses Tab until the focus is there; each stop on the way must be visible as such.
async fn tab_to(browser: &crate::browser::Browser, there: &str) {
    walk(browser, there, false).await;
}

async fn tab_back_to(browser: &crate::browser::Browser, there: &str) {
    walk(browser, there, true).await;
}

async fn walk(browser: &crate::browser::Browser, there: &str, back: bool) {
    for _ in 0..120 {
        if browser.get(there).await == json!(true) {
            return;
        }
        if back {
            browser.press_with(SHIFT, TAB).await;
        } else {
            browser.press(TAB).await;
        }
        let visible = browser
            .get(
                "document.activeElement === document.body || (() => {
                    const at = document.activeElement, style = getComputedStyle(at), after = getComputedStyle(at, '::after');
                    const outlined = s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2;
                    const label = at.matches('input.unseen') && getComputedStyle(at.nextElementSibling);
                    return outlined(style) || outlined(after) || (label && outlined(label));
                })() || document.activeElement.outerHTML",
            )
            .await;
        assert_eq!(visible, json!(true), "the focus does not show here");
    }
    panic!("Tab does not lead to `{there}`");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_and_descriptions_are_shown_as_text() {
    const HOSTILE: &str = "<img src=x onerror='window.broken=1'><script>window.broken=2</script>";
    let house = House::open().await;
    let browser = &house.browser;
    let body = json!({"slug": "payments", "display_name": HOSTILE, "description": format!("{HOSTILE} javascript:alert(1)")});
    house.must("POST", "tenants/acme/namespaces", Some(body)).await;
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    let flag = format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"string\"\ndescription = {quoted}\nowner = {quoted}\ntags = [\"<b>tag</b>\"]\n\
         [flag.variants]\non = {quoted}\noff = \"javascript:alert(1)\"\n[flag.environments._]\nvariant = \"off\"\n\
         [[flag.environments._.rules]]\ndescription = {quoted}\nvariant = \"on\"\n\
         predicate = {{ attribute = \"user.name\", op = \"eq\", value = {quoted} }}\n"
    );
    let namespace =
        format!("schema_version = \"0.1\"\n[namespace]\nslug = \"payments\"\ndisplay_name = {quoted}\n");
    house.upload("payments", &[("flags/evil.toml".into(), flag), ("namespace.toml".into(), namespace)]).await;
    house.log_in(&house.admin).await;

    browser.wait_for_text(HOSTILE).await;
    house.go("payments", "flags/evil").await;
    browser.wait("document.querySelector('#env-panel').innerText.includes('<script>')").await;
    for place in [".row-text", ".flag-text", ".rule-why", ".variants"] {
        let text = browser.text(place).await;
        assert!(text.contains("<img src=x"), "{place}: {text}");
    }
    house.go("payments", "try?flag=evil").await;
    browser.fill("#context-value-0", HOSTILE).await;
    browser.click("#evaluate").await;
    browser.wait_for(".outcome").await;
    assert!(browser.text(".outcome").await.contains("<img src=x"));
    house.go("payments", "history/0..1").await;

    assert_eq!(browser.get("window.broken ?? null").await, json!(null));
    assert_eq!(browser.get("document.querySelectorAll('img, main script, b').length").await, json!(0));
    browser.expect_no_complaints().await;
}
