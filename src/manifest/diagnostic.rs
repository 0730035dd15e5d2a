//! What lint reports: codes, places, messages.

use std::{
    fmt,
    ops::{Deref, Range},
    path::{Path, PathBuf},
};

/// How much a diagnostic matters.
///
/// # Examples
/// ```
/// use leverframe::manifest::Severity;
/// assert!(Severity::Error < Severity::Info);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "the manifest format fixes the three severities")]
pub enum Severity {
    /// The manifest is refused.
    Error,
    /// The manifest is accepted; something in it is probably not meant.
    Warning,
    /// The manifest is accepted; something could be better documented.
    Info,
}

impl Severity {
    /// Returns the lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding of lint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LintDiagnostic {
    /// The stable code: `E0xx`, `W0xx` or `I0xx`.
    pub code: &'static str,
    /// How much it matters; fixed by the code.
    pub severity: Severity,
    /// The file, relative to the namespace's root; empty for the namespace as a whole.
    pub file: LintPath,
    /// 1-based line of the offending key or value; 1 where the file as a whole is meant.
    pub line: usize,
    /// 1-based column, counted in characters.
    pub column: usize,
    /// Byte range of the offending key or value in the file, where there is one.
    pub span: Option<Range<usize>>,
    /// What is wrong, in words.
    pub message: String,
    /// The next step, where one is known.
    pub help: Option<String>,
}

impl fmt::Display for LintDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] {}", self.severity, self.code, self.message)?;
        if self.file.as_os_str().is_empty() {
            return Ok(());
        }
        write!(f, " at {}:{}:{}", self.file, self.line, self.column)
    }
}

/// Where a finding is: a path that can be printed, unlike `PathBuf`. Paths of a namespace are UTF-8, or shown as such.
///
/// # Examples
/// ```
/// use std::path::{Path, PathBuf};
/// use leverframe::manifest::LintPath;
/// let file = LintPath::from("flags/new-checkout.toml");
/// assert_eq!(format!("{file}:7"), "flags/new-checkout.toml:7");
/// assert_eq!(file.file_stem(), Path::new("new-checkout").file_name());
/// assert_eq!(PathBuf::from(file), Path::new("flags/new-checkout.toml"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LintPath(PathBuf);

impl LintPath {
    /// Returns the path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Deref for LintPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for LintPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl From<&str> for LintPath {
    fn from(path: &str) -> Self {
        Self(path.into())
    }
}

impl From<LintPath> for PathBuf {
    fn from(path: LintPath) -> Self {
        path.0
    }
}

impl PartialEq<Path> for LintPath {
    fn eq(&self, other: &Path) -> bool {
        self.0 == other
    }
}

impl PartialEq<&Path> for LintPath {
    fn eq(&self, other: &&Path) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for LintPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.display(), f)
    }
}

/// Everything lint found in one namespace, ordered by file, line and code.
///
/// # Examples
/// ```
/// use leverframe::manifest::LintReport;
/// assert!(LintReport::default().passed());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LintReport {
    /// The namespace's slug, so far as it is known.
    pub namespace: String,
    /// How many flag files were read.
    pub flags: usize,
    /// How many segment files were read.
    pub segments: usize,
    /// The findings.
    pub diagnostics: Vec<LintDiagnostic>,
}

impl LintReport {
    /// Returns true if there are no errors; warnings and infos do not count.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.has_errors()
    }

    /// Returns true if there is at least one error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// Returns the errors in order.
    pub fn errors(&self) -> impl Iterator<Item = &LintDiagnostic> {
        self.of(Severity::Error)
    }

    /// Returns the warnings in order.
    pub fn warnings(&self) -> impl Iterator<Item = &LintDiagnostic> {
        self.of(Severity::Warning)
    }

    /// Returns the infos in order.
    pub fn infos(&self) -> impl Iterator<Item = &LintDiagnostic> {
        self.of(Severity::Info)
    }

    fn of(&self, severity: Severity) -> impl Iterator<Item = &LintDiagnostic> {
        self.diagnostics.iter().filter(move |d| d.severity == severity)
    }
}
