//! Sessions for workloads.

mod aws;
mod fetched;
mod forged;
mod issuer;
mod stage;
mod streams;

use std::time::Duration;

use leverframe::{NexusClient, NexusConfig, NexusError, WifConfig};
use leverframe_server::{
    limit::Rate,
    model::PageRequest,
    settings::model::{Kind, Quarantine, Trust},
};
use serde_json::{Value, json};

use self::{
    issuer::{Key, set},
    stage::{ISSUER, SUBJECT, Stage, trust},
};
use crate::support::{TestServer, logs};

#[tokio::test]
async fn every_providers_form_of_token_is_taken_for_a_session() {
    let keys = [Key::rsa("k8s"), Key::rsa("eks"), Key::rsa("gcp"), Key::p384("azure"), Key::ed25519("dev")];
    let account = "system:serviceaccount:billing:api";
    let forms = [
        (
            "kubernetes",
            "https://kubernetes.default.svc",
            "westyx-nexus",
            account,
            json!({
                "kubernetes.io": { "namespace": "billing", "serviceaccount": { "name": "api" } },
            }),
        ),
        (
            "aws",
            "https://oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE",
            "sts.amazonaws.com",
            account,
            json!({}),
        ),
        (
            "gcp",
            "https://accounts.google.com",
            "westyx-nexus",
            "112233445566778899000",
            json!({
                "email": "api@billing.iam.gserviceaccount.com", "email_verified": true, "azp": "112233445566778899000",
            }),
        ),
        (
            "azure",
            "https://sts.windows.net/11111111-2222-3333-4444-555555555555/",
            "api://nexus",
            "66666666-7777",
            json!({
                "oid": "66666666-7777", "appid": "88888888", "tid": "11111111-2222-3333-4444-555555555555", "ver": "1.0",
            }),
        ),
        (
            "developer",
            "https://login.example.com",
            "westyx-nexus",
            "ann@example.com",
            json!({ "groups": ["billing", "ops"] }),
        ),
    ];
    let mut file = String::new();
    for ((provider, issuer, ..), key) in forms.iter().zip(&keys) {
        file += &format!(
            "[[issuer]]\nissuer = {issuer:?}\nprovider = {provider:?}\njwks_file = \"{}.json\"\n",
            key.id
        );
    }
    let sets: Vec<(String, String)> =
        keys.iter().map(|key| (format!("{}.json", key.id), set(&[key]))).collect();
    let files: Vec<(&str, &str)> = sets.iter().map(|(name, set)| (&**name, &**set)).collect();
    let stage = Stage::with(Key::ed25519("none"), &file, &files, |_| {}).await;
    let mut trusts: Vec<Trust> = forms
        .iter()
        .map(|(provider, issuer, audience, subject, _)| Trust::new(*provider, *issuer, *audience, *subject))
        .collect();
    trusts[0].claims = [("/kubernetes.io/namespace".to_owned(), "billing".to_owned())].into();
    trusts[2].claims = [("email_verified".to_owned(), "true".to_owned())].into();
    trusts[4].claims = [("groups".to_owned(), "billing".to_owned())].into();
    stage.trusted("prod", Kind::Backend, &trusts).await;

    for ((provider, issuer, audience, subject, more), key) in forms.iter().zip(&keys) {
        let mut claims = stage.claims();
        for (claim, value) in [("iss", issuer), ("aud", audience), ("sub", subject)] {
            claims[claim] = json!(value);
        }
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());

        let answer = stage.exchange(&key.token(&claims)).await;

        assert_eq!(answer.status, 200, "{provider}: {}", answer.text);
        let mut json = answer.json();
        let session = json["session_token"].take().as_str().unwrap().to_owned();
        assert_eq!(
            json,
            json!({
                "session_token": null, "token_type": "Bearer", "expires_in": 3_600,
                "service_kind": "backend", "wif_provider": provider,
            })
        );
        assert_eq!(answer.header("cache-control"), "no-store");
        let sync = stage.server.get("/v1/sync", &session).await;
        assert_eq!((sync.status.as_u16(), &sync.json()["key_type"]), (200, &json!("sk")), "{provider}");
        // A claim that the rule asks for is no matter of taste.
        if let Some((claim, _)) = more
            .as_object()
            .unwrap()
            .iter()
            .next()
            .filter(|_| ["kubernetes", "gcp", "developer"].contains(provider))
        {
            for claim in [&**claim, "email_verified"] {
                claims.as_object_mut().unwrap().remove(claim);
            }
            assert_eq!(stage.exchange(&key.token(&claims)).await.status, 401, "{provider}");
        }
    }
}

