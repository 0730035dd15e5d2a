//! Serves only what a key has signed: a signed namespace, a tampered file that is refused, and an old state that is.
//!
//! ```sh
//! cargo run --example signed
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, fs, io, path::Path};

use leverframe::{
    EvalContext, LoadOptions, Namespace,
    manifest::{
        Fingerprint,
        signature::{FILE_NAME, Signature, SigningKey, Trust},
    },
    sources::file::{ReadLimits, read_tree},
};

fn main() -> Result<(), Box<dyn Error>> {
    // A copy, because the example signs and edits it.
    let folder = tempfile::tempdir()?;
    let payments = folder.path().join("payments");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/namespaces/payments"), &payments)?;
    let uri = format!("file://{}", payments.display());

    // `leverframe keygen release.key` makes such a key and keeps the secret half in a file.
    let key = SigningKey::generate()?;
    // The public half goes into the configuration: `trusted_keys = ["lvf-pub-…"]`.
    let options = LoadOptions::new().with_trust(Trust::new([key.public()], 1)?);

    if let Err(error) = Namespace::from_uri_with_options(&uri, &options) {
        println!("unsigned: {error}");
    }

    // `leverframe sign payments --key release.key` does this, and counts up by itself.
    sign(&payments, &key, 7)?;
    let namespace = Namespace::from_uri_with_options(&uri, &options)?;
    let ctx = EvalContext::builder().str("user.country", "DE").str("app.version", "4.2.0").build();
    println!(
        "signed: version {}, {}",
        namespace.flag_version(),
        namespace.eval_bool("new-checkout", "production", &ctx)?
    );

    // Somebody turns the flag off without the key.
    let flag = payments.join("flags/new-checkout.toml");
    let good = fs::read_to_string(&flag)?;
    fs::write(&flag, good.replace(r#"["DE", "FR"]"#, r#"["FR"]"#))?;
    if let Err(error) = namespace.refresh() {
        println!("tampered: {error}");
    }
    println!(
        "served on: version {}, {}",
        namespace.flag_version(),
        namespace.eval_bool("new-checkout", "production", &ctx)?
    );

    // Somebody brings back an old state, with the signature that it had then.
    fs::write(&flag, &good)?;
    sign(&payments, &key, 6)?;
    if let Err(error) = namespace.refresh() {
        println!("rolled back: {error}");
    }

    // A key that nobody trusts.
    sign(&payments, &SigningKey::generate()?, 8)?;
    if let Err(error) = namespace.refresh() {
        println!("another key: {error}");
    }

    sign(&payments, &key, 8)?;
    namespace.refresh()?;
    println!(
        "signed again: version {}, last error {:?}",
        namespace.flag_version(),
        namespace.last_refresh_error()
    );
    Ok(())
}

/// Signs the files as they are, as the state number `counter`.
fn sign(payments: &Path, key: &SigningKey, counter: u64) -> Result<(), Box<dyn Error>> {
    let tree = read_tree(payments, &ReadLimits::default())?;
    let mut signature = Signature::new("payments", &Fingerprint::of(&tree), counter);
    signature.sign(key);
    fs::write(payments.join(FILE_NAME), signature.to_string())?;
    Ok(())
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
