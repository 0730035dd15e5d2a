//! Evaluations in OFREP's words, written as they are made.

use leverframe::{EvalContext, EvalOptions};

use super::failure::{Code, Failure};
use crate::{
    heads::Head,
    routes::evaluate::{comma, json, value},
};

/// Bytes of each flag, as a first guess.
const EACH: usize = 144;

/// What is evaluated for whom.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) head: &'a Head,
    pub(super) environment: &'a str,
    /// With the targeting key filled in.
    pub(super) context: &'a EvalContext,
}

impl Question<'_> {
    /// Writes the evaluation of one flag.
    ///
    /// # Errors
    /// Why there is none; nothing was written then.
    pub(super) fn write(&self, out: &mut Vec<u8>, key: &str) -> Result<(), Failure> {
        let splits = self.head.splits();
        if let Some(id) = splits.lacking(key, self.environment, |id| self.context.get(id).is_some()) {
            return Err(Failure::new(
                Code::TargetingKeyMissing,
                format!("the flag is split by `{id}`, and the context has neither it nor a `targetingKey`"),
            ));
        }
        let options = EvalOptions::new();
        let evaluation = self
            .head
            .program
            .evaluate(key, self.environment, self.context, &options)
            .map_err(|error| Failure::from(&error))?;
        out.extend_from_slice(b"{\"key\":");
        json(out, key);
        out.extend_from_slice(b",\"value\":");
        value(out, evaluation.value);
        out.extend_from_slice(b",\"reason\":\"");
        let reason = splits.reason(key, self.environment, &evaluation.rule_matched);
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\",\"variant\":");
        json(out, evaluation.variant_key);
        out.extend_from_slice(b",\"metadata\":{\"ruleMatched\":");
        json(out, &evaluation.rule_matched.to_string());
        out.extend_from_slice(b",\"flagVersion\":");
        json(out, &self.head.record.version);
        out.extend_from_slice(b"}}");
        Ok(())
    }

    /// Writes the evaluations of all flags, with those that fail among them.
    pub(super) fn write_all(&self, request_uri: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.head.program.len() * EACH);
        out.extend_from_slice(b"{\"flags\":[");
        let mut first = true;
        for (key, _) in self.head.program.flags() {
            comma(&mut out, &mut first);
            match self.write(&mut out, key) {
                Ok(()) | Err(Failure::Refused(_)) => {}
                Err(Failure::Coded(code, details)) => {
                    out.extend_from_slice(b"{\"key\":");
                    json(&mut out, key);
                    out.extend_from_slice(b",\"errorCode\":");
                    json(&mut out, code.as_str());
                    out.extend_from_slice(b",\"errorDetails\":");
                    json(&mut out, &details);
                    out.push(b'}');
                }
            }
        }
        out.extend_from_slice(b"],\"metadata\":{\"environment\":");
        json(&mut out, self.environment);
        out.extend_from_slice(b",\"version\":");
        json(&mut out, &self.head.record.version);
        out.push(b'}');
        out.extend_from_slice(b",\"eventStreams\":[{\"type\":\"sse\",\"endpoint\":{\"requestUri\":");
        json(&mut out, request_uri);
        out.extend_from_slice(b"},\"inactivityDelaySec\":120}]}");
        out
    }
}
