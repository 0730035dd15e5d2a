//! The calls that users of exd's Rust SDK and of the gate's crate write, with nothing changed but the crate's name.
//!
//! Each test is one chapter of their documentation, so far as it concerns what exists today: a signature that
//! drifts fails to compile here.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::needless_borrows_for_generic_args,
    clippy::unnecessary_to_owned,
    reason = "owned or borrowed, users write either"
)]

use std::{collections::HashMap, error::Error, fs, path::Path, time::Duration};

use leverframe::{
    AttrValue, EvalContext, EvalError, EvalOptions, EvalResult, FlagValue, LoadError, LoadOptions, Namespace,
    RefreshHandle, RuleMatched, Severity,
};

type Outcome = Result<(), Box<dyn Error>>;

const REDESIGN: &str = r#"
schema_version = "0.1"
[flag]
type = "boolean"
owner = "checkout"
description = "The redesigned checkout"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "off"
[[flag.environments._.rules]]
predicate = { attribute = "user.country", op = "eq", value = "US" }
variant = "on"
"#;

const THEME: &str = r#"
schema_version = "0.1"
[flag]
type = "string"
owner = "web"
description = "The theme, in test"
[flag.variants]
plain = "plain"
canary = "canary"
[flag.environments._]
variant = "plain"
[flag.environments.production]
variant = "plain"
testing = true
[[flag.environments.production.rules]]
predicate = { attribute = "user.is_premium", op = "eq", value = true }
variant = "canary"
"#;

const TIER: &str = r#"
schema_version = "0.1"
[flag]
type = "integer"
owner = "pricing"
description = "The price tier"
[flag.variants]
first = 1
second = 2
[flag.environments._]
variant = "first"
[[flag.environments._.rules]]
predicate = { attribute = "user.roles", op = "contains", value = "beta" }
variant = "second"
"#;

const RATE: &str = r#"
schema_version = "0.1"
[flag]
type = "float"
owner = "platform"
description = "Share of requests that are traced"
[flag.variants]
low = 0.01
[flag.environments._]
variant = "low"
"#;

const CONFIG: &str = r#"
schema_version = "0.1"
[flag]
type = "json"
owner = "checkout"
description = "The steps of the checkout"
[flag.variants.short]
steps = 2
[flag.environments._]
variant = "short"
"#;

fn files() -> Vec<(String, String)> {
    [
        ("checkout-redesign", REDESIGN),
        ("theme", THEME),
        ("price-tier", TIER),
        ("sample-rate", RATE),
        ("checkout-config", CONFIG),
    ]
    .map(|(key, text)| (format!("flags/{key}.toml"), text.to_owned()))
    .into()
}

/// The files in a folder of their own.
fn folder() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("payments");
    fs::create_dir_all(root.join("flags")).unwrap();
    for (path, text) in files() {
        fs::write(root.join(path), text).unwrap();
    }
    let root = root.display().to_string();
    (dir, root)
}

/// The same as an archive.
fn archive() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let tree = files().into_iter().collect();
    let path = dir.path().join("payments-v6.tar.gz");
    fs::write(&path, leverframe::manifest::archive::pack(&tree).unwrap()).unwrap();
    let path = path.display().to_string();
    (dir, path)
}

fn user() -> EvalContext {
    EvalContext::builder()
        .str("user.country", "US")
        .bool("user.is_premium", true)
        .int("user.age", 28)
        .float("user.score", 4.2)
        .str_list("user.roles", ["admin", "beta"])
        .build()
}

#[test]
fn a_context_takes_each_type_and_the_generic_form() {
    let ctx = EvalContext::builder()
        .str("user.id".to_owned(), "u-1".to_owned())
        .str_list("user.roles", vec!["admin".to_owned()])
        .attr("user.age", AttrValue::Int(28))
        .attr("user.score", AttrValue::Float(4.2))
        .attr("user.beta", AttrValue::Boolean(true))
        .attr("user.plan", AttrValue::String("pro".to_owned()))
        .attr("user.teams", AttrValue::StrList(vec!["core".to_owned()]))
        .build();

    assert_eq!(ctx.get("user.age"), Some(&AttrValue::Int(28)));
    assert!(EvalContext::new().is_empty());
}

