//! What a service is handed out.

use std::{sync::Arc, time::Duration};

use leverframe::{rfc3339, testing::ManualClock, traits::Clock};
use leverframe_server::{
    model::PageRequest,
    settings::model::{EntryKind, Kind},
};
use reqwest::Method;
use serde_json::json;

use crate::{
    stage::Stage,
    support::{Answer, logs},
};

#[tokio::test]
async fn a_new_service_hands_out_maps_that_are_empty_and_never_null() {
    let stage = Stage::new().await;

    let secret = stage.get("/v1/sync", &stage.secret).await;
    let public = stage.get("/v1/sync", &stage.public).await;

    let without_time = |answer: &Answer| {
        let mut json = answer.json();
        assert!(json["synced_at"].as_str().is_some_and(|time| leverframe::from_rfc3339(time).is_some()));
        json.as_object_mut().unwrap().remove("synced_at");
        json
    };
    let expected =
        json!({"key_type": "sk", "service_kind": "backend", "configs": {}, "flags": {}, "secrets": {}});
    assert_eq!(without_time(&secret), expected);
    let expected = json!({"key_type": "pk", "service_kind": "backend", "configs": {}, "flags": {}});
    assert_eq!(without_time(&public), expected);
    assert_eq!(
        (secret.header("content-type"), secret.header("cache-control")),
        ("application/json", "no-store")
    );
    let tag = secret.header("etag");
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() <= 128, "{tag}");
    assert_ne!(tag, public.header("etag"));
}

#[tokio::test]
async fn what_is_unchanged_is_answered_304_and_every_write_makes_another_tag() {
    let stage = Stage::new().await;
    let conditional = async |tag: &str| {
        stage
            .server
            .send(stage.ask(Method::GET, "/v1/sync", &stage.secret).header("if-none-match", tag))
            .await
    };
    let mut tags = vec![stage.get("/v1/sync", &stage.secret).await.header("etag").to_owned()];

    for step in 0..6 {
        match step {
            0 => stage.config("a", json!(1)).await,
            1 => stage.config("a", json!(2)).await,
            2 => stage.flag("f", json!({"is_active": true})).await,
            3 => stage.secret("S", "one").await,
            4 => stage.secret("S", "two").await,
            _ => assert_eq!(stage.delete("/v1/secrets/S").await.status, 204),
        }
        let before = tags.last().unwrap();
        let changed = conditional(before).await;
        assert_eq!(changed.status, 200, "step {step}: whoever writes reads what they wrote");
        tags.push(changed.header("etag").to_owned());
        let same = conditional(tags.last().unwrap()).await;
        assert_eq!(
            (same.status.as_u16(), &*same.text, same.header("etag")),
            (304, "", tags.last().unwrap().as_str())
        );
    }

    assert_eq!(tags.pop().as_ref(), tags.get(3), "what is as it was has the tag that it had");
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 6);
}

#[tokio::test]
async fn configs_refer_to_what_there_is_and_a_public_key_sees_nothing_that_leads_to_a_secret() {
    let stage = Stage::new().await;
    stage.secret("PASSWORD", "p\"w").await;
    stage.flag("beta", json!({"is_active": true})).await;
    stage.config("host", json!("db.example.com")).await;
    stage.config("url", json!({"primary": ["pg://app:{{secret:PASSWORD}}@{{config:host}}/{{name}}"]})).await;
    stage.config("mode", json!("beta={{flag:beta}}")).await;
    stage.config("alias", json!("{{config:url}}")).await;

    let (secret, public) = (stage.sync(&stage.secret).await, stage.sync(&stage.public).await);

    let url = json!({"primary": ["pg://app:p\"w@db.example.com/{{name}}"]});
    assert_eq!(secret["configs"]["url"], json!({"value": url, "source": "service"}));
    assert_eq!(secret["configs"]["alias"]["value"], url.to_string());
    assert_eq!(secret["configs"]["mode"]["value"], "beta=true");
    assert_eq!(
        secret["secrets"]["PASSWORD"],
        json!({"value": "p\"w", "version": 1, "type": "text", "source": "service"})
    );
    let keys: Vec<&String> = public["configs"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["host", "mode"]);
    assert!(public.get("secrets").is_none() && !public.to_string().contains("p\\\"w"));

    // What a config refers to changes without it.
    stage.flag("beta", json!({"is_active": false})).await;
    assert_eq!(stage.sync(&stage.public).await["configs"]["mode"]["value"], "beta=false");
}

