//! What administrators do, and who is connected.

use crate::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn a_superadmin_creates_a_tenant_and_a_namespace_and_sees_them_in_the_audit_log() {
    let house = House::open().await;
    let browser = &house.browser;
    house.log_in(&house.admin).await;

    browser.wait_for_text("Acme").await;
    browser.click(".drawer > summary").await;
    browser.fill(".drawer [name=slug]", "globex").await;
    browser.fill(".drawer [name=login_value]", "globex.example").await;
    browser.click(".drawer [type=submit]").await;
    browser
        .wait("[...document.querySelectorAll('.tenant')].some(one => one.innerText.includes('globex'))")
        .await;

    browser.go("#/t/globex").await;
    browser.wait_for_text("This tenant has no namespaces yet").await;
    browser.click(".drawer > summary").await;
    browser.fill(".drawer [name=slug]", "search").await;
    browser.click(".drawer [type=submit]").await;
    browser.wait_for_text("No flags have been uploaded yet").await;
    assert_eq!(browser.get("location.hash").await, "#/t/globex/n/search");

    // A slug that is taken is refused in words, beside the form.
    browser.go("#/t/globex").await;
    browser.wait_for(".card").await;
    browser.click(".drawer > summary").await;
    browser.fill(".drawer [name=slug]", "search").await;
    browser.click(".drawer [type=submit]").await;
    browser.wait("document.querySelector('.form-error').textContent.includes('exists')").await;

    browser.go("#/audit").await;
    browser.wait_for_text("namespace.create").await;
    assert!(browser.text("main").await.contains("already_exists"));
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_admin_issues_a_token_whose_secret_shows_once_and_revokes_it() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    house.log_in(&house.token("tenant_admin", None).await).await;

    browser.go("#/t/acme/tokens").await;
    browser.wait_for_text("a tenant_admin").await;
    browser.click(".drawer > summary").await;
    browser.fill(".drawer [name=name]", "checkout service").await;
    browser.fill(".drawer [name=namespace]", "payments").await;
    browser.click(".drawer [type=submit]").await;
    let secret = browser.text("#secret").await;
    let seen = house.call(&secret, "GET", "tenants/acme/namespaces/payments/manifest/versions", None).await;
    assert_eq!(seen.status, 200);
    browser.click("#hide-secret").await;
    browser.wait("!document.getElementById('secret')").await;
    let page = browser.get("document.documentElement.outerHTML").await;
    assert!(!page.as_str().unwrap().contains(&secret));

    browser.click("[aria-label='Revoke checkout service']").await;
    browser.click("dialog .danger").await;
    browser.wait("!document.querySelector('[aria-label=\"Revoke checkout service\"]')").await;
    let refused =
        house.call(&secret, "GET", "tenants/acme/namespaces/payments/manifest/versions", None).await;
    assert_eq!(refused.status, 401);
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_clients_are_listed_with_how_far_behind_they_are() {
    let house = House::with_payments().await;
    let browser = &house.browser;
    house.log_in(&house.admin).await;

    house.go("payments", "clients").await;
    // The console itself is one.
    browser.wait("document.querySelectorAll('tbody tr').length >= 1").await;
    // A moment after its stream is open, it has been sent the version.
    browser.wait("document.querySelector('main').innerText.includes('up to date')").await;

    let table = browser.text("main").await;
    assert!(table.contains("1 open stream") && table.contains("up to date"), "{table}");
    assert!(
        table.contains("console tests") && table.contains("all flags") && table.contains("v1"),
        "{table}"
    );
    browser.expect_no_complaints().await;
}
