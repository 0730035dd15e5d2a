//! `leverframe eval`

use leverframe::{EvalContext, EvalOptions, RuleMatched, eval::Evaluation};
use serde_json::{Map, Value, json};

use crate::{
    args::{EvalArgs, Format},
    failure::{Failure, exit},
    output::{BOLD, Envelope, Out, styled},
    place::{Checked, Place},
};

/// A command reads a namespace once, so this is what every result carries.
const VERSION: u64 = 1;

pub(super) fn run(args: &EvalArgs, out: &mut Out) -> Result<u8, Failure> {
    let context = args.context.context()?;
    let options = args.context.options();
    let checked = Place::checked(&args.manifest.manifest, out)?;
    match (&args.flag, args.manifest.format.format) {
        (Some(flag), Format::Human) => one_human(args, &checked, flag, &context, &options, out),
        (Some(flag), Format::Json) => one_json(args, &checked, flag, &context, &options, out),
        (None, Format::Human) => all_human(args, &checked, &context, &options, out),
        (None, Format::Json) => all_json(args, &checked, &context, &options, out),
    }
}

/// Adds the nearest name to an error about an unknown one.
pub(super) fn unknown(error: leverframe::EvalError, checked: &Checked) -> Failure {
    use leverframe::EvalError::{UnknownEnvironment, UnknownFlag};
    let (word, known): (&str, Vec<&str>) = match &error {
        UnknownFlag { flag } => (flag, checked.program.flags().map(|(key, _)| key).collect()),
        UnknownEnvironment { environment, .. } => {
            let roster = checked.manifest.environments.as_deref().unwrap_or_default();
            (environment, roster.iter().map(|e| e.name.as_str()).collect())
        }
        _ => return error.into(),
    };
    let hint = leverframe::manifest::lint::did_you_mean(word, known.iter().copied()).unwrap_or_else(|| {
        if known.is_empty() {
            "an environment is `[a-z][a-z0-9_-]*`".to_owned()
        } else {
            format!("known: {}", known.iter().take(20).copied().collect::<Vec<_>>().join(", "))
        }
    });
    Failure::from(error).with_hint(hint)
}

fn one_human(
    args: &EvalArgs,
    checked: &Checked,
    flag: &str,
    context: &EvalContext,
    options: &EvalOptions,
    out: &mut Out,
) -> Result<u8, Failure> {
    if args.trace {
        let trace =
            checked.program.trace(flag, &args.env, context, options).map_err(|e| unknown(e, checked))?;
        out.text(trace.to_string())?;
        out.line(format!("ctx:     {}", context_words(context)))?;
        return Ok(if trace.outcome().is_ok() { exit::OK } else { exit::BAD });
    }
    let evaluation =
        checked.program.evaluate(flag, &args.env, context, options).map_err(|e| unknown(e, checked))?;
    out.line(evaluation.variant_key)?;
    Ok(exit::OK)
}

fn one_json(
    args: &EvalArgs,
    checked: &Checked,
    flag: &str,
    context: &EvalContext,
    options: &EvalOptions,
    out: &mut Out,
) -> Result<u8, Failure> {
    let mut result = json!({ "flag": flag, "environment": args.env });
    let (fields, code) = match outcome(checked, flag, &args.env, context, options)? {
        Ok(evaluation) => (fields(&evaluation), exit::OK),
        Err(mismatch) => (mismatch_fields(checked, flag, &mismatch), exit::BAD),
    };
    if let (Value::Object(result), Value::Object(fields)) = (&mut result, fields) {
        result.extend(fields);
        if args.trace {
            let trace = checked.program.trace(flag, &args.env, context, options)?;
            result.insert("trace".to_owned(), trace.to_json());
        }
    }
    envelope("eval", args, context).write(out, result)?;
    Ok(code)
}

