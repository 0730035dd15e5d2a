//! The OpenFeature Remote Evaluation Protocol 0.3 (S10): any OpenFeature SDK evaluates here with its stock provider.

mod answer;
mod failure;
mod request;
mod stream;

use axum::{
    body::{Bytes, HttpBody},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use leverframe::{AttrValue, EvalContext};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    answer::Question,
    failure::{Code, EvaluationFailure, Failure},
    request::{Place, authenticate, context, filled},
};
use super::{
    evaluate::{Asked, admit, allow, preflight},
    manifest::none_match,
};
use crate::{
    app::App,
    extract::{Path, Query},
    problem::{Problem, Refusals},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(evaluate, evaluate_preflight))
        .routes(routes!(bulk, bulk_preflight))
        .routes(routes!(stream::events, stream::events_preflight))
}

/// Evaluates one flag.
#[utoipa::path(
    post, path = "/ofrep/v1/evaluate/flags/{key}", tag = "ofrep", security(("bearer" = []), ("api_key" = [])),
    params(("key" = String, Path, description = "The flag's key"), Place),
    request_body = OfrepBody,
    responses(
        (status = 200, description = "The value, and how it came about", body = EvaluationSuccess),
        Refusals,
        (status = 400, description = "`PARSE_ERROR`, `INVALID_CONTEXT`, `TARGETING_KEY_MISSING` or `GENERAL`", body = EvaluationFailure),
        (status = 404, description = "`FLAG_NOT_FOUND`", body = EvaluationFailure),
    ),
)]
async fn evaluate(
    State(app): State<App>,
    Path(key): Path<String>,
    Query(place): Query<Place>,
    info: RequestInfo,
    request: Request,
) -> Response {
    respond_one(&app, &key, &place, &info, request).await
}

/// Answers a request to evaluate one flag, however it was found to be one.
pub(super) async fn respond_one<B: HttpBody<Data = Bytes> + Send>(
    app: &App,
    key: &str,
    place: &Place,
    info: &RequestInfo,
    request: http::Request<B>,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let evaluated = async {
        let (parts, body) = request.into_parts();
        let asked = authenticate(&parts.headers, info, app, place).await?;
        let environment = environment(&asked, place)?;
        let context = context(&parts.headers, body).await?;
        notice(app, &asked, place);
        let head = admit(app, &asked, environment).await.map_err(|problem| match problem.status() {
            StatusCode::NOT_FOUND => Failure::new(Code::FlagNotFound, problem.message()),
            _ => problem.into(),
        })?;
        let context = filled(context, &head);
        let mut out = Vec::with_capacity(256);
        app.metrics().evaluations.add(1);
        Question { head: &head, environment, context: &context }.write(&mut out, key)?;
        Ok((json(out), asked.is_client()))
    };
    respond(evaluated.await, Some(key), origin)
}

/// Evaluates all flags.
#[utoipa::path(
    post, path = "/ofrep/v1/evaluate/flags", tag = "ofrep", security(("bearer" = []), ("api_key" = [])),
    params(Place, ("if-none-match" = Option<String>, Header, description = "The `ETag` of an earlier answer")),
    request_body = OfrepBody,
    responses(
        (status = 200, description = "The values, and where changes are told", body = BulkSuccess,
            headers(("etag" = String, description = "Of these values for this context"))),
        (status = 304, description = "Nothing has changed for this context"),
        Refusals,
        (status = 400, description = "`PARSE_ERROR`, `INVALID_CONTEXT` or `GENERAL`", body = EvaluationFailure),
    ),
)]
async fn bulk(
    State(app): State<App>,
    Query(place): Query<Place>,
    info: RequestInfo,
    request: Request,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let evaluated = async {
        let (parts, body) = request.into_parts();
        let asked = authenticate(&parts.headers, &info, &app, &place).await?;
        let environment = environment(&asked, &place)?;
        let context = context(&parts.headers, body).await?;
        notice(&app, &asked, &place);
        let head = admit(&app, &asked, environment).await?;
        let stream = stream::url(&app, &asked).await?;
        let etag = etag(&asked, environment, head.record.version, &stream, &context);
        let mut response = if none_match(&parts.headers, &etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let context = filled(context, &head);
            app.metrics().evaluations.add(head.program.len() as u64);
            json(Question { head: &head, environment, context: &context }.write_all(&stream))
        };
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        Ok((response, asked.is_client()))
    };
    respond(evaluated.await, None, origin)
}

