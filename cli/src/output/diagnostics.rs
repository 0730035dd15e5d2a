//! Findings of lint for people and for programs.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};
use leverframe::{LintDiagnostic, LintReport, Severity, document::Tree};
use serde_json::{Value, json};

use super::{CYAN, Out, RED, YELLOW, styled};
use crate::failure::Failure;

/// Gives the text of a file, to draw its line.
pub(crate) struct Sources<'t>(pub(crate) &'t Tree);

impl Sources<'_> {
    fn text(&self, diagnostic: &LintDiagnostic) -> Option<&str> {
        let content = self.0.file(diagnostic.file.to_str()?)?;
        std::str::from_utf8(content).ok()
    }
}

/// Draws one finding: what and where in words, the line with a caret, the next step.
pub(crate) fn draw(diagnostic: &LintDiagnostic, sources: &Sources<'_>) -> String {
    let style = match diagnostic.severity {
        Severity::Error => RED,
        Severity::Warning => YELLOW,
        Severity::Info => CYAN,
    };
    let head = styled(style, format!("{}[{}]", diagnostic.severity, diagnostic.code));
    let mut text = format!("{head} {}\n", diagnostic.message);
    if !diagnostic.file.as_os_str().is_empty() {
        let place = format!("{}:{}:{}", diagnostic.file, diagnostic.line, diagnostic.column);
        text.push_str(&format!("  at {place}\n"));
    }
    if let (Some(source), Some(span)) = (sources.text(diagnostic), diagnostic.span.clone())
        && !span.is_empty()
    {
        text.push_str(&snippet(source, span));
    }
    if let Some(help) = &diagnostic.help {
        text.push_str(&format!("  {} {help}\n", styled(CYAN, "hint:")));
    }
    text
}

/// A table may span many lines; the caret stands under the first of them.
fn snippet(source: &str, span: std::ops::Range<usize>) -> String {
    let end = source[span.start..span.end].find('\n').map_or(span.end, |newline| span.start + newline);
    let group = Level::ERROR.no_name().primary_title("").element(
        Snippet::source(source).line_start(1).annotation(AnnotationKind::Primary.span(span.start..end)),
    );
    let drawn = Renderer::styled().decor_style(DecorStyle::Ascii).render(&[group]);
    // The first line is the title, which the caller has written in its own form.
    let body: Vec<&str> = drawn.lines().skip(1).filter(|line| !line.trim().is_empty()).collect();
    body.iter().map(|line| format!("  {line}\n")).collect()
}

/// Draws findings of a command whose result is something else.
pub(crate) fn note_problems(report: &LintReport, sources: &Sources<'_>, out: &mut Out) {
    for diagnostic in report.diagnostics.iter().filter(|d| d.severity != Severity::Info) {
        out.note(draw(diagnostic, sources).trim_end());
    }
}

/// Returns findings as JSON.
pub(crate) fn diagnostics_json(report: &LintReport) -> Value {
    let list: Vec<Value> = report
        .diagnostics
        .iter()
        .map(|d| {
            json!({
                "code": d.code,
                "severity": d.severity.as_str(),
                "file": d.file.to_string_lossy(),
                "line": d.line,
                "column": d.column,
                "message": d.message,
                "help": d.help,
            })
        })
        .collect();
    Value::from(list)
}

/// Writes a count with its word: `1 flag`, `2 flags`.
pub(crate) fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Ends a command that needs a namespace without errors.
pub(crate) fn refuse(report: &LintReport) -> Failure {
    let errors = plural(report.errors().count(), "error");
    Failure::new(crate::failure::exit::BAD, format!("namespace `{}` has {errors}", report.namespace))
        .with_hint("mend them first; `leverframe lint` shows all findings")
}
