//! Manifests from TOML text, as lint reads them.

use bytes::Bytes;
use leverframe::{
    document::{Entry, Tree},
    manifest::{LintOptions, Manifest, lint_tree},
};

/// Lints files given as path and text, and returns the manifest; every error of lint fails the test.
pub(crate) fn manifest(files: &[(&str, &str)]) -> Manifest {
    let mut tree = Tree::new();
    for (path, text) in files {
        tree.insert(*path, Entry::File(Bytes::from(format!("schema_version = \"0.1\"\n{text}"))));
    }
    let linted = lint_tree(&tree, &LintOptions::new().with_slug("site"));
    let found: Vec<String> = linted.report.errors().map(ToString::to_string).collect();
    linted.manifest.unwrap_or_else(|| panic!("the manifest does not lint: {found:#?}"))
}
