//! Evaluation over HTTP (section 6, S4), for callers that do not evaluate in process.

mod admission;
mod answer;
mod context;
mod cors;
mod explain;

use axum::{
    body::{Bytes, HttpBody},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use leverframe::EvalOptions;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::{
    admission::{Asked, admit},
    answer::{comma, json, value},
    context::{Flattened, Text},
    cors::{allow, check, preflight},
};
use self::{answer::Question, context::Flat};
use crate::{
    app::App,
    extract::{self, Path},
    problem::{Problem, Refusals},
    request::RequestInfo,
    routes::BODY,
};

/// Flags of a request (S4).
const MOST_FLAGS: usize = 500;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(evaluate, evaluate_preflight))
        .routes(routes!(evaluate_all, evaluate_all_preflight))
        .routes(routes!(explain::explain))
}

/// Evaluates some flags for one entity.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/evaluate",
    tag = "evaluation",
    params(
        ("tenant" = String, Path, description = "The tenant's slug; `-` for the token's own"),
        ("namespace" = String, Path, description = "The namespace's slug"),
    ),
    request_body = EvaluateBody,
    responses(
        (status = 200, description = "Each flag's value, or why it has none", body = Evaluated),
        Refusals,
    ),
    security(("bearer" = [])),
)]
async fn evaluate(
    State(app): State<App>,
    Path((tenant, namespace)): Path<(String, String)>,
    info: RequestInfo,
    request: Request,
) -> Response {
    respond(&app, &tenant, &namespace, &info, request, Scope::Named).await
}

/// Evaluates all flags for one entity.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/evaluate/all",
    tag = "evaluation",
    params(
        ("tenant" = String, Path, description = "The tenant's slug; `-` for the token's own"),
        ("namespace" = String, Path, description = "The namespace's slug"),
    ),
    request_body = EvaluateAllBody,
    responses(
        (status = 200, description = "Each flag's value, or why it has none", body = Evaluated),
        Refusals,
    ),
    security(("bearer" = [])),
)]
async fn evaluate_all(
    State(app): State<App>,
    Path((tenant, namespace)): Path<(String, String)>,
    info: RequestInfo,
    request: Request,
) -> Response {
    respond(&app, &tenant, &namespace, &info, request, Scope::All).await
}

/// Tells browsers that they may evaluate from another origin.
#[utoipa::path(
    options,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/evaluate",
    tag = "evaluation",
    params(
        ("tenant" = String, Path, description = "The tenant's slug"),
        ("namespace" = String, Path, description = "The namespace's slug"),
    ),
    responses((status = 204, description = "What such a request may carry; remembered for 600 seconds")),
    security(()),
)]
async fn evaluate_preflight(headers: HeaderMap) -> Response {
    preflight(&headers, "POST")
}

/// Tells browsers that they may evaluate from another origin.
#[utoipa::path(
    options,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/evaluate/all",
    tag = "evaluation",
    params(
        ("tenant" = String, Path, description = "The tenant's slug"),
        ("namespace" = String, Path, description = "The namespace's slug"),
    ),
    responses((status = 204, description = "What such a request may carry; remembered for 600 seconds")),
    security(()),
)]
async fn evaluate_all_preflight(headers: HeaderMap) -> Response {
    preflight(&headers, "POST")
}

/// Which flags are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Named,
}

/// Answers a request to evaluate, however it was found to be one.
pub(super) async fn respond<B: HttpBody<Data = Bytes> + Send>(
    app: &App,
    tenant: &str,
    namespace: &str,
    info: &RequestInfo,
    request: http::Request<B>,
    scope: Scope,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    match answer(app, tenant, namespace, info, request, scope).await {
        Ok((body, cross_origin)) => {
            let mut response = body.into_response();
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            allow(&mut response, origin.filter(|_| cross_origin));
            response
        }
        Err(problem) => {
            let mut response = problem.into_response();
            allow(&mut response, origin);
            response
        }
    }
}

