//! Sessions of those who have read the database, and sessions while the master key is replaced.

use std::{path::Path, sync::Arc};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use leverframe::{Secret, backends::clock_system::SystemClock};
use leverframe_server::{
    Running, ServeOptions, Server,
    settings::{
        Keyring,
        model::{Kind, Trust},
    },
    store,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    issuer::Key,
    stage::{ISSUER, Stage, trust},
};
use crate::{postgres::Postgres, stage, support::TestServer};

/// Signs a session of `acme/payments/prod` with a key, as the server does with its own.
fn session(key: &[u8], trust: &Trust) -> String {
    let mut rule = Sha256::new();
    for part in [&trust.issuer, &trust.audience, &trust.subject] {
        rule.update((part.len() as u64).to_be_bytes());
        rule.update(part);
    }
    let rule = URL_SAFE_NO_PAD.encode(&rule.finalize()[..12]);
    let text = format!("acme/payments/prod/{}/{rule}/kubernetes/{}/x", trust.id, 4_000_000_000_000_u64);
    let seal = hmac(key, &["settings session\n", &text].map(str::as_bytes));
    format!("wxt_{}.{}", URL_SAFE_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(seal))
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

async fn sync_status(server: &TestServer, at: &Running, session: &str) -> u16 {
    let request = server.http.get(at.url() + "/v1/sync").bearer_auth(session);
    server.send(request).await.status.as_u16()
}

async fn no_session_comes_of_the_database_alone(server: TestServer) {
    let stage = stage::Stage::of(server).await;
    stage.change(&stage.id, |service| service.trusts = vec![trust()]).await;
    stage.secret("CANARY", "canary-3be0").await;
    stage.until(&stage.secret, "/v1/sync", |answer| answer.text.contains("canary").then_some(())).await;
    let stored = *stage.server.store.signing_key().await.unwrap().expose();
    let master = std::fs::read_to_string(stage.server.data().join("settings.key")).unwrap();
    let master = STANDARD.decode(master.trim()).unwrap();
    let ask = async |key: &[u8]| stage.server.get("/v1/sync", &session(key, &trust())).await;

    for key in [&stored[..], &master] {
        let refused = ask(key).await;
        assert_eq!((refused.status.as_u16(), &*refused.code()), (401, "unauthenticated"));
    }

    // Which is not for want of anything else: whoever has both keys has everything.
    let both = hmac(&master, &[b"leverframe settings signer 1", &stored]);
    let answer = ask(&both).await;
    assert_eq!((answer.status.as_u16(), answer.text.contains("canary-3be0")), (200, true));
    // Nor can it be tried out what the names of states were made of.
    let body = stage.get("/v1/sync", &stage.secret).await;
    let (told, _) = body.text.split_once(",\"synced_at\"").unwrap();
    let tag = |key: &[u8]| {
        format!("\"{}\"", URL_SAFE_NO_PAD.encode(hmac(key, &[b"settings tag\n", told.as_bytes()])))
    };
    assert_ne!(body.header("etag"), tag(&stored));
    assert_eq!(body.header("etag"), tag(&both));
}

#[tokio::test]
async fn whoever_reads_the_files_of_the_database_signs_no_session() {
    no_session_comes_of_the_database_alone(TestServer::start().await).await;
}

#[tokio::test]
async fn whoever_reads_a_shared_database_signs_no_session() {
    let postgres = Postgres::shared();
    let database = postgres.database().await;
    let clock = Arc::new(SystemClock::new());
    let store = store::open(Path::new("/nonexistent"), Some(&database), clock).await.unwrap();

    no_session_comes_of_the_database_alone(TestServer::start_on(store).await).await;
}

/// Another server on the same database, with master keys of its own.
async fn another(stage: &Stage, change: impl FnOnce(&mut ServeOptions)) -> Running {
    let mut options = ServeOptions::default();
    options.listen = "127.0.0.1:0".to_owned();
    options.clock = Arc::new(stage.clock.clone());
    options.store = Some(Arc::clone(&stage.server.store));
    change(&mut options);
    Server::start(options).await.unwrap()
}

#[tokio::test]
async fn sessions_outlast_the_replacement_of_the_master_key_while_both_are_there() {
    let stage = Stage::new().await;
    let (path, new) = (stage.server.data().join("settings.key"), STANDARD.encode([9; 32]));
    let old = std::fs::read_to_string(&path).unwrap();
    let near = another(&stage, |options| options.master_key_file = Some(path.clone())).await;
    let only_new = another(&stage, |options| options.master_key = Some(Secret::new(&*new))).await;
    let here = &stage.server.running;
    let status = async |at: &Running, session: &str| sync_status(&stage.server, at, session).await;
    // Which takes a data key, and so the key that is first now.
    let create = async |environment: &str| {
        let path = format!("/api/v1/tenants/acme/namespaces/payments/settings/environments/{environment}");
        let request = stage.server.request(Method::PUT, &path, &stage.server.root);
        assert_eq!(stage.server.send(request.json(&json!({"kind": "backend"}))).await.status, 201);
    };
    let before = stage.session(&stage.token()).await;
    assert_eq!([status(here, &before).await, status(&near, &before).await], [200, 200]);

    leverframe::durable::replace(&path, format!("{new}\n{old}").as_bytes()).unwrap();
    create("one").await;
    let during = stage.session(&stage.token()).await;

    assert_eq!([status(here, &before).await, status(here, &during).await], [200, 200]);
    // It has not heard of the new key, and looks for it.
    assert_eq!([status(&near, &during).await, status(&near, &before).await], [200, 200]);
    assert_eq!([status(&only_new, &during).await, status(&only_new, &before).await], [200, 401]);

    let keyring = Keyring::in_directory(stage.server.data()).unwrap();
    let to = Keyring::from_secret(&Secret::new(&*new)).unwrap();
    stage.server.admin.rekey(&keyring, &to).await.unwrap();
    create("two").await;
    assert_eq!([status(here, &before).await, status(here, &during).await], [401, 200]);
    let after = stage.session(&stage.token()).await;
    assert_eq!([status(here, &after).await, status(&near, &after).await], [200, 200]);
}

#[tokio::test]
async fn without_a_master_key_there_are_no_sessions_and_what_everybody_may_see() {
    let key = Key::p256("one");
    let keys = super::issuer::set(&[&key]);
    let file =
        format!("[[issuer]]\nissuer = {ISSUER:?}\nprovider = \"kubernetes\"\njwks_file = \"keys.json\"\n");
    // As of a server whose database others share, and which was given no master key.
    let shared = |options: &mut ServeOptions| options.database = Some(Secret::new("postgres://nowhere"));
    let stage = Stage::with(key, &file, &[("keys.json", &keys)], shared).await;
    let id = stage.trusted("prod", Kind::Backend, &[trust()]).await;
    let public = stage::key(&stage.server, &id, Kind::Backend, true).await;

    let refused = stage.exchange(&stage.token()).await;
    assert_eq!((refused.status.as_u16(), &*refused.code()), (503, "no_master_key"));
    let stored = *stage.server.store.signing_key().await.unwrap().expose();
    let here = &stage.server.running;
    assert_eq!(sync_status(&stage.server, here, &session(&stored, &trust())).await, 401);
    let seen = stage.server.get("/v1/sync", &public.text).await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert!(seen.header("etag").len() > 40);
}
