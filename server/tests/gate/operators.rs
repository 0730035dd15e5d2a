//! What operators do.

use leverframe_server::model::TokenType;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    stage::{Stage, change, key},
    support::Answer,
};

#[tokio::test]
async fn what_is_left_out_stays_and_what_is_null_is_taken_away() {
    let stage = Stage::new().await;
    let set = stage
        .set(json!({"global_max_weight": 500, "tag_max_weights": {"free": 10, "old": 1}, "status": "busy",
            "pulse_interval": 2_000, "lease_duration_seconds": 90, "kill_signal": true}))
        .await;
    assert_eq!(set["revision"], 1);
    assert_eq!(set["updated_by"].as_str().unwrap().get(..4), Some("tok_"));

    let set = stage
        .set(json!({"tag_max_weights": {"pro": 50, "old": null}, "status": null, "global_max_weight": null}))
        .await;

    assert_eq!(set["revision"], 2);
    assert_eq!(set["tag_max_weights"], json!({"free": 10.0, "pro": 50.0}));
    assert_eq!((&set["status"], &set["global_max_weight"]), (&Value::Null, &Value::Null));
    assert_eq!((&set["pulse_interval"], &set["lease_duration_seconds"]), (&json!(2_000), &json!(90)));
    assert_eq!(set["kill_signal"], true);
    let told = stage.pulse(&stage.calls("i", 0)).await.json();
    assert_eq!(told["tagMaxWeights"], json!({"free": 10.0, "pro": 50.0}));
}

#[tokio::test]
async fn a_change_of_another_revision_is_refused_and_nobodys_change_is_lost() {
    let stage = Stage::new().await;
    stage.set(json!({"if_revision": 0, "global_max_weight": 1})).await;

    let stale = change(&stage.server, "acme", &json!({"if_revision": 0, "global_max_weight": 2})).await;
    assert_eq!((stale.status.as_u16(), &*stale.code()), (409, "conflict"));
    assert_eq!(stale.json()["error"]["details"]["revision"], 1);

    let names: Vec<String> = (0..6).map(|n| format!("t-{n}")).collect();
    let changes: Vec<Value> = names.iter().map(|name| json!({"tag_max_weights": {name: 1}})).collect();
    let setting = changes.iter().map(|changes| change(&stage.server, "acme", changes));
    for answer in futures_util::future::join_all(setting).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let settings = stage.status().await["settings"].clone();
    assert_eq!(settings["revision"], 7);
    assert_eq!(settings["tag_max_weights"].as_object().unwrap().len(), 6);
}

#[tokio::test]
async fn what_cannot_be_set_is_refused() {
    let stage = Stage::new().await;
    let many: serde_json::Map<String, Value> = (0..401).map(|n| (format!("t-{n}"), json!(1))).collect();

    for changes in [
        json!({"global_max_weight": "5"}),
        json!({"global": 5}),
        json!({"tag_max_weights": {"": 1}}),
        json!({"tag_max_weights": {"a\u{0}": 1}}),
        json!({"tag_max_weights": {"x".repeat(129): 1}}),
        json!({"tag_max_weights": many}),
        json!({"tag_max_weights": null}),
        json!({"kill_signal": null}),
        json!({"status": ""}),
        json!({"status": "x".repeat(201)}),
        json!({"lease_duration_seconds": 89}),
        json!({"lease_duration_seconds": 604_801}),
        json!({"lease_duration_seconds": 300, "pulse_interval": 100_001}),
        json!({"lease_duration_seconds": 60.5}),
        json!({"lease_duration_seconds": -1}),
        json!({"pulse_interval": 999}),
        json!({"pulse_interval": 300_001}),
        json!({"site": "a/b"}),
        json!({"if_revision": -1}),
        json!([]),
    ] {
        let answer = change(&stage.server, "acme", &changes).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "bad_request"), "{changes}");
    }
    let huge = change(&stage.server, "acme", &json!({"status": "x".repeat(300_000)})).await;
    assert_eq!(huge.status, 413);
    let infinite = stage.server.request(Method::PATCH, "/api/v1/gate/acme", &stage.server.root);
    let infinite = infinite.header("content-type", "application/json").body(r#"{"global_max_weight":1e999}"#);
    assert_eq!(stage.server.send(infinite).await.status, 400);
    assert_eq!(change(&stage.server, "Acme", &json!({})).await.status, 400);
    assert_eq!(stage.status().await["settings"]["revision"], 0);
}