/// Returns the body, and whether another origin may read it.
async fn answer<B: HttpBody<Data = Bytes> + Send>(
    app: &App,
    tenant: &str,
    namespace: &str,
    info: &RequestInfo,
    request: http::Request<B>,
    scope: Scope,
) -> Result<(Vec<u8>, bool), Problem> {
    let (parts, body) = request.into_parts();
    let asked = Asked::authenticate(&parts.headers, info, app, tenant, namespace).await?;
    let bytes = extract::json_body_within(&parts.headers, body, BODY).await?;
    let body: Body<'_> = extract::parsed(&bytes).map_err(|error| extract::unreadable(&error))?;
    let environment = asked.environment(body.environment.as_ref().map(|Text(name)| &**name))?;
    let head = admit(app, &asked, environment).await?;
    let question = Question {
        head: &head,
        namespace: &asked.namespace,
        environment,
        context: &body.context.0,
        options: EvalOptions::new().with_include_testing(body.include_testing),
    };
    let out = match (scope, &body.flags) {
        (Scope::Named, Some(flags)) if flags.len() > MOST_FLAGS => {
            return Err(Problem::bad_request(format!(
                "`flags` names {} flags, and a request evaluates {MOST_FLAGS}; `evaluate/all` evaluates all",
                flags.len()
            )));
        }
        (Scope::Named, Some(flags)) => {
            let keys = distinct(flags);
            app.metrics().evaluations.add(keys.len() as u64);
            answer::write(&question, question.some(&keys), info.id())
        }
        (Scope::Named, None) => {
            return Err(Problem::bad_request("`flags` is missing; `evaluate/all` evaluates all"));
        }
        (Scope::All, Some(_)) => {
            return Err(Problem::bad_request("`flags` has no place here; `evaluate` evaluates some"));
        }
        (Scope::All, None) => {
            app.metrics().evaluations.add(head.program.len() as u64);
            answer::write(&question, question.all(), info.id())
        }
    };
    Ok((out, asked.is_client()))
}

/// Leaves out keys that were named before: the answer has each once.
fn distinct<'b>(flags: &'b [Text<'_>]) -> Vec<&'b str> {
    let mut keys: Vec<&str> = flags.iter().map(|Text(key)| &**key).collect();
    // Few are told apart faster without a hash; most requests name few.
    if keys.len() > 16 {
        let mut seen = std::collections::HashSet::with_capacity(keys.len());
        keys.retain(|key| seen.insert(*key));
    } else {
        for at in (1..keys.len()).rev() {
            if keys[..at].contains(&keys[at]) {
                keys.remove(at);
            }
        }
    }
    keys
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'b> {
    #[serde(borrow, default)]
    environment: Option<Text<'b>>,
    #[serde(borrow, default)]
    flags: Option<Vec<Text<'b>>>,
    #[serde(default)]
    context: Flat,
    #[serde(default)]
    include_testing: bool,
}

/// The request for some flags, for the document.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the body is read without copies, by a type that borrows from it")]
struct EvaluateBody {
    /// May be left out by client tokens, which are bound to one.
    #[schema(example = "production")]
    environment: Option<String>,
    /// The keys of the flags.
    #[schema(max_items = 500, example = json!(["new-checkout"]))]
    flags: Vec<String>,
    /// Attributes: strings, booleans, numbers and lists of strings.
    #[schema(value_type = Object, example = json!({"user.id": "u1", "user.country": "US"}))]
    context: Option<serde_json::Value>,
    /// Whether rules of blocks with `testing = true` apply.
    #[schema(default = false)]
    include_testing: Option<bool>,
}

/// The request for all flags, for the document.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the body is read without copies, by a type that borrows from it")]
struct EvaluateAllBody {
    /// May be left out by client tokens, which are bound to one.
    #[schema(example = "production")]
    environment: Option<String>,
    /// Attributes: strings, booleans, numbers and lists of strings.
    #[schema(value_type = Object, example = json!({"user.id": "u1", "user.country": "US"}))]
    context: Option<serde_json::Value>,
    /// Whether rules of blocks with `testing = true` apply.
    #[schema(default = false)]
    include_testing: Option<bool>,
}

/// The answer, for the document.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the answer is written as it is evaluated")]
struct Evaluated {
    namespace: String,
    environment: String,
    manifest_version: u64,
    /// By key.
    results: std::collections::BTreeMap<String, EvaluatedFlag>,
    /// By key.
    errors: std::collections::BTreeMap<String, EvaluationError>,
    request_id: String,
}

/// The value of one flag.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the answer is written as it is evaluated")]
struct EvaluatedFlag {
    /// Of the flag's type.
    value: serde_json::Value,
    #[schema(example = "on")]
    variant_key: String,
    /// `rule:<index>` or `default`.
    #[schema(example = "rule:0")]
    rule_matched: String,
    /// The version of the manifest.
    flag_version: u64,
}

/// Why a flag has no value.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the answer is written as it is evaluated")]
struct EvaluationError {
    /// `unknown_flag` or `attr_type_mismatch`.
    #[schema(example = "unknown_flag")]
    code: String,
    message: String,
    /// The attribute whose type is another than the manifest's rules read.
    attribute: Option<String>,
    /// The type that the rules read.
    expected: Option<String>,
    /// The type that was sent.
    actual: Option<String>,
}
