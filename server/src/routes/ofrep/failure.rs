//! What OFREP requests are answered with when they fail.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use leverframe::EvalError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// OpenFeature's error codes, as far as they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    FlagNotFound,
    General,
    InvalidContext,
    ParseError,
    TargetingKeyMissing,
}

impl Code {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::General => "GENERAL",
            Self::InvalidContext => "INVALID_CONTEXT",
            Self::ParseError => "PARSE_ERROR",
            Self::TargetingKeyMissing => "TARGETING_KEY_MISSING",
        }
    }
}

/// Why there is no evaluation.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something that the protocol has a code for.
    Coded(Code, String),
    /// Something that it leaves to the server, such as a token that is not valid.
    Refused(Problem),
}

/// The body of a failure.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EvaluationFailure {
    /// The flag, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// `PARSE_ERROR`, `TARGETING_KEY_MISSING`, `INVALID_CONTEXT`, `FLAG_NOT_FOUND` or `GENERAL`.
    #[serde(rename = "errorCode")]
    error_code: &'static str,
    #[serde(rename = "errorDetails")]
    error_details: String,
}

impl Failure {
    pub(super) fn new(code: Code, details: impl Into<String>) -> Self {
        Self::Coded(code, details.into())
    }

    /// Makes the answer to a request for the flag of that key, or for all.
    pub(super) fn into_answer(self, key: Option<&str>) -> Response {
        match self {
            Self::Refused(problem) => problem.into_response(),
            Self::Coded(code, error_details) => {
                let status = match code {
                    Code::FlagNotFound => StatusCode::NOT_FOUND,
                    _ => StatusCode::BAD_REQUEST,
                };
                let key = key.map(str::to_owned);
                (status, Json(EvaluationFailure { key, error_code: code.as_str(), error_details }))
                    .into_response()
            }
        }
    }
}

/// A request that cannot be read has a code in the protocol.
impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match problem.status() {
            StatusCode::BAD_REQUEST => Self::new(Code::General, problem.message()),
            _ => Self::Refused(problem),
        }
    }
}

impl From<&EvalError> for Failure {
    fn from(error: &EvalError) -> Self {
        let code = match error {
            EvalError::UnknownFlag { .. } => Code::FlagNotFound,
            EvalError::AttrTypeMismatch { .. } => Code::InvalidContext,
            _ => Code::General,
        };
        Self::new(code, error.to_string())
    }
}
