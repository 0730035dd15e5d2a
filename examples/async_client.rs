//! A client on Tokio: defaults instead of errors, and a background refresh.
//!
//! ```sh
//! cargo run --example async_client
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, time::Duration};

use leverframe::{EvalContext, ExdClient};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The builder takes exactly one source. A URI is followed: an edit is served without a restart.
    let uri = format!("file://{}/examples/namespaces/payments", env!("CARGO_MANIFEST_DIR"));
    let client = ExdClient::builder()
        .namespace_uri(uri)
        .environment("production")
        .poll_interval(Duration::from_secs(30))
        .build()
        .await?;

    // Make one context a request. Cloning it costs one counter.
    let ctx = EvalContext::builder()
        .str("user.id", "u-2002")
        .str("user.country", "FR")
        .str("app.version", "4.2.0")
        .build();

    // The helpers take a default and never fail.
    let new_checkout: bool = client.bool_flag("new-checkout", &ctx, false).await;
    let wording: String = client.string_flag("checkout-cta", &ctx, "Pay".into()).await;
    let misspelt: i64 = client.int_flag("max-basket-itmes", &ctx, 50).await;
    println!("new-checkout: {new_checkout}");
    println!("checkout-cta: {wording}");
    println!("a key that does not exist gives the default: {misspelt}");

    // Every call has a twin without `await`, because a look-up in memory does not wait.
    println!("the same without await: {}", client.bool_flag_sync("new-checkout", &ctx, false));

    // `eval` says how the value came about; `eval_all` does so for every flag.
    let result = client.eval("new-checkout", &ctx).await;
    println!("variant {} by {} in version {}", result.variant_key, result.rule_matched, result.flag_version);
    let all = client.eval_all(&ctx).await;
    println!("{} flags in all", all.len());

    // A handle looks its key up once for each manifest. Keep it beside the code that asks often.
    let threshold = client.flag("fraud-threshold", 0.78);
    println!("fraud-threshold by handle: {}", threshold.get(&ctx));

    // A pinned view holds one snapshot, so the answers within a request fit together.
    let request = client.pin();
    println!(
        "a request on version {}: {}",
        request.flag_version(),
        request.bool_flag("new-checkout", &ctx, false)
    );

    // Clones share everything; hand them to tasks.
    let worker = client.clone();
    let task = tokio::spawn(async move { worker.bool_flag("new-checkout", &ctx, false).await });
    println!("in a task: {}", task.await?);

    // Closing ends the background refresh. Evaluation goes on with what was loaded last.
    client.close().await?;
    println!("closed");
    Ok(())
}