#[tokio::test]
async fn whatever_proves_nothing_is_refused_in_the_same_words() {
    let stage = Stage::new().await;
    let now = stage.claims()["iat"].as_u64().unwrap();
    let (stranger, good) = (Key::p256("one"), stage.token());
    assert_eq!(stage.exchange(&good).await.status, 200);
    assert_eq!(stage.exchange(&stage.but("exp", json!(now - 59))).await.status, 200, "within the leeway");
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other_end = if signature.starts_with('A') { 'B' } else { 'A' };
    let head = |head: Value| stage.key.token_with(&head, &stage.claims());
    let mut words = None;

    for (what, token) in [
        ("expired", stage.but("exp", json!(now - 60))),
        ("no end", stage.but("exp", Value::Null)),
        ("not yet valid", stage.but("nbf", json!(now + 61))),
        ("issued in the future", stage.but("iat", json!(now + 61))),
        ("another audience", stage.but("aud", json!("westyx"))),
        ("no audience", stage.but("aud", json!([]))),
        ("another issuer", stage.but("iss", json!("https://kubernetes.default.svc"))),
        ("nearly the issuer", stage.but("iss", json!(format!("{ISSUER}/")))),
        ("another subject", stage.but("sub", json!("system:serviceaccount:web:api"))),
        ("a subject in front", stage.but("sub", json!(format!("x{SUBJECT}")))),
        ("somebody else's key", stranger.token(&stage.claims())),
        ("another signature", format!("{signed}.{other_end}{}", &signature[1..])),
        ("no signature", format!("{signed}.")),
        ("alg none", head(json!({ "alg": "none", "kid": "one" }))),
        ("another alg", head(json!({ "alg": "ES384", "kid": "one" }))),
        ("another key", head(json!({ "alg": "ES256", "kid": "two" }))),
        ("what is critical", head(json!({ "alg": "ES256", "kid": "one", "crit": ["exp"] }))),
        ("its own key", head(json!({ "alg": "ES256", "jwk": stranger.published(), "kid": "two" }))),
        ("no token", "hunter2hunter2".to_owned()),
        ("too many parts", format!("{good}.{signature}")),
    ] {
        let answer = stage.exchange(&token).await;

        assert_eq!(answer.status, 401, "{what}: {}", answer.text);
        let mut json = answer.json();
        assert_ne!(json["request_id"].take(), Value::Null);
        assert_eq!(*words.get_or_insert(json.clone()), json, "{what}");
    }
    let logged = logs();
    for reason in [
        "it has expired",
        "the signature is not the issuer's",
        "the issuer is not configured",
        "no service of this host",
    ] {
        assert!(logged.contains(reason), "{reason}");
    }
    assert!(!logged.contains("hunter2hunter2") && !logged.contains(signature) && !logged.contains(signed));
}

#[tokio::test]
async fn no_public_key_is_taken_for_a_secret_and_no_other_algorithm_than_the_operators() {
    let key = Key::rsa("one");
    let keys = set(&[&key]);
    let file = format!(
        "[[issuer]]\nissuer = {ISSUER:?}\nprovider = \"kubernetes\"\njwks_file = \"keys.json\"\nalgorithms = [\"RS256\"]\n"
    );
    let stage = Stage::with(key, &file, &[("keys.json", &keys)], |_| {}).await;
    stage.trusted("prod", Kind::Backend, &[trust()]).await;
    let status = async |algorithm: &str| {
        let head = json!({ "alg": algorithm, "kid": "one" });
        stage.exchange(&stage.key.token_with(&head, &stage.claims())).await.status.as_u16()
    };

    assert_eq!(status("RS256").await, 200);
    for algorithm in ["HS256", "PS256", "RS512", "none", "ES256"] {
        assert_eq!(status(algorithm).await, 401, "{algorithm}");
    }
}

#[tokio::test]
async fn of_several_services_the_host_says_which() {
    let stage = Stage::new().await;
    stage.trusted("test", Kind::Backend, &[trust()]).await;
    stage.trusted("web", Kind::Frontend, &[trust()]).await;
    let body = json!({ "oidc_token": stage.token() });
    let at = async |host: &str| stage.exchange_at(host, &body).await;

    let several = at("127.0.0.1:8080").await;
    assert_eq!((several.status.as_u16(), &*several.code()), (400, "bad_request"));
    assert!(several.text.contains("several services"), "{}", several.text);
    for (host, service) in
        [("acme-payments-test.example.com", "test"), ("ACME-payments-prod.example.com:8443", "prod")]
    {
        let answer = at(host).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let log = stage.server.store.audit(Some("acme"), &PageRequest::first(1)).await.unwrap();
        assert_eq!(log.items[0].target, format!("acme/payments/{service}"));
    }
    // The frontend service trusts it as well, which is worth nothing.
    for host in ["acme-payments-web.example.com", "acme-payments-none.example.com", "example.com"] {
        assert_eq!(at(host).await.status, 401, "{host}");
    }
}

