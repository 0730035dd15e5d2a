//! How it looks: widths, contrast, names of controls, many flags, and the pictures of the documentation.

use std::{fs, path::Path};

use leverframe::config::ambient_environment;
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    gate::{load, payments_with_rules, with_fleet},
    house::{House, changed},
    settings::furnish,
};

/// Every page with something on it.
const PAGES: [(&str, &str); 15] = [
    ("#/", ".card"),
    ("#/t/acme", ".card"),
    ("#/t/acme/tokens", "tbody tr"),
    ("#/audit", "tbody tr"),
    ("#/gate", ".card"),
    ("#/t/acme/gate", ".reflex-on"),
    ("#/t/acme/n/payments/flags", ".split"),
    ("#/t/acme/n/payments/flags/new-checkout?env=production", "#flag-title"),
    ("#/t/acme/n/payments/segments", ".segment-card"),
    ("#/t/acme/n/payments/history/1..2", ".change"),
    ("#/t/acme/n/payments/upload", ".drop"),
    ("#/t/acme/n/payments/try?flag=new-checkout&env=production", "#evaluate"),
    ("#/t/acme/n/payments/clients", "tbody tr"),
    ("#/t/acme/n/payments/settings", ".card"),
    ("#/t/acme/n/payments/settings/production", "[data-key='secrets db.password']"),
];

async fn lived_in() -> House {
    // Reports of a minute: what a person finds who looks while something is wrong.
    let (house, client) = with_fleet().await;
    house
        .must("PATCH", "gate/acme", Some(json!({"global_max_weight": 500, "tag_max_weights": {"free": 10}})))
        .await;
    client.flush().await.unwrap();
    load(&client, 6).await;
    client.close().await.unwrap();
    let files = changed(payments_with_rules(), "segments/instant-payout-tenth.toml", "999", "1999");
    house.upload("payments", &files).await;
    house.token("namespace_read", Some("payments")).await;
    furnish(&house).await;
    house.log_in(&house.admin).await;
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_fits_a_narrow_screen_and_a_wide_one() {
    let house = lived_in().await;
    let browser = &house.browser;
    for width in [360, 768, 1280, 2200] {
        browser.resize(width, 800).await;
        for (page, sign) in PAGES {
            browser.go(page).await;
            browser.wait_for(sign).await;

            let over = browser.get("document.scrollingElement.scrollWidth - innerWidth").await;
            assert!(over.as_i64().unwrap() <= 0, "{page} is {over} pixels too wide for {width}");
        }
    }
    browser.expect_no_complaints().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_stands_out_in_both_schemes_and_every_control_has_a_name() {
    let house = lived_in().await;
    let browser = &house.browser;
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await;
        for (page, sign) in PAGES {
            browser.go(page).await;
            browser.wait_for(sign).await;
            if page.contains("/try") {
                browser.click("#evaluate").await;
                browser.wait_for(".trace").await;
            }

            let faint = browser.run(CONTRAST, json!([])).await;
            let nameless = browser.run(NAMELESS, json!([])).await;

            assert_eq!(faint, json!([]), "{scheme} {page}");
            assert_eq!(nameless, json!([]), "{scheme} {page}");
        }
    }
    browser.run("document.getElementById('logout').click()", json!([])).await;
    browser.wait_for("#token").await;
    assert_eq!(browser.run(CONTRAST, json!([])).await, json!([]));
    browser.expect_no_complaints().await;
}

/// Texts whose contrast with what is behind them is below that of WCAG AA.
const CONTRAST: &str = "
    const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
    const behind = node => {
        const layers = [];
        for (let at = node; at; at = at.parentElement) {
            const of = parse(getComputedStyle(at).backgroundColor);
            if (of[3] > 0) layers.push(of);
            if (of[3] === 1) break;
        }
        return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
    };
    const faint = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const text = walk.currentNode.data.trim(), node = walk.currentNode.parentElement;
        if (!text || !node.checkVisibility() || node.closest('.unseen, option, datalist, .skip, [disabled], noscript')) continue;
        if (getComputedStyle(node).webkitTextSecurity === 'disc') continue;
        const style = getComputedStyle(node), ground = behind(node), ink = over(parse(style.color), ground);
        const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) faint.push(`${text.slice(0, 30)} in ${node.className || node.tagName}: ${ratio.toFixed(2)}`);
    }
    return [...new Set(faint)];";

