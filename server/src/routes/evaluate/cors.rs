//! Cross-origin requests: browsers evaluate with client tokens, from the origins that the token allows.
//!
//! Refusals can be read from any origin, since a page that cannot read why it was refused cannot tell anybody; they
//! hold nothing that the page did not send. Answers can be read from allowed origins only. Credentials of the
//! browser are never asked for, so no page gets more than the token that it holds gives it.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{model::TokenRecord, problem::Problem};

/// Seconds that a browser may remember the answer to a preflight request (S4).
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, retry-after, x-request-id");
const SENT: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-none-match, last-event-id, x-api-key");

/// Refuses a client token from an origin that is not on its list. Native apps send no origin, and may.
///
/// # Errors
/// `forbidden`.
pub(crate) fn check(token: &TokenRecord, headers: &HeaderMap) -> Result<(), Problem> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let allowed = |origin: &str| token.allowed_origins.iter().any(|allowed| allowed == origin);
    match origin.to_str() {
        Ok(origin) if allowed(origin) && origins.next().is_none() => Ok(()),
        _ => Err(Problem::forbidden("the token does not allow requests from this origin")),
    }
}

/// Lets the origin that asked read the answer.
pub(crate) fn allow(response: &mut Response, origin: Option<HeaderValue>) {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

/// Answers a preflight request, which carries no token: whether the origin is allowed turns out with the request.
pub(crate) fn preflight(headers: &HeaderMap, method: &'static str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let origin = headers.get(header::ORIGIN).cloned().unwrap_or(HeaderValue::from_static("*"));
    allow(&mut response, Some(origin));
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(method));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, SENT);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}
