//! The answer, written as it is evaluated into one buffer.

use std::io::Write;

use leverframe::{EvalContext, EvalError, EvalOptions, FlagValue, RuleMatched, eval::Evaluation};
use serde::Serialize;

use crate::heads::Head;

/// Bytes of the answer but for the flags, and of each flag, as a first guess.
const FRAME: usize = 192;
const EACH: usize = 112;

/// What is evaluated for whom.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) head: &'a Head,
    pub(crate) namespace: &'a str,
    pub(crate) environment: &'a str,
    pub(crate) context: &'a EvalContext,
    pub(crate) options: EvalOptions,
}

/// Evaluates the flags and writes the answer.
pub(crate) fn write<'k>(
    question: &Question<'_>,
    keys: impl ExactSizeIterator<Item = &'k str>,
    request_id: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME + keys.len() * EACH);
    let version = question.head.record.version;
    out.extend_from_slice(b"{\"namespace\":");
    json(&mut out, question.namespace);
    out.extend_from_slice(b",\"environment\":");
    json(&mut out, question.environment);
    out.extend_from_slice(b",\"manifest_version\":");
    json(&mut out, &version);
    out.extend_from_slice(b",\"results\":{");
    // Results and errors stand apart, so errors wait; there are hardly ever any.
    let mut errors = Vec::new();
    let mut first = true;
    for key in keys {
        match question.head.program.evaluate(key, question.environment, question.context, &question.options) {
            Ok(evaluation) => {
                comma(&mut out, &mut first);
                json(&mut out, key);
                result(&mut out, &evaluation, version);
            }
            Err(error) => errors.push((key, error)),
        }
    }
    out.extend_from_slice(b"},\"errors\":{");
    let mut first = true;
    for (key, error) in errors {
        comma(&mut out, &mut first);
        json(&mut out, key);
        failure(&mut out, &error);
    }
    out.extend_from_slice(b"},\"request_id\":");
    json(&mut out, request_id);
    out.push(b'}');
    out
}

fn result(out: &mut Vec<u8>, evaluation: &Evaluation<'_>, version: u64) {
    out.extend_from_slice(b":{\"value\":");
    value(out, evaluation.value);
    out.extend_from_slice(b",\"variant_key\":");
    json(out, evaluation.variant_key);
    out.extend_from_slice(b",\"rule_matched\":");
    match evaluation.rule_matched {
        RuleMatched::Rule(index) => {
            out.extend_from_slice(b"\"rule:");
            json(out, &index);
            out.push(b'"');
        }
        _ => out.extend_from_slice(b"\"default\""),
    }
    out.extend_from_slice(b",\"flag_version\":");
    json(out, &version);
    out.push(b'}');
}

fn failure(out: &mut Vec<u8>, error: &EvalError) {
    out.extend_from_slice(b":{\"code\":");
    json(out, error.code());
    out.extend_from_slice(b",\"message\":");
    json(out, &error.to_string());
    if let EvalError::AttrTypeMismatch { attribute, expected, actual } = error {
        out.extend_from_slice(b",\"attribute\":");
        json(out, &**attribute);
        out.extend_from_slice(b",\"expected\":");
        json(out, expected.as_str());
        out.extend_from_slice(b",\"actual\":");
        json(out, actual.as_str());
    }
    out.push(b'}');
}

/// Writes a flag's value.
pub(crate) fn value(out: &mut Vec<u8>, value: &FlagValue) {
    match value {
        FlagValue::Bool(value) => json(out, value),
        FlagValue::String(value) => json(out, &**value),
        FlagValue::Int(value) => json(out, value),
        FlagValue::Float(value) => json(out, value),
        FlagValue::Json(value) => json(out, &**value),
    }
}

/// Writes anything that JSON has a form for.
pub(crate) fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let start = out.len();
    if serde_json::to_writer(out.by_ref(), value).is_err() {
        // A vector takes every byte, and text, numbers and trees of them always have a form.
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// Writes the comma before every entry but the first.
pub(crate) fn comma(out: &mut Vec<u8>, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}
