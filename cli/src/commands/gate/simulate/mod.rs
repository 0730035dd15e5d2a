//! `leverframe gate simulate`

mod replay;
mod sliding;
mod told;
mod trace;

use std::{
    fs::File,
    io::{Read, stdin},
    path::Path,
};

use leverframe::{
    Error, Severity,
    document::Tree,
    gate::{
        Policy,
        reflex::{Decision, ReflexRule, Ruleset},
    },
    manifest::archive::limits,
};
use serde_json::json;

use self::{
    replay::{Refused, Replay, Site},
    told::Told,
    trace::Trace,
};
use crate::{
    args::{Format, GateSimulateArgs},
    failure::{Failure, exit},
    output::{Envelope, Out, Sources, draw, plural},
};

pub(super) fn run(args: &GateSimulateArgs, out: &mut Out) -> Result<u8, Failure> {
    if args.trace == "-" && (is_stdin(&args.rules) || args.policy.as_deref().is_some_and(is_stdin)) {
        return Err(Failure::usage("standard input can only be read once")
            .with_hint("give a file for all but one of --rules, --trace and --policy"));
    }
    let rules = rules(&args.rules, out)?;
    let policy = args.policy.as_deref().map(policy).transpose()?.unwrap_or_default();
    let mut trace = Trace::open(&args.trace)?;
    let mut replay = Replay::new(rules);
    let mut told = Told::new(policy, args.format.format);
    let (mut pulses, mut first) = (0_u64, None);
    let mut last = 0;
    while let Some((line, pulse)) = trace.advance()? {
        let mut tell =
            |site: &str, state: &Site, decisions: &[Decision]| told.tell(site, state, decisions, out);
        match replay.add(&pulse, &mut tell)? {
            Ok(()) => {}
            Err(Refused::Late) => {
                return Err(trace
                    .bad(line, "its `ts` lies far before that of a line above")
                    .with_hint("sort the trace by time: jq -sc 'sort_by(.ts)[]' FILE"));
            }
            Err(Refused::TooManySites) => {
                return Err(trace
                    .bad(line, "a hundred sites came before it, and an organisation has no more")
                    .with_hint("take one organisation out of the trace at a time"));
            }
        }
        pulses += 1;
        first.get_or_insert(pulse.ts);
        last = last.max(pulse.ts);
    }
    let mut tell = |site: &str, state: &Site, decisions: &[Decision]| told.tell(site, state, decisions, out);
    replay.finish(args.silence, &mut tell)?;
    let spent = last - first.unwrap_or(last);
    let sites = replay.sites();
    match args.format.format {
        Format::Human => {
            let (pulses, sites_words) = (plural(pulses as usize, "pulse"), plural(sites.len(), "site"));
            let seconds = spent.div_ceil(1_000) + args.silence;
            out.line(format!("{pulses} of {sites_words} over {seconds} s: {}", told.summary(sites)))?;
        }
        Format::Json => {
            let inputs = json!({
                "rules": args.rules, "trace": args.trace, "policy": args.policy, "silence": args.silence,
            });
            let result = told.result(sites, pulses);
            Envelope::new("gate-simulate", inputs, &trace.name).engine("reflex").write(out, result)?;
        }
    }
    Ok(exit::OK)
}

fn rules(path: &Path, out: &mut Out) -> Result<Vec<ReflexRule>, Failure> {
    let text = read("read the rules", path, limits::FILE)?;
    let text = String::from_utf8(text).map_err(|_| {
        Failure::new(exit::BAD, format!("{} is not UTF-8", path.display()))
            .with_hint("save the file as UTF-8")
    })?;
    let (ruleset, findings) = Ruleset::parse(&text);
    let tree: Tree = [("gate.toml", text)].into_iter().collect();
    for finding in findings.iter().filter(|finding| finding.severity != Severity::Info) {
        out.note(draw(finding, &Sources(&tree)).trim_end());
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    match ruleset {
        Some(ruleset) => Ok(ruleset.rules().to_vec()),
        None => Err(Failure::new(exit::BAD, format!("{}: {}", path.display(), plural(errors, "error")))
            .with_hint("mend the rules; `leverframe lint --explain CODE` says more of a code")),
    }
}

fn policy(path: &Path) -> Result<Policy, Failure> {
    let text = read("read the policy", path, limits::FILE)?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(exit::BAD, format!("{} is no policy: {error}", path.display())).with_hint(
            r#"write it as clients get it, such as {"globalMaxWeight":500,"tagMaxWeights":{"free":10}}"#,
        )
    })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads a file that is not larger than anything of its kind.
fn read(operation: &'static str, path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let failed = |error| Error::from_io(operation, error).with("path", path.display());
    let mut content = Vec::new();
    let most = limit as u64 + 1;
    let read = match is_stdin(path) {
        true => stdin().take(most).read_to_end(&mut content),
        false => File::open(path).and_then(|file| file.take(most).read_to_end(&mut content)),
    };
    read.map_err(failed)?;
    if content.len() > limit {
        return Err(Failure::new(exit::BAD, format!("{} has more than {limit} bytes", path.display())));
    }
    Ok(content)
}