/// Tenants trust whom they like, as often as they like.
#[tokio::test]
async fn a_thousand_services_that_trust_the_issuer_lock_nobody_out() {
    let stage = Stage::new().await;
    let mut other = trust();
    other.subject = "system:serviceaccount:other:*".to_owned();
    stage.trusted("a", Kind::Backend, &[other]).await;
    // By name they all stand before `prod`.
    let database = rusqlite::Connection::open(stage.server.data().join("leverframe.db")).unwrap();
    database
        .execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
             INSERT INTO settings_services SELECT tenant, namespace, 'a' || i, kind, slug || i, revision,
                 content_revision, size, created_at, created_by, updated_at, updated_by, data_key, content
                 FROM settings_services, n WHERE environment = 'a';
             INSERT INTO settings_trusts SELECT t.issuer, s.tenant, s.namespace, s.environment
                 FROM settings_services s, settings_trusts t WHERE t.environment = 'a' AND s.environment LIKE 'a_%';",
        )
        .unwrap();
    let body = json!({ "oidc_token": stage.token() });

    for host in ["127.0.0.1", "localhost:8080", "acme-payments-prod.example.com"] {
        let answer = stage.exchange_at(host, &body).await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text);
    }
    assert_eq!(stage.exchange_at("acme-payments-a7.example.com", &body).await.status, 401);
    stage.trusted("z", Kind::Backend, &[trust()]).await;
    assert_eq!(stage.exchange_at("127.0.0.1", &body).await.status, 400, "several believe it");
    assert_eq!(stage.exchange_at("acme-payments-z.example.com", &body).await.status, 200);
}

#[tokio::test]
async fn a_session_ends_in_time_and_with_the_trust_that_gave_it() {
    let stage = Stage::new().await;
    let id = leverframe_server::settings::model::ServiceId::new("acme", "payments", "prod");
    let session = stage.session(&stage.token()).await;
    let status = async |session: &str| stage.server.get("/v1/sync", session).await.status.as_u16();
    assert_eq!(status(&session).await, 200);

    stage.clock.advance(Duration::from_millis(3_599_999));
    assert_eq!(status(&session).await, 200);
    stage.clock.advance(Duration::from_millis(1));
    assert_eq!(status(&session).await, 401);

    let session = stage.session(&stage.token()).await;
    assert_eq!(status(&session).await, 200);
    stage
        .change(&id, |service| service.trusts[0].subject = "system:serviceaccount:billing:other".to_owned())
        .await;
    let ending = async {
        while status(&session).await != 401 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ending).await.expect("the session does not end");
    assert_eq!(stage.exchange(&stage.token()).await.status, 401);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_to_be_so() {
    let stage = Stage::new().await;

    for body in [
        json!({}),
        json!([]),
        json!({ "oidc_token": "" }),
        json!({ "oidc_token": 1 }),
        json!({ "oidc_token": "a".repeat(16 * 1_024 + 1) }),
        json!({ "oidc_token": "a", "provider": "aws_iam" }),
        json!({ "oidc_token": "a", "aws_sts_request": { "headers": {}, "body": "" } }),
        json!({ "provider": "aws_iam" }),
        json!({ "provider": "aws_iam", "aws_sts_request": { "headers": { "a": 1 }, "body": "" } }),
        json!({ "provider": "gcp", "aws_sts_request": { "headers": {}, "body": "" } }),
    ] {
        let answer = stage.exchange_at("127.0.0.1", &body).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "bad_request"), "{body}");
    }
    let long = json!({ "oidc_token": "a".repeat(64 * 1_024) });
    assert_eq!(stage.exchange_at("127.0.0.1", &long).await.status, 413);
    let plain = stage.server.http.post(stage.server.url("/v1/auth/token-exchange")).body("{}");
    assert_eq!(stage.server.send(plain).await.status, 400);
}

#[tokio::test]
async fn without_issuers_nobody_is_believed() {
    let server = TestServer::start().await;

    let answer = server.post("/v1/auth/token-exchange", "", &json!({ "oidc_token": "a.b.c" })).await;

    assert_eq!((answer.status.as_u16(), &*answer.code()), (403, "forbidden"));
}