/// Controls that a screen reader could not name, and ids that are there twice.
const NAMELESS: &str = "
    const bad = [];
    for (const node of document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')) {
        if (!node.checkVisibility() || node.tabIndex < 0) continue;
        const labelled = (node.getAttribute('aria-labelledby') ?? '').split(' ').map(id => document.getElementById(id)?.textContent ?? '').join('');
        const name = node.getAttribute('aria-label') || labelled || [...(node.labels ?? [])].map(label => label.textContent).join('')
            || (node.matches('input, select, textarea') ? '' : node.textContent);
        if (!name.trim() && !node.matches('[data-scroll]')) bad.push(node.outerHTML.slice(0, 200));
    }
    const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
    for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) bad.push(`id ${id} twice`);
    if (document.querySelectorAll('h1').length !== 1) bad.push('not one h1');
    for (const of of ['main', 'header', 'nav']) if (document.getElementById('logout') && !document.querySelector(of)) bad.push(`no ${of}`);
    return bad;";

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_flags_stay_usable() {
    const COUNT: usize = 10_000;
    let house = House::open().await;
    let browser = &house.browser;
    house.namespace("payments").await;
    let flag = |on: &str| {
        format!(
            "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\ndescription = \"One of many\"\n[flag.variants]\non = true\noff = false\n[flag.environments._]\nvariant = \"{on}\"\n"
        )
    };
    let mut files: Vec<(String, String)> =
        (0..COUNT).map(|at| (format!("flags/flag-{at:05}.toml"), flag("off"))).collect();
    files.push((
        "namespace.toml".into(),
        "schema_version = \"0.1\"\n[namespace]\nslug = \"payments\"\n".into(),
    ));
    house.upload("payments", &files).await;
    house.log_in(&house.admin).await;

    house.go("payments", "flags").await;
    browser.wait_for_text("10,000 flags").await;
    let rows = browser.get("document.querySelectorAll('.vrow').length").await.as_u64().unwrap();
    assert!(rows < 80, "{rows} rows are elements");
    browser.run("document.querySelector('.vlist').scrollTop = 1e9", json!([])).await;
    browser.wait("document.querySelector('.vlist').innerText.includes('flag-09999')").await;
    browser.fill("#flag-search", "flag-0777").await;
    browser.wait_for_text("10 of 10,000 flags").await;
    browser.fill("#flag-search", "").await;
    browser.wait_for_text("10,000 flags").await;

    house.go("payments", "flags/flag-05000").await;
    browser.wait_for("#flag-title").await;
    browser.wait_for(".live-live").await;
    files[5_000].1 = flag("on");
    house.upload("payments", &files).await;
    browser.wait("document.querySelector('#env-panel').innerText.includes('on')").await;
    browser.expect_no_complaints().await;
}

/// Writes the pictures of docs/console.md, when `LEVERFRAME_TEST_PICTURES` names the folder to put them into.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_show_the_pages_in_both_schemes() {
    let asked = ambient_environment(&["LEVERFRAME_TEST_PICTURES"]);
    let folder = asked.first().map(|(_, folder)| folder.expose().to_owned());
    let house = lived_in().await;
    let browser = &house.browser;
    for token in [
        ("namespace_read", "checkout service"),
        ("namespace_write", "deploy pipeline"),
        ("namespace_client", "storefront"),
    ] {
        let mut body = json!({"type": token.0, "tenant": "acme", "namespace": "payments", "name": token.1});
        if token.0 == "namespace_client" {
            body["environment"] = json!("production");
            body["allowed_origins"] = json!(["https://shop.example.com"]);
        }
        house.must("POST", "tokens", Some(body)).await;
    }
    let pictures = [
        ("flags", "#/t/acme/n/payments/flags/chargeback-evidence?env=production", "#flag-title", 1280, true),
        ("segments", "#/t/acme/n/payments/segments", ".segment-card", 1280, false),
        ("history", "#/t/acme/n/payments/history/1..2", ".change", 1280, false),
        (
            "playground",
            "#/t/acme/n/payments/try?flag=chargeback-evidence&env=production",
            "#evaluate",
            1280,
            true,
        ),
        ("clients", "#/t/acme/n/payments/clients", "tbody tr", 1280, false),
        ("tokens", "#/t/acme/tokens", "tbody tr", 1280, false),
        ("gate", "#/t/acme/gate", ".reflex-on", 1280, true),
        (
            "settings",
            "#/t/acme/n/payments/settings/production",
            "[data-key='secrets db.password']",
            1280,
            true,
        ),
        ("narrow", "#/t/acme/n/payments/flags/chargeback-evidence?env=production", "#flag-title", 390, true),
    ];
    browser.wait_for(".card").await;
    for (name, page, sign, width, dark) in pictures {
        browser.resize(width, 860).await;
        browser.go(page).await;
        browser.wait_for(sign).await;
        if name == "playground" {
            fill_in(browser).await;
        }
        let schemes: &[&str] = if dark { &["light", "dark"] } else { &["light"] };
        for scheme in schemes {
            browser.prefer(scheme).await;
            browser.wait("document.getAnimations().every(one => one.playState !== 'running')").await;
            let picture = browser.screenshot().await;
            assert!(picture.starts_with(b"\x89PNG") && picture.len() <= 200_000, "{name}: {}", picture.len());
            if let Some(folder) = &folder {
                fs::create_dir_all(folder).unwrap();
                fs::write(Path::new(folder).join(format!("console-{name}-{scheme}.png")), picture).unwrap();
            }
        }
    }
    browser.run("document.getElementById('logout').click()", json!([])).await;
    browser.resize(1280, 860).await;
    browser.wait_for("#token").await;
    browser.prefer("light").await;
    let picture = browser.screenshot().await;
    if let Some(folder) = &folder {
        fs::write(Path::new(folder).join("console-login-light.png"), picture).unwrap();
    }
    browser.expect_no_complaints().await;
}

async fn fill_in(browser: &Browser) {
    let row: Value = browser.get("[...document.querySelectorAll('.context-row')].findIndex(row => row.querySelector('input').value === 'account.chargebacks')").await;
    browser.fill(&format!("#context-value-{row}"), "5").await;
    browser.click("#evaluate").await;
    browser.wait_for(".nearest").await;
    browser.run("document.activeElement.blur()", json!([])).await;
}
