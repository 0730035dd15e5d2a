//! The published client `westyx-nexus` 0.15.0-beta.1, unmodified, against our server.
//!
//! What the client does in the background – streams, refreshes – the tests wait for; everything else is exact.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use leverframe_interop::{
    Log, Plane, eventually,
    settings::{ISSUER, Issuer},
};
use serde_json::json;
use westyx_nexus::{
    ExposeSecret, NexusClient, NexusConfig, NexusError, WifConfig, WifCredential, blocking,
    blocking_token_source,
};

fn config(plane: &Plane, key: &str) -> NexusConfig {
    NexusConfig { api_key: key.to_owned(), endpoint: plane.url(), ..Default::default() }
}

async fn client(plane: &Plane, key: &str) -> NexusClient {
    NexusClient::create(config(plane, key)).await.expect("the client is created")
}

/// A client whose workload proves itself with the tokens that this returns.
fn workload(plane: &Plane, token: impl Fn() -> String + Send + Sync + 'static) -> NexusConfig {
    NexusConfig {
        endpoint: plane.url(),
        wif: Some(WifConfig {
            enabled: true,
            credential: WifCredential::Source(blocking_token_source(move || Ok(token()))),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn it_is_created_and_reads_configs_secrets_and_flags() {
    let plane = Plane::start().await;
    let service = plane.service("backend").await;
    service.put("secrets", "DB_PASSWORD", json!({ "value": "correct horse" })).await;
    service.put("configs", "pool.size", json!({ "value": 17 })).await;
    service.put("configs", "largest", json!({ "value": u64::MAX })).await;
    service.put("configs", "nothing", json!({ "value": null })).await;
    service.put("configs", "limits", json!({ "value": { "burst": [1, 2.5, "x"] } })).await;
    service.put("configs", "db.url", json!({ "value": "postgres://app:{{secret:DB_PASSWORD}}@db" })).await;
    service.put("flags", "on", json!({ "is_active": true })).await;
    service.put("flags", "off", json!({ "is_active": false })).await;
    service.put("flags", "later", json!({ "is_active": true, "starts_at": "2199-01-01T00:00:00Z" })).await;

    for legacy in [false, true] {
        let client = client(&plane, &service.key("sk", legacy).await).await;

        assert_eq!((client.kind().as_str(), client.key_type()), ("backend", "sk"));
        assert_eq!(client.get_secret("DB_PASSWORD").unwrap().expose_secret(), "correct horse");
        assert_eq!(client.get_config("pool.size"), Some(json!(17)));
        assert_eq!(client.get_config("largest"), Some(json!(u64::MAX)));
        assert_eq!(client.get_config("nothing"), Some(json!(null)));
        assert_eq!(client.get_config("limits"), Some(json!({ "burst": [1, 2.5, "x"] })));
        assert_eq!(client.get_config("db.url"), Some(json!("postgres://app:correct horse@db")));
        assert_eq!(client.get_config("unknown"), None);
        assert_eq!(client.get_all_configs().len(), 5);
        assert_eq!(
            client.get_all_flags(),
            HashMap::from(
                [("on", true), ("off", false), ("later", false)].map(|(key, on)| (key.to_owned(), on))
            )
        );
        assert_eq!(client.find_flag("unknown"), None);
        assert!(client.get_flag("unknown", true));
    }
}

#[tokio::test]
async fn a_second_sync_is_not_modified_and_counts_as_one() {
    let plane = Plane::start().await;
    let service = plane.service("backend").await;
    service.put("configs", "a", json!({ "value": 1 })).await;
    let client = client(&plane, &service.key("sk", false).await).await;
    let first = client.synced_at().expect("it was created with a sync");

    client.sync().await.unwrap();

    assert!(client.synced_at().unwrap() > first);
    assert_eq!(client.get_config("a"), Some(json!(1)));
}

#[tokio::test]
async fn a_public_key_has_no_secrets_and_neither_has_a_frontend_service() {
    let plane = Plane::start().await;
    let service = plane.service("backend").await;
    service.put("secrets", "TOKEN", json!({ "value": "hidden" })).await;
    service.put("configs", "leak", json!({ "value": "{{secret:TOKEN}}" })).await;
    service.put("configs", "open", json!({ "value": "seen" })).await;
    for legacy in [false, true] {
        let client = client(&plane, &service.key("pk", legacy).await).await;

        // It does not know the spelling of before 0.15, and goes by what the server says of the key.
        assert_eq!(client.key_type(), if legacy { "sk" } else { "pk" });
        assert!(matches!(client.get_secret("TOKEN"), Err(NexusError::PublicKeyRestricted)));
        assert!(matches!(client.set_secret("TOKEN", "x").await, Err(NexusError::PublicKeyRestricted)));
        assert_eq!(client.get_config("open"), Some(json!("seen")));
        assert!(!format!("{:?}", client.get_all_configs()).contains("hidden"));
    }

    let plane = Plane::start().await;
    let service = plane.service("frontend").await;
    service.put("flags", "on", json!({ "is_active": true })).await;
    let client = client(&plane, &service.key("sk", false).await).await;
    assert!(client.get_flag("on", false));
    assert!(matches!(client.get_secret("TOKEN"), Err(NexusError::ServiceKindMismatch)));
    // The client sends it; the server refuses.
    assert!(matches!(client.set_secret("TOKEN", "x").await, Err(NexusError::Forbidden)));
}

#[tokio::test]
async fn a_file_secret_is_a_private_file_until_it_is_deleted() {
    let plane = Plane::start().await;
    let service = plane.service("backend").await;
    let pem = "-----BEGIN CERTIFICATE-----\nline\n-----END CERTIFICATE-----\n";
    service.put("secrets", "tls.cert", json!({ "value": pem, "type": "file" })).await;
    let client = client(&plane, &service.key("sk", false).await).await;

    let path = client.get_secret_file_path("tls.cert").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), pem);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(client.get_secret("tls.cert"), Err(NexusError::SecretNotFound(_))));

    service.put("secrets", "tls.cert", json!({ "value": "renewed", "type": "file" })).await;
    client.sync().await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "renewed");

    service.delete("secrets", "tls.cert").await;
    client.sync().await.unwrap();
    assert!(client.get_secret_file_path("tls.cert").is_err() && !Path::new(&path).exists());
}

