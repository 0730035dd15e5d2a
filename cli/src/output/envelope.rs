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
        }
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
        let invocation: Vec<String> =
            std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
        let object = json!({
            "query": self.query,
            "query_version": 1,
            "schema_version": 1,
            "exd_version": version,
            "inputs": self.inputs,
            "result": result,
            "diagnostics": self.diagnostics,
            "provenance": {
                "source": [self.source],
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
