//! The library's own client against the server.

use std::{
    collections::HashMap,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use leverframe::{
    NexusClient, NexusError, Secret,
    eval::bucket,
    settings::{AsyncNexusClient, FlagWrite, WriteOptions},
};
use leverframe_server::settings::model::{Kind, Quarantine};
use serde_json::json;

use crate::stage::{Key, Stage};

/// Runs what waits on a thread of its own, as programs without a runtime do.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn builder(stage: &Stage, key: &Key) -> leverframe::settings::NexusClientBuilder {
    NexusClient::builder().endpoint(stage.server.running.url()).api_key(&*key.text)
}

async fn client(stage: &Stage, key: &Key) -> NexusClient {
    let builder = builder(stage, key);
    apart(move || builder.build().unwrap()).await
}

/// Everything that a client serves.
fn state(client: &NexusClient) -> impl PartialEq + use<> {
    let secret = |key: &str| client.get_secret(key).ok().map(|secret| secret.expose().to_owned());
    (client.get_all_configs(), client.get_all_flags(), ["k0", "k1", "k2", "k3"].map(secret))
}

/// Waits for something to come true, change by change.
fn until(changes: &Receiver<()>, holds: impl Fn() -> bool) {
    while !holds() {
        changes.recv_timeout(Duration::from_secs(30)).expect("no change came");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_reads_and_writes_all_that_a_service_has() {
    let stage = Stage::new().await;
    stage.config("limits", json!({"max": 3})).await;
    stage.secret("DB_PASSWORD", "hunter2").await;
    stage.flag("beta", json!({"is_active": true})).await;
    let client = client(&stage, &stage.secret).await;

    apart(move || {
        assert_eq!((&*client.kind(), client.key_type()), ("backend", "sk"));
        assert_eq!(client.get_config("limits"), Some(json!({"max": 3})));
        assert_eq!(client.get_secret("DB_PASSWORD").unwrap().expose_secret(), "hunter2");
        assert!(client.get_flag("beta", false));

        let plain = WriteOptions::new();
        client.set_secret("API_KEY", "one").unwrap();
        client.set_secret("API_KEY", "two").unwrap();
        client.set_secret_file("CERT", b"\x00\xff", &plain).unwrap();
        client.set_config("port", &json!(8080), &plain).unwrap();
        client.set_flag("dark", &FlagWrite::new(true).rollout_percent(12.5), &plain).unwrap();
        client.sync().unwrap();
        assert_eq!(client.get_secret("API_KEY").unwrap().expose_secret(), "two");
        assert_eq!(std::fs::read(client.get_secret_file_path("CERT").unwrap()).unwrap(), b"\x00\xff");
        assert_eq!(client.get_config("port"), Some(json!(8080)));
        assert!(client.get_flag("dark", false));

        let stale =
            client.set_secret_with("API_KEY", &Secret::new("three"), &WriteOptions::new().if_version(1));
        assert!(matches!(stale, Err(NexusError::Conflict)), "{stale:?}");
        client.delete_secret_version("API_KEY", 2).unwrap();
        client.sync().unwrap();
        assert_eq!(client.get_secret("API_KEY").unwrap().expose_secret(), "one");
        client.delete_secret("API_KEY").unwrap();
        client.delete_config("port").unwrap();
        client.delete_flag("dark").unwrap();
        assert!(matches!(client.delete_secret("API_KEY"), Err(NexusError::NotFound)));
        client.sync().unwrap();
        assert!(client.get_secret("API_KEY").is_err() && client.get_config("port").is_none());
        assert_eq!(client.find_flag("dark"), None);

        let odd = client.set_config("bad name", &json!(1), &plain);
        assert!(matches!(odd, Err(NexusError::BadRequest)), "{odd:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_brings_changes_and_survives_the_end_of_a_quarantine() {
    let stage = Stage::new().await;
    let client = client(&stage, &stage.secret).await;
    let (told, changes) = channel();
    let watching = client.on_change(move |_| {
        // Nobody waits any more at the end.
        let _ = told.send(());
    });
    client.run_stream();

    stage.flag("beta", json!({"is_active": true})).await;
    let seen = client.clone();
    let changes = apart(move || {
        until(&changes, || seen.get_flag("beta", false));
        changes
    })
    .await;
    stage.secret("S", "one").await;
    let seen = client.clone();
    apart(move || until(&changes, || seen.get_secret("S").is_ok())).await;

    drop(watching);
    let now = stage.server.running.app().clock().wall();
    let until = now + Duration::from_secs(600);
    stage.change(&stage.id, |service| service.quarantine = Some(Quarantine::new("bulk_delete", until))).await;
    stage.until(&stage.secret, "/v1/sync", |answer| (answer.status == 429).then_some(())).await;
    let refused = apart(move || (client.sync(), client.get_flag("beta", false))).await;
    let reason = match &refused.0 {
        Err(NexusError::Quarantined { reason, .. }) => reason.as_str(),
        other => panic!("{other:?}"),
    };
    assert_eq!((reason, refused.1), ("bulk_delete", true), "what was read goes on to be served");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_told_in_the_clients_words() {
    let stage = Stage::new().await;
    let (front, front_key) = stage.other("front", Kind::Frontend).await;
    let public = client(&stage, &stage.public).await;
    let frontend = client(&stage, &front_key).await;
    let secret = client(&stage, &stage.secret).await;
    let wrong = Key { text: "wxs_".to_owned() + &"A".repeat(43), ..stage.secret.clone() };
    let refused = {
        let builder = builder(&stage, &wrong);
        apart(move || builder.build().err().unwrap()).await
    };
    assert!(matches!(refused, NexusError::Unauthorized), "{refused:?}");

    apart(move || {
        assert!(matches!(public.set_secret("A", "b"), Err(NexusError::PublicKeyRestricted)));
        assert!(matches!(public.get_secret("A"), Err(NexusError::PublicKeyRestricted)));
        assert!(matches!(frontend.get_secret("A"), Err(NexusError::ServiceKindMismatch)));
        let forbidden = frontend.set_config("a", &json!(1), &WriteOptions::new());
        assert!(matches!(forbidden, Err(NexusError::Forbidden)), "{forbidden:?}");
    })
    .await;
    stage.change(&stage.id, |service| service.ab_enabled = false).await;
    stage.flag("f", json!({"is_active": true})).await;
    stage.change(&front, |service| service.billing_overdue = true).await;
    stage.until(&front_key, "/v1/sync", |answer| (answer.status == 402).then_some(())).await;
    let owing = client_err(&stage, &front_key).await;
    assert!(matches!(owing, NexusError::Billing), "{owing:?}");
    let off = apart(move || secret.evaluate_ab(&["f"], "u", &HashMap::new())).await;
    assert!(matches!(off, Err(NexusError::AbAddonNotAvailable)), "{off:?}");
}

async fn client_err(stage: &Stage, key: &Key) -> NexusError {
    let builder = builder(stage, key);
    apart(move || builder.build().err().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_async_client_evaluates_more_flags_than_one_request_takes() {
    let stage = Stage::new().await;
    stage.flag("half", json!({"is_active": true, "rollout_percent": 50})).await;
    let client = AsyncNexusClient::build(builder(&stage, &stage.public)).await.unwrap();
    let keys: Vec<String> = (0..250).map(|n| format!("k{n}")).chain(["half".to_owned()]).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();

    for user in ["ann", "bob", "cy"] {
        let results = client.evaluate_ab(&keys, user, &HashMap::new()).await.unwrap();
        assert_eq!(results.len(), 251);
        assert_eq!(results["half"], bucket(user, "half") < 5_000, "{user}");
    }
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_on_the_stream_has_after_any_changes_what_a_new_one_has() {
    let stage = Stage::new().await;
    let (followed, fresh) = (client(&stage, &stage.secret).await, client(&stage, &stage.secret).await);
    let (tell, changes) = channel();
    let _watching = followed.on_change(move |_| tell.send(()).unwrap_or_default());
    followed.run_stream();
    stage.flag("k0", json!({ "is_active": true })).await;
    stage.config("refers", json!("{{flag:k0}}")).await;
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };

    for step in 0..80_u64 {
        let key = format!("k{}", random(4));
        match random(8) {
            0..3 => stage.config(&key, json!({ "step": step })).await,
            3..5 => stage.flag(&key, json!({ "is_active": random(2) == 0 })).await,
            5 => stage.secret(&key, &step.to_string()).await,
            // Whatever refers to them changes with them; of what is not there nothing is deleted.
            6 => drop(stage.delete(&format!("/v1/configs/{key}")).await),
            _ => drop(stage.delete(&format!("/v1/flags/{key}")).await),
        }
        // Several changes in a row, now and then.
        if random(3) > 0 {
            let current = fresh.clone();
            apart(move || current.sync().unwrap()).await;
            tokio::task::block_in_place(|| until(&changes, || state(&followed) == state(&fresh)));
        }
    }
    apart(move || followed.close()).await;
}