#[tokio::test]
async fn its_stream_brings_every_change() {
    let plane = Plane::start().await;
    let service = plane.service("backend").await;
    service.put("flags", "kill", json!({ "is_active": false })).await;
    let client = NexusClient::create(NexusConfig {
        // What comes, comes by the stream.
        ttl: Some(Duration::from_secs(3_600)),
        ..config(&plane, &service.key("sk", false).await)
    })
    .await
    .unwrap();
    let _stream = client.run_stream();

    service.put("flags", "kill", json!({ "is_active": true })).await;
    eventually("a toggled flag arrives", async || client.get_flag("kill", false)).await;
    service.put("configs", "new", json!({ "value": "x" })).await;
    eventually("a created config arrives", async || client.get_config("new").is_some()).await;
    service.put("configs", "new", json!({ "value": "y" })).await;
    eventually("an updated config arrives", async || client.get_config("new") == Some(json!("y"))).await;
    service.put("secrets", "S", json!({ "value": "1" })).await;
    eventually("a secret arrives", async || client.get_secret("S").is_ok()).await;
    service.delete("secrets", "S").await;
    service.delete("configs", "new").await;
    service.delete("flags", "kill").await;
    eventually("what is deleted goes", async || {
        client.get_secret("S").is_err()
            && client.get_config("new").is_none()
            && client.find_flag("kill").is_none()
    })
    .await;
    client.close();
}

