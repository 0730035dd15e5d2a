//! Handing out archives.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::conditional::{etag, none_match};
use crate::{
    app::App,
    extract::Path,
    model::VersionRecord,
    principal::{Permission, Principal},
    problem::{Problem, Refusals},
};

/// Downloads the current manifest.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/manifest",
    tag = "manifest",
    params(
        ("tenant" = String, Path, description = "The tenant's slug; `-` for the token's own"),
        ("namespace" = String, Path, description = "The namespace's slug"),
        ("if-none-match" = Option<String>, Header, description = "Entity tags of versions at hand"),
    ),
    responses(
        (status = 200, description = "The archive: a gzip tar", content_type = "application/octet-stream", body = Vec<u8>,
            headers(("etag" = String, description = "`\"v<N>\"`, strong"))),
        (status = 304, description = "The version is at hand already"),
        Refusals,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn current(
    State(app): State<App>,
    principal: Principal,
    Path((tenant, namespace)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    principal.require(Permission::ManifestRead, tenant, Some(&namespace))?;
    if let Some(head) = app.heads().at_hand(tenant, &namespace) {
        return match not_modified(&headers, head.record.version) {
            Some(response) => Ok(response),
            None => Ok(archive(&namespace, &head.record, Content::of(&method, || head.archive.clone()))),
        };
    }
    // A client that only polls must not make the server compile what nobody evaluates.
    let record = app.store().version(tenant, &namespace, None).await?.ok_or_else(|| {
        Problem::not_found("the namespace does not exist, or nothing was uploaded to it yet")
    })?;
    stored(&app, &namespace, &record, &method, &headers).await
}

/// Downloads a version.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/versions/{version}",
    tag = "manifest",
    params(
        ("tenant" = String, Path, description = "The tenant's slug; `-` for the token's own"),
        ("namespace" = String, Path, description = "The namespace's slug"),
        ("version" = u64, Path, description = "1 for the first"),
        ("if-none-match" = Option<String>, Header, description = "Entity tags of versions at hand"),
    ),
    responses(
        (status = 200, description = "The archive: a gzip tar", content_type = "application/octet-stream", body = Vec<u8>,
            headers(("etag" = String, description = "`\"v<N>\"`, strong"))),
        (status = 304, description = "The version is at hand already"),
        Refusals,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn version(
    State(app): State<App>,
    principal: Principal,
    Path((tenant, namespace, version)): Path<(String, String, u64)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    principal.require(Permission::ManifestRead, tenant, Some(&namespace))?;
    let record = app
        .store()
        .version(tenant, &namespace, Some(version))
        .await?
        .ok_or_else(|| Problem::not_found("the namespace has no such version"))?;
    stored(&app, &namespace, &record, &method, &headers).await
}

async fn stored(
    app: &App,
    namespace: &str,
    record: &VersionRecord,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if let Some(response) = not_modified(headers, record.version) {
        return Ok(response);
    }
    let content = if method == Method::HEAD {
        Content::Length
    } else {
        Content::Whole(app.store().archive(&record.sha256).await?.ok_or_else(|| {
            tracing::error!(sha256 = record.sha256, "the archive of a version is missing");
            Problem::internal()
        })?)
    };
    Ok(archive(namespace, record, content))
}

/// As much of the archive as the method asks for.
enum Content {
    Length,
    Whole(Bytes),
}

impl Content {
    fn of(method: &Method, whole: impl FnOnce() -> Bytes) -> Self {
        if method == Method::HEAD { Self::Length } else { Self::Whole(whole()) }
    }
}

fn not_modified(headers: &HeaderMap, version: u64) -> Option<Response> {
    let etag = etag(version);
    none_match(headers, &etag).then(|| {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        validators(&mut response, &etag);
        response
    })
}

fn archive(namespace: &str, record: &VersionRecord, content: Content) -> Response {
    let body = match content {
        Content::Length => Body::empty(),
        Content::Whole(bytes) => Body::from(bytes),
    };
    let mut response = Response::new(body);
    validators(&mut response, &etag(record.version));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(record.size));
    let disposition = format!("attachment; filename=\"{namespace}-v{}.tar.gz\"", record.version);
    // A namespace that exists has a plain slug.
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

fn validators(response: &mut Response, etag: &str) {
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    // May be kept by whoever asked, to be asked for again each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
}
