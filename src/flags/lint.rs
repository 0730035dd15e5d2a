//! Lint for directories.

use std::path::Path;

use crate::{
    Result,
    manifest::{LintOptions, LintReport, lint_tree},
    sources::file::{ReadLimits, read_tree},
};

/// Lints the namespace in the directory at `path`.
///
/// # Errors
/// When the directory cannot be read; what is wrong inside it is in the report.
///
/// # Examples
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::create_dir(dir.path().join("flags")).unwrap();
/// # std::fs::write(dir.path().join("flags/a.toml"), "schema_version = 1").unwrap();
/// # let path = dir.path();
/// let report = leverframe::lint_dir(path)?;
/// if report.has_errors() {
///     for d in report.errors() {
///         println!("[{}] {}:{} {}", d.code, d.file, d.line, d.message);
///     }
/// }
/// # assert!(report.has_errors());
/// # Ok::<(), leverframe::Error>(())
/// ```
pub fn lint_dir(path: impl AsRef<Path>) -> Result<LintReport> {
    let path = path.as_ref();
    let tree = read_tree(path, &ReadLimits::default())?;
    // The directory's own name, also where the caller wrote `.` or a link.
    let resolved = path.canonicalize().ok();
    let name = resolved.as_deref().unwrap_or(path).file_name().map(|n| n.to_string_lossy().into_owned());
    let options = name.into_iter().fold(LintOptions::new(), LintOptions::with_directory);
    Ok(lint_tree(&tree, &options).report)
}
