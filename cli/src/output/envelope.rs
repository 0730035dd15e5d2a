//! The JSON form of every result: one object with where it came from.

use std::time::{SystemTime, UNIX_EPOCH};

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
                "executed_at": rfc3339(SystemClock::new().wall()),
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

/// Writes a time as RFC 3339 in UTC with milliseconds.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days to a date by eras of 400 years that begin in March, so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        let at = |seconds, millis| {
            rfc3339(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis))
        };

        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_778_250_133, 123), "2026-05-08T14:22:13.123Z");
    }
}