#[tokio::test]
async fn what_an_umbrella_has_is_inherited_and_a_services_own_wins() {
    let stage = Stage::new().await;
    let umbrella = stage.umbrella().await;
    let (front, front_key) = stage.other("front", Kind::Frontend).await;
    stage.change(&front, |service| service.inherits = Some(umbrella.clone())).await;
    stage.config("own", json!("mine")).await;
    stage.config("both", json!("mine")).await;
    for (kind, key, content) in [
        (EntryKind::Config, "both", "\"shared\""),
        (EntryKind::Config, "base", "\"{{config:both}}!\""),
        (EntryKind::Flag, "on", "{\"is_active\":true}"),
    ] {
        stage.put_behind(&umbrella, kind, key, content).await;
    }

    let found = stage
        .until(&stage.secret, "/v1/sync", |answer| {
            let json = answer.json();
            (json["flags"]["on"]["is_active"] == true).then_some(json)
        })
        .await;
    let front = stage
        .until(&front_key, "/v1/sync", |answer| {
            let json = answer.json();
            (json["flags"]["on"]["is_active"] == true).then_some(json)
        })
        .await;

    assert_eq!(found["configs"]["own"], json!({"value": "mine", "source": "service"}));
    assert_eq!(found["configs"]["both"], json!({"value": "mine", "source": "service"}));
    assert_eq!(found["configs"]["base"], json!({"value": "mine!", "source": "umbrella"}));
    assert_eq!(found["flags"]["on"], json!({"is_active": true, "source": "umbrella"}));
    assert_eq!(front["configs"]["base"], json!({"value": "shared!", "source": "umbrella"}));
    assert_eq!((&front["service_kind"], front.get("secrets")), (&json!("frontend"), None));
}

#[tokio::test]
async fn flags_turn_when_their_time_comes() {
    let clock = ManualClock::new();
    let stage = Stage::with(Arc::new(clock.clone()), |_| {}).await;
    let starts = clock.wall() + Duration::from_secs(10);
    let ends = starts + Duration::from_secs(10);
    stage
        .flag("sale", json!({"is_active": true, "starts_at": rfc3339(starts), "ends_at": rfc3339(ends)}))
        .await;
    stage.config("shown", json!("{{flag:sale}}")).await;
    let mut seen = Vec::new();

    for _ in 0..5 {
        let answer = stage.get("/v1/sync", &stage.secret).await;
        let json = answer.json();
        seen.push((
            json["flags"]["sale"]["is_active"].as_bool().unwrap(),
            json["configs"]["shown"]["value"].as_str().unwrap().to_owned(),
            answer.header("etag").to_owned(),
        ));
        clock.advance(Duration::from_secs(5));
    }

    let on: Vec<bool> = seen.iter().map(|(on, _, _)| *on).collect();
    assert_eq!(on, [false, false, true, true, false]);
    assert!(seen.iter().all(|(on, shown, _)| *shown == on.to_string()));
    assert_eq!(seen[0].2, seen[1].2);
    assert_eq!(seen[0].2, seen[4].2, "it is what it was");
    assert_ne!(seen[1].2, seen[2].2);
}

#[tokio::test]
async fn handing_out_secrets_is_recorded_once_for_each_key_and_revision() {
    let stage = Stage::new().await;
    stage.secret("CANARY", "canary-5d1e").await;
    let reads = async || {
        let page = stage.server.store.audit(Some("acme"), &PageRequest::first(100)).await.unwrap();
        let reads = page.items.into_iter().filter(|event| event.action == "settings.secrets.read");
        reads.collect::<Vec<_>>()
    };

    for _ in 0..3 {
        stage.sync(&stage.secret).await;
        stage.sync(&stage.public).await;
    }
    assert_eq!(reads().await.len(), 1);
    stage.config("a", json!(1)).await;
    stage.sync(&stage.secret).await;
    stage.sync(&stage.secret).await;

    let reads = reads().await;
    assert_eq!(reads.len(), 2);
    assert!(
        reads
            .iter()
            .all(|read| read.principal == stage.secret.record.id && read.target == stage.id.to_string())
    );
    assert!(!logs().contains("canary-5d1e"));
}

#[tokio::test]
async fn secrets_of_another_umbrella_are_handed_out_on_record_whatever_its_revision() {
    let stage = Stage::new().await;
    let umbrellas = "/api/v1/tenants/acme/namespaces/payments/settings/environments";
    let put = async |path: &str, body: &serde_json::Value| {
        let request =
            stage.server.request(reqwest::Method::PUT, &format!("{umbrellas}/{path}"), &stage.server.root);
        let answer = stage.server.send(request.json(body)).await;
        assert!(answer.status.is_success(), "{}", answer.text);
    };
    for umbrella in ["one", "two"] {
        put(umbrella, &json!({"kind": "umbrella"})).await;
        put(&format!("{umbrella}/secrets/S"), &json!({ "value": umbrella })).await;
    }

    for umbrella in ["one", "two"] {
        put("prod", &json!({"inherits": {"namespace": "payments", "environment": umbrella}})).await;
        for _ in 0..2 {
            assert_eq!(stage.sync(&stage.secret).await["secrets"]["S"]["value"], umbrella);
        }
    }

    let page = stage.server.store.audit(Some("acme"), &PageRequest::first(100)).await.unwrap();
    let reads = page.items.iter().filter(|event| event.action == "settings.secrets.read");
    assert_eq!(reads.count(), 2);
}

#[tokio::test]
async fn an_answer_of_thousands_of_entries_is_whole() {
    let stage = Stage::new().await;
    for n in 0..500 {
        stage.put_behind(&stage.id, EntryKind::Config, &format!("key.{n}"), &n.to_string()).await;
    }

    let found = stage
        .until(&stage.public, "/v1/sync", |answer| {
            let json = answer.json();
            (json["configs"].as_object().unwrap().len() == 500).then_some(json)
        })
        .await;

    assert!((0..500).all(|n| found["configs"][format!("key.{n}")]["value"] == n));
}