#[test]
fn a_namespace_is_evaluated_by_type() -> Outcome {
    let (_dir, path) = folder();
    let ctx = user();

    let namespace = Namespace::from_dir(&path)?;
    let enabled: bool = namespace.eval_bool("checkout-redesign", "production", &ctx)?;
    let theme: String = namespace.eval_string("theme", "production", &ctx)?;
    let tier: i64 = namespace.eval_i64("price-tier", "production", &ctx)?;
    let rate: f64 = namespace.eval_f64("sample-rate", "production", &ctx)?;
    let cfg = namespace.eval_json("checkout-config", "production", &ctx)?;

    assert_eq!((enabled, theme.as_str(), tier, rate), (true, "plain", 2, 0.01));
    assert_eq!(cfg["steps"], 2);
    Ok(())
}

#[test]
fn each_failure_of_evaluation_has_its_variant() {
    let namespace = Namespace::from_files("payments", &files()).unwrap();
    let ctx = user();

    let flag = namespace.eval_bool("no-such-flag", "production", &ctx).unwrap_err();
    let environment = namespace.eval_bool("checkout-redesign", "Production!", &ctx).unwrap_err();
    let kind = namespace.eval_bool("price-tier", "production", &ctx).unwrap_err();
    let wrong = EvalContext::builder().int("user.country", 1).build();
    let attribute = namespace.eval_bool("checkout-redesign", "production", &wrong).unwrap_err();

    assert!(matches!(flag, EvalError::UnknownFlag { flag } if flag == "no-such-flag"));
    assert!(matches!(
        environment,
        EvalError::UnknownEnvironment { flag, environment }
            if flag == "checkout-redesign" && environment == "Production!"
    ));
    assert!(matches!(
        kind,
        EvalError::FlagTypeMismatch { flag, requested: _, actual: _, variant_key }
            if flag == "price-tier" && variant_key == "second"
    ));
    assert!(matches!(
        attribute,
        EvalError::AttrTypeMismatch { attribute, expected: _, actual: _ } if &*attribute == "user.country"
    ));
}

#[test]
fn the_structured_result_has_value_variant_rule_and_version() -> Outcome {
    let namespace = Namespace::from_files("payments", &files())?;

    let result: EvalResult = namespace.eval("checkout-redesign", "production", &user())?;

    let variant: &str = &result.variant_key;
    let version: u64 = result.flag_version;
    assert_eq!((variant, version), ("on", 1));
    assert_eq!(result.rule_matched, RuleMatched::Rule(0));
    assert!(matches!(result.value, FlagValue::Bool(true)));
    assert_eq!(result.value.as_bool(), Some(true));
    assert_eq!(result.value.as_str(), None);
    assert_eq!(result.value.as_i64(), None);
    assert_eq!(result.value.as_f64(), None);
    assert!(result.value.as_json().is_none());
    let wrong = EvalContext::builder().int("user.country", 1).build();
    let mismatch = namespace.eval("checkout-redesign", "production", &wrong)?;
    assert!(matches!(
        mismatch.rule_matched,
        RuleMatched::AttrTypeMismatch { attribute: _, expected: _, actual: _ }
    ));
    let all: HashMap<String, EvalResult> = namespace.eval_all("production", &user())?;
    assert_eq!(all.len(), 5);
    Ok(())
}

