//! Closures over HTTP.

use std::{collections::HashSet, sync::Arc, time::Duration};

use leverframe::{document::Tree, flags::events::FlagFilter, manifest::archive, testing::ManualClock};
use leverframe_server::model::TokenType;
use reqwest::Method;

use crate::{
    stage::{Stage, closure_of, flag, start, with},
    support::TestServer,
};

const PATH: &str = "/api/v1/tenants/acme/namespaces/payments/closure";

async fn fetched(stage: &Stage, path: &str, token: &str) -> (Tree, String) {
    let response = stage.server.request(Method::GET, path, token).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    let tree = archive::unpack(&response.bytes().await.unwrap()).unwrap().tree;
    (tree, etag)
}

#[tokio::test]
async fn a_snapshot_holds_what_the_library_says_the_closure_is() {
    let stage = Stage::new().await;
    let first = start("payments");
    stage.upload("payments", &first).await;

    for (flags, filter) in [
        ("", FlagFilter::All),
        (":*", FlagFilter::All),
        (":pay", FlagFilter::only(["pay"])),
        (":ship", FlagFilter::only(["ship"])),
        (":ship,pay,ship", FlagFilter::only(["pay", "ship"])),
        (":none", FlagFilter::only(["none"])),
    ] {
        let event = stage.read(&format!("ns=payments{flags}")).await.event().await.version();
        let (tree, etag) = fetched(&stage, &event.snapshot_url.unwrap(), "").await;

        let (expected, hash) = closure_of("payments", &first, &filter);
        assert_eq!(tree, expected, "{flags}");
        assert_eq!(event.closure_hash, hash, "{flags}");
        assert_eq!(etag, format!("\"{hash}\""), "{flags}");
        // What a reader would reckon from what it has.
        assert_eq!(closure_of("payments", &tree, &filter).1, hash, "{flags}");
    }
}

#[tokio::test]
async fn past_versions_are_there_and_versions_that_are_not_are_not() {
    let stage = Stage::new().await;
    let first = start("payments");
    stage.upload("payments", &first).await;
    let second = with(&first, "flags/ship.toml", flag("two", &[]));
    stage.upload("payments", &second).await;

    let all = FlagFilter::All;
    assert_eq!(
        fetched(&stage, &format!("{PATH}?version=1"), &stage.token).await.0,
        closure_of("payments", &first, &all).0
    );
    assert_eq!(fetched(&stage, PATH, &stage.token).await.0, closure_of("payments", &second, &all).0);
    assert_eq!(
        fetched(&stage, &format!("{PATH}?flags=ship&version=1"), &stage.token).await.0.iter().count(),
        2
    );
    for (query, status) in [
        ("?version=3", 404),
        ("?version=0", 400),
        ("?version=x", 400),
        ("?version=1&version=1", 400),
        ("?flags=", 400),
        ("?flags=a&flags=b", 400),
        ("?what=1", 400),
    ] {
        assert_eq!(stage.server.get(&format!("{PATH}{query}"), &stage.token).await.status, status, "{query}");
    }
    let none_yet = "/api/v1/tenants/acme/namespaces/search/closure";
    assert_eq!(stage.server.get(none_yet, &stage.token).await.status, 404);
}

