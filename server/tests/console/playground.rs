//! The playground.

use serde_json::json;

use crate::{browser::ENTER, house::House};

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_comes_with_its_trace_and_what_would_change_it() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    house.log_in(&house.token("namespace_read", Some("payments")).await).await;

    house.go("payments", "try?flag=chargeback-evidence&env=production").await;
    // Rows for what the flag looks at are there already.
    browser.wait("[...document.querySelectorAll('.context-row input')].some(input => input.value === 'account.chargebacks')").await;
    let row = browser.get("[...document.querySelectorAll('.context-row')].findIndex(row => row.querySelector('input').value === 'account.chargebacks')").await;
    browser.fill(&format!("#context-value-{row}"), "5").await;
    browser.press(ENTER).await;
    browser.wait_for(".outcome").await;

    assert!(browser.text(".outcome").await.contains("assisted"));
    let trace = browser.text(".trace").await;
    assert!(
        trace.contains("does not match")
            && trace.contains("matches")
            && trace.contains("account.chargebacks gt 10"),
        "{trace}"
    );
    assert!(trace.contains("Why not"), "{trace}");
    let nearest = browser.text(".nearest").await;
    assert!(nearest.contains("account.chargebacks"), "{nearest}");
    browser.click("#take-context").await;
    browser.wait("!document.querySelector('.outcome-variant').textContent.includes('assisted')").await;
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_flags_are_evaluated_at_once_and_the_command_has_no_token() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    let token = house.token("namespace_read", Some("payments")).await;
    house.log_in(&token).await;

    house.go("payments", "try?env=production").await;
    browser.wait_for("#evaluate").await;
    browser.click("[aria-pressed]").await;
    browser.run("document.querySelector('.context textarea').value = ''", json!([])).await;
    browser.fill(".context textarea", r#"{"user.id": "it's u-1", "user.country": "DE"}"#).await;
    browser.click("#evaluate").await;
    browser.wait("document.querySelectorAll('.try-result tbody tr').length === 16").await;

    let command = browser.get("document.querySelector('.curl').textContent").await;
    let command = command.as_str().unwrap();
    assert!(command.contains("$LEVERFRAME_TOKEN") && !command.contains("exd_"), "{command}");
    // The command does what it says, also with a quote in the context.
    let run = std::process::Command::new("bash")
        .args(["-c", command])
        .env("LEVERFRAME_TOKEN", &token)
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(answer["results"].as_object().unwrap().len(), 16, "{answer}");
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_does_not_read_is_said_so_and_a_wrong_type_gives_the_callers_default() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    house.log_in(&house.token("namespace_read", Some("payments")).await).await;
    house.go("payments", "try?flag=chargeback-evidence&env=production").await;
    browser.wait_for("#context-value-0").await;

    browser.click("[aria-pressed]").await;
    browser.run("document.querySelector('.context textarea').value = ''", json!([])).await;
    browser.fill(".context textarea", r#"{"account.chargebacks": "#).await;
    browser.click("#evaluate").await;
    browser.wait_for_text("The JSON does not read").await;
    browser.fill(".context textarea", r#""many"}"#).await;
    browser.click("#evaluate").await;
    browser.wait_for(".outcome-none").await;

    assert!(browser.text(".outcome-none").await.contains("account.chargebacks"));
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_token_sees_the_playground_of_its_environment_and_nothing_else() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    house.log_in(&house.token("namespace_client", Some("payments")).await).await;

    browser.wait_for("#evaluate").await;
    browser.fill("#try-flag", "chargeback-evidence").await;
    browser.click("#evaluate").await;
    browser.wait_for(".outcome").await;

    assert!(browser.text(".outcome").await.contains("manual"));
    assert_eq!(
        browser.get("[...document.querySelectorAll('.tab')].map(tab => tab.textContent)").await,
        json!(["Playground"])
    );
    assert_eq!(browser.get("document.getElementById('try-env').readOnly").await, json!(true));
    browser.expect_no_complaints().await;
}
