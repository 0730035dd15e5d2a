//! What operators do over HTTP.

use std::fmt::Write as _;

use leverframe_server::model::TokenType;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestServer, logs};

const ALL: &str = "/api/v1/tenants/acme/namespaces/payments/settings/environments";

async fn put(server: &TestServer, path: &str, secret: &str, body: &Value) -> Answer {
    server.send(server.request(Method::PUT, path, secret).json(body)).await
}

/// A server with the environment `production` of the namespace `payments`, and where it is.
async fn with_production() -> (TestServer, String) {
    let server = TestServer::start().await;
    let path = format!("{ALL}/production");
    let made = put(&server, &path, &server.root, &json!({"kind": "backend"})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    (server, path)
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.code())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn what_is_left_out_of_an_environment_stays_and_what_is_null_is_taken_away() {
    let (server, path) = with_production().await;
    let base = json!({"kind": "umbrella"});
    assert_eq!(put(&server, &format!("{ALL}/base"), &server.root, &base).await.status, 201);

    let first = server.get(&path, &server.root).await.json()["environment"].clone();
    assert_eq!((&first["kind"], &first["slug"]), (&json!("backend"), &json!("acme-payments-production")));
    assert_eq!((&first["ab_enabled"], &first["revision"]), (&json!(true), &json!(1)));
    let trust = json!({"id": "ci", "issuer": "https://issuer.example", "audience": "nexus", "subject": "repo:acme/*"});
    let set = json!({
        "inherits": {"namespace": "payments", "environment": "base"}, "ab_enabled": false, "billing_overdue": true,
        "quarantine": {"reason": "bulk_delete", "expires_at": "2030-01-01T00:00:00Z"}, "trusts": [trust],
    });
    let set = put(&server, &path, &server.root, &set).await;
    assert_eq!(set.status, 200, "{}", set.text);
    let set = put(&server, &path, &server.root, &json!({"slug": "shop", "quarantine": null})).await.json();
    let set = &set["environment"];

    assert_eq!(
        (&set["slug"], &set["quarantine"], &set["revision"]),
        (&json!("shop"), &Value::Null, &json!(3))
    );
    assert_eq!(set["inherits"], json!({"namespace": "payments", "environment": "base"}));
    assert_eq!((&set["ab_enabled"], &set["billing_overdue"]), (&json!(false), &json!(true)));
    assert_eq!(set["trusts"], json!([trust]));
    assert!(set["updated_by"].as_str().unwrap().starts_with("tok_"));
    let names: Vec<Value> = server.get(ALL, &server.root).await.json()["environments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["environment"].clone())
        .collect();
    assert_eq!(names, [json!("base"), json!("production")]);
}

#[tokio::test]
async fn an_environment_that_cannot_be_is_refused() {
    let (server, path) = with_production().await;
    put(&server, &format!("{ALL}/web"), &server.root, &json!({"kind": "frontend", "slug": "web"})).await;
    let bad = refused(400, "bad_request");
    let nowhere = format!("{}/production", ALL.replace("payments", "nowhere"));

    for (path, body, expected) in [
        (path.as_str(), json!({"kind": "frontend"}), refused(409, "conflict")),
        (&path, json!({"if_revision": 0, "ab_enabled": false}), refused(409, "conflict")),
        (&path, json!({"slug": "web"}), refused(409, "already_exists")),
        (&path, json!({"slug": "a.b"}), bad.clone()),
        (&path, json!({"slug": null}), bad.clone()),
        (&path, json!({"trusts": null}), bad.clone()),
        (
            &path,
            json!({"trusts": [{"id": "a", "issuer": "b", "audience": "c", "subject": "*"}]}),
            bad.clone(),
        ),
        (&path, json!({"inherits": {"namespace": "payments", "environment": "web"}}), bad.clone()),
        (&path, json!({"inherits": {"namespace": "payments", "environment": "nowhere"}}), bad.clone()),
        (&path, json!({"quarantine": {"reason": "bulk", "expires_at": "tomorrow"}}), bad.clone()),
        (
            &path,
            json!({"quarantine": {"reason": "Bulk!", "expires_at": "2030-01-01T00:00:00Z"}}),
            bad.clone(),
        ),
        (&path, json!({"colour": "red"}), bad.clone()),
        (&format!("{ALL}/new"), json!({"ab_enabled": true}), bad.clone()),
        (&format!("{ALL}/New"), json!({"kind": "backend"}), bad.clone()),
        (&nowhere, json!({"kind": "backend"}), refused(404, "not_found")),
    ] {
        assert_eq!(told(&put(&server, path, &server.root, &body).await), expected, "{body}");
    }
    let held = server.get(&path, &server.root).await.json();
    assert_eq!(held["environment"]["revision"], 1);
    for missing in [format!("{ALL}/nobody"), format!("{ALL}/No"), format!("{ALL}/nobody/configs")] {
        assert_eq!(server.get(&missing, &server.root).await.status, 404, "{missing}");
    }
}

/// Whoever may write must not get at a secret by way of what they write.
#[tokio::test]
async fn who_may_write_secrets_hands_out_nothing_that_reads_them() {
    let (server, path) = with_production().await;
    let (_, write) = server.mint(TokenType::NamespaceWrite, "acme/payments").await;
    let (_, admin) = server.mint(TokenType::TenantAdmin, "acme").await;
    let theirs = "/api/v1/tenants/acme/namespaces/search/settings/environments/base";
    let own = format!("{ALL}/base");
    for umbrella in [theirs, &own] {
        assert_eq!(put(&server, umbrella, &admin, &json!({"kind": "umbrella"})).await.status, 201);
    }
    let forbidden = refused(403, "forbidden");

    let written = put(&server, &format!("{path}/secrets/db"), &write, &json!({"value": "hunter2"})).await;
    assert_eq!(written.status, 200, "{}", written.text);
    for (key, expected) in [("sk", forbidden.clone()), ("pk", refused(201, ""))] {
        let made = server.post(&format!("{path}/keys"), &write, &json!({"type": key})).await;
        assert_eq!(told(&made), expected, "{key}");
    }
    let trust = json!({"trusts": [{"id": "a", "issuer": "b", "audience": "c", "subject": "me"}]});
    assert_eq!(told(&put(&server, &path, &write, &trust).await), forbidden);
    let inherits = json!({"inherits": {"namespace": "search", "environment": "base"}});
    for namespace in ["search", "payments"] {
        let from = json!({"namespace": namespace, "environment": "base"});
        let change = json!({ "inherits": from });
        assert_eq!(told(&put(&server, &path, &write, &change).await), forbidden, "{namespace}");
        let fresh = json!({"kind": "backend", "inherits": from});
        let made = put(&server, &format!("{ALL}/other"), &write, &fresh).await;
        assert_eq!(told(&made), forbidden, "{namespace}");
        // It is given no secrets.
        let frontend = json!({"kind": "frontend", "inherits": from});
        let made = put(&server, &format!("{ALL}/web"), &write, &frontend).await;
        assert_eq!(made.status, if namespace == "payments" { 201 } else { 403 }, "{}", made.text);
    }
    assert_eq!(told(&server.get(&format!("{path}/secrets/db/value"), &write).await), forbidden);
    assert_eq!(put(&server, &path, &write, &json!({"ab_enabled": false})).await.status, 200);

    assert_eq!(put(&server, &path, &admin, &inherits).await.status, 200);
    // What an admin has set stays, also through the hands of others.
    assert_eq!(put(&server, &path, &write, &json!({"ab_enabled": true})).await.status, 200);
    assert_eq!(server.get(&format!("{path}/secrets/db/value"), &admin).await.json()["value"], "hunter2");
}

#[tokio::test]
async fn entries_are_written_in_versions_and_nobodys_change_is_lost() {
    let (server, path) = with_production().await;
    let rules = json!([{"attribute": "plan", "op": "eq", "value": "pro"}]);
    for (kind, first, second) in [
        ("configs", json!({"value": {"retries": 3}}), json!({"value": 18_446_744_073_709_551_615_u64})),
        (
            "flags",
            json!({"is_active": true, "rollout_percent": 12.5, "rules": rules}),
            json!({"is_active": false}),
        ),
        ("secrets", json!({"value": "one"}), json!({"value": "dHdv", "type": "file", "encoding": "base64"})),
    ] {
        let at = format!("{path}/{kind}/app.limit");
        let send = async |body: &Value, version: u64| {
            let request = server.request(Method::PUT, &at, &server.root).header("if-version", version);
            server.send(request.json(body)).await
        };

        let made = send(&first, 0).await;
        assert_eq!((made.status.as_u16(), &made.json()["version"]), (200, &json!(1)), "{}", made.text);
        let stale = send(&second, 0).await;
        assert_eq!(told(&stale), refused(409, "version_conflict"), "{kind}");
        assert_eq!(stale.json()["error"]["details"]["current_version"], 1);
        assert_eq!(send(&second, 1).await.json()["version"], 2);

        let one = kind.strip_suffix('s').unwrap();
        let held = server.get(&at, &server.root).await.json()[one].clone();
        assert_eq!((&held["key"], &held["version"]), (&json!("app.limit"), &json!(2)));
        match kind {
            "configs" => {
                assert_eq!(
                    (&held["value"], &held["text"]),
                    (&second["value"], &json!("18446744073709551615"))
                );
            }
            "flags" => assert_eq!(held["value"]["is_active"], false),
            _ => assert_eq!((&held["form"], held.get("value")), (&json!("file_base64"), None)),
        }
        let gone = server.delete(&at, &server.root).await;
        assert_eq!(gone.status, 200, "{}", gone.text);
        assert_eq!(told(&server.get(&at, &server.root).await), refused(404, "not_found"));
        assert_eq!(server.delete(&at, &server.root).await.status, 404);
        assert_eq!(send(&first, 0).await.json()["version"], 3, "a version is never used twice");
    }
}

#[tokio::test]
async fn what_cannot_be_an_entry_is_refused() {
    let (server, path) = with_production().await;
    put(&server, &format!("{ALL}/web"), &server.root, &json!({"kind": "frontend"})).await;

    for (at, body) in [
        (format!("{path}/configs/1st"), json!({"value": 1})),
        (format!("{path}/configs/a%2Fb"), json!({"value": 1})),
        (format!("{path}/configs/a"), json!({"val": 1})),
        (format!("{path}/configs/a"), json!({"value": "{{config:a}}"})),
        (format!("{path}/flags/a"), json!({"is_active": "yes"})),
        (format!("{path}/flags/a"), json!({"is_active": true, "rollout_percent": 101})),
        (format!("{path}/flags/a"), json!({"is_active": true, "rules": [{"segment": "staff"}]})),
        (format!("{path}/secrets/a"), json!({"value": 1})),
        (format!("{path}/secrets/a"), json!({"value": "x", "type": "file", "encoding": "hex"})),
    ] {
        let answer = put(&server, &at, &server.root, &body).await;
        assert_eq!(told(&answer), refused(400, "bad_request"), "{at} {body}: {}", answer.text);
    }
    for size in [1_100_000, 5_000_000] {
        let large = json!({"value": "x".repeat(size)});
        assert_eq!(
            put(&server, &format!("{path}/secrets/a"), &server.root, &large).await.status,
            413,
            "{size}"
        );
    }
    let of_frontend =
        put(&server, &format!("{ALL}/web/secrets/a"), &server.root, &json!({"value": "x"})).await;
    assert_eq!(told(&of_frontend), refused(403, "forbidden"));
    let lists = ["configs", "flags", "secrets"].map(|kind| format!("{path}/{kind}"));
    for list in lists {
        let held = server.get(&list, &server.root).await.json();
        assert_eq!(held[list.rsplit('/').next().unwrap()], json!([]), "{list}");
        assert_eq!(held["revision"], 0);
    }
}

#[tokio::test]
async fn lists_come_in_parts_by_key() {
    let (server, path) = with_production().await;
    for key in ["c", "a", "b"] {
        put(&server, &format!("{path}/configs/{key}"), &server.root, &json!({"value": key})).await;
    }
    let list = async |query: &str| server.get(&format!("{path}/configs{query}"), &server.root).await;
    let keys = |answer: &Answer| -> Vec<String> {
        answer.json()["configs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["key"].as_str().unwrap().to_owned())
            .collect()
    };

    let first = list("?limit=2").await;
    let next = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let second = list(&format!("?limit=2&cursor={next}")).await;

    assert_eq!((keys(&first), keys(&second)), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
    assert_eq!((&first.json()["revision"], &second.json()["next_cursor"]), (&json!(3), &Value::Null));
    for bad in ["?limit=0", "?cursor=%00", "?limit=501"] {
        assert_eq!(list(bad).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_value_is_told_by_one_route_alone_which_puts_it_on_record() {
    let (server, path) = with_production().await;
    let at = format!("{path}/secrets/db.password");
    for value in ["correct horse", "battery staple"] {
        assert_eq!(put(&server, &at, &server.root, &json!({"value": value})).await.status, 200);
    }

    let mut silent = String::new();
    for path in [path.clone(), format!("{path}/secrets"), at.clone(), format!("{at}/versions")] {
        write!(silent, "{}", server.get(&path, &server.root).await.text).unwrap();
    }
    let newest = server.get(&format!("{at}/value"), &server.root).await;
    let older = server.get(&format!("{at}/value?version=1"), &server.root).await.json();
    let none = server.get(&format!("{at}/value?version=9"), &server.root).await;

    assert_eq!(newest.json()["value"], "battery staple");
    assert_eq!(newest.header("cache-control"), "no-store");
    assert_eq!((&older["value"], &older["secret"]["version"]), (&json!("correct horse"), &json!(1)));
    assert_eq!(none.status, 404);
    let log = server.get("/api/v1/tenants/acme/audit", &server.root).await;
    let events: Vec<[String; 4]> = log.json()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            ["action", "target", "outcome", "detail"].map(|field| event[field].as_str().unwrap().to_owned())
        })
        .take(5)
        .collect();
    let target = "acme/payments/production db.password";
    let event =
        |action: &str, outcome: &str, detail: &str| [action, target, outcome, detail].map(str::to_owned);
    assert_eq!(
        events,
        [
            event("secret.read", "not_found", ""),
            event("secret.read", "ok", "version 1"),
            event("secret.read", "ok", "version 2"),
            event("secret.set", "ok", "version 2"),
            event("secret.set", "ok", "version 1"),
        ]
    );
    for text in [silent, log.text, logs()] {
        assert!(!text.contains("correct horse") && !text.contains("battery staple"), "{text}");
    }
}

#[tokio::test]
async fn versions_of_a_secret_go_one_by_one() {
    let (server, path) = with_production().await;
    let at = format!("{path}/secrets/token");
    for value in ["a", "b", "c"] {
        put(&server, &at, &server.root, &json!({"value": value})).await;
    }
    let versions = async || -> Vec<Value> {
        let answer = server.get(&format!("{at}/versions"), &server.root).await.json();
        answer["versions"].as_array().unwrap().iter().map(|one| one["version"].clone()).collect()
    };
    assert_eq!(versions().await, [3, 2, 1].map(|version| json!(version)));

    assert_eq!(server.delete(&format!("{at}?version=3"), &server.root).await.status, 200);

    assert_eq!(versions().await, [2, 1].map(|version| json!(version)));
    assert_eq!(server.get(&format!("{at}/value"), &server.root).await.json()["value"], "b");
    assert_eq!(server.delete(&format!("{at}?version=3"), &server.root).await.status, 404);
    assert_eq!(server.delete(&format!("{at}?version=x"), &server.root).await.status, 400);
    assert_eq!(server.delete(&at, &server.root).await.status, 200);
    assert_eq!(server.get(&format!("{at}/versions"), &server.root).await.status, 404);
}

#[tokio::test]
async fn keys_are_shown_once_and_revoked_for_good() {
    let (server, path) = with_production().await;
    put(&server, &format!("{ALL}/base"), &server.root, &json!({"kind": "umbrella"})).await;
    let keys = format!("{path}/keys");
    let mut made = Vec::new();
    for (body, prefix) in [
        (json!({"type": "sk", "name": "checkout"}), "wxs_"),
        (json!({"type": "pk"}), "wxp_"),
        (json!({"type": "sk", "legacy": true}), "sk_live_"),
        (json!({"type": "pk", "legacy": true}), "pk_live_"),
    ] {
        let answer = server.post(&keys, &server.root, &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let answer = answer.json();
        assert!(answer["secret"].as_str().unwrap().starts_with(prefix));
        assert_eq!(answer["slug"], "acme-payments-production");
        made.push(answer);
    }

    let listed = server.get(&keys, &server.root).await;
    for one in &made {
        assert!(!listed.text.contains(one["secret"].as_str().unwrap()));
    }
    let listed = listed.json()["keys"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 4);
    assert_eq!((&listed[0]["name"], &listed[0]["type"]), (&json!("checkout"), &json!("sk")));
    let first = format!("{keys}/{}", made[0]["key"]["id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(server.delete(&first, &server.root).await.status, 204);
    }
    assert!(server.get(&keys, &server.root).await.json()["keys"][0]["revoked_at"].is_string());
    assert_eq!(server.delete(&format!("{keys}/set_nobody"), &server.root).await.status, 404);
    for (path, body) in [
        (format!("{ALL}/base/keys"), json!({"type": "sk"})),
        (keys.clone(), json!({"type": "mk"})),
        (keys.clone(), json!({"type": "sk", "name": "x".repeat(201)})),
    ] {
        assert_eq!(server.post(&path, &server.root, &body).await.status, 400, "{path} {body}");
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_put_on_record_is_not_told() {
    let (server, path) = with_production().await;
    let at = format!("{path}/secrets/db");
    assert_eq!(put(&server, &at, &server.root, &json!({"value": "hunter2"})).await.status, 200);
    let database = rusqlite::Connection::open(server.data().join("leverframe.db")).unwrap();
    database
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END")
        .unwrap();

    let untold = server.get(&format!("{at}/value"), &server.root).await;
    database.execute_batch("DROP TRIGGER full").unwrap();
    let told = server.get(&format!("{at}/value"), &server.root).await;

    assert_eq!(untold.status, 503);
    assert!(!untold.text.contains("hunter2"));
    assert_eq!(told.json()["value"], "hunter2");
}

#[tokio::test]
async fn an_import_says_what_it_would_do_and_then_does_it() {
    let (server, path) = with_production().await;
    let import = format!("{path}/import");
    put(&server, &format!("{path}/configs/kept"), &server.root, &json!({"value": 1})).await;
    put(&server, &format!("{path}/secrets/old"), &server.root, &json!({"value": "same"})).await;
    let body = json!({
        "configs": {"kept": 1, "a": "{{config:b}}", "b": "{{config:c}}", "c": "{{secret:new}}", "broken": "{{config:nowhere}}"},
        "flags": {"beta": {"is_active": true}},
        "secrets": {"old": {"value": "same"}, "new": {"value": "hunter2"}},
    });
    let fates = |answer: &Answer| -> Vec<String> {
        let answer = answer.json();
        let mut fates: Vec<String> = answer["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| ["kind", "key", "change"].map(|field| one[field].as_str().unwrap()).join(" "))
            .collect();
        fates.sort();
        fates
    };
    let expected = [
        "config a created",
        "config b created",
        "config broken refused",
        "config c created",
        "config kept unchanged",
        "flag beta created",
        "secret new created",
        "secret old unchanged",
    ];

    let dry = server.post(&format!("{import}?dry_run=true"), &server.root, &body).await;
    assert_eq!(dry.status, 200, "{}", dry.text);
    assert_eq!(fates(&dry), expected);
    assert!(!dry.text.contains("hunter2") && !dry.text.contains("same"));
    assert_eq!(server.get(&format!("{path}/configs"), &server.root).await.json()["revision"], 2);
    let done = server.post(&import, &server.root, &body).await;
    assert_eq!(fates(&done), expected);
    assert_eq!((&done.json()["written"], &done.json()["refused"]), (&json!(5), &json!(1)));
    assert_eq!(server.get(&format!("{path}/configs/a"), &server.root).await.json()["config"]["version"], 1);
    assert_eq!(
        server.get(&format!("{path}/secrets/new/value"), &server.root).await.json()["value"],
        "hunter2"
    );
    assert_eq!(server.get(&format!("{path}/secrets/old"), &server.root).await.json()["secret"]["version"], 1);

    let again = server.post(&import, &server.root, &body).await.json();
    assert_eq!((&again["written"], &again["refused"]), (&json!(0), &json!(1)));
    // Whoever may not read a secret cannot find it out by guessing.
    let (_, write) = server.mint(TokenType::NamespaceWrite, "acme/payments").await;
    let guess = json!({"secrets": {"old": {"value": "same"}}});
    let guess = server.post(&format!("{import}?dry_run=true"), &write, &guess).await;
    assert_eq!(fates(&guess), ["secret old changed"]);
}

#[tokio::test]
async fn an_import_that_cannot_be_read_writes_nothing() {
    let (server, path) = with_production().await;
    let many: serde_json::Map<String, Value> = (0..501).map(|n| (format!("k{n}"), json!(n))).collect();

    for body in [
        json!({"config": {}}),
        json!({"configs": many}),
        json!({"flags": {"a": true}}),
        json!({"secrets": {"a": "hunter2"}}),
        json!({"secrets": {"a": {"value": "x", "encoding": "base64"}}}),
        json!([]),
    ] {
        let answer = server.post(&format!("{path}/import"), &server.root, &body).await;
        assert_eq!(told(&answer), refused(400, "bad_request"), "{body}");
        assert!(!answer.text.contains("hunter2"));
    }
    let none = server.post(&format!("{path}/import?dry_run=perhaps"), &server.root, &json!({})).await;
    assert_eq!(none.status, 400);
    let web = json!({"kind": "frontend"});
    put(&server, &format!("{ALL}/web"), &server.root, &web).await;
    let secret = json!({"secrets": {"a": {"value": "x"}}, "configs": {"1st": 1}});
    let refused = server.post(&format!("{ALL}/web/import"), &server.root, &secret).await.json();
    assert_eq!((&refused["written"], &refused["refused"]), (&json!(0), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_made_at_once_are_all_kept_and_one_creation_is_the_first() {
    let (server, path) = with_production().await;
    let quarantine = json!({"reason": "bulk_delete", "expires_at": "2030-01-01T00:00:00.000Z"});
    let changes = [
        json!({"slug": "shop"}),
        json!({"ab_enabled": false}),
        json!({"billing_overdue": true}),
        json!({"quarantine": quarantine}),
    ];

    let setting = changes.iter().map(|change| put(&server, &path, &server.root, change));
    for answer in futures_util::future::join_all(setting).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let set = server.get(&path, &server.root).await.json()["environment"].clone();
    assert_eq!(set["revision"], 5);
    for change in &changes {
        for (field, value) in change.as_object().unwrap() {
            assert_eq!(&set[field], value, "{field}");
        }
    }

    let (staging, fresh) = (format!("{ALL}/staging"), json!({"kind": "backend", "if_revision": 0}));
    let creating = (0..4).map(|_| put(&server, &staging, &server.root, &fresh));
    let mut statuses: Vec<u16> =
        futures_util::future::join_all(creating).await.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
}

#[tokio::test]
async fn what_operators_write_and_revoke_holds_for_clients_from_the_answer_on() {
    let (server, path) = with_production().await;
    let made = server.post(&format!("{path}/keys"), &server.root, &json!({"type": "sk"})).await.json();
    let secret = made["secret"].as_str().unwrap();
    let sync =
        async || server.send(server.http.get(server.url("/v1/sync")).header("x-nexus-api-key", secret)).await;
    assert_eq!(sync().await.json()["configs"], json!({}));

    put(&server, &format!("{path}/configs/retries"), &server.root, &json!({"value": 3})).await;
    put(&server, &format!("{path}/secrets/db"), &server.root, &json!({"value": "hunter2"})).await;
    let seen = sync().await.json();
    assert_eq!(
        (&seen["configs"]["retries"]["value"], &seen["secrets"]["db"]["value"]),
        (&json!(3), &json!("hunter2"))
    );
    put(&server, &path, &server.root, &json!({"billing_overdue": true})).await;
    assert_eq!(sync().await.status, 402);
    put(&server, &path, &server.root, &json!({"billing_overdue": false})).await;
    assert_eq!(sync().await.status, 200);

    let key = made["key"]["id"].as_str().unwrap();
    assert_eq!(server.delete(&format!("{path}/keys/{key}"), &server.root).await.status, 204);
    assert_eq!(sync().await.status, 401);
}
