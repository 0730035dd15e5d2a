//! Why a flag resolves as it does: the trace, and the nearest change of context that leads elsewhere.

use std::fmt::Write;

use axum::{
    Json,
    extract::{Request, State},
};
use leverframe::{
    AttrValue, EvalContext, EvalError, EvalOptions, RuleMatched,
    eval::{Evaluation, WhyNot},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Asked, admit, context::Flat};
use crate::{
    app::App,
    extract::{self, Path},
    heads::Head,
    problem::{Problem, Refusals},
    request::RequestInfo,
};

/// Explains how a flag resolves for one entity.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/explain",
    tag = "evaluation",
    params(
        ("tenant" = String, Path, description = "The tenant's slug; `-` for the token's own"),
        ("namespace" = String, Path, description = "The namespace's slug"),
    ),
    request_body = ExplainBody,
    responses(
        (status = 200, description = "The trace, and the nearest change of context that leads elsewhere", body = Explained),
        Refusals,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn explain(
    State(app): State<App>,
    Path((tenant, namespace)): Path<(String, String)>,
    info: RequestInfo,
    request: Request,
) -> Result<Json<Explained>, Problem> {
    let asked = Asked::authenticate(request.headers(), &info, &app, &tenant, &namespace).await?;
    if asked.is_client() {
        // Rules are nobody's business who only gets values.
        return Err(Problem::forbidden("the token does not permit this here"));
    }
    let bytes = extract::json_body(request, &app).await?;
    let body: Body = serde_json::from_slice(&bytes).map_err(|error| extract::unreadable(&error))?;
    let head = admit(&app, &asked, &body.environment).await?;
    let request_id = info.id().to_owned();
    app.work().run(move || explained(&head, &namespace, &body, request_id)).await?.map(Json)
}

/// Slow where rules are many: the search for a change looks at many cases.
fn explained(head: &Head, namespace: &str, body: &Body, request_id: String) -> Result<Explained, Problem> {
    let Flat(context) = &body.context;
    let options = EvalOptions::new().with_include_testing(body.include_testing);
    let trace = head
        .program
        .trace(&body.flag, &body.environment, context, &options)
        .map_err(|error| unknown(&error))?;
    let why = WhyNot::of(&head.manifest, &head.program, &body.flag, &body.environment, context, &options)
        .map_err(|error| refused(&error))?;
    let (outcome, error) = match trace.outcome() {
        Ok(evaluation) => (Some(outcome_json(&evaluation)), None),
        Err(mismatch) => (None, Some(mismatch_json(&mismatch))),
    };
    let mut text = trace.to_string();
    let nearest = match why.nearest(body.want.as_deref()) {
        Ok(Some(change)) => {
            // Writing to a string does not fail.
            let _ = writeln!(text, "nearest: {change}");
            json!({
                "variant": change.variant,
                "rule_matched": change.rule_matched.to_string(),
                "exact": change.exact,
                "context": context_json(&change.context),
                "text": change.to_string(),
                "steps": change.steps.iter().map(|step| json!({
                    "attribute": step.attribute,
                    "from": step.from.as_ref().map(AttrValue::to_json),
                    "to": step.to.as_ref().map(AttrValue::to_json),
                    "buckets": step.buckets,
                    "text": step.to_string(),
                })).collect::<Vec<_>>(),
            })
        }
        Ok(None) => Value::Null,
        Err(error) if error.kind() == leverframe::ErrorKind::LimitExceeded => {
            let _ = writeln!(text, "nearest: {error}");
            Value::Null
        }
        Err(error) => return Err(refused(&error)),
    };
    let rules = why.rules().into_iter().map(|rule| {
        json!({
            "rule": format!("rule:{}", rule.index),
            "description": rule.description,
            "audience": rule.audience,
            "variant": rule.variant,
            "status": rule.status.to_string(),
            "reasons": rule.reasons.iter().map(|reason| json!({
                "attribute": reason.attribute,
                "asked": reason.asked,
                "fact": reason.fact,
                "actual": reason.actual.as_ref().map(AttrValue::to_json),
                "bucket": reason.bucket,
                "segment": reason.segment,
            })).collect::<Vec<_>>(),
        })
    });
    Ok(Explained {
        namespace: namespace.to_owned(),
        environment: body.environment.clone(),
        flag: body.flag.clone(),
        manifest_version: head.record.version,
        outcome,
        error,
        decided_by: trace.decided_by().as_str(),
        trace: trace.to_json(),
        why: rules.collect(),
        nearest,
        text,
        request_id,
    })
}

fn outcome_json(evaluation: &Evaluation<'_>) -> Value {
    json!({
        "value": evaluation.value.to_json(),
        "variant_key": evaluation.variant_key,
        "rule_matched": evaluation.rule_matched.to_string(),
    })
}

fn mismatch_json(outcome: &RuleMatched) -> Value {
    match outcome {
        RuleMatched::AttrTypeMismatch { attribute, expected, actual } => json!({
            "code": "attr_type_mismatch",
            "attribute": &**attribute,
            "expected": expected.as_str(),
            "actual": actual.as_str(),
        }),
        other => json!({"code": other.reason()}),
    }
}

fn context_json(context: &EvalContext) -> Value {
    Value::Object(context.iter().map(|(key, value)| (key.to_owned(), value.to_json())).collect())
}

fn unknown(error: &EvalError) -> Problem {
    Problem::bad_request(error.to_string())
}

/// An unknown variant; flag and environment were found before.
fn refused(error: &leverframe::Error) -> Problem {
    Problem::bad_request(error.chain().to_string())
}

/// What to explain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    environment: String,
    flag: String,
    #[serde(default)]
    context: Flat,
    #[serde(default)]
    include_testing: bool,
    #[serde(default)]
    want: Option<String>,
}

/// The request, for the document.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the body is read by a type that knows contexts")]
struct ExplainBody {
    #[schema(example = "production")]
    environment: String,
    #[schema(example = "new-checkout")]
    flag: String,
    /// Attributes: strings, booleans, numbers and lists of strings.
    #[schema(value_type = Object, example = json!({"user.id": "u1"}))]
    context: Option<Value>,
    /// Whether rules of blocks with `testing = true` apply.
    #[schema(default = false)]
    include_testing: Option<bool>,
    /// The variant to look for a way to; any other than now, if left out.
    want: Option<String>,
}

/// How a flag resolves, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explained {
    namespace: String,
    environment: String,
    flag: String,
    manifest_version: u64,
    /// `{value, variant_key, rule_matched}`; null where a type mismatch ended the evaluation.
    #[schema(value_type = Option<Object>)]
    outcome: Option<Value>,
    /// `{code, attribute, expected, actual}` of such a mismatch.
    #[schema(value_type = Option<Object>)]
    error: Option<Value>,
    /// The block that decided: `environment` or `catchall`.
    decided_by: &'static str,
    /// `{rules: [{block, rule, audience, variant, state, steps: [{depth, text, result}]}]}`
    #[schema(value_type = Object)]
    trace: Value,
    /// Rules in force with what decided each: `[{rule, description, audience, variant, status, reasons}]`
    #[schema(value_type = Vec<Object>)]
    why: Vec<Value>,
    /// `{variant, rule_matched, exact, context, text, steps}`; null where no context leads elsewhere, or none was found
    /// within the limits.
    #[schema(value_type = Option<Object>)]
    nearest: Value,
    /// All of it for people.
    text: String,
    request_id: String,
}
