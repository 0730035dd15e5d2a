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

impl<'a> Question<'a> {
    /// Evaluates the flags of these keys.
    pub(crate) fn some(
        &'a self,
        keys: &'a [&'a str],
    ) -> impl ExactSizeIterator<Item = (&'a str, Result<Evaluation<'a>, EvalError>)> {
        let program = &self.head.program;
        keys.iter().map(|key| (*key, program.evaluate(key, self.environment, self.context, &self.options)))
    }

    /// Evaluates all flags.
    pub(crate) fn all(
        &'a self,
    ) -> impl ExactSizeIterator<Item = (&'a str, Result<Evaluation<'a>, EvalError>)> {
        self.head.program.evaluate_all(self.environment, self.context, &self.options)
    }
}

/// Writes the answer while the flags are evaluated.
pub(crate) fn write<'a>(
    question: &Question<'_>,
    evaluations: impl ExactSizeIterator<Item = (&'a str, Result<Evaluation<'a>, EvalError>)>,
    request_id: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME + evaluations.len() * EACH);
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
    let mut end = b",\"flag_version\":".to_vec();
    json(&mut end, &version);
    end.push(b'}');
    for (key, evaluated) in evaluations {
        match evaluated {
            Ok(evaluation) => {
                comma(&mut out, &mut first);
                json(&mut out, key);
                result(&mut out, &evaluation);
                out.extend_from_slice(&end);
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

fn result(out: &mut Vec<u8>, evaluation: &Evaluation<'_>) {
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
