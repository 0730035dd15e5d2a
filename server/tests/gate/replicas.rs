//! Several servers on one database.

use std::sync::Arc;

use leverframe::backends::clock_system::SystemClock;
use leverframe_server::store;
use serde_json::{Value, json};

use crate::{
    postgres::Postgres,
    stage::{Key, calls_of, change, key, millis, signed, totals, upload_rules},
    support::{Answer, TestServer},
};

/// Two servers that share a database and nothing else, and a key.
async fn two(postgres: &Postgres) -> ([TestServer; 2], Key) {
    let database = postgres.database().await;
    let first = TestServer::start_on(open(&database).await).await;
    let second = first.join(open(&database).await).await;
    let key = key(&first, "acme", None).await;
    ([first, second], key)
}

async fn open(database: &leverframe::Secret) -> Arc<dyn store::Store> {
    let nowhere = std::path::Path::new("/nonexistent");
    store::open(nowhere, Some(database), Arc::new(SystemClock::new())).await.unwrap()
}

async fn send(server: &TestServer, key: &Key, pulse: &Value) -> Answer {
    let now = millis(&SystemClock::new());
    server.send(signed(server, key, "/v1/pulse", pulse.to_string().as_bytes(), now)).await
}

/// Sends pulses of ever new times until the answer is as expected.
async fn until(server: &TestServer, key: &Key, what: &str, expected: impl Fn(&Answer) -> bool) {
    let begun = millis(&SystemClock::new());
    for number in 0.. {
        let answer = send(server, key, &calls_of(what, 0, begun + number)).await;
        if expected(&answer) {
            return;
        }
        assert!(millis(&SystemClock::new()) < begun + 10_000, "{what}: {}", answer.text);
    }
}

#[tokio::test]
async fn what_is_set_through_one_server_reaches_the_pulses_of_the_other() {
    let postgres = Postgres::shared();
    let ([first, second], key) = two(&postgres).await;
    until(&second, &key, "before", |answer| answer.json()["killSignal"] == false).await;

    change(&first, "acme", &json!({"kill_signal": true, "tag_max_weights": {"free": 3}})).await;

    let killed = |answer: &Answer| {
        answer.json()["killSignal"] == true && answer.json()["tagMaxWeights"]["free"] == 3.0
    };
    until(&second, &key, "kill", killed).await;
    let token =
        second.post("/v1/auth/token", "", &json!({"publishKey": key.publish, "secretKey": key.secret})).await;
    let token = token.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        first.get("/v1/policy/acme", &token).await.json()["killSignal"],
        true,
        "either believes a token"
    );
}

#[tokio::test]
async fn a_key_revoked_through_one_server_is_refused_by_the_other() {
    let postgres = Postgres::shared();
    let ([first, second], key) = two(&postgres).await;
    until(&second, &key, "before", |answer| answer.status == 200).await;

    let path = format!("/api/v1/gate/acme/keys/{}", key.publish);
    assert_eq!(first.delete(&path, &first.root).await.status, 204);

    until(&second, &key, "revoked", |answer| answer.status == 401).await;
}

#[tokio::test]
async fn servers_count_together_and_each_pulse_once() {
    let postgres = Postgres::shared();
    let ([first, second], key) = two(&postgres).await;
    let now = millis(&SystemClock::new());
    let mut again = calls_of("i", 5, now);
    again["pulseId"] = json!("p-1");

    assert_eq!(send(&first, &key, &again).await.status, 200);
    again["ts"] = json!(now + 1);
    assert_eq!(send(&second, &key, &again).await.status, 200);
    let theirs = calls_of("j", 7, now);
    assert_eq!(send(&first, &key, &theirs).await.status, 200);
    assert_eq!(send(&second, &key, &theirs).await.status, 409);
    let sending = (0..40).map(|n| {
        let server = if n % 2 == 0 { &first } else { &second };
        let (key, pulse) = (&key, calls_of(&format!("many-{n}"), 1, now));
        async move { send(server, key, &pulse).await.status }
    });
    for status in futures_util::future::join_all(sending).await {
        assert_eq!(status, 200);
    }

    let counted = totals(&second, "default").await;
    assert_eq!(counted["free"].calls, 5 + 7 + 40);
}

#[tokio::test]
async fn a_rule_that_trips_at_one_server_holds_at_the_other() {
    let postgres = Postgres::shared();
    let ([first, second], key) = two(&postgres).await;
    let gate = "[[rule]]\ntag = \"free\"\nmetric = \"errors\"\noperator = \">\"\nthreshold = 5\naction = \"block\"\n";
    upload_rules(&first, gate).await;
    until(&second, &key, "before", |answer| answer.json()["tagMaxWeights"] == json!({})).await;

    let mut failing = calls_of("i", 10, millis(&SystemClock::new()));
    failing["tagMetrics"][0]["errors"] = json!(10);
    let tripped = send(&first, &key, &failing).await;

    // Where the first was looked at within the last second, the next look is a moment away.
    assert_eq!(tripped.status, 200);
    for server in [&first, &second] {
        until(server, &key, "blocked", |answer| answer.json()["tagMaxWeights"]["free"] == -1.0).await;
    }
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_counted_and_clients_are_told_when_to_come_back() {
    let postgres = Postgres::start(&[]);
    let ([first, _second], key) = two(&postgres).await;
    let now = millis(&SystemClock::new());
    assert_eq!(send(&first, &key, &calls_of("i", 1, now)).await.status, 200);

    postgres.stop("fast");
    let refused = send(&first, &key, &calls_of("i", 2, now + 1)).await;
    assert_eq!((refused.status.as_u16(), &*refused.code()), (503, "unavailable"), "{}", refused.text);
    assert_eq!(refused.header("retry-after"), "1");

    postgres.run();
    until(&first, &key, "back", |answer| answer.status == 200).await;
    assert_eq!(totals(&first, "default").await["free"].calls, 1);
}