fn all_human(
    args: &EvalArgs,
    checked: &Checked,
    context: &EvalContext,
    options: &EvalOptions,
    out: &mut Out,
) -> Result<u8, Failure> {
    let width = checked.program.flags().map(|(key, _)| key.len()).max().unwrap_or(0);
    let mut code = exit::OK;
    let mut qualified = std::collections::BTreeSet::new();
    for (flag, _) in checked.program.flags() {
        let line = match outcome(checked, flag, &args.env, context, options)? {
            Ok(evaluation) => evaluation.variant_key.to_owned(),
            Err(mismatch) => {
                code = exit::BAD;
                format!("({mismatch})")
            }
        };
        if args.trace {
            out.line(styled(BOLD, flag))?;
            let trace = checked.program.trace(flag, &args.env, context, options)?;
            for line in trace.to_string().lines() {
                out.line(format!("  {line}"))?;
            }
            qualified.extend(trace.segments().map(str::to_owned));
        } else {
            out.line(format!("{flag:width$} {line}"))?;
        }
    }
    if args.trace {
        let list = if qualified.is_empty() {
            "none".to_owned()
        } else {
            qualified.into_iter().collect::<Vec<_>>().join(", ")
        };
        out.line(format!("{} {list}", styled(BOLD, "segments qualified:")))?;
        out.line(format!("ctx: {}", context_words(context)))?;
    }
    Ok(code)
}

fn all_json(
    args: &EvalArgs,
    checked: &Checked,
    context: &EvalContext,
    options: &EvalOptions,
    out: &mut Out,
) -> Result<u8, Failure> {
    let mut flags = Map::new();
    let mut code = exit::OK;
    for (flag, _) in checked.program.flags() {
        let value = match outcome(checked, flag, &args.env, context, options)? {
            Ok(evaluation) => fields(&evaluation),
            Err(mismatch) => {
                code = exit::BAD;
                mismatch_fields(checked, flag, &mismatch)
            }
        };
        flags.insert(flag.to_owned(), value);
    }
    envelope("eval-all", args, context).write(out, json!({ "environment": args.env, "flags": flags }))?;
    Ok(code)
}

/// A mismatch of types is an outcome like any other; unknown names end the command.
fn outcome<'c>(
    checked: &'c Checked,
    flag: &str,
    environment: &str,
    context: &EvalContext,
    options: &EvalOptions,
) -> Result<Result<Evaluation<'c>, RuleMatched>, Failure> {
    use leverframe::EvalError::AttrTypeMismatch;
    match checked.program.evaluate(flag, environment, context, options) {
        Ok(evaluation) => Ok(Ok(evaluation)),
        Err(AttrTypeMismatch { attribute, expected, actual }) => {
            Ok(Err(RuleMatched::AttrTypeMismatch { attribute, expected, actual }))
        }
        Err(error) => Err(unknown(error, checked)),
    }
}

fn fields(evaluation: &Evaluation<'_>) -> Value {
    json!({
        "value": evaluation.value.to_json(),
        "variant_key": evaluation.variant_key,
        "rule_matched": evaluation.rule_matched.to_string(),
        "flag_version": VERSION,
    })
}

fn mismatch_fields(checked: &Checked, flag: &str, mismatch: &RuleMatched) -> Value {
    let fallback =
        checked.manifest.flags.get(flag).map(|f| leverframe::FlagValue::fallback(f.flag_type).to_json());
    let mut fields = json!({
        "value": fallback,
        "variant_key": null,
        "rule_matched": mismatch.to_string(),
        "flag_version": VERSION,
    });
    if let RuleMatched::AttrTypeMismatch { attribute, expected, actual } = mismatch {
        fields["mismatch"] =
            json!({ "attribute": &**attribute, "expected": expected.as_str(), "actual": actual.as_str() });
    }
    fields
}

fn envelope(query: &'static str, args: &EvalArgs, context: &EvalContext) -> Envelope {
    let inputs = json!({
        "flag": args.flag,
        "environment": args.env,
        "manifest": args.manifest.manifest,
        "context": context_json(context),
        "include_testing": args.context.include_testing,
    });
    Envelope::new(query, inputs, &args.manifest.manifest).engine("static+ctx").version(VERSION)
}

pub(super) fn context_json(context: &EvalContext) -> Value {
    let mut sorted: Vec<_> = context.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    Value::Object(sorted.into_iter().map(|(key, value)| (key.to_owned(), value.to_json())).collect())
}

pub(super) fn context_words(context: &EvalContext) -> String {
    let mut words: Vec<String> =
        context.iter().map(|(key, value)| format!("{key}={}", value.to_json())).collect();
    words.sort();
    if words.is_empty() { "(empty)".to_owned() } else { words.join(" ") }
}
