//! Every route for every principal.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use leverframe::{document::Tree, manifest::archive::pack};
use leverframe_server::{
    app::secret_hash,
    gate::{NewGateKey, issue_gate_key},
    model::TokenType,
    settings::{NewSettingsKey, issue_settings_key, model::ServiceId},
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::TestServer;

/// The principals, in the order of the columns below. The first five are nobody; `admin2` is the admin of another
/// tenant, `read2` reads and `write2` writes another namespace of the tenant, `client2` evaluates another environment.
const PRINCIPALS: [&str; 14] = [
    "none",
    "malformed",
    "unknown",
    "expired",
    "revoked",
    "admin2",
    "read2",
    "write2",
    "client2",
    "read",
    "write",
    "client",
    "admin",
    "root",
];

/// What is sent.
enum Body {
    Nothing,
    /// JSON in which `{n}` is a number that no other request has.
    Json(&'static str),
    /// A form with the archive of a namespace.
    Archive,
}

/// A route, what is sent to it, and the status for each of the principals that are somebody.
struct Row(&'static str, Body, &'static str);

/// The columns: admin2 read2 write2 client2 | read write client admin root. One number for all of them stands for a
/// route that needs no token.
const TABLE: &[Row] = &[
    Row("GET /healthz", Body::Nothing, "200"),
    Row("GET /readyz", Body::Nothing, "200"),
    Row("GET /metrics", Body::Nothing, "200"),
    Row("GET /api/v1/openapi.json", Body::Nothing, "200"),
    Row("GET /api/v1/tenants", Body::Nothing, "200 200 200 200 | 200 200 200 200 200"),
    Row(
        "POST /api/v1/tenants",
        Body::Json(r#"{"slug": "t{n}", "login_mode": "sso", "sso_provider": "okta"}"#),
        "403 403 403 403 | 403 403 403 403 201",
    ),
    Row("GET /api/v1/tenants/{tenant}", Body::Nothing, "403 200 200 403 | 200 200 403 200 200"),
    Row(
        "PUT /api/v1/tenants/{tenant}/admins/{user_id}",
        Body::Nothing,
        "403 403 403 403 | 403 403 403 501 501",
    ),
    Row(
        "DELETE /api/v1/tenants/{tenant}/admins/{user_id}",
        Body::Nothing,
        "403 403 403 403 | 403 403 403 501 501",
    ),
    Row("GET /api/v1/tenants/{tenant}/audit", Body::Nothing, "403 403 403 403 | 403 403 403 200 200"),
    Row("GET /api/v1/audit", Body::Nothing, "403 403 403 403 | 403 403 403 403 200"),
    Row("GET /api/v1/namespaces", Body::Nothing, "200 200 200 200 | 200 200 200 200 200"),
    Row("GET /api/v1/tenants/{tenant}/namespaces", Body::Nothing, "403 200 200 200 | 200 200 200 200 200"),
    Row(
        "POST /api/v1/tenants/{tenant}/namespaces",
        Body::Json(r#"{"slug": "n{n}"}"#),
        "403 403 403 403 | 403 403 403 201 201",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "DELETE /api/v1/tenants/{tenant}/namespaces/{namespace}",
        Body::Nothing,
        "403 403 403 403 | 403 403 403 501 501",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/admins",
        Body::Nothing,
        "403 403 403 403 | 403 403 403 501 501",
    ),
    Row(
        "PUT /api/v1/tenants/{tenant}/namespaces/{namespace}/admins/{user_id}",
        Body::Nothing,
        "403 403 403 403 | 403 403 403 501 501",
    ),
    Row(
        "DELETE /api/v1/tenants/{tenant}/namespaces/{namespace}/admins/{user_id}",
        Body::Nothing,
        "403 403 403 403 | 403 403 403 501 501",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/manifest",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "PUT /api/v1/tenants/{tenant}/namespaces/{namespace}/manifest",
        Body::Archive,
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/model",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/versions",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/versions/{version}",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/diff?from=1",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "POST /api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/rollback",
        Body::Json(r#"{"version": 1}"#),
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row(
        "POST /api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/lint",
        Body::Archive,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "POST /api/v1/tenants/{tenant}/namespaces/{namespace}/evaluate",
        Body::Json(r#"{"environment": "production", "flags": ["hello"], "context": {}}"#),
        "403 403 403 403 | 200 200 200 200 200",
    ),
    Row("OPTIONS /api/v1/tenants/{tenant}/namespaces/{namespace}/evaluate", Body::Nothing, "204"),
    Row(
        "POST /api/v1/tenants/{tenant}/namespaces/{namespace}/evaluate/all",
        Body::Json(r#"{"environment": "production", "context": {}}"#),
        "403 403 403 403 | 200 200 200 200 200",
    ),
    Row("OPTIONS /api/v1/tenants/{tenant}/namespaces/{namespace}/evaluate/all", Body::Nothing, "204"),
    Row(
        "POST /api/v1/tenants/{tenant}/namespaces/{namespace}/explain",
        Body::Json(r#"{"environment": "production", "flag": "hello", "context": {}}"#),
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "POST /ofrep/v1/evaluate/flags?tenant=acme&namespace=payments&environment=production",
        Body::Json(r#"{"context": {"targetingKey": "u-1"}}"#),
        "403 403 403 403 | 200 200 200 200 200",
    ),
    Row("OPTIONS /ofrep/v1/evaluate/flags", Body::Nothing, "204"),
    Row(
        "POST /ofrep/v1/evaluate/flags/{key}?tenant=acme&namespace=payments&environment=production",
        Body::Json(r#"{"context": {"targetingKey": "u-1"}}"#),
        "403 403 403 403 | 200 200 200 200 200",
    ),
    Row("OPTIONS /ofrep/v1/evaluate/flags/{key}", Body::Nothing, "204"),
    Row(
        "GET /ofrep/v1/events?tenant=acme&namespace=payments&environment=production",
        Body::Nothing,
        "403 403 403 403 | 200 200 200 200 200",
    ),
    Row("OPTIONS /ofrep/v1/events", Body::Nothing, "204"),
    // Slugs are those of the token's tenant, and `rival` has a `payments` as well.
    Row("GET /api/v1/events?ns=payments", Body::Nothing, "200 403 403 403 | 200 200 403 200 400"),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/clients",
        Body::Nothing,
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/closure",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    // No issuers are configured.
    Row("POST /v1/auth/token-exchange", Body::Json(r#"{"oidc_token": "a.b.c"}"#), "403"),
    Row(
        "POST /v1/auth/token",
        Body::Json(r#"{"publishKey": "wpk_AAAAAAAAAAAAAAAAAAAAAA", "secretKey": "wsk_A"}"#),
        "401",
    ),
    Row("POST /v1/pulse", Body::Json("{}"), "401"),
    Row("GET /v1/policy/{org}", Body::Nothing, "401"),
    // Tokens are no keys of settings.
    Row("GET /v1/sync", Body::Nothing, "401"),
    Row("GET /v1/stream", Body::Nothing, "401"),
    Row("POST /v1/secrets", Body::Json(r#"{"key": "A", "value": "b"}"#), "401"),
    Row("DELETE /v1/secrets/{key}", Body::Nothing, "401"),
    Row("PUT /v1/configs/{key}", Body::Json(r#"{"value": 1}"#), "401"),
    Row("DELETE /v1/configs/{key}", Body::Nothing, "401"),
    Row("PUT /v1/flags/{key}", Body::Json(r#"{"is_active": true}"#), "401"),
    Row("DELETE /v1/flags/{key}", Body::Nothing, "401"),
    Row("POST /v1/flags/evaluate-ab", Body::Json(r#"{"keys": ["a"], "user_id": "u"}"#), "401"),
    // An admin of another tenant sees that one's.
    Row("GET /api/v1/gate", Body::Nothing, "200 403 403 403 | 403 403 403 200 200"),
    Row("GET /api/v1/gate/{org}", Body::Nothing, "403 403 403 403 | 403 403 403 200 200"),
    Row(
        "PATCH /api/v1/gate/{org}",
        Body::Json(r#"{"global_max_weight": 5}"#),
        "403 403 403 403 | 403 403 403 200 200",
    ),
    Row("GET /api/v1/gate/{org}/keys", Body::Nothing, "403 403 403 403 | 403 403 403 200 200"),
    Row(
        "POST /api/v1/gate/{org}/keys",
        Body::Json(r#"{"name": "of a test"}"#),
        "403 403 403 403 | 403 403 403 201 201",
    ),
    Row(
        "DELETE /api/v1/gate/{org}/keys/{publish_key}",
        Body::Nothing,
        "403 403 403 403 | 403 403 403 204 204",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "PUT /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}",
        Body::Json(r#"{"ab_enabled": true}"#),
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/keys",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    // What reads secrets is handed out by those who may read them.
    Row(
        "POST /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/keys",
        Body::Json(r#"{"type": "sk"}"#),
        "403 403 403 403 | 403 403 403 201 201",
    ),
    Row(
        "POST /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/keys",
        Body::Json(r#"{"type": "pk"}"#),
        "403 403 403 403 | 403 201 403 201 201",
    ),
    Row(
        "DELETE /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/keys/{id}",
        Body::Nothing,
        "403 403 403 403 | 403 204 403 204 204",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/configs",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/configs/{key}",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "PUT /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/configs/{key}",
        Body::Json(r#"{"value": 1}"#),
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row(
        "DELETE /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/configs/{key}",
        Body::Nothing,
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/flags",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/flags/{key}",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "PUT /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/flags/{key}",
        Body::Json(r#"{"is_active": true}"#),
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row(
        "DELETE /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/flags/{key}",
        Body::Nothing,
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets/{key}",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "PUT /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets/{key}",
        Body::Json(r#"{"value": "v{n}"}"#),
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row(
        "DELETE /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets/{key}",
        Body::Nothing,
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets/{key}/versions",
        Body::Nothing,
        "403 403 403 403 | 200 200 403 200 200",
    ),
    Row(
        "GET /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets/{key}/value",
        Body::Nothing,
        "403 403 403 403 | 403 403 403 200 200",
    ),
    Row(
        "POST /api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/import?dry_run=true",
        Body::Json(r#"{"configs": {"hello": 2}}"#),
        "403 403 403 403 | 403 200 403 200 200",
    ),
    Row("GET /api/v1/tokens", Body::Nothing, "200 403 403 403 | 403 403 403 200 200"),
    Row(
        "POST /api/v1/tokens",
        Body::Json(r#"{"type": "namespace_read", "tenant": "acme", "namespace": "payments"}"#),
        "403 403 403 403 | 403 403 403 201 201",
    ),
    Row("GET /api/v1/tokens/self", Body::Nothing, "200 200 200 200 | 200 200 200 200 200"),
    Row("GET /api/v1/tokens/{id}", Body::Nothing, "404 403 403 403 | 403 403 403 200 200"),
    Row("DELETE /api/v1/tokens/{id}", Body::Nothing, "404 403 403 403 | 403 403 403 204 204"),
];

/// The code that goes with a refusal's status.
fn code_of(status: u16) -> &'static str {
    match status {
        400 => "bad_request",
        401 => "unauthenticated",
        403 => "forbidden",
        404 => "not_found",
        501 => "not_implemented",
        _ => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_every_principal_as_it_should() {
    let server = TestServer::start().await;
    let push = "/api/v1/tenants/acme/namespaces/payments/manifest";
    let pushed = server.send(archive(server.request(Method::PUT, push, &server.root))).await;
    assert!(pushed.status.is_success(), "{}", pushed.text);
    let environment = "/api/v1/tenants/acme/namespaces/payments/settings/environments/production";
    let made = server.request(Method::PUT, environment, &server.root).json(&json!({"kind": "backend"}));
    assert_eq!(server.send(made).await.status, 201);
    let secrets = secrets(&server).await;
    let (mut wrong, mut number) = (String::new(), 0);

    for Row(route, body, expected) in TABLE {
        let (method, path) = route.split_once(' ').unwrap();
        let columns = expected.split_whitespace().filter(|column| *column != "|");
        let columns: Vec<u16> = columns.map(|column| column.parse().unwrap()).collect();
        let statuses = match columns[..] {
            [everybody] => vec![everybody; PRINCIPALS.len()],
            _ => [vec![401; 5], columns].concat(),
        };
        assert_eq!(statuses.len(), PRINCIPALS.len(), "{route}");
        for ((principal, secret), status) in PRINCIPALS.iter().zip(&secrets).zip(statuses) {
            number += 1;
            let path = fill(&server, path).await;
            let request = server.request(method.parse::<Method>().unwrap(), &path, secret);
            let request = match body {
                Body::Nothing => request,
                Body::Json(text) => {
                    let text = text.replace("{n}", &number.to_string());
                    request.json(&serde_json::from_str::<Value>(&text).unwrap())
                }
                Body::Archive => archive(request),
            };
            let answer = server.send(request).await;
            let found = (answer.status.as_u16(), answer.code());
            if found != (status, code_of(status).to_owned()) {
                writeln!(wrong, "{route} as {principal}: {found:?} instead of {status}").unwrap();
            }
            assert_eq!(answer.header("x-request-id").len(), 26, "{route}");
            if answer.status.is_client_error() || answer.status.is_server_error() {
                assert_eq!(answer.json()["request_id"], answer.header("x-request-id"), "{route}");
            }
        }
    }

    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_document_is_in_the_table_and_the_other_way_round() {
    let server = TestServer::start().await;

    let document = server.get("/api/v1/openapi.json", "").await.json();

    let documented: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str()));
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let tabled: BTreeSet<String> = TABLE.iter().map(|row| template(row.0).to_owned()).collect();
    let apart: Vec<&String> = documented.symmetric_difference(&tabled).collect();
    assert!(apart.is_empty(), "a route without a row, or a row without a route: {apart:?}");
}

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// Whether another tenant's or another namespace's things exist must not be told by the answer.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_do_not_tell_what_exists() {
    let server = TestServer::start().await;
    let secrets = secrets(&server).await;
    let (theirs, _) = server.mint(TokenType::TenantAdmin, "rival").await;
    let there = [
        ("GET", "/api/v1/tenants/rival".to_owned()),
        ("GET", "/api/v1/tenants/rival/namespaces".to_owned()),
        ("GET", "/api/v1/tenants/rival/namespaces/payments".to_owned()),
        ("GET", "/api/v1/tenants/rival/audit".to_owned()),
        ("GET", format!("/api/v1/tokens/{}", theirs.id)),
        ("DELETE", format!("/api/v1/tokens/{}", theirs.id)),
        ("GET", "/api/v1/tokens?tenant=rival".to_owned()),
        ("GET", "/api/v1/gate/rival".to_owned()),
        ("GET", "/api/v1/gate/rival/keys".to_owned()),
        ("PATCH", "/api/v1/gate/rival".to_owned()),
        ("DELETE", "/api/v1/gate/rival/keys/wpk_AAAAAAAAAAAAAAAAAAAAAA".to_owned()),
        ("GET", "/api/v1/tenants/rival/namespaces/payments/settings/environments".to_owned()),
        ("GET", "/api/v1/tenants/rival/namespaces/payments/settings/environments/production".to_owned()),
        (
            "GET",
            "/api/v1/tenants/rival/namespaces/payments/settings/environments/production/secrets/a/value"
                .to_owned(),
        ),
        (
            "DELETE",
            "/api/v1/tenants/rival/namespaces/payments/settings/environments/production/configs/a".to_owned(),
        ),
    ];

    for (method, path) in there {
        let absent = path.replace("rival", "nobody").replace(&theirs.id, "tok_00000000000000000000000000");
        for (principal, secret) in PRINCIPALS.iter().zip(&secrets) {
            if ["root", "admin2"].contains(principal) {
                continue;
            }
            let method = method.parse::<Method>().unwrap();
            let there = server.send(server.request(method.clone(), &path, secret)).await;
            let absent = server.send(server.request(method, &absent, secret)).await;
            assert_eq!(there.status, absent.status, "{path} as {principal}");
            let message = |text: &Value| text["error"].clone();
            assert_eq!(message(&there.json()), message(&absent.json()), "{path} as {principal}");
        }
    }
}

fn template(route: &str) -> &str {
    route.split('?').next().unwrap_or_default()
}

/// Sends a namespace with one flag, whose environment `production` is public.
pub(crate) fn archive(request: RequestBuilder) -> RequestBuilder {
    let files = [
        (
            "namespace.toml",
            "schema_version = \"0.1\"\n[namespace]\nslug = \"payments\"\n[namespace.environments]\n\
             production = { public_evaluate = true }\nstaging = { public_evaluate = true }\n",
        ),
        (
            "flags/hello.toml",
            "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\n\
             [flag.environments._]\nvariant = \"on\"\n",
        ),
    ];
    let tree: Tree = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into_iter().collect();
    let head = b"--b\r\ncontent-disposition: form-data; name=\"archive\"; filename=\"a.tar.gz\"\r\n\r\n";
    let body = [&head[..], &pack(&tree).unwrap(), b"\r\n--b--\r\n"].concat();
    request.header("content-type", "multipart/form-data; boundary=b").body(body)
}

/// Puts names in for the parts of a template: a token of its own in each, since it may be revoked.
async fn fill(server: &TestServer, template: &str) -> String {
    let mut path = template
        .replace("{tenant}", "acme")
        .replace("{namespace}", "payments")
        .replace("{version}", "1")
        .replace("{key}", "hello")
        .replace("{org}", "acme")
        .replace("{environment}", "production")
        .replace("{user_id}", "usr_01HV5XK1EFQT8N3JRDCP7MW04A");
    let service = ServiceId::new("acme", "payments", "production");
    if path.contains("/settings/") && path.contains("{id}") {
        let new = NewSettingsKey::new(service, true);
        let issued = issue_settings_key(&*server.store, &new, SystemTime::UNIX_EPOCH).await.unwrap();
        path = path.replace("{id}", &issued.key.id);
    } else if path.contains("/settings/") && path.contains("/hello") {
        // One that the request before may have deleted.
        let (entry, _) = path.split_once("/hello").unwrap();
        let content =
            if entry.ends_with("flags") { json!({"is_active": true}) } else { json!({"value": "v"}) };
        let put = server.request(Method::PUT, &format!("{entry}/hello"), &server.root);
        let put = server.send(put.json(&content)).await;
        assert_eq!(put.status, 200, "{}", put.text);
    } else if path.contains("{id}") {
        let (token, _) = server.mint(TokenType::NamespaceRead, "acme/search").await;
        path = path.replace("{id}", &token.id);
    }
    if path.contains("{publish_key}") {
        let new = NewGateKey::new("acme");
        let issued = issue_gate_key(&*server.store, &new, SystemTime::UNIX_EPOCH).await.unwrap();
        path = path.replace("{publish_key}", &issued.key.publish_key);
    }
    assert!(!path.contains('{'), "{path}");
    path
}

/// The secrets of [`PRINCIPALS`]; none is empty.
async fn secrets(server: &TestServer) -> Vec<String> {
    let mint = |kind, bindings| async move { server.mint(kind, bindings).await.1 };
    let (revoked, revoked_secret) = server.mint(TokenType::Superadmin, "").await;
    server.admin.revoke(&revoked.id).await.unwrap();
    // Put into the store itself, since nobody issues a token that has expired.
    let mut expired = server.admin.token(TokenType::Superadmin);
    expired.expires_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    let expired_secret = "exd_admin_".to_owned() + &"E".repeat(43);
    server.store.create_token(&expired, &secret_hash(&expired_secret)).await.unwrap();
    vec![
        String::new(),
        "no-token-at-all".to_owned(),
        "exd_admin_".to_owned() + &"A".repeat(43),
        expired_secret,
        revoked_secret,
        mint(TokenType::TenantAdmin, "rival").await,
        mint(TokenType::NamespaceRead, "acme/search").await,
        mint(TokenType::NamespaceWrite, "acme/search").await,
        mint(TokenType::NamespaceClient, "acme/payments/staging").await,
        mint(TokenType::NamespaceRead, "acme/payments").await,
        mint(TokenType::NamespaceWrite, "acme/payments").await,
        mint(TokenType::NamespaceClient, "acme/payments/production").await,
        mint(TokenType::TenantAdmin, "acme").await,
        mint(TokenType::Superadmin, "").await,
    ]
}
