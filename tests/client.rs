//! The asynchronous client: building, evaluating, following a source, ending.
#![cfg(feature = "async-tokio")]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use leverframe::{EvalContext, EvalOptions, ExdClient, ExdError, LoadError, Namespace, RuleMatched};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

fn flag(flag_type: &str, value: &str) -> String {
    format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"{flag_type}\"\n[flag.variants]\nonly = {value}\n[flag.environments._]\nvariant = \"only\"\n"
    )
}

const TARGETED: &str = r#"
schema_version = "0.1"
[flag]
type = "boolean"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "off"
[flag.environments.production]
testing = true
[[flag.environments.production.rules]]
predicate = { attribute = "user.plan", op = "eq", value = "pro" }
variant = "on"
"#;

fn files() -> Vec<(&'static str, String)> {
    vec![
        ("flags/enabled.toml", flag("boolean", "true")),
        ("flags/name.toml", flag("string", "\"blue\"")),
        ("flags/tier.toml", flag("integer", "7")),
        ("flags/rate.toml", flag("float", "0.5")),
        ("flags/config.toml", flag("json", "{ rows = 10 }")),
        ("flags/targeted.toml", TARGETED.to_owned()),
    ]
}

fn namespace() -> Namespace {
    Namespace::from_files("shop", &files()).unwrap()
}

fn write(root: &Path) {
    fs::create_dir_all(root.join("flags")).unwrap();
    for (path, text) in files() {
        fs::write(root.join(path), text).unwrap();
    }
}

async fn inline() -> ExdClient {
    ExdClient::builder().namespace_inline(namespace()).environment("production").build().await.unwrap()
}

#[tokio::test]
async fn each_typed_call_reads_its_type_with_and_without_await() {
    let client = inline().await;
    let ctx = EvalContext::new();

    assert!(client.bool_flag("enabled", &ctx, false).await);
    assert_eq!(client.string_flag("name", &ctx, "red".into()).await, "blue");
    assert_eq!(client.int_flag("tier", &ctx, 0).await, 7);
    assert_eq!(client.float_flag("rate", &ctx, 0.0).await, 0.5);
    assert_eq!(client.json_flag("config", &ctx, serde_json::Value::Null).await["rows"], 10);
    assert!(client.bool_flag_sync("enabled", &ctx, false));
    assert_eq!(client.string_flag_sync("name", &ctx, "red".into()), "blue");
    assert_eq!(client.int_flag_sync("tier", &ctx, 0), 7);
    assert_eq!(client.float_flag_sync("rate", &ctx, 0.0), 0.5);
    assert_eq!(client.json_flag_sync("config", &ctx, serde_json::Value::Null)["rows"], 10);
}

#[tokio::test]
async fn whatever_goes_wrong_the_default_comes_back() {
    let client = inline().await;
    let wrong_type = EvalContext::builder().bool("user.plan", true).build();
    let opt_in = EvalOptions::new().with_include_testing(true);

    assert!(client.bool_flag("no-such-flag", &EvalContext::new(), true).await);
    assert!(client.bool_flag("name", &EvalContext::new(), true).await);
    assert!(client.bool_flag_with_options("targeted", &wrong_type, true, &opt_in).await);
    let result = client.eval("no-such-flag", &EvalContext::new()).await;
    assert_eq!(result.rule_matched, RuleMatched::SdkDefault);
}

#[tokio::test]
async fn the_options_reach_every_form_of_a_call() {
    let client = inline().await;
    let pro = EvalContext::builder().str("user.plan", "pro").build();
    let opt_in = EvalOptions::new().with_include_testing(true);

    assert!(!client.bool_flag("targeted", &pro, true).await);
    assert!(client.bool_flag_with_options("targeted", &pro, false, &opt_in).await);
    assert_eq!(client.eval_with_options("targeted", &pro, &opt_in).await.rule_matched, RuleMatched::Rule(0));
    assert_eq!(client.eval_all_with_options(&pro, &opt_in).await["targeted"].variant_key, "on");
    assert!(client.flag("targeted", false).get_with_options(&pro, &opt_in));
    assert!(client.pin().bool_flag_with_options("targeted", &pro, false, &opt_in));
}