#[tokio::test]
async fn a_closure_that_is_known_is_not_sent_again() {
    let stage = Stage::new().await;
    stage.upload("payments", &start("payments")).await;
    let (_, etag) = fetched(&stage, PATH, &stage.token).await;

    for (tag, status) in [(etag.as_str(), 304), ("\"sha256:00\"", 200), ("*", 304)] {
        let request = stage.server.request(Method::GET, PATH, &stage.token).header("if-none-match", tag);
        let answer = stage.server.http.execute(request.build().unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{tag}");
        assert_eq!(answer.headers()["etag"], etag.as_str());
    }
}

#[tokio::test]
async fn a_token_has_to_be_one_that_may_read_the_namespace() {
    let stage = Stage::new().await;
    stage.upload("payments", &start("payments")).await;
    let (_, read) = stage.server.mint(TokenType::NamespaceRead, "acme/payments").await;
    let (_, other) = stage.server.mint(TokenType::NamespaceRead, "acme/search").await;
    let (_, rival) = stage.server.mint(TokenType::TenantAdmin, "rival").await;
    let (_, client) = stage.server.mint(TokenType::NamespaceClient, "acme/payments/production").await;

    for (token, status) in [
        (read.as_str(), 200),
        (&stage.token, 200),
        (&stage.server.root, 200),
        (&other, 403),
        (&rival, 403),
        (&client, 403),
        ("", 401),
        ("exd_read_unknown", 401),
    ] {
        assert_eq!(fetch_status(&stage, PATH, token).await, status);
    }
    assert_eq!(fetch_status(&stage, &PATH.replace("/acme/", "/-/"), &read).await, 200);
    assert_eq!(fetch_status(&stage, &PATH.replace("/acme/", "/-/"), &stage.server.root).await, 400);
}

async fn fetch_status(stage: &Stage, path: &str, token: &str) -> u16 {
    stage.server.request(Method::GET, path, token).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_signature_covers_every_part_of_a_url_and_ends_after_five_minutes() {
    let clock = ManualClock::new();
    let stage = Stage::of(TestServer::start_with(Arc::new(clock.clone()), |_| {}).await).await;
    stage.upload("payments", &start("payments")).await;
    stage.upload("search", &start("search")).await;
    let event = stage.read("ns=payments:pay").await.event().await.version();
    let url = event.snapshot_url.unwrap();
    assert_eq!(stage.server.get(&url, "").await.status, 200);
    let (path, query) = url.split_once('?').unwrap();
    let parts: Vec<(&str, &str)> = query.split('&').map(|part| part.split_once('=').unwrap()).collect();
    assert_eq!(
        parts.iter().map(|(key, _)| *key).collect::<HashSet<_>>(),
        HashSet::from(["exp", "flags", "sig", "version"])
    );
    let get = |name: &str| parts.iter().find(|(key, _)| *key == name).unwrap().1;

    let mut reversed = parts.clone();
    reversed.reverse();
    let reversed = reversed.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&");
    assert_eq!(stage.server.get(&format!("{path}?{reversed}"), "").await.status, 200, "order does not count");

    let longer = (get("exp").parse::<u64>().unwrap() + 1).to_string();
    let sig = get("sig");
    let flipped = format!("{}{}", if sig.starts_with('A') { 'B' } else { 'A' }, &sig[1..]);
    let tampered = [
        url.replace("/payments/", "/search/"),
        url.replace("/acme/", "/rival/"),
        url.replace("flags=pay", "flags=ship"),
        url.replace("flags=pay", "flags=pay,ship"),
        url.replace("flags=pay&", ""),
        url.replace("flags=pay", "flags=*"),
        url.replace("version=1", "version=2"),
        url.replace("&version=1", ""),
        url.replace(&format!("exp={}", get("exp")), &format!("exp={longer}")),
        url.replace(&format!("exp={}", get("exp")), ""),
        url.replace(sig, &flipped),
        url.replace(sig, &sig[1..]),
        url.replace(sig, ""),
        url.replace(&format!("sig={sig}"), ""),
        url.replace(sig, &sig.to_lowercase()),
        format!("{url}&x=1"),
        format!("{url}&sig={sig}"),
        format!("{url}&flags=ship"),
    ];
    for tampered in tampered {
        // A token that could read it does not help a signature that is wrong.
        for token in ["", stage.token.as_str()] {
            let answer = stage.server.get(&tampered, token).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code().as_str()),
                (401, "closure_token_invalid"),
                "{tampered}"
            );
        }
    }
    let posted = stage.server.send(stage.server.request(Method::HEAD, &url, "")).await;
    assert_eq!(posted.status, 200, "HEAD is GET without the body");

    clock.advance(Duration::from_secs(300));
    assert_eq!(stage.server.get(&url, "").await.status, 200);
    clock.advance(Duration::from_secs(1));
    let answer = stage.server.get(&url, "").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "closure_token_invalid"));
    // Whoever comes now gets one that is good again.
    let fresh = stage.read("ns=payments:pay").await.event().await.version().snapshot_url.unwrap();
    assert_eq!(stage.server.get(&fresh, "").await.status, 200);
}
