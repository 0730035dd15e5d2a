//! What lint reports: codes, places, messages.

use std::{fmt, ops::Range, path::PathBuf};

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
    pub file: PathBuf,
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
        write!(f, " at {}:{}:{}", self.file.display(), self.line, self.column)
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
