//! The client of exd's SDK.

use std::{collections::HashMap, sync::Arc, time::Duration};

use leverframe::{EvalOptions, EvalResult, ExdClient, ExdError, LoadError, Namespace, RuleMatched};

use super::{Outcome, archive, files, folder, user};

#[tokio::test]
async fn of_a_folder_gives_typed_values_and_structured_results() -> Outcome {
    let (_dir, path) = folder();
    let ctx = user();

    let client = ExdClient::builder().namespace_dir(path.as_str()).environment("production").build().await?;
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
        assert!(client.bool_flag("checkout-redesign", &user(), false).await, "evaluation outlives `close`");
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
    let client = Arc::new(ExdClient::builder().namespace_dir(path).environment("production").build().await?);
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
