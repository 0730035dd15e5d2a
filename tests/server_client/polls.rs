//! Polling: conditional requests, both surfaces, both transports, and what refusals say.

use leverframe::{
    ErrorKind, ExdClient, ExdError, HttpBackend, LoadError, LoadOptions, Namespace, UriAuth, live::Outcome,
};

use super::{
    shop::{files, served},
    stage::{Fault, Stage, TOKEN},
};

fn open(stage: &Stage) -> Result<Namespace, LoadError> {
    Namespace::builder().server(stage.url() + "/").tenant("acme").namespace("shop").api_token(TOKEN).build()
}

#[test]
fn an_unchanged_manifest_costs_an_answer_without_a_body() {
    let stage = Stage::with_shop(1);
    let namespace = open(&stage).unwrap();

    assert_eq!(namespace.poll().unwrap(), Outcome::Unchanged);
    stage.publish("shop", files(2));
    assert_eq!(namespace.poll().unwrap(), Outcome::Swapped(2));

    assert_eq!(served(&namespace), 2);
    let asked = stage.asked("/manifest");
    assert!(asked.iter().all(|asked| asked.path == "/api/v1/tenants/acme/namespaces/shop/manifest"));
    let conditions: Vec<_> = asked.iter().map(|asked| asked.header("if-none-match")).collect();
    assert_eq!(conditions, [None, Some("\"v1\""), Some("\"v1\"")]);
}

#[test]
fn the_tenant_of_the_token_is_a_dash_and_each_transport_will_do() {
    let stage = Stage::with_shop(7);
    for backend in [HttpBackend::default(), HttpBackend::Curl] {
        let builder = Namespace::builder().server(stage.url()).namespace("shop").api_token(TOKEN);
        assert_eq!(served(&builder.http_backend(backend).build().unwrap()), 7);
    }

    assert_eq!(
        stage.asked("/namespaces/shop/manifest")[0].path,
        "/api/v1/tenants/-/namespaces/shop/manifest"
    );
    assert_eq!(stage.asked("/manifest").len(), 2);
}

#[test]
fn a_uri_names_the_namespace_and_carries_no_token() {
    let stage = Stage::with_shop(3);
    let uri = format!("{}/acme/shop", stage.url().replace("http://", "exd-server://"));
    let options = LoadOptions::new().with_auth(UriAuth::Bearer(TOKEN.to_owned()));

    let namespace = Namespace::from_uri_with_options(&uri, &options).unwrap();

    assert_eq!(served(&namespace), 3);
    let error = Namespace::from_uri(&uri).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.hint().unwrap().contains("api_token"), "{error:?}");
}

#[test]
fn refusals_name_the_code_and_the_next_step_and_no_secret() {
    let stage = Stage::with_shop(1);
    let namespace = open(&stage).unwrap();
    for (status, code, kind) in [
        (401, "unauthenticated", ErrorKind::Unauthenticated),
        (403, "forbidden", ErrorKind::PermissionDenied),
        (404, "not_found", ErrorKind::NotFound),
    ] {
        stage.fail("/manifest", Fault::Refusal(status, code));
        let error = namespace.poll().unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.hint().is_some() && error.to_string().contains(code), "{error:?}");
        assert!(!format!("{error:?}{:?}", namespace.last_refresh_error()).contains("s3cret"), "{error:?}");
        assert_eq!(served(&namespace), 1);
    }
    stage.fail("/manifest", Fault::Body(b"no archive".to_vec()));
    assert_eq!(namespace.poll().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(namespace.poll().unwrap(), Outcome::Unchanged);
}

#[test]
fn a_builder_that_lacks_something_says_what() {
    let lacking = |builder: leverframe::NamespaceBuilder| match builder.build().unwrap_err() {
        LoadError::Builder(message) => message,
        other => panic!("{other:?}"),
    };
    let url = "http://127.0.0.1:1";

    assert_eq!(
        lacking(Namespace::builder().namespace("shop").api_token(TOKEN)),
        "the builder needs `server`"
    );
    assert_eq!(lacking(Namespace::builder().server(url).api_token(TOKEN)), "the builder needs `namespace`");
    assert_eq!(lacking(Namespace::builder().server(url).namespace("shop")), "the builder needs `api_token`");
}

#[tokio::test]
async fn a_client_without_a_stream_polls_the_server() {
    let stage = Stage::with_shop(1);
    let client = ExdClient::builder()
        .server(stage.url())
        .tenant("acme")
        .namespace("shop")
        .environment("production")
        .api_token(TOKEN)
        .poll_interval(std::time::Duration::from_millis(5))
        .build()
        .await
        .unwrap();
    stage.publish("shop", files(2));

    let context = leverframe::EvalContext::new();
    while client.int_flag("limit", &context, 0).await != 2 {
        client.wait_for_refresh(client.refreshes()).await;
    }

    client.close().await.unwrap();
    assert!(stage.asked("/events").is_empty());
}

#[tokio::test]
async fn a_client_builder_keeps_to_one_source_and_names_what_is_missing() {
    let url = "http://127.0.0.1:1";
    let two = ExdClient::builder().server(url).namespace_uri("https://h/a.tar.gz").environment("production");
    assert!(matches!(two.build().await.unwrap_err(), ExdError::ConflictingNamespaceSources));

    let builder = || ExdClient::builder().server(url).environment("production");
    let field = |error| match error {
        ExdError::MissingField(field) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(builder().api_token(TOKEN).build().await.unwrap_err()), "namespace");
    assert_eq!(field(builder().namespace("shop").build().await.unwrap_err()), "api_token");
    let no_environment = ExdClient::builder().server(url).namespace("shop").api_token(TOKEN);
    assert_eq!(field(no_environment.build().await.unwrap_err()), "environment");
}