#[tokio::test]
async fn it_writes_secrets_and_deletes_versions_of_them() {
    let plane = Plane::start().await;
    let service = plane.service("backend").await;
    let client = client(&plane, &service.key("sk", false).await).await;

    client.set_secret("API/KEY", "x").await.unwrap_err();
    client.set_secret("API_KEY", "one").await.unwrap();
    client.set_secret("API_KEY", "two").await.unwrap();
    client.sync().await.unwrap();
    assert_eq!(client.get_secret("API_KEY").unwrap().expose_secret(), "two");

    client.delete_secret_version("API_KEY", 2).await.unwrap();
    client.sync().await.unwrap();
    assert_eq!(client.get_secret("API_KEY").unwrap().expose_secret(), "one");
    assert!(matches!(client.delete_secret_version("API_KEY", 2).await, Err(NexusError::NotFound)));

    client.delete_secret("API_KEY").await.unwrap();
    client.sync().await.unwrap();
    assert!(matches!(client.get_secret("API_KEY"), Err(NexusError::SecretNotFound(_))));
    assert!(matches!(client.delete_secret("API_KEY").await, Err(NexusError::NotFound)));
    // Names need not be what a key may be called: they arrive whole, and are not found.
    assert!(client.delete_secret("a/b c?d").await.is_err());
}

#[tokio::test]
async fn flags_are_evaluated_for_users() {
    let plane = Plane::start().await;
    let service = plane.service("backend").await;
    service.put("flags", "half", json!({ "is_active": true, "rollout_percent": 50 })).await;
    service.put("flags", "off", json!({ "is_active": false })).await;
    service
        .put(
            "flags",
            "pro",
            json!({ "is_active": true, "rules": [{ "attribute": "plan", "op": "eq", "value": "pro" }] }),
        )
        .await;
    let key = service.key("sk", false).await;
    let client = client(&plane, &key).await;
    let plan = |name: &str| HashMap::from([("plan".to_owned(), name.to_owned())]);

    let pro = client.evaluate_ab(&["pro", "off", "unknown"], "ann", &plan("pro")).await.unwrap();
    assert_eq!(
        pro,
        HashMap::from(
            [("pro", true), ("off", false), ("unknown", false)].map(|(key, on)| (key.to_owned(), on))
        )
    );
    assert!(!client.evaluate_ab(&["pro"], "ann", &plan("free")).await.unwrap()["pro"]);

    let mut on = 0;
    for user in 0..200 {
        let user = format!("user-{user}");
        let first = client.evaluate_ab(&["half"], &user, &HashMap::new()).await.unwrap()["half"];
        assert_eq!(client.evaluate_ab(&["half"], &user, &plan("pro")).await.unwrap()["half"], first);
        on += u32::from(first);
    }
    assert!((70..=130).contains(&on), "{on} of 200");

    service.change(json!({ "ab_enabled": false })).await;
    let refused = client.evaluate_ab(&["half"], "ann", &HashMap::new()).await;
    assert!(matches!(refused, Err(NexusError::AbAddonNotAvailable)));
}

#[tokio::test]
async fn a_workload_exchanges_its_token_and_needs_no_key() {
    let issuer = Arc::new(Issuer::default());
    let plane = Plane::start_trusting(&issuer).await;
    let service = plane.service("backend").await;
    service.put("secrets", "S", json!({ "value": "for workloads" })).await;
    let trust = json!({ "id": "shop", "issuer": ISSUER, "audience": "settings", "subject": "system:serviceaccount:shop:*" });
    service.change(json!({ "trusts": [trust] })).await;
    let issue = |subject: &'static str, audience: &'static str| {
        let issuer = Arc::clone(&issuer);
        move || issuer.token(subject, audience)
    };

    let exchanged = Arc::new(AtomicU32::new(0));
    let (count, token) = (Arc::clone(&exchanged), issue("system:serviceaccount:shop:api", "settings"));
    let counted = move || {
        count.fetch_add(1, Ordering::Relaxed);
        token()
    };
    let client = NexusClient::create(workload(&plane, counted)).await.unwrap();

    assert_eq!((client.kind().as_str(), client.key_type()), ("backend", ""));
    assert_eq!(client.get_secret("S").unwrap().expose_secret(), "for workloads");
    client.set_secret("S", "rotated").await.unwrap();
    client.sync().await.unwrap();
    assert_eq!(client.get_secret("S").unwrap().expose_secret(), "rotated");
    let _stream = client.run_stream();
    service.put("flags", "late", json!({ "is_active": true })).await;
    eventually("its stream works as well", async || client.get_flag("late", false)).await;
    assert_eq!(exchanged.load(Ordering::Relaxed), 1, "one session serves all of it");

    for refused in [
        issue("system:serviceaccount:other:api", "settings"),
        issue("system:serviceaccount:shop:api", "somebody-else"),
    ] {
        assert!(matches!(
            NexusClient::create(workload(&plane, refused)).await,
            Err(NexusError::Unauthorized)
        ));
    }

    // Who is no longer trusted is refused with the session that it has.
    service.change(json!({ "trusts": [] })).await;
    assert!(client.sync().await.is_err());
}

