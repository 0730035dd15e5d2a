//! The JSON form of every result: one object with where it came from.

use leverframe::{backends::clock_system::SystemClock, traits::Clock};
use serde_json::{Value, json};

use super::Out;
use crate::failure::Failure;

/// A result on its way out as JSON.
pub(crate) struct Envelope {
    query: &'static str,
    engine: &'static str,
    inputs: Value,
    source: String,
    versions: Vec<u64>,
    diagnostics: Value,
    hidden: Option<String>,
}

impl Envelope {
    /// Names the query, what it was asked with, and the place it looked at.
    pub(crate) fn new(query: &'static str, inputs: Value, source: &str) -> Self {
        Self {
            query,
            engine: "static",
            inputs,
            source: source.to_owned(),
            versions: Vec::new(),
            diagnostics: json!([]),
            hidden: None,
        }
    }

    /// Leaves an argument out of what is said of the invocation.
    pub(crate) fn hiding(mut self, argument: Option<&str>) -> Self {
        self.hidden = argument.map(str::to_owned);
        self
    }

    pub(crate) fn engine(mut self, engine: &'static str) -> Self {
        self.engine = engine;
        self
    }

    pub(crate) fn version(mut self, version: u64) -> Self {
        self.versions.push(version);
        self
    }

    /// Writes the object, and nothing else; only `executed_at` differs between equal runs.
    pub(crate) fn write(self, out: &mut Out, result: Value) -> Result<(), Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let arguments = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned());
        let hide = |argument: String| {
            if self.hidden.as_ref() == Some(&argument) { "***".to_owned() } else { argument }
        };
        let arguments = arguments.map(hide);
        let invocation = without_secrets(arguments);
        let object = json!({
            "query": self.query,
            "query_version": 1,
            "schema_version": 1,
            "exd_version": version,
            "inputs": cleaned(self.inputs),
            "result": result,
            "diagnostics": self.diagnostics,
            "provenance": {
                "source": [without_user_info(&self.source)],
                "time_range": { "from": null, "to": null },
                "manifest_versions_observed": self.versions,
                "executed_at": leverframe::rfc3339(SystemClock::new().wall()),
                "engine": self.engine,
                "engine_version": version,
                "record_count": 0,
                "thresholds_source": null,
                "tool_invocation": invocation,
            },
        });
        out.line(format!("{object:#}"))
    }
}

/// Takes out what must not reach whatever keeps the output: tokens, and credentials inside of URIs.
fn without_secrets(arguments: impl Iterator<Item = String>) -> Vec<String> {
    const SECRET: [&str; 2] = ["--key", "--token"];
    let mut hide_next = false;
    arguments
        .map(|argument| {
            if std::mem::take(&mut hide_next) {
                return "***".to_owned();
            }
            hide_next = SECRET.contains(&argument.as_str());
            match argument.split_once('=') {
                Some((name, _)) if SECRET.contains(&name) => format!("{name}=***"),
                _ => without_user_info(&argument),
            }
        })
        .collect()
}

fn cleaned(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_user_info(&text)),
        Value::Array(items) => items.into_iter().map(cleaned).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, cleaned(value))).collect(),
        other => other,
    }
}

/// Returns a URI without what stands before the host; any other text as it is.
fn without_user_info(text: &str) -> String {
    let Some(at) = text.find("://").map(|at| at + "://".len()) else { return text.to_owned() };
    let authority = &text[at..][..text[at..].find(['/', '?', '#']).unwrap_or(text.len() - at)];
    match authority.rfind('@') {
        Some(user_info) => format!("{}***{}", &text[..at], &text[at + user_info..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_passwords_are_taken_out_of_the_invocation() {
        let arguments = [
            "push",
            "--token",
            "s3cret",
            "--token=s3cret",
            "--key=s3cret",
            "a=b",
            "--database=postgres://ann:s3cret@h/d",
        ];

        let shown = without_secrets(arguments.map(str::to_owned).into_iter());

        assert_eq!(
            shown,
            ["push", "--token", "***", "--token=***", "--key=***", "a=b", "--database=postgres://***@h/d"]
        );
        assert_eq!(cleaned(json!({ "place": "https://u:p@h/a@b" })), json!({ "place": "https://***@h/a@b" }));
    }
}
