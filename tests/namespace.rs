//! The synchronous surface on real files: loading, evaluating, refreshing.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{fs, path::Path, sync::Arc, thread, time::Duration};

use leverframe::{
    AttrValue, EvalContext, EvalError, EvalOptions, FlagValue, LoadError, LoadOptions, Namespace,
    RuleMatched,
    manifest::model::{AttrType, FlagType},
};

const NAMESPACE: &str = r#"
schema_version = "0.1"
[namespace]
slug = "shop"
[namespace.environments]
staging = {}
production = { public_evaluate = true }
"#;

const CHECKOUT: &str = r#"
schema_version = "0.1"
[flag]
type = "boolean"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "off"
[[flag.environments._.rules]]
predicate = { attribute = "user.plan", op = "eq", value = "pro" }
variant = "on"
[flag.environments.staging]
variant = "on"
"#;

const THEME: &str = r#"
schema_version = "0.1"
[flag]
type = "string"
[flag.variants]
plain = "plain"
fancy = "fancy"
[flag.environments._]
variant = "plain"
[flag.environments.production]
variant = "plain"
testing = true
[[flag.environments.production.rules]]
predicate = { attribute = "user.beta", op = "eq", value = true }
variant = "fancy"
"#;

const LIMITS: &str = r#"
schema_version = "0.1"
[flag]
type = "json"
[flag.variants.small]
rows = 10
[flag.environments._]
variant = "small"
"#;

fn number(flag_type: &str, value: &str) -> String {
    format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"{flag_type}\"\n[flag.variants]\nonly = {value}\n[flag.environments._]\nvariant = \"only\"\n"
    )
}

fn files() -> Vec<(String, String)> {
    [
        ("namespace.toml", NAMESPACE.to_owned()),
        ("flags/checkout.toml", CHECKOUT.to_owned()),
        ("flags/theme.toml", THEME.to_owned()),
        ("flags/limits.toml", LIMITS.to_owned()),
        ("flags/tier.toml", number("integer", "7")),
        ("flags/rate.toml", number("float", "0.25")),
    ]
    .map(|(path, text)| (path.to_owned(), text))
    .into()
}

fn write(root: &Path) {
    fs::create_dir_all(root.join("flags")).unwrap();
    for (path, text) in files() {
        fs::write(root.join(path), text).unwrap();
    }
}

fn shop() -> Namespace {
    Namespace::from_files("shop", files()).unwrap()
}

fn pro() -> EvalContext {
    EvalContext::builder().str("user.plan", "pro").build()
}

#[test]
fn each_typed_entry_point_reads_its_type() {
    let shop = shop();
    let ctx = EvalContext::new();

    assert_eq!(shop.eval_bool("checkout", "production", &pro()), Ok(true));
    assert_eq!(shop.eval_string("theme", "production", &ctx).as_deref(), Ok("plain"));
    assert_eq!(shop.eval_i64("tier", "production", &ctx), Ok(7));
    assert_eq!(shop.eval_f64("rate", "production", &ctx), Ok(0.25));
    assert_eq!(shop.eval_json("limits", "production", &ctx), Ok(serde_json::json!({ "rows": 10 })));
}

#[test]
fn the_structured_result_tells_value_variant_rule_and_version() {
    let result = shop().eval("checkout", "production", &pro()).unwrap();

    assert_eq!(result.value, FlagValue::Bool(true));
    assert_eq!(result.variant_key, "on");
    assert_eq!(result.rule_matched, RuleMatched::Rule(0));
    assert_eq!(result.flag_version, 1);
}

#[test]
fn an_environment_with_only_a_variant_switches_the_rules_off() {
    let result = shop().eval("checkout", "staging", &EvalContext::new()).unwrap();

    assert_eq!(result.value, FlagValue::Bool(true));
    assert_eq!(result.rule_matched, RuleMatched::Default);
}