#[test]
fn every_entry_point_takes_options() -> Outcome {
    let namespace = Namespace::from_files("payments", &files())?;
    let user_ctx = user();
    let admin_ctx = user_ctx.clone();

    let canary = namespace.eval_string_with_options(
        "theme",
        "production",
        &admin_ctx,
        &EvalOptions::new().with_include_testing(true),
    )?;
    let stable = namespace.eval_string("theme", "production", &user_ctx)?;

    assert_eq!((canary.as_str(), stable.as_str()), ("canary", "plain"));
    let options = EvalOptions::default();
    assert!(namespace.eval_bool_with_options("checkout-redesign", "production", &user_ctx, &options)?);
    assert_eq!(namespace.eval_i64_with_options("price-tier", "production", &user_ctx, &options)?, 2);
    assert_eq!(namespace.eval_f64_with_options("sample-rate", "production", &user_ctx, &options)?, 0.01);
    assert_eq!(
        namespace.eval_json_with_options("checkout-config", "production", &user_ctx, &options)?["steps"],
        2
    );
    namespace.eval_with_options("theme", "production", &user_ctx, &options)?;
    Ok(())
}

#[test]
fn files_come_from_any_collection_of_pairs() -> Outcome {
    let owned: HashMap<String, String> = files().into_iter().collect();
    let bytes: Vec<(String, Vec<u8>)> = files().into_iter().map(|(p, t)| (p, t.into_bytes())).collect();

    Namespace::from_files("payments", &owned)?;
    Namespace::from_files("payments", owned)?;
    Namespace::from_files("payments", &bytes)?;
    Namespace::from_files("payments", [("flags/theme.toml", THEME)])?;
    Ok(())
}

#[test]
fn lint_of_a_folder_lists_diagnostics_with_their_places() -> Outcome {
    let (_dir, path) = folder();
    let flag = Path::new(&path).join("flags/theme.toml");
    fs::write(&flag, THEME.replace("variant = \"canary\"", "variant = \"canray\""))?;

    let report = leverframe::lint_dir(&path)?;

    assert!(report.has_errors());
    let mut shown = Vec::new();
    for diag in report.errors() {
        shown.push(format!("[{}] {}:{} — {}", diag.code, diag.file, diag.line, diag.message));
    }
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].starts_with("[E004] flags/theme.toml:17 — "), "{shown:?}");
    let diag = report.errors().next().unwrap();
    let code: &str = diag.code;
    let file: &Path = &diag.file;
    let line: usize = diag.line;
    let message: &String = &diag.message;
    assert_eq!((code, file, line), ("E004", Path::new("flags/theme.toml"), 17));
    assert!(!message.is_empty() && diag.severity == Severity::Error);
    Ok(())
}

#[test]
fn a_namespace_is_refreshed_by_hand_and_in_the_background() -> Outcome {
    let (_dir, path) = folder();
    let namespace = Namespace::from_uri(format!("file://{path}"))?;

    namespace.refresh()?;

    assert_eq!(namespace.flag_version(), 2);
    let handle: RefreshHandle = namespace.start_periodic_refresh(Duration::from_secs(30));
    assert!(handle.is_running());
    let stopped: std::thread::Result<()> = handle.stop();
    assert!(stopped.is_ok());
    let error: Option<String> = namespace.last_refresh_error();
    assert_eq!(error, None);
    Ok(())
}

#[test]
fn another_slug_is_no_refresh() -> Outcome {
    let (_dir, path) = folder();
    let root = Path::new(&path);
    let declare = |slug: &str| {
        let text = format!(
            "schema_version = \"0.1\"\n[namespace]\nslug = \"{slug}\"\n[namespace.environments]\nproduction = {{ public_evaluate = true }}\nstaging = {{}}\n"
        );
        fs::write(root.join("namespace.toml"), text)
    };
    declare("payments")?;
    let namespace = Namespace::from_uri_with_options(format!("file://{path}"), &LoadOptions::new())?;
    let clone = namespace.clone();

    declare("billing")?;
    let outcome: Result<(), LoadError> = namespace.refresh();

    assert!(matches!(outcome, Err(LoadError::SlugMismatch { .. })));
    assert_eq!(clone.flag_version(), 1);
    assert!(namespace.environment_meta("production").is_some_and(|meta| meta.public_evaluate));
    assert_eq!(namespace.public_evaluate("staging"), Some(false));
    assert!(namespace.environment_meta("nowhere").is_none());
    Ok(())
}