#[tokio::test]
async fn a_lease_that_does_not_go_with_the_interval_is_refused_with_the_numbers_and_a_kill_never_is() {
    let stage = Stage::new().await;
    let refused = async |changes: Value| {
        let answer = change(&stage.server, "acme", &changes).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "bad_request"), "{changes}");
        answer.json()["error"]["message"].as_str().unwrap().to_owned()
    };

    stage.set(json!({"lease_duration_seconds": 120})).await;
    let told = refused(json!({"pulse_interval": 60_000})).await;
    assert!(["of 120 ", "of 60000 ", "at least 180"].iter().all(|number| told.contains(number)), "{told}");
    // For a site counts what both come to.
    refused(json!({"site": "eu", "pulse_interval": 60_000})).await;
    stage.set(json!({"site": "eu", "pulse_interval": 60_000, "lease_duration_seconds": 180})).await;
    refused(json!({"site": "eu", "lease_duration_seconds": null})).await;
    stage.set(json!({"pulse_interval": 60_000, "lease_duration_seconds": null})).await;
    stage.set(json!({"site": "eu", "lease_duration_seconds": null})).await;

    // A server of before has kept what is refused today.
    let database = rusqlite::Connection::open(stage.server.data().join("leverframe.db")).unwrap();
    let content =
        "UPDATE gate_settings SET content = '{\"lease_duration_seconds\":60,\"pulse_interval\":60000}'";
    assert_eq!(database.execute(content, []).unwrap(), 2);
    stage.set(json!({"kill_signal": true})).await;
    stage.set(json!({"site": "eu", "kill_signal": true})).await;
    let told = stage.pulse(&stage.calls("i", 0)).await.json();
    assert_eq!((&told["killSignal"], &told["leaseDurationSeconds"]), (&json!(true), &json!(180)));
}

