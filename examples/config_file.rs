//! Everything from a configuration file: which namespaces, which cache, how often to look.
//!
//! ```sh
//! cargo run --example config_file
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, fs};

use leverframe::{EvalContext, Leverframe};

fn main() -> Result<(), Box<dyn Error>> {
    // A service has its `leverframe.toml` in place already. This one goes into a temporary folder.
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("leverframe.toml");
    let namespaces = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/namespaces");
    let cache = folder.path().join("cache");
    fs::write(
        &file,
        format!(
            r#"
[flags.payments]
uri = "file://{namespaces}/payments"
environment = "production"
poll_interval_ms = 10_000

[flags.storefront]
uri = "file://{namespaces}/storefront"
environment = "production"

[cache]
use = "file"
[cache.file]
dir = "{cache}"
"#,
            cache = cache.display()
        ),
    )?;

    // Reads the file at exactly this path, with variables such as LEVERFRAME_CACHE__USE over it. A key that nobody
    // knows is an error, so that a typing mistake cannot pass for a default.
    let frame = Leverframe::from_config(&file)?;

    // Each table `[flags.<name>]` is a namespace, kept current in the background.
    let payments = frame.namespace("payments")?;
    let ctx = EvalContext::builder().str("user.country", "DE").str("app.version", "4.2.0").build();
    println!("payments: new-checkout is {}", payments.eval_bool("new-checkout", "production", &ctx)?);
    println!("storefront: {} flags", frame.namespace("storefront")?.eval_all("production", &ctx)?.len());

    // Asking for one that is not configured names those that are.
    if let Err(error) = frame.namespace("payment") {
        println!("{}", error.chain());
    }

    // Where does each setting come from?
    for row in frame.explain() {
        println!("{} = {} ({})", row.key, row.value, row.layer);
    }

    // Stops the background refresh and waits for it.
    frame.close()?;
    println!("closed");
    Ok(())
}
