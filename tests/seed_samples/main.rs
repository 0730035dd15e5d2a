//! The calls that users of exd's Rust SDK, of the gate's crate and of Nexus's first client write, with nothing changed but
//! the crate's name.
//!
//! Each module is one chapter of their documentation, so far as it concerns what exists today: a signature that
//! drifts fails to compile here.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::needless_borrows_for_generic_args,
    clippy::unnecessary_to_owned,
    reason = "owned or borrowed, users write either"
)]

use std::{error::Error, fs};

use leverframe::EvalContext;

#[cfg(feature = "async-tokio")]
mod client;
#[cfg(feature = "async-tokio")]
mod gate;
mod manifest;
mod nexus;

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
