//! Closures as archives, for readers of the event stream.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use leverframe::flags::events::FlagFilter;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{events::read_query, manifest::none_match};
use crate::{
    app::App,
    events::{PackedClosure, parse_flags},
    extract::Path,
    principal::Permission,
    problem::{Problem, Refusals},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(closure))
}

/// Returns the smallest part of a namespace that evaluates some of its flags, as a gzip tar.
///
/// Either with a token that may read the namespace, or with the signature of a `snapshot_url`. A query that has `exp`
/// or `sig` is judged by its signature alone. The entity tag is the digest that events call `closure_hash`.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/closure", tag = "events",
    security(("bearer" = []), ()),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("namespace" = String, Path, description = "Slug"),
        ("flags" = Option<String>, Query, description = "Keys with commas between; left out or `*` for all flags"),
        ("version" = Option<u64>, Query, description = "Version; left out for the current one"),
        ("exp" = Option<u64>, Query, description = "When the signature expires, in seconds since 1970"),
        ("sig" = Option<String>, Query, description = "The signature")
    ),
    responses(
        (status = 200, description = "The archive", content_type = "application/octet-stream", body = String),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        Refusals
    )
)]
async fn closure(
    State(app): State<App>,
    info: RequestInfo,
    headers: HeaderMap,
    Path((tenant, namespace)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = read_query(&uri)?;
    let tenant = if query.iter().any(|(key, _)| key == "sig" || key == "exp") {
        let signer = app.hub().signer().await?;
        signer.check(uri.path(), &query, app.clock().wall()).map_err(|refused| {
            tracing::debug!(request_id = info.id(), ?refused, "a snapshot URL is not believed");
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "closure_token_invalid",
                "the signature is not valid, or not valid any more; the event stream has a new URL",
            )
        })?;
        tenant
    } else {
        let principal = app.authenticate(&headers, &info).await?;
        let tenant = principal.resolve_tenant(&tenant)?;
        principal.require(Permission::ManifestRead, tenant, Some(&namespace))?;
        tenant.to_owned()
    };
    let (filter, version) = read(&query)?;
    let closure = app.hub().closure(&tenant, &namespace, version, &filter).await?;
    let closure = closure.ok_or_else(|| Problem::not_found("there is no such version of the namespace"))?;
    Ok(answer(&headers, &namespace, &closure))
}

fn read(query: &[(String, String)]) -> Result<(FlagFilter, Option<u64>), Problem> {
    let (mut filter, mut version) = (None, None);
    for (key, value) in query {
        let twice = match key.as_str() {
            "flags" => filter.replace(parse_flags(value)?).is_some(),
            "version" => {
                let number = value.parse::<u64>().ok().filter(|number| *number > 0);
                let number =
                    number.ok_or_else(|| Problem::bad_request("`version` must be a number from 1"))?;
                version.replace(number).is_some()
            }
            // Checked by whoever checked the signature.
            "exp" | "sig" => false,
            _ => {
                let shown: String = key.chars().filter(|c| !c.is_control()).take(64).collect();
                return Err(Problem::bad_request(format!("there is no parameter `{shown}` here")));
            }
        };
        if twice {
            return Err(Problem::bad_request(format!("`{key}` must be there once")));
        }
    }
    Ok((filter.unwrap_or(FlagFilter::All), version))
}

fn answer(headers: &HeaderMap, namespace: &str, closure: &PackedClosure) -> Response {
    // The digest is ours: `sha256:` and hexadecimal digits, which a header takes; a slug it takes as well.
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    let tag = format!("\"{}\"", closure.hash);
    let known = none_match(headers, &tag);
    let tag = (header::ETAG, value(tag));
    if known {
        return (StatusCode::NOT_MODIFIED, [tag]).into_response();
    }
    let name = format!("attachment; filename=\"{namespace}-v{}.tar.gz\"", closure.version);
    let media = HeaderValue::from_static("application/octet-stream");
    let headers = [tag, (header::CONTENT_TYPE, media), (header::CONTENT_DISPOSITION, value(name))];
    (headers, closure.archive.clone()).into_response()
}