#[tokio::test]
async fn it_is_held_off_while_a_bill_is_due_and_goes_on_afterwards() {
    let plane = Plane::start().await;
    let service = plane.service("backend").await;
    service.put("configs", "a", json!({ "value": 1 })).await;
    let client = client(&plane, &service.key("sk", false).await).await;

    service.change(json!({ "billing_overdue": true })).await;
    assert!(matches!(client.sync().await, Err(NexusError::Billing)));
    assert!(client.billing_overdue());
    assert_eq!(client.get_config("a"), Some(json!(1)));

    service.change(json!({ "billing_overdue": false })).await;
    client.sync().await.unwrap();
    assert!(!client.billing_overdue());
}

#[tokio::test]
async fn it_is_told_why_it_is_quarantined_and_until_when() {
    let plane = Plane::start().await;
    let service = plane.service("backend").await;
    let client = client(&plane, &service.key("sk", false).await).await;
    let until = leverframe::rfc3339(SystemClock::new().wall() + Duration::from_secs(3_600));

    service.change(json!({ "quarantine": { "reason": "bulk_delete", "expires_at": until } })).await;

    let Err(NexusError::Quarantined { reason, expires_at }) = client.sync().await else {
        panic!("it is not told");
    };
    assert_eq!(reason, "bulk_delete");
    assert!(expires_at.ends_with('Z'), "{expires_at}");
    service.change(json!({ "quarantine": null })).await;
    client.sync().await.unwrap();
}

#[tokio::test]
async fn wrong_and_revoked_keys_are_refused_and_no_secret_is_logged() {
    let log = Log::everything();
    let plane = Plane::start().await;
    let service = plane.service("backend").await;
    service.put("secrets", "S", json!({ "value": "canary-5d1e" })).await;
    let key = service.key("sk", false).await;
    let client = client(&plane, &key).await;
    assert_eq!(client.get_secret("S").unwrap().expose_secret(), "canary-5d1e");

    let wrong = NexusClient::create(config(&plane, "wxs_wrong")).await;
    assert!(matches!(wrong, Err(NexusError::Unauthorized)));
    let id = service.key_ids().await.remove(0);
    service.delete("keys", &id).await;
    assert!(matches!(client.sync().await, Err(NexusError::Unauthorized)));

    let text = log.text();
    assert!(text.contains("/v1/sync"), "requests are logged: {text}");
    assert!(!text.contains("canary-5d1e") && !text.contains(&key));
}

#[test]
fn its_blocking_client_does_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let plane = runtime.block_on(Plane::start());
    let service = runtime.block_on(plane.service("backend"));
    runtime.block_on(service.put("configs", "a", json!({ "value": "b" })));
    let key = runtime.block_on(service.key("sk", false));

    let client = blocking::NexusClient::create(config(&plane, &key)).unwrap();

    assert_eq!(client.get_config("a"), Some(json!("b")));
    client.set_secret("S", "s").unwrap();
    client.sync().unwrap();
    assert_eq!(client.get_secret("S").unwrap().expose_secret(), "s");
    client.close();
}
