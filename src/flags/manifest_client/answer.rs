//! How answers of the server are read.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};

use super::ManifestError;
use crate::{Error, ErrorKind, Secret, Severity};

/// What was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestMetadata {
    /// The version.
    pub version: u64,
    /// How many flags it has.
    pub flag_count: usize,
    /// How many segments it has.
    pub segment_count: usize,
    /// Bytes of its archive.
    pub size: u64,
    /// Lower-case hex SHA-256 of its archive.
    pub sha256: String,
    /// How many files of the directory are new or have other content now.
    pub written: usize,
    /// How many files of the namespace are gone from the directory.
    pub removed: usize,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct PushedManifest {
    /// The current version now. Equal to the one before where the content is.
    pub version: u64,
    /// When it was accepted, as RFC 3339.
    #[serde(default)]
    pub uploaded_at: String,
    /// How many flags it has.
    #[serde(default)]
    pub flag_count: u64,
    /// How many segments it has.
    #[serde(default)]
    pub segment_count: u64,
    /// What the server's lint says.
    #[serde(default)]
    pub lint: ServerLint,
}

/// One accepted version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ManifestVersion {
    /// The number.
    pub version: u64,
    /// When it was accepted, as RFC 3339.
    #[serde(default)]
    pub uploaded_at: String,
    /// The id of who uploaded it.
    #[serde(default)]
    pub uploaded_by: String,
    /// How many flags it has.
    #[serde(default)]
    pub flag_count: u64,
    /// How many segments it has.
    #[serde(default)]
    pub segment_count: u64,
    /// Lower-case hex SHA-256 of its archive.
    #[serde(default)]
    pub sha256: String,
    /// Bytes of its archive.
    #[serde(default)]
    pub size: u64,
}

/// What the server's lint says of a manifest.
///
/// # Examples
/// ```
/// use leverframe::flags::ServerLint;
/// assert!(ServerLint::default().passed());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ServerLint {
    /// What the manifest is refused for.
    pub errors: Vec<ServerFinding>,
    /// What is probably not meant.
    pub warnings: Vec<ServerFinding>,
    /// What could be better documented.
    pub infos: Vec<ServerFinding>,
}

impl ServerLint {
    /// Returns true if there are no errors.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.errors.is_empty()
    }

    /// Returns all findings with their severities, errors first.
    pub fn findings(&self) -> impl Iterator<Item = (Severity, &ServerFinding)> {
        let errors = self.errors.iter().map(|finding| (Severity::Error, finding));
        let warnings = self.warnings.iter().map(|finding| (Severity::Warning, finding));
        errors.chain(warnings).chain(self.infos.iter().map(|finding| (Severity::Info, finding)))
    }
}

/// One finding of the server's lint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ServerFinding {
    /// The stable code: `E0xx`, `W0xx` or `I0xx`.
    pub code: String,
    /// The file, relative to the namespace's root; empty for the namespace as a whole.
    pub file: String,
    /// 1-based line.
    pub line: u64,
    /// 1-based column.
    pub column: u64,
    /// What is wrong, in words.
    pub message: String,
    /// The next step, where one is known.
    pub help: Option<String>,
}

impl ServerFinding {
    fn in_words(&self) -> String {
        let place = if self.file.is_empty() {
            String::new()
        } else {
            format!(" at {}:{}:{}", self.file, self.line, self.column)
        };
        format!("error[{}] {}{place}", self.code, self.message)
    }
}

/// A page of the list of versions.
#[derive(Debug, Deserialize)]
pub(super) struct VersionsPage {
    pub(super) versions: Vec<ManifestVersion>,
    #[serde(default)]
    pub(super) next_cursor: Option<String>,
}

/// The answer to a manifest that is only shown: the lint object beside `passed`, or as `lint`.
#[derive(Debug, Deserialize)]
pub(super) struct LintAnswer {
    passed: bool,
    #[serde(default)]
    lint: Option<ServerLint>,
    #[serde(default)]
    errors: Option<Vec<ServerFinding>>,
    #[serde(default)]
    warnings: Vec<ServerFinding>,
    #[serde(default)]
    infos: Vec<ServerFinding>,
}

