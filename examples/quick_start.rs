//! Flags from a folder, without any async runtime.
//!
//! ```sh
//! cargo run --example quick_start
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, path::Path};

use leverframe::{EvalContext, EvalOptions, Namespace};

fn main() -> Result<(), Box<dyn Error>> {
    // A namespace is a folder of TOML files. It is linted while it loads: what lint refuses is never served.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/namespaces/payments");
    let namespace = Namespace::from_dir(folder)?;
    println!("loaded {}, version {}", namespace.slug(), namespace.flag_version());

    // What is known about the user. Keys are flat: `user.country` is one key, not a path.
    let ctx = EvalContext::builder()
        .str("user.id", "u-1001")
        .str("user.country", "DE")
        .str("user.plan", "business")
        .str("app.version", "4.2.0")
        .float("order.amount", 129.9)
        .build();

    // Each flag type has an entry point of its own. They are strict: a wrong key or type is an error.
    let new_checkout: bool = namespace.eval_bool("new-checkout", "production", &ctx)?;
    let wording: String = namespace.eval_string("checkout-cta", "production", &ctx)?;
    let most_items: i64 = namespace.eval_i64("max-basket-items", "production", &ctx)?;
    let threshold: f64 = namespace.eval_f64("fraud-threshold", "production", &ctx)?;
    let retries = namespace.eval_json("retry-policy", "production", &ctx)?;
    println!("new-checkout: {new_checkout}");
    println!("checkout-cta: {wording}");
    println!("max-basket-items: {most_items}");
    println!("fraud-threshold: {threshold}");
    println!("retry-policy: {} attempts", retries["attempts"]);

    // The structured result also says which variant it is, and which rule gave it.
    let result = namespace.eval("new-checkout", "production", &ctx)?;
    println!("new-checkout is variant {}, by {}", result.variant_key, result.rule_matched);

    // Errors name what was asked for.
    if let Err(error) = namespace.eval_bool("checkout-cta", "production", &ctx) {
        println!("refused: {error}");
    }

    // Why? The trace shows each step.
    print!("{}", namespace.trace("new-checkout", "production", &ctx, &EvalOptions::new())?);
    Ok(())
}
