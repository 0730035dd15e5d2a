//! Collects diagnostics with their places.

use std::ops::Range;

use super::codes::CodeInfo;
use crate::manifest::{LintDiagnostic, LintPath, Severity, parse::shown};

/// A hostile file must not make a report without end.
const PER_FILE: usize = 100;

/// What was found in one file.
#[derive(Debug)]
pub(crate) struct Findings<'t> {
    path: &'t str,
    text: &'t str,
    kept: Kept,
}

/// The findings of one file without its text, to go on from later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    found: Vec<LintDiagnostic>,
    errors: usize,
    left_out: usize,
    /// The most severe code among those left out.
    worst_left_out: Option<CodeInfo>,
}

impl<'t> Findings<'t> {
    pub(crate) fn new(path: &'t str, text: &'t str) -> Self {
        Self::resume(path, text, Kept::default())
    }

    /// Goes on from what was found before in the same file.
    pub(crate) fn resume(path: &'t str, text: &'t str, kept: Kept) -> Self {
        Self { path, text, kept }
    }

    /// Returns what was found so far.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Adds a finding at a byte range of the file.
    pub(crate) fn add(&mut self, code: CodeInfo, span: Range<usize>, message: impl Into<String>) {
        self.push(code, span, message.into(), None);
    }

    /// Adds a finding with the next step.
    pub(crate) fn add_help(
        &mut self,
        code: CodeInfo,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(code, span, message.into(), Some(help.into()));
    }

    fn push(&mut self, code: CodeInfo, span: Range<usize>, message: String, help: Option<String>) {
        if self.leaves_out(code) {
            return;
        }
        self.kept.errors += usize::from(code.severity == Severity::Error);
        self.kept.found.push(diagnostic(code, self.path, Some((self.text, span)), message, help));
    }

    /// Returns true if a finding of `code` is only counted any more: then its words need not be made.
    pub(crate) fn leaves_out(&mut self, code: CodeInfo) -> bool {
        // Errors and the rest are bounded each for themselves: many warnings must not hide an error, nor become one.
        let others = self.kept.found.len() - self.kept.errors;
        let kept = if code.severity == Severity::Error { self.kept.errors } else { others };
        if kept < PER_FILE {
            return false;
        }
        self.kept.left_out += 1;
        if self.kept.worst_left_out.is_none_or(|worst| code.severity < worst.severity) {
            self.kept.worst_left_out = Some(code);
        }
        true
    }

    /// Returns true if there is a finding of severity error.
    pub(crate) fn has_errors(&self) -> bool {
        self.kept.errors > 0
    }

    pub(crate) fn finish(mut self) -> Vec<LintDiagnostic> {
        if let Some(code) = self.kept.worst_left_out {
            let message = format!("{} more findings in this file are not shown", self.kept.left_out);
            // At the end of the file, so that it follows what is shown.
            let end = self.text.len();
            self.kept.found.push(diagnostic(code, self.path, Some((self.text, end..end)), message, None));
        }
        self.kept.found
    }
}

/// Makes a diagnostic about a whole file or, with an empty path, about the namespace.
pub(crate) fn whole_file(
    code: CodeInfo,
    path: &str,
    message: impl Into<String>,
    help: &str,
) -> LintDiagnostic {
    diagnostic(code, path, None, message.into(), Some(help.to_owned()))
}

fn diagnostic(
    code: CodeInfo,
    path: &str,
    place: Option<(&str, Range<usize>)>,
    message: String,
    help: Option<String>,
) -> LintDiagnostic {
    let (line, column) = place.as_ref().map_or((1, 1), |(text, span)| line_and_column(text, span.start));
    LintDiagnostic {
        code: code.code,
        severity: code.severity,
        file: LintPath::from(path),
        line,
        column,
        span: place.map(|(_, span)| span),
        message,
        help,
    }
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    // Spans of the parser lie between characters; this keeps a slip from being a panic.
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.bytes().filter(|b| *b == b'\n').count() + 1, before[start..].chars().count() + 1)
}

/// Returns the candidate that a misspelt word most likely means, as words for a message.
///
/// # Examples
/// ```
/// use leverframe::manifest::lint::did_you_mean;
/// assert_eq!(did_you_mean("flie", ["file", "https"]).as_deref(), Some("did you mean `file`?"));
/// assert_eq!(did_you_mean("ftps", ["file"]), None);
/// ```
#[must_use]
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    let limit = match word.chars().count() {
        0..=3 => 1,
        4..=8 => 2,
        _ => 3,
    };
    let nearest = candidates
        .into_iter()
        .take(CANDIDATES)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit)
        .map(|candidate| (distance(word, candidate), candidate))
        .min()?;
    (nearest.0 <= limit).then(|| format!("did you mean `{}`?", nearest.1))
}

/// Comparing costs more than everything else that lint does with a name, and long lists come from hostile files.
const CANDIDATES: usize = 1_000;

/// Names the choices, the first few of them where there are many.
pub(crate) fn listed<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> String {
    const SHOWN: usize = 20;
    let more = names.len().saturating_sub(SHOWN);
    let shown: Vec<_> = names.take(SHOWN).map(shown).collect();
    let suffix = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{suffix}", shown.join(", "))
}

/// Edit distance in which two neighbours that changed places count once (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    // Names are short; longer ones come from hostile input and get no suggestion.
    const LONGEST: usize = 80;
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(LONGEST).collect(), b.chars().take(LONGEST).collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::lint::codes::{E016, W010};

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = "a = 1\nä = \"x\"\n";

        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, text.find('"').unwrap()), (2, 5));
        assert_eq!(line_and_column(text, 999), (3, 1));
    }

    #[test]
    fn warnings_without_number_are_counted_and_hide_no_error() {
        let mut findings = Findings::new("a.toml", "x = 1\n");
        for _ in 0..PER_FILE + 5 {
            findings.add(W010, 0..1, "odd");
        }
        assert!(!findings.has_errors());
        findings.add(E016, 0..1, "wrong");

        let found = findings.finish();

        assert_eq!(found.iter().filter(|d| d.severity == Severity::Error).count(), 1);
        let last = found.last().unwrap();
        assert_eq!((last.code, last.line), ("W010", 2));
        assert!(last.message.starts_with("5 more findings"), "{}", last.message);
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..25).map(|i| format!("n{i}")).collect();

        assert_eq!(listed(["a", "b"].into_iter()), "a, b");
        assert!(listed(names.iter().map(String::as_str)).ends_with("n19 and 5 more"));
    }

    #[test]
    fn misspelt_words_find_their_neighbour_and_strange_ones_none() {
        let words = ["variant", "segment", "predicate"];

        assert_eq!(did_you_mean("varaint", words).as_deref(), Some("did you mean `variant`?"));
        assert_eq!(did_you_mean("colour", words), None);
    }
}