impl LintAnswer {
    /// Returns the findings, if they agree with what they come to.
    pub(super) fn findings(self) -> Result<ServerLint, ManifestError> {
        let Self { passed, lint, errors, warnings, infos } = self;
        let beside = errors.map(|errors| ServerLint { errors, warnings, infos });
        lint.or(beside)
            .filter(|lint| lint.passed() == passed)
            .ok_or_else(|| malformed("no findings that agree with `passed`"))
    }
}

#[derive(Deserialize)]
struct Envelope {
    error: EnvelopeError,
    #[serde(default)]
    request_id: Option<String>,
}

#[derive(Deserialize)]
struct EnvelopeError {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: serde_json::Value,
}

/// Reads a JSON body.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ManifestError> {
    // The library's message would quote what the server sent.
    serde_json::from_slice(body).map_err(|error| {
        let error =
            format!("no JSON of the expected form, at line {} column {}", error.line(), error.column());
        malformed(error)
    })
}

/// Reads the version out of the `ETag`: `"v8"`.
pub(super) fn version(headers: &HeaderMap) -> Result<u64, ManifestError> {
    let tag = headers.get(header::ETAG).and_then(|value| value.to_str().ok());
    // A proxy that compresses makes the validator a weak one.
    let tag = tag.map(|tag| tag.strip_prefix("W/").unwrap_or(tag));
    tag.and_then(|tag| tag.strip_prefix("\"v")?.strip_suffix('"')?.parse().ok())
        .ok_or_else(|| malformed("no `ETag` of a version, such as \"v8\""))
}

pub(super) fn malformed(reason: impl Into<String>) -> ManifestError {
    ManifestError::Malformed(
        Error::new(ErrorKind::Invalid, "read the server's answer")
            .with("reason", reason.into())
            .hint("is it the address of a Leverframe or exd server, without `/api/v1`?"),
    )
}

/// Makes the error of an answer that refuses; `body` may be anything.
pub(super) fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    body: &Bytes,
    token: &Secret,
) -> ManifestError {
    let clean = |text: &str| cleaned(text, token);
    let Ok(Envelope { error, request_id }) = serde_json::from_slice::<Envelope>(body) else {
        let id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(clean);
        let code = plain_code(status);
        return ManifestError::Server {
            status: status.as_u16(),
            code,
            message: String::new(),
            request_id: id,
        };
    };
    match error.code.as_str() {
        "version_conflict" => {
            if let Some(current_version) = error.details["current_version"].as_u64() {
                return ManifestError::VersionConflict { current_version };
            }
        }
        "manifest_lint_failed" => {
            let lint = ServerLint::deserialize(&error.details["lint"]).unwrap_or_default();
            let message = match lint.errors.as_slice() {
                [] => clean(&error.message),
                [only] => clean(&only.in_words()),
                [first, more @ ..] => format!("{} (and {} more)", clean(&first.in_words()), more.len()),
            };
            return ManifestError::LintFailed { message };
        }
        _ => {}
    }
    ManifestError::Server {
        status: status.as_u16(),
        code: clean(&error.code),
        message: clean(&error.message),
        request_id: request_id.as_deref().map(clean),
    }
}

/// The code of an answer that has none, as one of a proxy.
fn plain_code(status: StatusCode) -> String {
    match status.as_u16() {
        401 => "unauthenticated".to_owned(),
        403 => "forbidden".to_owned(),
        404 => "not_found".to_owned(),
        413 => "payload_too_large".to_owned(),
        429 => "rate_limited".to_owned(),
        other => format!("http_{other}"),
    }
}

/// Makes a text of the server fit for a terminal and a log.
fn cleaned(text: &str, token: &Secret) -> String {
    const LONGEST: usize = 500;
    let without_token = text.replace(token.expose(), "***");
    let plain = without_token.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(LONGEST).collect();
    if without_token.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}
