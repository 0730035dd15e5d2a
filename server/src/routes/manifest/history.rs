//! What versions there are, and what differs between two.

use axum::{Json, extract::State};
use leverframe::manifest::{Diff, LintOptions, Manifest, archive, lint_tree};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    super::list_error,
    wire::{Change, Difference, History, Version},
};
use crate::{
    app::App,
    extract::{PageQuery, Path, Query},
    principal::{Permission, Principal},
    problem::{Problem, Refusals},
    request::RequestInfo,
};

/// Lists versions, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/versions",
    tag = "manifest",
    params(
        ("tenant" = String, Path, description = "The tenant's slug; `-` for the token's own"),
        ("namespace" = String, Path, description = "The namespace's slug"),
        PageQuery,
    ),
    responses(
        (status = 200, description = "A part of the history", body = History),
        Refusals,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn versions(
    State(app): State<App>,
    principal: Principal,
    Path((tenant, namespace)): Path<(String, String)>,
    Query(query): Query<PageQuery>,
    info: RequestInfo,
) -> Result<Json<History>, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    principal.require(Permission::ManifestRead, tenant, Some(&namespace))?;
    let page = app.store().versions(tenant, &namespace, &query.page()?).await.map_err(list_error)?;
    if page.items.is_empty() && app.store().namespace(tenant, &namespace).await?.is_none() {
        return Err(Problem::not_found("the namespace does not exist"));
    }
    Ok(Json(History {
        versions: page.items.into_iter().map(Version::of).collect(),
        next_cursor: page.next,
        request_id: info.id().to_owned(),
    }))
}

/// The versions to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DiffQuery {
    /// The older one: a number, or `latest`.
    #[param(example = "7")]
    from: String,
    /// The newer one: a number, or `latest`.
    #[param(example = "latest", default = "latest")]
    to: Option<String>,
}

/// Compares two versions.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/diff",
    tag = "manifest",
    params(
        ("tenant" = String, Path, description = "The tenant's slug; `-` for the token's own"),
        ("namespace" = String, Path, description = "The namespace's slug"),
        DiffQuery,
    ),
    responses(
        (status = 200, description = "What differs, and whom it moves", body = Difference),
        Refusals,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn diff(
    State(app): State<App>,
    principal: Principal,
    Path((tenant, namespace)): Path<(String, String)>,
    Query(query): Query<DiffQuery>,
    info: RequestInfo,
) -> Result<Json<Difference>, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    principal.require(Permission::ManifestRead, tenant, Some(&namespace))?;
    let from = stored(&app, tenant, &namespace, &query.from).await?;
    let to = stored(&app, tenant, &namespace, query.to.as_deref().unwrap_or("latest")).await?;
    let request_id = info.id().to_owned();
    app.work().run(move || compared(&namespace, from, to, request_id)).await?.map(Json)
}

/// A version with its archive.
type Archived = (u64, bytes::Bytes);

async fn stored(app: &App, tenant: &str, namespace: &str, name: &str) -> Result<Archived, Problem> {
    let number =
        match name {
            "latest" => None,
            digits => Some(digits.parse().map_err(|_| {
                Problem::bad_request("`from` and `to` have to be version numbers, or `latest`")
            })?),
        };
    let record = app
        .store()
        .version(tenant, namespace, number)
        .await?
        .ok_or_else(|| Problem::not_found("the namespace has no such version"))?;
    let archive = app.store().archive(&record.sha256).await?.ok_or_else(|| {
        tracing::error!(sha256 = record.sha256, "the archive of a version is missing");
        Problem::internal()
    })?;
    Ok((record.version, archive))
}

fn compared(
    namespace: &str,
    from: Archived,
    to: Archived,
    request_id: String,
) -> Result<Difference, Problem> {
    let diff = Diff::between(&manifest(namespace, &from.1)?, &manifest(namespace, &to.1)?);
    let changes = diff.changes().iter().map(|change| Change {
        kind: change.kind.as_str(),
        subject: change.subject.clone(),
        detail: change.detail.clone(),
    });
    let mut json = diff.to_json();
    Ok(Difference {
        from: from.0,
        to: to.0,
        changes: changes.collect(),
        moves: json["moves"].take(),
        max_moved: json["max_moved"].take(),
        request_id,
    })
}

/// Reads what was accepted earlier.
fn manifest(namespace: &str, bytes: &[u8]) -> Result<Manifest, Problem> {
    let tree = archive::unpack(bytes)?.tree;
    lint_tree(&tree, &LintOptions::new().with_slug(namespace)).manifest.ok_or_else(|| {
        tracing::error!(namespace, "a stored manifest does not pass lint any more");
        Problem::internal()
    })
}
