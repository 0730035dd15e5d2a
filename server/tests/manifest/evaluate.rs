//! Evaluation: the answer, its errors, its limits, and that it is the library's.

use leverframe::{AttrValue, EvalContext, EvalOptions, eval::Program};
use leverframe_server::model::TokenType;
use proptest::{prelude::*, test_runner::TestRunner};
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::{
    stage::{NAMESPACE, PAYMENTS, ask, files, files_with, manifest},
    support::TestServer,
};

fn evaluate() -> String {
    format!("{PAYMENTS}/evaluate")
}

#[tokio::test]
async fn the_answer_is_complete() {
    let (server, read) = TestServer::stocked().await;
    let body = ask(&["checkout", "limits", "nowhere", "checkout"], json!({"user.plan": "pro"}));

    let answer = server.post(&evaluate(), &read, &body).await;

    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.json(),
        json!({
            "namespace": "payments",
            "environment": "production",
            "manifest_version": 1,
            "results": {
                "checkout": {"value": true, "variant_key": "on", "rule_matched": "rule:0", "flag_version": 1},
                "limits": {
                    "value": {"most": 10, "a \"quoted\" key": [1.5, "ä\n"]},
                    "variant_key": "small",
                    "rule_matched": "default",
                    "flag_version": 1,
                },
            },
            "errors": {"nowhere": {"code": "unknown_flag", "message": "unknown flag `nowhere`"}},
            "request_id": answer.header("x-request-id"),
        })
    );
    assert_eq!(answer.text.matches("\"checkout\"").count(), 1, "a flag that is named twice is answered once");
}

#[tokio::test]
async fn all_flags_are_evaluated_with_their_own_failures() {
    let (server, read) = TestServer::stocked().await;
    let body = json!({"environment": "production", "context": {"user.plan": 3}});

    let answer = server.post(&format!("{PAYMENTS}/evaluate/all"), &read, &body).await;

    assert_eq!(answer.json()["results"]["limits"]["variant_key"], "small");
    assert_eq!(answer.json()["results"].as_object().unwrap().len(), 1);
    let error = &answer.json()["errors"]["checkout"];
    assert_eq!(error["code"], "attr_type_mismatch");
    assert_eq!(
        (&error["attribute"], &error["expected"], &error["actual"]),
        (&json!("user.plan"), &json!("string"), &json!("int"))
    );
    let named = server.post(&format!("{PAYMENTS}/evaluate/all"), &read, &ask(&["limits"], json!({}))).await;
    assert_eq!(named.code(), "bad_request");
}

#[tokio::test]
async fn testing_rules_wait_for_those_who_opt_in() {
    let (server, read) = TestServer::stocked().await;
    let mut body = json!({"environment": "staging", "flags": ["checkout"], "context": {"user.age": 30}});

    let plain = server.post(&evaluate(), &read, &body).await;
    body["include_testing"] = true.into();
    let testing = server.post(&evaluate(), &read, &body).await;

    assert_eq!(plain.json()["results"]["checkout"]["value"], false);
    assert_eq!(testing.json()["results"]["checkout"]["value"], true);
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_refused_with_the_reason() {
    let (server, read) = TestServer::stocked().await;
    let many: Vec<String> = (0..501).map(|n| format!("f{n}")).collect();
    let cases = [
        (json!({"flags": ["limits"]}), "`environment` is missing"),
        (json!({"environment": "production"}), "`flags` is missing"),
        (json!({"environment": "nowhere", "flags": []}), "no environment `nowhere`"),
        (json!({"environment": "production", "flags": many}), "501 flags"),
        (json!({"environment": "production", "flags": "limits"}), "expected a sequence"),
        (json!({"environment": "production", "flags": [1]}), "expected a string"),
        (json!({"environment": "production", "flag": []}), "unknown field `flag`"),
        (ask(&[], json!({"user": {"plan": "pro"}})), "`user` is an object"),
        (ask(&[], json!({"user.plan": null})), "`user.plan` is null"),
        (ask(&[], json!({"tags": [1]})), "only strings in the list `tags`"),
        (ask(&[], json!([])), "an object of attributes"),
        (json!([]), "must be a JSON object"),
        (json!(["production", ["limits"]]), "must be a JSON object"),
        (json!(3), "must be a JSON object"),
    ];

    for (body, part) in cases {
        let answer = server.post(&evaluate(), &read, &body).await;

        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (400, "bad_request"),
            "{body}: {}",
            answer.text
        );
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(part), "{body}: {message}");
    }
    let unknown = server.post(&evaluate(), &read, &json!({"environment": "nowhere", "flags": []})).await;
    assert_eq!(unknown.json()["error"]["details"]["environments"], json!(["production", "staging"]));
}

#[tokio::test]
async fn bodies_are_bounded_and_of_one_type() {
    let (server, read) = TestServer::stocked().await;
    let send = |content_type: &'static str, body: String| {
        let request =
            server.request(Method::POST, &evaluate(), &read).header(header::CONTENT_TYPE, content_type);
        server.send(request.body(body))
    };
    let padded = |len: usize| {
        let body = ask(&["limits"], json!({})).to_string();
        let padding = " ".repeat(len - body.len());
        body + &padding
    };

    assert_eq!(send("application/json", padded(256 * 1024)).await.status, 200);
    let over = send("application/json", padded(256 * 1024 + 1)).await;
    assert_eq!((over.status.as_u16(), over.code().as_str()), (413, "payload_too_large"));
    for (content_type, body) in
        [("text/plain", padded(100)), ("application/json", "{".into()), ("application/json", String::new())]
    {
        assert_eq!(send(content_type, body).await.code(), "bad_request", "{content_type}");
    }
    let flags: Vec<String> = (0..500).map(|n| format!("f{n}")).collect();
    let most = server.post(&evaluate(), &read, &json!({"environment": "production", "flags": flags})).await;
    assert_eq!(most.json()["errors"].as_object().unwrap().len(), 500);
}

