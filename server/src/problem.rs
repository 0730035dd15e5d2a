//! What a request is refused with: the error envelope (S1).

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use leverframe::ErrorKind;
use serde::{Deserialize, Serialize};
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, Response as Documented, ResponseBuilder},
};

/// A refusal: status, code, message and details. The request's id is put in by the layer that made it.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: serde_json::Value,
    retry_after: Option<Duration>,
    flat: bool,
}

/// The envelope on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct Envelope {
    /// The refusal.
    pub error: EnvelopeError,
    /// The request's id, which is the `x-request-id` header's as well.
    pub request_id: String,
}

/// The refusal in an [`Envelope`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct EnvelopeError {
    /// The code, for programs.
    pub code: String,
    /// The message, for people.
    pub message: String,
    /// What else there is to know; an object.
    #[schema(value_type = Object)]
    pub details: serde_json::Value,
}

impl Problem {
    /// Makes a refusal without details.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: serde_json::Value::Object(serde_json::Map::new()),
            retry_after: None,
            flat: false,
        }
    }

    /// The request cannot be read.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The credential is missing, malformed, expired or revoked; which of them is nobody's business.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "a valid token is required: `Authorization: Bearer …`",
        )
    }

    /// The principal may not do this.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// The thing asked for does not exist, or not for this principal.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Another version is current than the one that the request named.
    #[must_use]
    pub fn version_conflict(current: u64) -> Self {
        Self::new(StatusCode::CONFLICT, "version_conflict", format!("the current version is {current}"))
            .with("current_version", current)
    }

    /// A thing of that name exists.
    #[must_use]
    pub fn already_exists(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "already_exists", message)
    }

    /// The body or what it unpacks to is over a limit.
    #[must_use]
    pub fn payload_too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    /// Too many requests, or too many streams.
    #[must_use]
    pub fn rate_limited(message: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
        }
    }

    /// Something of ours failed. What it was is in the log, under the request's id.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed; its log has the cause under the request's id",
        )
    }

    /// The database cannot be reached for now.
    #[must_use]
    pub fn unavailable() -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the server cannot reach its database for now",
            )
        }
    }

    /// The server has more to do than it can hold.
    #[must_use]
    pub fn busy() -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the server has too much to do for now; try again in a moment",
            )
        }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        if let serde_json::Value::Object(details) = &mut self.details {
            details.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Says after which time it is worth to try again.
    #[must_use]
    pub(crate) fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Has it written as the settings protocol has it: code and details at the top, without an envelope.
    #[must_use]
    pub(crate) fn flat(mut self) -> Self {
        self.flat = true;
        self
    }

    /// Returns the code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Makes the answer to the request of that id.
    #[must_use]
    pub fn into_answer(self, request_id: &str) -> Response {
        let mut response = if self.flat {
            let mut flat = self.details;
            if let serde_json::Value::Object(flat) = &mut flat {
                let fields = [("error", self.code), ("message", &self.message), ("request_id", request_id)];
                flat.extend(fields.map(|(name, text)| (name.to_owned(), text.into())));
            }
            (self.status, Json(flat)).into_response()
        } else {
            let envelope = Envelope {
                error: EnvelopeError {
                    code: self.code.to_owned(),
                    message: self.message,
                    details: self.details,
                },
                request_id: request_id.to_owned(),
            };
            (self.status, Json(envelope)).into_response()
        };
        let headers = response.headers_mut();
        if let Some(pause) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(pause.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Carries the refusal to the layer that knows the request's id and writes the envelope.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A failure of ours: logged whole, told without its cause.
impl From<leverframe::Error> for Problem {
    fn from(error: leverframe::Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Timeout => {
                tracing::warn!(error = %error.chain(), "the store is not available");
                Self::unavailable()
            }
            _ => {
                tracing::error!(error = %error.chain(), "the store failed");
                Self::internal()
            }
        }
    }
}

/// The refusals that every route with a token may answer with, for its part of the OpenAPI document.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        let envelope = || {
            let schema = Ref::from_schema_name("Envelope");
            ContentBuilder::new().schema(Some(schema)).build()
        };
        [
            ("400", "The request cannot be read"),
            ("401", "The token is missing, malformed, expired or revoked"),
            ("403", "The token does not permit this here"),
            ("404", "The thing asked for does not exist, or not for this token"),
            ("408", "The request did not arrive in time"),
            ("413", "The body is too long"),
            ("429", "Too many requests; `Retry-After` says when to try again"),
            ("500", "The server failed"),
            ("503", "The database cannot be reached for now"),
        ]
        .into_iter()
        .map(|(status, description)| {
            let response =
                ResponseBuilder::new().description(description).content("application/json", envelope());
            (status.to_owned(), RefOr::T(response.build()))
        })
        .collect()
    }
}
