//! What an OFREP request asks: the context with its targeting key, and of which namespace and environment.

use std::collections::HashSet;

use axum::body::{Bytes, HttpBody};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use leverframe::{AttrValue, EvalContext};
use serde::Deserialize;
use utoipa::IntoParams;

use super::failure::{Code, Failure};
use crate::{
    app::App,
    extract,
    heads::Head,
    problem::Problem,
    request::RequestInfo,
    routes::{
        BODY,
        evaluate::{Asked, Flattened, check},
    },
};

/// The attribute that names the entity (OFREP's `context.targetingKey`).
const TARGETING_KEY: &str = "targetingKey";
/// The header that some providers send their key in, instead of `Authorization`.
const API_KEY: &str = "x-api-key";

/// Where to evaluate, for tokens that are not bound to one environment.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::routes) struct Place {
    /// The tenant's slug, for tokens that are not bound to one.
    pub(super) tenant: Option<String>,
    /// The namespace's slug, for tokens that are not bound to one.
    pub(super) namespace: Option<String>,
    /// The environment, for tokens that are not bound to one.
    pub(super) environment: Option<String>,
    /// The `etag` of the event that the request follows: the answer is at least as new.
    #[serde(rename = "flagConfigEtag")]
    #[param(rename = "flagConfigEtag")]
    pub(super) config_etag: Option<String>,
    /// The `lastModified` of the event that the request follows; the entity tag says more.
    #[serde(rename = "flagConfigLastModified")]
    #[param(rename = "flagConfigLastModified")]
    #[expect(dead_code, reason = "part of the protocol")]
    pub(super) config_last_modified: Option<String>,
}

/// Finds who asks, and in which namespace they may evaluate.
///
/// # Errors
/// As [`Asked::authenticate`]; `bad_request` where neither token nor query names the namespace, `forbidden` where they
/// name two.
pub(super) async fn authenticate(
    headers: &HeaderMap,
    info: &RequestInfo,
    app: &App,
    place: &Place,
) -> Result<Asked, Problem> {
    let principal = match headers.get(API_KEY) {
        Some(key) if !headers.contains_key(header::AUTHORIZATION) => {
            let bearer = HeaderValue::from_bytes(&[b"Bearer ", key.as_bytes()].concat());
            // A key that is a header's value is one with those letters before it as well.
            let bearer = bearer.into_iter().map(|bearer| (header::AUTHORIZATION, bearer));
            app.authenticate(&bearer.collect(), info).await?
        }
        _ => app.authenticate(headers, info).await?,
    };
    let token = principal.token();
    let tenant = bound("tenant", token.tenant.as_deref(), place.tenant.as_deref())?.to_owned();
    let namespace = bound("namespace", token.namespace.as_deref(), place.namespace.as_deref())?.to_owned();
    checked(Asked { principal, tenant, namespace }, headers)
}

/// Lets somebody through who may evaluate in the namespace, from that origin.
///
/// # Errors
/// `forbidden`.
pub(super) fn checked(asked: Asked, headers: &HeaderMap) -> Result<Asked, Problem> {
    asked.require()?;
    if asked.is_client() {
        check(asked.principal.token(), headers)?;
    }
    Ok(asked)
}

/// What the token is bound to, or else what the query names; never two different things.
fn bound<'a>(what: &str, bound: Option<&'a str>, named: Option<&'a str>) -> Result<&'a str, Problem> {
    match (bound, named) {
        (Some(bound), Some(named)) if bound != named => {
            Err(Problem::forbidden(format!("the token is for another {what}")))
        }
        (Some(slug), _) | (None, Some(slug)) => Ok(slug),
        (None, None) => {
            Err(Problem::bad_request(format!("the token is not bound to a {what}; name it: `?{what}=…`")))
        }
    }
}

#[derive(Deserialize)]
struct Body {
    context: Flattened,
}

/// Reads the context.
///
/// # Errors
/// `PARSE_ERROR`, `INVALID_CONTEXT`; a refusal for a body that is too long.
pub(super) async fn context<B: HttpBody<Data = Bytes> + Send>(
    headers: &HeaderMap,
    body: B,
) -> Result<EvalContext, Failure> {
    let read = extract::json_body_within(headers, body, BODY).await;
    let bytes = read.map_err(|problem| match problem.status() {
        StatusCode::BAD_REQUEST => Failure::new(Code::ParseError, problem.message()),
        _ => Failure::Refused(problem),
    })?;
    let body: Body = extract::parsed(&bytes).map_err(|error| {
        let code = if error.is_data() { Code::InvalidContext } else { Code::ParseError };
        Failure::new(code, extract::unreadable(&error).message())
    })?;
    let Flattened(context) = body.context;
    match context.get(TARGETING_KEY) {
        None | Some(AttrValue::String(_)) => Ok(context),
        Some(_) => Err(Failure::new(Code::InvalidContext, "`targetingKey` has to be a string")),
    }
}

/// Gives the targeting key to every attribute that is an entity id somewhere and that the context lacks.
pub(super) fn filled(context: EvalContext, head: &Head) -> EvalContext {
    let key = match context.get(TARGETING_KEY) {
        Some(AttrValue::String(key)) if !key.is_empty() => key.clone(),
        _ => return context,
    };
    let lacking: HashSet<&str> = head.splits().ids().filter(|id| context.get(id).is_none()).collect();
    if lacking.is_empty() {
        return context;
    }
    lacking.into_iter().fold(context.to_builder(), |builder, id| builder.str(id, key.as_str())).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_is_not_talked_out_of() {
        assert_eq!(bound("tenant", Some("acme"), None).unwrap(), "acme");
        assert_eq!(bound("tenant", Some("acme"), Some("acme")).unwrap(), "acme");
        assert_eq!(bound("tenant", None, Some("acme")).unwrap(), "acme");
        assert_eq!(bound("tenant", Some("acme"), Some("other")).unwrap_err().code(), "forbidden");
        assert_eq!(bound("tenant", None, None).unwrap_err().code(), "bad_request");
    }
}