#[tokio::test]
async fn a_service_that_is_not_answered_gets_no_session() {
    let stage = Stage::new().await;
    let id = leverframe_server::settings::model::ServiceId::new("acme", "payments", "prod");

    stage.change(&id, |service| service.billing_overdue = true).await;
    assert_eq!(stage.exchange(&stage.token()).await.status, 402);

    let until = stage.now() + Duration::from_secs(60);
    stage.change(&id, |service| service.quarantine = Some(Quarantine::new("bulk_delete", until))).await;
    let answer = stage.exchange(&stage.token()).await;
    assert_eq!((answer.status.as_u16(), &*answer.code()), (429, "quarantined"));
}

#[tokio::test]
async fn strangers_are_limited_and_what_they_try_is_recorded_a_few_times_a_minute() {
    let key = Key::p256("one");
    let keys = set(&[&key]);
    let file =
        format!("[[issuer]]\nissuer = {ISSUER:?}\nprovider = \"kubernetes\"\njwks_file = \"keys.json\"\n");
    let limit = |options: &mut leverframe_server::ServeOptions| options.limits.stranger = Rate::new(1, 15);
    let stage = Stage::with(key, &file, &[("keys.json", &keys)], limit).await;
    let recorded = async || {
        let log = stage.server.store.audit(None, &PageRequest::first(100)).await.unwrap();
        log.items.iter().filter(|event| event.action == "settings.session.refuse").count()
    };

    let mut statuses = Vec::new();
    for _ in 0..16 {
        statuses.push(stage.exchange(&stage.token()).await.status.as_u16());
    }

    assert_eq!((&statuses[..15], statuses[15]), (&[401; 15][..], 429));
    assert_eq!(recorded().await, 10);
    stage.clock.advance(Duration::from_secs(60));
    stage.exchange(&stage.token()).await;
    assert_eq!(recorded().await, 11);
    let log = stage.server.store.audit(None, &PageRequest::first(1)).await.unwrap();
    assert_eq!((&*log.items[0].target, &*log.items[0].outcome), (ISSUER, "unauthenticated"));
}

#[tokio::test]
async fn keys_in_a_file_are_read_again_when_they_change() {
    let stage = Stage::new().await;
    let (old, new) = (stage.token(), Key::rsa("two"));
    assert_eq!(stage.exchange(&old).await.status, 200);
    let path = stage.server.data().join("keys.json");

    std::fs::write(&path, set(&[&new])).unwrap();
    stage.clock.advance(Duration::from_secs(1));

    assert_eq!(stage.exchange(&new.token(&stage.claims())).await.status, 200);
    assert_eq!(stage.exchange(&old).await.status, 401, "a key that was taken back");
    std::fs::remove_file(&path).unwrap();
    stage.clock.advance(Duration::from_secs(1));
    assert_eq!(stage.exchange(&new.token(&stage.claims())).await.status, 200, "forgotten with the file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_client_lives_on_sessions() {
    let stage = Stage::new().await;
    let (good, bad) = (stage.token(), stage.but("aud", json!("other")));
    let url = stage.server.running.url();
    let create = move |token: String| {
        let source = Box::new(move || Ok(token.clone()));
        let wif = WifConfig { enabled: true, provider: String::new(), token_source: Some(source) };
        NexusClient::create(NexusConfig { endpoint: url.clone(), wif: Some(wif), ..NexusConfig::default() })
    };

    let work = tokio::task::spawn_blocking(move || {
        let refused = create(bad).expect_err("it is for somebody else");
        assert!(matches!(refused, NexusError::WifTokenExchangeFailed(_)), "{refused:?}");
        let client = create(good).unwrap();
        assert_eq!((client.kind(), client.key_type().to_owned()), ("backend".to_owned(), "sk".to_owned()));
        client.set_secret("DB_PASSWORD", "hunter2").unwrap();
        client.sync().unwrap();
        assert_eq!(client.get_secret("DB_PASSWORD").unwrap().expose(), "hunter2");
    });
    work.await.unwrap();

    let log = stage.server.store.audit(Some("acme"), &PageRequest::first(10)).await.unwrap();
    let session = log.items.iter().find(|event| event.action == "settings.session.create").unwrap();
    assert!(session.principal.starts_with("wif_") && session.detail == "k8s by kubernetes", "{session:?}");
    assert!(
        log.items.iter().any(|event| event.principal == session.principal && event.action != session.action)
    );
}