#[tokio::test]
async fn every_change_is_in_the_audit_log() {
    let stage = Stage::new().await;
    let eu = key(&stage.server, "acme", Some("eu")).await;
    stage.set(json!({"site": "eu", "tag_max_weights": {"free": 3}})).await;
    stage.set(json!({"kill_signal": true})).await;
    change(&stage.server, "acme", &json!({"if_revision": 9, "kill_signal": false})).await;
    let path = format!("/api/v1/gate/acme/keys/{}", eu.publish);
    stage.server.delete(&path, &stage.server.root).await;
    let (_, other) = stage.server.mint(TokenType::TenantAdmin, "rival").await;
    stage.server.delete(&path, &other).await;

    let log = stage.server.get("/api/v1/tenants/acme/audit", &stage.server.root).await.json();
    let events: Vec<[&str; 3]> = log["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| ["action", "target", "outcome"].map(|field| event[field].as_str().unwrap()))
        .filter(|[action, ..]| action.starts_with("gate"))
        .collect();

    assert_eq!(
        events,
        [
            ["gate_key.revoke", &eu.publish, "forbidden"],
            ["gate_key.revoke", &eu.publish, "ok"],
            ["gate.kill", "acme", "conflict"],
            ["gate.kill", "acme", "ok"],
            ["gate.set", "acme/eu", "ok"],
            ["gate_key.create", "acme", "ok"],
            ["gate_key.create", "acme", "ok"],
        ]
    );
    let detail = |at: usize| log["events"][at]["detail"].as_str().unwrap().to_owned();
    let details: Vec<String> = (0..log["events"].as_array().unwrap().len()).map(detail).collect();
    assert!(details.contains(&"revision 1: free 3".to_owned()), "{details:?}");
    assert!(details.contains(&"revision 1: kill_signal on".to_owned()), "{details:?}");
}

#[tokio::test]
async fn keys_are_listed_without_their_secrets() {
    let stage = Stage::new().await;
    let eu = key(&stage.server, "acme", Some("eu")).await;
    key(&stage.server, "rival", None).await;
    let get = async |query: &str| {
        stage.server.get(&format!("/api/v1/gate/acme/keys{query}"), &stage.server.root).await
    };

    let all = get("").await;
    assert!(!all.text.contains("wsk_") && !all.text.contains(&eu.secret), "{}", all.text);
    assert_eq!(all.json()["keys"].as_array().unwrap().len(), 2);
    let first = get("?limit=1").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&format!("?limit=1&cursor={cursor}")).await.json();
    assert_ne!(first["keys"][0]["publish_key"], second["keys"][0]["publish_key"]);
    assert_eq!(second["next_cursor"], Value::Null);
    assert_eq!(get("?cursor=x").await.status, 400);

    stage.server.delete(&format!("/api/v1/gate/acme/keys/{}", eu.publish), &stage.server.root).await;
    let revoked = get("").await.json();
    let revoked = revoked["keys"].as_array().unwrap().iter().find(|key| key["site"] == "eu").unwrap().clone();
    assert!(revoked["revoked_at"].is_string() && revoked["org_id"] == "acme");

    for bad in [json!({"site": "a b"}), json!({"name": "x".repeat(201)}), json!({"org": "acme"})] {
        let answer = stage.server.post("/api/v1/gate/acme/keys", &stage.server.root, &bad).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn who_sees_which_fleets() {
    let stage = Stage::new().await;
    key(&stage.server, "no-tenant", None).await;
    let (_, acme) = stage.server.mint(TokenType::TenantAdmin, "acme").await;
    let (_, rival) = stage.server.mint(TokenType::TenantAdmin, "rival").await;
    stage.set(json!({"kill_signal": true})).await;
    let orgs = async |secret: &str| -> Vec<Value> {
        stage.server.get("/api/v1/gate", secret).await.json()["orgs"].as_array().unwrap().clone()
    };

    let of_acme = json!({"org": "acme", "sites": 0, "kill_signal": true});
    let without = json!({"org": "no-tenant", "sites": 0, "kill_signal": false});
    assert_eq!(orgs(&stage.server.root).await, [of_acme.clone(), without]);
    assert_eq!(orgs(&acme).await, [of_acme]);
    assert_eq!(orgs(&rival).await, [] as [Value; 0]);

    let status = async |org: &str, secret: &str| -> Answer {
        stage.server.get(&format!("/api/v1/gate/{org}"), secret).await
    };
    assert_eq!(status("-", &acme).await.json()["org"], "acme");
    assert_eq!(status("rival", &rival).await.json()["sites"], json!([]), "a tenant that has not begun");
    assert_eq!(status("nobody", &stage.server.root).await.status, 404);
    assert_eq!(status("-", &stage.server.root).await.status, 400);
}

#[tokio::test]
async fn a_status_shows_what_clients_did() {
    let stage = Stage::new().await;
    stage.set(json!({"tag_max_weights": {"free": 10, "quiet": 1}})).await;
    let mut pulse = stage.calls("i", 4);
    pulse["bouncedUnits"] = json!(2);
    pulse["metrics"]["errors"] = json!(3.0);
    pulse["tagMetrics"][0]["denied"] = json!(1);
    pulse["tagMetrics"][0]["latency"] = json!(20.0);
    pulse["tagMetrics"][0]["latencyBuckets"] = json!([2, 0, 0, 0, 0, 0, 0, 0]);
    pulse["tagMetrics"][0]["customMetrics"] = json!({"depth": {"min": 1, "max": 9, "sum": 10, "count": 2}});
    stage.pulse(&pulse).await;

    let status = stage.status().await;

    let tags = status["sites"][0]["tags"].as_array().unwrap();
    let names: Vec<&Value> = tags.iter().map(|row| &row["tag"]).collect();
    assert_eq!(names, ["", "free", "quiet"]);
    assert_eq!((&tags[0]["denied"], &tags[0]["errors"]), (&json!(1), &json!(3)), "told only of the whole");
    let free = &tags[1];
    assert_eq!((&free["calls"], &free["denied"], &free["max_weight"]), (&json!(4), &json!(1), &json!(10.0)));
    assert_eq!((&free["latency"], &free["p50_latency"]), (&json!(20.0), &json!(25.0)));
    assert_eq!(free["custom"], json!({"depth": {"min": 1.0, "max": 9.0, "sum": 10.0, "count": 2}}));
    assert_eq!((&tags[2]["calls"], &tags[2]["latency"]), (&json!(0), &Value::Null));
    assert_eq!(
        status["sites"][0]["totals"],
        json!({"calls": 4, "denied": 2, "errors": 3, "samples": 2, "pulses": 1})
    );
}
