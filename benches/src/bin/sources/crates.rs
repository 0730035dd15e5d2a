//! How many crates come with the library.

use std::{collections::BTreeSet, path::Path, process::Command};

use leverframe_benches::report::Row;

/// Counts the crates beside the library itself, by name and version, that are compiled into a program that uses it.
pub(crate) fn count() -> Vec<Row> {
    vec![
        Row::count("crates with default-features = false", tree(&["--no-default-features"]), None),
        Row::count("crates with default features", tree(&[]), None),
        Row::count(
            "crates with source-git and source-ftps as well",
            tree(&["--features", "source-git,source-ftps"]),
            None,
        ),
    ]
}

fn tree(features: &[&str]) -> u64 {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package", "leverframe", "--edges", "normal", "--prefix", "none"])
        .args(features)
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .output()
        .expect("cargo built this program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<&str> = text
        .lines()
        .skip(1)
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect();
    crates.len() as u64
}