#[tokio::test]
async fn the_builder_refuses_two_sources_and_missing_fields() {
    let twice =
        ExdClient::builder().namespace_inline(namespace()).namespace_dir("x").environment("e").build().await;
    let nowhere = ExdClient::builder().environment("e").build().await;
    let no_environment = ExdClient::builder().namespace_inline(namespace()).build().await;
    let unreadable = ExdClient::builder().namespace_dir("/no/such/place").environment("e").build().await;

    assert!(matches!(twice, Err(ExdError::ConflictingNamespaceSources)));
    assert!(matches!(nowhere, Err(ExdError::MissingField("namespace source"))));
    assert!(matches!(no_environment, Err(ExdError::MissingField("environment"))));
    assert!(matches!(unreadable, Err(ExdError::Load(LoadError::Io(_)))));
}

#[tokio::test]
async fn dry_run_gives_defaults_for_everything() {
    let client = ExdClient::builder()
        .namespace_inline(namespace())
        .environment("production")
        .dry_run(true)
        .build()
        .await
        .unwrap();
    let ctx = EvalContext::new();

    assert!(!client.bool_flag("enabled", &ctx, false).await);
    assert_eq!(client.eval("enabled", &ctx).await.rule_matched, RuleMatched::SdkDefault);
    assert!(client.eval_all(&ctx).await.is_empty());
    assert!(!client.flag("enabled", false).get(&ctx));
    assert!(!client.pin().bool_flag("enabled", &ctx, false));
}

#[tokio::test]
async fn a_file_uri_is_followed_by_client_and_handles_while_a_pinned_view_stays() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let client = ExdClient::builder()
        .namespace_uri(format!("file://{}", dir.path().display()))
        .environment("production")
        .poll_interval(Duration::from_millis(50))
        .build()
        .await
        .unwrap();
    let ctx = EvalContext::new();
    let (handle, pinned) = (client.flag("tier", 0_i64), client.pin());
    assert_eq!(handle.get(&ctx), 7);

    fs::write(dir.path().join("flags/tier.toml"), flag("integer", "8")).unwrap();
    let mut seen = 0;
    while client.flag_version() == 1 {
        seen = client.wait_for_refresh(seen).await;
    }

    assert_eq!(client.int_flag("tier", &ctx, 0).await, 8);
    assert_eq!(handle.get(&ctx), 8);
    assert_eq!(pinned.int_flag("tier", &ctx, 0), 7);
    assert_eq!(pinned.flag_version(), 1);
    client.close().await.unwrap();
    assert_eq!(client.int_flag("tier", &ctx, 0).await, 8);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_handle_of_a_flag_that_appears_later_gives_its_default_until_then() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let namespace = Namespace::from_dir(dir.path()).unwrap();
    let client = ExdClient::builder()
        .namespace_inline(namespace.clone())
        .environment("production")
        .build()
        .await
        .unwrap();
    let handle = client.flag("later", -1_i64);
    assert_eq!(handle.get(&EvalContext::new()), -1);

    fs::write(dir.path().join("flags/later.toml"), flag("integer", "3")).unwrap();
    namespace.refresh().unwrap();
    assert_eq!(handle.get(&EvalContext::new()), 3);

    fs::remove_file(dir.path().join("flags/later.toml")).unwrap();
    namespace.refresh().unwrap();
    assert_eq!(handle.get(&EvalContext::new()), -1);
}

#[tokio::test]
async fn a_manifest_file_makes_a_client_without_refresh() {
    let missing = ExdClient::from_manifest_file("/no/such/archive.tar.gz", "production");

    assert!(matches!(missing, Err(ExdError::Load(LoadError::Io(_)))));
}

#[test]
fn failures_are_logged_once_per_flag_and_reason_not_per_call() {
    let log = Log::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

    // Of a single one, the first thread that comes by a callsite tells whether it matters, and that may be another test's.
    let _second = tracing::Dispatch::new(Log::default());
    tracing::subscriber::with_default(log.clone(), || {
        runtime.block_on(async {
            let client = inline().await;
            for _ in 0..100 {
                client.bool_flag("no-such-flag", &EvalContext::new(), false).await;
                client.bool_flag("name", &EvalContext::new(), false).await;
            }
        });
    });

    let lines = log.lines.lock().unwrap();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("unknown_flag") && lines[0].contains("no-such-flag"), "{lines:?}");
    assert!(lines[1].contains("flag_type_mismatch"), "{lines:?}");
}

/// Collects what is logged at WARN.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