#[test]
fn each_failure_to_load_has_its_variant() {
    let missing = Namespace::from_dir("/no/such/folder").unwrap_err();
    let refused = Namespace::from_files("payments", [("flags/a.toml", "schema_version = 1")]).unwrap_err();

    assert!(matches!(missing, LoadError::Io(_)));
    assert!(matches!(refused, LoadError::Lint(report) if report.has_errors()));
}

#[test]
fn an_archive_is_a_namespace() -> Outcome {
    let (_dir, path) = archive();

    let namespace = Namespace::from_archive(&path)?;

    assert!(namespace.eval_bool("checkout-redesign", "production", &user())?);
    Ok(())
}

#[cfg(feature = "async-tokio")]
mod client {
    use std::sync::Arc;

    use leverframe::{ExdClient, ExdError};

    use super::*;

    #[tokio::test]
    async fn of_a_folder_gives_typed_values_and_structured_results() -> Outcome {
        let (_dir, path) = folder();
        let ctx = user();

        let client =
            ExdClient::builder().namespace_dir(path.as_str()).environment("production").build().await?;
        let enabled: bool = client.bool_flag("checkout-redesign", &ctx, false).await;
        let variant: String = client.string_flag("theme", &ctx, "control".into()).await;
        let tier: i64 = client.int_flag("price-tier", &ctx, 0).await;
        let rate: f64 = client.float_flag("sample-rate", &ctx, 0.0).await;
        let result = client.eval("checkout-redesign", &ctx).await;
        let all: HashMap<String, EvalResult> = client.eval_all(&ctx).await;

        assert_eq!((enabled, variant.as_str(), tier, rate), (true, "plain", 2, 0.01));
        let variant_key: &str = &result.variant_key;
        assert_eq!((variant_key, result.flag_version), ("on", 1));
        assert!(matches!(result.rule_matched, RuleMatched::Rule(0)));
        assert_eq!(all.len(), 5);
        let unknown = client.eval("no-such-flag", &ctx).await;
        assert_eq!(unknown.rule_matched, RuleMatched::SdkDefault);
        let options = EvalOptions::new().with_include_testing(true);
        assert_eq!(client.eval_with_options("theme", &ctx, &options).await.variant_key, "canary");
        Ok(())
    }

    #[tokio::test]
    async fn takes_a_path_a_namespace_or_a_uri() -> Outcome {
        let (dir, path) = folder();
        let build = || ExdClient::builder().environment("production");
        let namespace = Namespace::from_files("payments", &files())?;

        let of_path = build().namespace_dir(dir.path().join("payments")).build().await?;
        let inline = build().namespace_inline(namespace).build().await?;
        let followed = build()
            .namespace_uri(&format!("file://{path}"))
            .poll_interval(Duration::from_secs(30))
            .build()
            .await?;

        for client in [of_path, inline, followed] {
            assert!(client.bool_flag("checkout-redesign", &user(), false).await);
            assert_eq!(client.flag_version(), 1);
            let error: Option<String> = client.last_refresh_error();
            assert_eq!(error, None);
            let closed: Result<(), ExdError> = client.close().await;
            closed?;
            assert!(
                client.bool_flag("checkout-redesign", &user(), false).await,
                "evaluation outlives `close`"
            );
        }
        Ok(())
    }

    #[tokio::test]
    async fn of_an_archive_needs_no_builder() -> Outcome {
        let (_dir, path) = archive();

        let client = ExdClient::from_manifest_file(&path, "production")?;

        assert!(client.bool_flag("checkout-redesign", &user(), false).await);
        Ok(())
    }

