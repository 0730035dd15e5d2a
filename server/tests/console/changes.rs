//! What shows by itself when something changes elsewhere, and what a person changes here.

use std::time::Duration;

use serde_json::json;

use crate::house::{House, changed, payments};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_made_elsewhere_shows_without_a_reload_and_leaves_the_focus_alone() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    browser.visit(&format!("{}/", house.server.url())).await;
    // What is asked of the model, and how many of these requests are under way.
    browser
        .run(
            "window.asked = []; window.waiting = 0;
             const real = window.fetch;
             window.fetch = (address, ...rest) => {
                 const answer = real(address, ...rest);
                 if (!address.includes('/manifest/model')) return answer;
                 window.asked.push(address); window.waiting += 1;
                 return answer.finally(() => { window.waiting -= 1; });
             };",
            json!([]),
        )
        .await;
    house.enter(&house.token("namespace_read", Some("payments")).await).await;
    house.go("payments", "flags/chargeback-evidence?env=production").await;
    browser.wait_for(".live-live").await;
    browser.wait_for_text("is more than 10").await;
    // A stream that is faster than the model has it looked at again, and a change during that look has everything
    // fetched.
    browser.wait("window.waiting === 0").await;
    // The stream has brought the first version, so that the next one comes as a difference.
    let hub = house.server.app().hub();
    let brought = async {
        while !hub.readers("acme", "payments", None, 1).iter().any(|reader| reader.delivered_version == 1) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), brought).await.expect("a stream that is sent the version");
    browser.run("window.loaded = 'once'; document.getElementById('env-production').focus()", json!([])).await;

    let files = changed(payments(), "flags/chargeback-evidence.toml", "value = 10", "value = 12");
    assert_eq!(house.upload("payments", &files).await, 2);

    browser.wait_for_text("is more than 12").await;
    browser
        .wait("document.querySelector('[data-key=\"chargeback-evidence\"]').classList.contains('flash')")
        .await;
    browser.wait("document.getElementById('polite').textContent.includes('Version 2 is current: 1 flag changed: chargeback-evidence')").await;
    browser.wait("document.getElementById('live-badge').innerText.includes('v2')").await;
    assert_eq!(browser.get("window.loaded").await, "once");
    assert_eq!(browser.get("document.activeElement.id").await, "env-production");
    // Only what changed was fetched.
    let fetched = browser.get("window.asked.at(-1)").await;
    assert!(fetched.as_str().unwrap().contains("paths=flags%2Fchargeback-evidence.toml"), "{fetched}");

    // A change of a segment marks the flags that look at it; a flag that is gone leaves the list.
    let mut files =
        changed(files, "segments/flagged-by-risk.toml", "schema_version", "# Changed\nschema_version");
    files = changed(files, "segments/instant-payout-tenth.toml", "999", "1999");
    files.retain(|(path, _)| path != "flags/risk-model.toml");
    house.upload("payments", &files).await;
    browser.wait_for_text("15 flags").await;
    browser.wait("document.querySelector('[data-key=\"instant-payout\"]').classList.contains('flash')").await;
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_shows_as_such_and_what_changed_meanwhile_shows_when_it_is_back() {
    let mut house = House::with_payments().await;
    house.log_in(&house.token("namespace_read", Some("payments")).await).await;
    house.go("payments", "flags/chargeback-evidence?env=production").await;
    house.browser.wait_for(".live-live").await;
    house.browser.wait_for_text("is more than 10").await;

    house.server.stop(Some(Duration::from_secs(5))).await;
    house.browser.wait_for(".live-reconnecting").await;
    // What was there stays there.
    assert!(house.browser.text("#env-panel").await.contains("is more than 10"));
    house.start_again().await;
    let files = changed(payments(), "flags/chargeback-evidence.toml", "value = 10", "value = 12");
    house.upload("payments", &files).await;

    house.browser.wait_for_text("is more than 12").await;
    house.browser.wait_for(".live-live").await;
    house.browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_compared_and_rolled_back_after_a_question() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    let files = changed(payments(), "segments/instant-payout-tenth.toml", "999", "1999");
    house.upload("payments", &files).await;
    house.log_in(&house.token("namespace_write", Some("payments")).await).await;

    house.go("payments", "history").await;
    browser.wait_for("#rollback-1").await;
    house.go("payments", "history/1..2").await;
    browser.wait_for(".change").await;
    let diff = browser.text(".diff").await;
    assert!(diff.contains("instant-payout-tenth") && diff.contains("(10% → 20%)"), "{diff}");
    assert!(diff.contains("WHOM IT MOVES") && diff.contains("instant-payout"), "{diff}");

    browser.click("#rollback-1").await;
    browser.wait_for("dialog[open]").await;
    browser.press(crate::browser::ESCAPE).await;
    browser.wait("!document.querySelector('dialog')").await;
    assert_eq!(browser.get("document.activeElement.id").await, "rollback-1");
    browser.click("#rollback-1").await;
    browser.click("dialog .danger").await;
    browser.wait_for_text("Version 3 is current, with the content of version 1").await;
    browser.wait("document.querySelectorAll('tbody tr').length === 3").await;
    let versions = house.must("GET", "tenants/acme/namespaces/payments/manifest/versions", None).await;
    assert_eq!(versions["versions"][0]["sha256"], versions["versions"][2]["sha256"]);
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_is_offered_no_change() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    house
        .upload(
            "payments",
            &changed(payments(), "flags/chargeback-evidence.toml", "value = 10", "value = 12"),
        )
        .await;
    house.log_in(&house.token("namespace_read", Some("payments")).await).await;

    house.go("payments", "history").await;
    browser.wait("document.querySelectorAll('tbody tr').length === 2").await;

    assert_eq!(browser.get("document.querySelectorAll('[id^=rollback]').length").await, json!(0));
    let tabs = browser.get("[...document.querySelectorAll('.tab')].map(tab => tab.textContent)").await;
    assert_eq!(tabs, json!(["Flags", "Segments", "History", "Playground", "Settings"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_linted_first_and_uploaded_only_if_it_passes() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    let folder = tempfile::TempDir::new().unwrap();
    let write = |name: &str, files: &[(String, String)]| {
        let path = folder.path().join(name);
        std::fs::write(&path, crate::house::archive_of(files)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = write(
        "good.tar.gz",
        &changed(payments(), "flags/chargeback-evidence.toml", "value = 10", "value = 12"),
    );
    let bad = write(
        "bad.tar.gz",
        &changed(payments(), "flags/chargeback-evidence.toml", "flagged-by-risk", "nobody-at-all"),
    );
    house.log_in(&house.token("namespace_write", Some("payments")).await).await;
    house.go("payments", "upload").await;
    browser.wait_for_text("Choose an archive").await;

    browser.fill("#archive", &bad).await;
    browser.wait_for(".finding-error").await;
    let finding = browser.text(".findings").await;
    assert!(finding.contains("E005") && finding.contains("flags/chargeback-evidence.toml"), "{finding}");
    assert_eq!(browser.get("document.getElementById('send-archive')").await, json!(null));

    browser.fill("#archive", &good).await;
    browser.click("#send-archive").await;
    browser.wait_for_text("Version 2 is current").await;
    assert_eq!(
        house.must("GET", "tenants/acme/namespaces/payments", None).await["namespace"]["version"],
        json!(2)
    );
    browser.expect_no_complaints().await;
}