/// Tells browsers that they may evaluate from another origin.
#[utoipa::path(
    options, path = "/ofrep/v1/evaluate/flags/{key}", tag = "ofrep", security(()),
    params(("key" = String, Path, description = "The flag's key")),
    responses((status = 204, description = "What such a request may carry; remembered for 600 seconds"))
)]
async fn evaluate_preflight(headers: HeaderMap) -> Response {
    preflight(&headers, "POST")
}

/// Tells browsers that they may evaluate from another origin.
#[utoipa::path(
    options, path = "/ofrep/v1/evaluate/flags", tag = "ofrep", security(()),
    responses((status = 204, description = "What such a request may carry; remembered for 600 seconds"))
)]
async fn bulk_preflight(headers: HeaderMap) -> Response {
    preflight(&headers, "POST")
}

fn environment<'a>(asked: &'a Asked, place: &'a Place) -> Result<&'a str, Problem> {
    let named = place.environment.as_deref();
    if named.is_none() && !asked.is_client() {
        return Err(Problem::bad_request(
            "the token is not bound to an environment; name it: `?environment=…`",
        ));
    }
    asked.environment(named)
}

/// Takes note of the version that the client has heard of from another process, so that the answer is as new.
fn notice(app: &App, asked: &Asked, place: &Place) {
    let tag = place.config_etag.as_deref().map(|tag| tag.trim_matches('"'));
    let told: Option<u64> = tag.and_then(|tag| tag.strip_prefix('v')).and_then(|digits| digits.parse().ok());
    let held = app.heads().at_hand(&asked.tenant, &asked.namespace);
    if told.zip(held).is_some_and(|(told, held)| held.record.version < told) {
        app.heads().doubt(&asked.tenant, &asked.namespace);
    }
}

/// Digests everything that the answer depends on; the attributes' order in the request does not matter.
fn etag(asked: &Asked, environment: &str, version: u64, stream: &str, context: &EvalContext) -> String {
    let mut digest = Sha256::new();
    let mut put = |text: &[u8]| {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    };
    for text in [&asked.tenant, &asked.namespace, environment, stream] {
        put(text.as_bytes());
    }
    put(&version.to_le_bytes());
    let mut attributes: Vec<(&str, &AttrValue)> = context.iter().collect();
    attributes.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in attributes {
        put(key.as_bytes());
        put(value.attr_type().as_str().as_bytes());
        put(value.to_json().to_string().as_bytes());
    }
    let digest = digest.finalize();
    let short = digest.iter().take(16).fold(0_u128, |tag, byte| tag << 8 | u128::from(*byte));
    format!("\"{short:032x}\"")
}

fn json(body: Vec<u8>) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn respond(
    evaluated: Result<(Response, bool), Failure>,
    key: Option<&str>,
    origin: Option<HeaderValue>,
) -> Response {
    let (mut response, origin) = match evaluated {
        Ok((response, cross_origin)) => (response, origin.filter(|_| cross_origin)),
        Err(failure) => (failure.into_answer(key), origin),
    };
    allow(&mut response, origin);
    response
}

/// The request, for the document.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the context is read without a tree in between")]
struct OfrepBody {
    /// `targetingKey` and attributes; objects are flattened to dotted keys.
    #[schema(value_type = Object, example = json!({"targetingKey": "user-123", "user": {"country": "US"}}))]
    context: serde_json::Value,
}

/// An evaluation, for the document.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the answer is written as it is evaluated")]
struct EvaluationSuccess {
    key: String,
    /// Of the flag's type.
    value: serde_json::Value,
    /// `STATIC`, `TARGETING_MATCH`, `SPLIT`, `DISABLED` or `UNKNOWN`.
    #[schema(example = "TARGETING_MATCH")]
    reason: String,
    variant: String,
    /// `ruleMatched` and `flagVersion`.
    #[schema(value_type = Object)]
    metadata: serde_json::Value,
}

/// The evaluations of all flags, for the document.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the answer is written as it is evaluated")]
struct BulkSuccess {
    /// Evaluations, and failures with `key`, `errorCode` and `errorDetails`.
    #[schema(value_type = Vec<Object>)]
    flags: Vec<EvaluationSuccess>,
    /// `environment` and `version`.
    #[schema(value_type = Object)]
    metadata: serde_json::Value,
    /// `{type: "sse", endpoint: {requestUri}, inactivityDelaySec}`
    #[serde(rename = "eventStreams")]
    #[schema(value_type = Vec<Object>)]
    event_streams: serde_json::Value,
}