    #[tokio::test]
    async fn in_dry_run_gives_every_default() -> Outcome {
        let (_dir, path) = folder();

        let client =
            ExdClient::builder().namespace_dir(path).environment("production").dry_run(true).build().await?;

        assert!(!client.bool_flag("checkout-redesign", &user(), false).await);
        let result = client.eval("checkout-redesign", &user()).await;
        assert!(matches!(result.rule_matched, RuleMatched::SdkDefault));
        Ok(())
    }

    #[tokio::test]
    async fn refuses_two_sources_and_a_missing_environment() {
        let (_dir, path) = folder();
        let uri = format!("file://{path}");

        let two = ExdClient::builder().namespace_dir(&path).namespace_uri(uri).environment("production");
        let none = ExdClient::builder().namespace_dir(&path);
        let broken = ExdClient::builder().namespace_dir("/no/such/folder").environment("production");

        assert!(matches!(two.build().await, Err(ExdError::ConflictingNamespaceSources)));
        assert!(matches!(none.build().await, Err(ExdError::MissingField("environment"))));
        assert!(matches!(broken.build().await, Err(ExdError::Load(LoadError::Io(_)))));
        let _: ExdError = ExdError::TaskJoin("panicked".to_owned());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn is_shared_between_tasks_by_clone_and_by_arc() -> Outcome {
        let (_dir, path) = folder();
        let client =
            Arc::new(ExdClient::builder().namespace_dir(path).environment("production").build().await?);
        let ctx = user();

        let mut tasks = Vec::new();
        for _ in 0..10 {
            let c = Arc::clone(&client);
            let ctx = ctx.clone();
            tasks.push(tokio::spawn(async move { c.bool_flag("checkout-redesign", &ctx, false).await }));
        }

        for task in tasks {
            assert!(task.await?);
        }
        let clone: ExdClient = (*client).clone();
        assert!(clone.bool_flag("checkout-redesign", &ctx, false).await);
        Ok(())
    }
}

/// The gate's crate: its README's sample, and what its documentation calls.
#[cfg(feature = "async-tokio")]
#[test]
fn the_gate_is_called_as_its_crate_is() {
    use leverframe::{GateReason, GateResult, Policy, SafeModeStrategy, WaitState, WaitStateConfig, gate};

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut ws = WaitState::start(WaitStateConfig {
            publish_key: "pk_live".into(),
            secret_key: "sk_live".into(),
            base_url: "http://127.0.0.1:9".to_string(),
            site_id: Some("checkout".into()),
            pulse_interval_secs: 20,
            safe_mode_strategy: SafeModeStrategy::FixedRps,
            safe_mode_max_rps: 50,
            ..Default::default()
        });

        let result: GateResult = ws.gate(Some("checkout"), Some(1.0));
        if result.allowed {
            ws.report_latency(42.0, Some("checkout"));
        } else {
            panic!("denied: {}", result.reason);
        }
        ws.report("queue_depth", 15.0, Some("checkout"));
        ws.report_error(None);
        assert!(!ws.instance_id().is_empty());
        assert_eq!(ws.config().site_id.as_deref(), Some("checkout"));

        ws.set_policy(Policy { kill_signal: true, ..Default::default() });
        assert_eq!(ws.gate(None, None).reason, GateReason::KillSignal);
        stop(&mut ws);
    });
    fn stop(ws: &mut WaitState) {
        ws.shutdown();
    }

    let result = gate(&Policy::default(), Some("api"), None);
    assert!(result.allowed && result.reason == GateReason::Allowed);
    assert!(leverframe::gate::types::is_valid_metric_name("queue_depth"));
    assert_eq!(leverframe::gate::types::HISTOGRAM_BOUNDS[7], 10_000);
    assert_eq!(leverframe::gate::signing::sign_pulse("hello world", "1234", "key").len(), 64);
}