#[tokio::test]
async fn before_the_first_upload_there_is_nothing_to_evaluate() {
    let server = TestServer::start().await;
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;

    let answer = server.post(&evaluate(), &server.root, &ask(&["limits"], json!({}))).await;
    let public = server.post(&evaluate(), &client, &ask(&["limits"], json!({}))).await;

    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not_found"));
    assert_eq!((public.status.as_u16(), public.code().as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn evaluation_is_for_those_who_may() {
    let (server, _) = TestServer::stocked().await;
    for (kind, bindings, status) in [
        (TokenType::NamespaceRead, "acme/payments", 200),
        (TokenType::NamespaceWrite, "acme/payments", 200),
        (TokenType::NamespaceClient, "acme/payments/production", 200),
        (TokenType::TenantAdmin, "acme", 200),
        (TokenType::NamespaceRead, "acme/search", 403),
        (TokenType::NamespaceRead, "rival/payments", 403),
        (TokenType::NamespaceClient, "acme/payments/staging", 403),
        (TokenType::NamespaceClient, "acme/search/production", 403),
        (TokenType::NamespaceClient, "rival/payments/production", 403),
        (TokenType::TenantAdmin, "rival", 403),
    ] {
        let (_, secret) = server.mint(kind, bindings).await;
        let answer = server.post(&evaluate(), &secret, &ask(&["limits"], json!({}))).await;
        assert_eq!(answer.status.as_u16(), status, "{kind:?} {bindings}: {}", answer.text);
    }
    assert_eq!(server.post(&evaluate(), "", &ask(&["limits"], json!({}))).await.status, 401);
}

#[tokio::test]
async fn a_client_token_needs_no_environment_and_an_environment_that_stays_public() {
    let (server, _) = TestServer::stocked().await;
    let (_, client) = server.mint(TokenType::NamespaceClient, "acme/payments/production").await;
    let body = json!({"flags": ["limits"], "context": {}});

    let open = server.post(&evaluate(), &client, &body).await;
    let closed = NAMESPACE.replace("public_evaluate = true", "public_evaluate = false");
    server.push(&server.root, &files_with("namespace.toml", &closed)).await;
    let refused = server.post(&evaluate(), &client, &body).await;

    assert_eq!(open.json()["environment"], "production");
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn a_new_version_is_evaluated_at_once() {
    let (server, read) = TestServer::stocked().await;
    for n in 2..6 {
        let text = format!(
            "schema_version = \"0.1\"\n[flag]\ntype = \"integer\"\n[flag.variants]\nis = {n}\n[flag.environments._]\nvariant = \"is\"\n"
        );
        server.push(&server.root, &files_with("flags/number.toml", &text)).await;

        let answer = server.post(&evaluate(), &read, &ask(&["number"], json!({}))).await.json();

        assert_eq!(
            (answer["results"]["number"]["value"].as_u64(), answer["manifest_version"].as_u64()),
            (Some(n), Some(n))
        );
    }
}

/// Contexts of attributes that the rules read, of right and wrong types, and of others.
fn contexts() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let attribute = prop::sample::select(&["user.plan", "user.id", "user.age", "other", "a \"key\""][..]);
    let value = prop_oneof![
        prop::sample::select(&["pro", "free", "u1", "ü", "\u{1}\"\\"][..]).prop_map(Value::from),
        "[a-z0-9]{0,8}".prop_map(Value::from),
        (0..40_i64).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        (-100.0..100.0).prop_map(Value::from),
        prop::collection::vec("[a-z]{0,3}", 0..3).prop_map(Value::from),
    ];
    prop::collection::vec((attribute, value), 0..5)
}

#[tokio::test(flavor = "multi_thread")]
async fn evaluation_over_http_is_the_librarys() {
    let (server, read) = TestServer::stocked().await;
    let program = Program::compile(&manifest(&files()));
    let handle = tokio::runtime::Handle::current();
    let question = (contexts(), prop::sample::select(&["production", "staging"][..]), any::<bool>());

    let run = move || {
        TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }).run(
            &question,
            |(attributes, environment, include_testing)| {
                let context: serde_json::Map<String, Value> =
                    attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                let body = json!({"environment": environment, "context": context, "include_testing": include_testing});
                let answer = handle.block_on(server.post(&format!("{PAYMENTS}/evaluate/all"), &read, &body)).json();
                let built = context
                    .iter()
                    .fold(EvalContext::builder(), |b, (k, v)| b.attr(k, AttrValue::from_json(v).unwrap()))
                    .build();
                let options = EvalOptions::new().with_include_testing(include_testing);
                for (key, _) in program.flags() {
                    match program.evaluate(key, environment, &built, &options) {
                        Ok(evaluation) => prop_assert_eq!(
                            &answer["results"][key],
                            &json!({
                                "value": evaluation.value.to_json(),
                                "variant_key": evaluation.variant_key,
                                "rule_matched": evaluation.rule_matched.to_string(),
                                "flag_version": 1,
                            })
                        ),
                        Err(error) => prop_assert_eq!(&answer["errors"][key]["code"], error.code()),
                    }
                }
                Ok(())
            },
        )
    };

    tokio::task::spawn_blocking(run).await.unwrap().unwrap();
}