#[test]
fn testing_rules_are_seen_only_by_callers_that_opt_in() {
    let shop = shop();
    let beta = EvalContext::builder().bool("user.beta", true).build();
    let opt_in = EvalOptions::new().with_include_testing(true);

    assert_eq!(shop.eval_string("theme", "production", &beta).as_deref(), Ok("plain"));
    assert_eq!(shop.eval_string_with_options("theme", "production", &beta, &opt_in).as_deref(), Ok("fancy"));
}

#[test]
fn strict_entry_points_name_what_is_wrong() {
    let shop = shop();
    let ctx = EvalContext::new();
    let wrong = EvalContext::builder().int("user.plan", 1).build();

    assert!(
        matches!(shop.eval_bool("chekout", "production", &ctx), Err(EvalError::UnknownFlag { flag }) if flag == "chekout")
    );
    assert!(matches!(shop.eval_bool("checkout", "prod", &ctx), Err(EvalError::UnknownEnvironment { .. })));
    assert_eq!(
        shop.eval_i64("checkout", "production", &pro()),
        Err(EvalError::FlagTypeMismatch {
            flag: "checkout".into(),
            requested: FlagType::Integer,
            actual: FlagType::Boolean,
            variant_key: "on".into()
        })
    );
    assert_eq!(
        shop.eval_bool("checkout", "production", &wrong),
        Err(EvalError::AttrTypeMismatch {
            attribute: "user.plan".into(),
            expected: AttrType::String,
            actual: AttrType::Int
        })
    );
}

#[test]
fn a_type_mismatch_is_part_of_the_structured_result() {
    let wrong = EvalContext::builder().attr("user.plan", AttrValue::Boolean(true)).build();

    let result = shop().eval("checkout", "production", &wrong).unwrap();

    assert_eq!(result.value, FlagValue::Bool(false));
    assert!(matches!(result.rule_matched, RuleMatched::AttrTypeMismatch { actual: AttrType::Boolean, .. }));
}

#[test]
fn all_flags_evaluate_in_one_call() {
    let all = shop().eval_all("production", &pro()).unwrap();

    assert_eq!(all.len(), 5);
    assert_eq!(all["checkout"].value, FlagValue::Bool(true));
    assert_eq!(all["tier"].value, FlagValue::Int(7));
}

#[test]
fn environment_metadata_comes_from_the_roster() {
    let shop = shop();

    assert_eq!(shop.public_evaluate("production"), Some(true));
    assert_eq!(shop.public_evaluate("staging"), Some(false));
    assert_eq!(shop.public_evaluate("nowhere"), None);
    assert_eq!(shop.environment_meta("staging").unwrap().name, "staging");
}

#[test]
fn a_refresh_counts_one_version_and_shows_the_new_files_to_every_clone() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let namespace = Namespace::from_dir(dir.path()).unwrap();
    let clone = namespace.clone();
    assert_eq!(clone.flag_version(), 1);

    fs::write(dir.path().join("flags/tier.toml"), number("integer", "8")).unwrap();
    namespace.refresh().unwrap();

    assert_eq!(clone.flag_version(), 2);
    assert_eq!(clone.eval_i64("tier", "production", &EvalContext::new()), Ok(8));
}

#[test]
fn a_refresh_that_fails_keeps_what_was_served_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let namespace = Namespace::from_dir(dir.path()).unwrap();

    fs::write(dir.path().join("flags/tier.toml"), "type = ").unwrap();
    let error = namespace.refresh().unwrap_err();

    assert!(matches!(&error, LoadError::Lint(report) if report.has_errors()));
    assert!(error.to_string().contains("flags/tier.toml"), "{error}");
    assert_eq!(namespace.flag_version(), 1);
    assert_eq!(namespace.eval_i64("tier", "production", &EvalContext::new()), Ok(7));
    assert!(namespace.last_refresh_error().unwrap().contains("flags/tier.toml"));

    fs::write(dir.path().join("flags/tier.toml"), number("integer", "9")).unwrap();
    namespace.refresh().unwrap();

    assert_eq!(namespace.last_refresh_error(), None);
    assert_eq!(namespace.flag_version(), 2);
}

