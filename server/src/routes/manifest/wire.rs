//! What the manifest routes send.

use std::time::SystemTime;

use leverframe::{LintDiagnostic, LintReport, rfc3339};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::VersionRecord;

/// Everything lint found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Lint {
    /// What the manifest is refused for.
    pub(crate) errors: Vec<Diagnostic>,
    /// What is probably not meant.
    pub(crate) warnings: Vec<Diagnostic>,
    /// What could be better documented.
    pub(crate) infos: Vec<Diagnostic>,
}

/// One finding of lint.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Diagnostic {
    /// The stable code.
    #[schema(example = "E004")]
    pub(crate) code: &'static str,
    /// `error`, `warning` or `info`.
    #[schema(example = "error")]
    pub(crate) severity: &'static str,
    /// The file, relative to the namespace's root; empty for the namespace as a whole.
    #[schema(example = "flags/new-checkout.toml")]
    pub(crate) file: String,
    /// 1-based; 1 where the file as a whole is meant.
    pub(crate) line: usize,
    /// 1-based, counted in characters.
    pub(crate) column: usize,
    /// What is wrong.
    pub(crate) message: String,
    /// The next step, where one is known.
    pub(crate) help: Option<String>,
}

impl Lint {
    /// Takes over a report.
    pub(crate) fn of(report: &LintReport) -> Self {
        Self {
            errors: report.errors().map(Diagnostic::of).collect(),
            warnings: report.warnings().map(Diagnostic::of).collect(),
            infos: report.infos().map(Diagnostic::of).collect(),
        }
    }

    /// Returns the object as a detail of a refusal.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        // Text and numbers only, which always have a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Diagnostic {
    fn of(d: &LintDiagnostic) -> Self {
        Self {
            code: d.code,
            severity: d.severity.as_str(),
            file: d.file.to_string(),
            line: d.line,
            column: d.column,
            message: d.message.clone(),
            help: d.help.clone(),
        }
    }
}

/// The version that an upload or a rollback made current.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The current version: a new one, or the one before where the content is equal.
    #[schema(example = 8)]
    pub(crate) version: u64,
    /// When it was uploaded.
    #[schema(example = "2026-04-25T12:00:00Z")]
    pub(crate) uploaded_at: String,
    /// How many flags it has.
    pub(crate) flag_count: u64,
    /// How many segments it has.
    pub(crate) segment_count: u64,
    /// What lint found; no errors.
    pub(crate) lint: Lint,
    /// The request's id.
    pub(crate) request_id: String,
}

/// What lint found in an archive that was only shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Checked {
    /// Whether it would be accepted.
    pub(crate) passed: bool,
    /// How many flag files it has.
    pub(crate) flag_count: u64,
    /// How many segment files it has.
    pub(crate) segment_count: u64,
    /// What lint found.
    pub(crate) lint: Lint,
    /// The request's id.
    pub(crate) request_id: String,
}

/// A part of the history.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// Versions, newest first.
    pub(crate) versions: Vec<Version>,
    /// What to send as `cursor` for the next part; null at the end.
    pub(crate) next_cursor: Option<String>,
    /// The request's id.
    pub(crate) request_id: String,
}

/// What is known of one version.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Version {
    /// 1 for the first.
    #[schema(example = 8)]
    pub(crate) version: u64,
    /// When it was uploaded.
    #[schema(example = "2026-04-25T12:00:00Z")]
    pub(crate) uploaded_at: String,
    /// The id of the principal that uploaded it.
    pub(crate) uploaded_by: String,
    /// How many flags it has.
    pub(crate) flag_count: u64,
    /// How many segments it has.
    pub(crate) segment_count: u64,
    /// Lower-case hex SHA-256 of the archive.
    pub(crate) sha256: String,
    /// Bytes of the archive.
    pub(crate) size: u64,
}

impl Version {
    pub(super) fn of(record: VersionRecord) -> Self {
        Self {
            version: record.version,
            uploaded_at: seconds(record.uploaded_at),
            uploaded_by: record.uploaded_by,
            flag_count: record.flag_count,
            segment_count: record.segment_count,
            sha256: record.sha256,
            size: record.size,
        }
    }
}

/// Which version to go back to.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// The version whose content becomes current again, as a new version.
    #[schema(minimum = 1)]
    pub(crate) version: u64,
    /// The version that must be current for that; any, if left out.
    pub(crate) if_version: Option<u64>,
}

/// What differs between two versions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Difference {
    /// The older version, as asked for.
    pub(crate) from: u64,
    /// The newer version, as asked for.
    pub(crate) to: u64,
    /// Changes in words, in order.
    pub(crate) changes: Vec<Change>,
    /// For each flag and environment that some entity gets another value in, how many do.
    #[schema(value_type = Vec<Object>)]
    pub(crate) moves: serde_json::Value,
    /// The largest share that moves anywhere; null where it could not be told exactly.
    #[schema(value_type = Option<Object>)]
    pub(crate) max_moved: serde_json::Value,
    /// The request's id.
    pub(crate) request_id: String,
}

/// One thing that differs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Change {
    /// `added`, `changed` or `removed`.
    #[schema(example = "changed")]
    pub(crate) kind: &'static str,
    /// What it is about.
    #[schema(example = "segment `first`")]
    pub(crate) subject: String,
    /// What differs, in words; empty where the subject says all.
    pub(crate) detail: String,
}

/// Writes a time to the second.
pub(super) fn seconds(time: SystemTime) -> String {
    let mut text = rfc3339(time);
    // `rfc3339` ends in a dot, three digits and the zone.
    text.truncate(text.len() - ".000Z".len());
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(seconds(UNIX_EPOCH + Duration::from_millis(951_782_400_999)), "2000-02-29T00:00:00Z");
    }
}
