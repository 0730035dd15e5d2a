//! `leverframe lint`

use leverframe::{LintReport, Severity, manifest::lint::CODES};
use serde_json::json;

use crate::{
    args::{Format, LintArgs},
    failure::{Failure, exit},
    output::{BOLD, Envelope, GREEN, Out, Sources, diagnostics_json, draw, plural, styled},
    place::Place,
};

pub(super) fn run(args: &LintArgs, out: &mut Out) -> Result<u8, Failure> {
    if let Some(code) = &args.explain {
        return explain(code, out);
    }
    let place = Place::read(&args.place, args.schema_major)?;
    let report = place.report();
    match args.format.format {
        Format::Human => human(args, report, &Sources(&place.tree), out)?,
        Format::Json => json(args, report, out)?,
    }
    let bad = report.has_errors() || args.deny_warnings && report.warnings().next().is_some();
    Ok(if bad { exit::BAD } else { exit::OK })
}

fn human(args: &LintArgs, report: &LintReport, sources: &Sources<'_>, out: &mut Out) -> Result<(), Failure> {
    let mut shown = 0;
    for diagnostic in &report.diagnostics {
        if diagnostic.severity != Severity::Info || args.verbose {
            out.line(draw(diagnostic, sources))?;
            shown += 1;
        }
    }
    let (errors, warnings) = (report.errors().count(), report.warnings().count());
    if errors + warnings > 0 {
        out.line(format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")))?;
    }
    if report.passed() {
        let name = styled(BOLD, &report.namespace);
        let (flags, segments) = (plural(report.flags, "flag"), plural(report.segments, "segment"));
        out.line(format!("namespace '{name}': {flags}, {segments} — {}", styled(GREEN, "OK")))?;
    }
    let infos = report.infos().count();
    if infos > 0 && shown == 0 && !args.verbose {
        out.note(format!("{} not shown; see them with --verbose", plural(infos, "info")));
    }
    Ok(())
}

fn json(args: &LintArgs, report: &LintReport, out: &mut Out) -> Result<(), Failure> {
    let result = json!({
        "namespace": report.namespace,
        "passed": report.passed(),
        "flags": report.flags,
        "segments": report.segments,
        "diagnostics": diagnostics_json(report),
    });
    let inputs = json!({ "place": args.place, "deny_warnings": args.deny_warnings, "schema_major": args.schema_major });
    Envelope::new("lint", inputs, &args.place).write(out, result)
}

fn explain(code: &str, out: &mut Out) -> Result<u8, Failure> {
    let wanted = code.to_ascii_uppercase();
    let Some(info) = CODES.iter().find(|info| info.code == wanted) else {
        let known: Vec<&str> = CODES.iter().map(|info| info.code).collect();
        return Err(Failure::usage(format!("there is no code `{code}`"))
            .with_hint(format!("codes: {}", known.join(" "))));
    };
    out.line(format!("{} ({}): {}", styled(BOLD, info.code), info.severity, info.summary))?;
    Ok(exit::OK)
}