#[test]
fn another_slug_is_another_namespace_and_not_a_refresh() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let namespace = Namespace::from_dir(dir.path()).unwrap();

    fs::write(dir.path().join("namespace.toml"), NAMESPACE.replace("shop", "warehouse")).unwrap();
    let error = namespace.refresh().unwrap_err();

    assert!(
        matches!(&error, LoadError::SlugMismatch { expected, found } if expected == "shop" && found == "warehouse"),
        "{error}"
    );
    assert_eq!(namespace.slug(), "shop");
}

#[test]
fn a_running_refresh_picks_up_an_edit_by_itself_and_ends_when_stopped() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let namespace = Namespace::from_dir(dir.path()).unwrap();
    let handle = namespace.start_periodic_refresh(Duration::from_millis(50));
    assert!(handle.is_running());

    fs::write(dir.path().join("flags/tier.toml"), number("integer", "8")).unwrap();
    let mut seen = 0;
    while namespace.flag_version() == 1 {
        seen = namespace.wait_for_refresh(seen);
    }

    assert_eq!(namespace.eval_i64("tier", "production", &EvalContext::new()), Ok(8));
    handle.stop().unwrap();
}

#[test]
fn a_running_refresh_records_failures_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let namespace = Namespace::from_dir(dir.path()).unwrap();
    let _handle = namespace.start_periodic_refresh(Duration::from_millis(20));

    // First, or what stands there for a moment is a namespace without flags.
    fs::write(dir.path().join("namespace.toml"), "broken = ").unwrap();
    fs::remove_dir_all(dir.path().join("flags")).unwrap();
    let mut seen = 0;
    while namespace.last_refresh_error().is_none() {
        seen = namespace.wait_for_refresh(seen);
    }
    assert_eq!(namespace.eval_i64("tier", "production", &EvalContext::new()), Ok(7));

    write(dir.path());
    // A refresh in the middle of writing serves what is there by then.
    while namespace.last_refresh_error().is_some()
        || namespace.eval_i64("tier", "production", &EvalContext::new()) != Ok(7)
    {
        seen = namespace.wait_for_refresh(seen);
    }
}

#[test]
fn a_file_uri_loads_a_directory_and_an_unknown_scheme_says_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());

    let namespace = Namespace::from_uri(format!("file://{}", dir.path().display())).unwrap();
    let error = Namespace::from_uri("gopher://example.com/flags").unwrap_err();

    assert_eq!(namespace.slug(), "shop");
    assert!(matches!(error, LoadError::Fetch(_)));
    assert!(error.to_string().contains("gopher"), "{error}");
    assert!(error.to_string().contains(" file, "), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn the_slug_comes_from_the_directory_or_from_the_caller_where_the_files_declare_none() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("billing");
    write(&root);
    fs::remove_file(root.join("namespace.toml")).unwrap();

    let by_name = Namespace::from_dir(&root).unwrap();
    let uri = format!("file://{}", root.display());
    let by_caller = Namespace::from_uri_with_options(uri, &LoadOptions::new().with_slug("invoices")).unwrap();

    assert_eq!(by_name.slug(), "billing");
    assert_eq!(by_caller.slug(), "invoices");
}

#[test]
fn two_threads_evaluate_while_a_third_refreshes() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let namespace = Arc::new(Namespace::from_dir(dir.path()).unwrap());

    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while namespace.flag_version() < 20 {
                    assert_eq!(namespace.eval_bool("checkout", "production", &pro()), Ok(true));
                }
            });
        }
        for _ in 1..20 {
            namespace.refresh().unwrap();
        }
    });

    assert_eq!(namespace.flag_version(), 20);
}
