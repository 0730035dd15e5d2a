//! Edits flags while they are served: a good edit is picked up, a bad one is refused and changes nothing.
//!
//! ```sh
//! cargo run --example live_refresh
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, fs, io, path::Path, time::Duration};

use leverframe::{EvalContext, Namespace};

fn main() -> Result<(), Box<dyn Error>> {
    // A copy, because the example edits it.
    let folder = tempfile::tempdir()?;
    let payments = folder.path().join("payments");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/namespaces/payments"), &payments)?;

    let namespace = Namespace::from_dir(&payments)?;
    let ctx = EvalContext::builder().str("user.country", "US").str("app.version", "4.2.0").build();
    println!(
        "version {}: {}",
        namespace.flag_version(),
        namespace.eval_bool("new-checkout", "production", &ctx)?
    );

    // Looks at least every 30 s, and at once when the operating system tells of a change. Keep the handle: dropping
    // it ends the refresh.
    let refresh = namespace.start_periodic_refresh(Duration::from_secs(30));

    // 1. A good edit: one more country.
    let flag = payments.join("flags/new-checkout.toml");
    let good = fs::read_to_string(&flag)?.replace(r#"["DE", "FR"]"#, r#"["DE", "FR", "US"]"#);
    replace(&flag, &good)?;
    wait_until(&namespace, || namespace.flag_version() > 1);
    println!(
        "version {}: {}",
        namespace.flag_version(),
        namespace.eval_bool("new-checkout", "production", &ctx)?
    );

    // 2. A bad edit: a variant that does not exist. Lint refuses it, and what was served goes on.
    replace(&flag, &good.replace(r#"variant = "off""#, r#"variant = "of""#))?;
    wait_until(&namespace, || namespace.last_refresh_error().is_some());
    println!("refused: {}", namespace.last_refresh_error().unwrap_or_default());
    println!(
        "version {}: {}",
        namespace.flag_version(),
        namespace.eval_bool("new-checkout", "production", &ctx)?
    );

    // 3. Mended. `refresh` loads at once; a web hook or an admin page would call it.
    refresh.stop().map_err(|_| "the refresh thread panicked")?;
    replace(&flag, &good)?;
    namespace.refresh()?;
    println!("mended: last error {:?}", namespace.last_refresh_error());
    Ok(())
}

/// Waits without sleeping: each refresh, good or bad, wakes the waiter.
fn wait_until(namespace: &Namespace, done: impl Fn() -> bool) {
    let mut seen = 0;
    while !done() {
        seen = namespace.wait_for_refresh(seen);
    }
}

/// Writes beside the file and renames over it, so that no reader meets half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}

/// Copies a folder with its subfolders.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy(&item.path(), &target)?;
        } else {
            fs::copy(item.path(), target)?;
        }
    }
    Ok(())
}
