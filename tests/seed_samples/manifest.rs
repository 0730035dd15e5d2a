//! Contexts, manifests and evaluation of exd's SDK.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use leverframe::{
    AttrValue, EvalContext, EvalError, EvalOptions, EvalResult, FlagValue, LoadError, LoadOptions, Namespace,
    RefreshHandle, RuleMatched, Severity,
};

use super::{Outcome, THEME, archive, files, folder, user};

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
