//! What changes the current manifest, and what would.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use utoipa::ToSchema;

use super::{
    accept::{Candidate, Examined, examine},
    conditional::number,
    upload,
    wire::{Accepted, Checked, Lint, Rollback, seconds},
};
use crate::{
    app::App,
    audit::Write,
    extract::{self, Path},
    heads::Head,
    model::Stored,
    principal::{Permission, Principal},
    problem::{Envelope, Problem, Refusals},
    request::RequestInfo,
};

/// The header that names the version that must be current.
const IF_VERSION: HeaderName = HeaderName::from_static("if-version");

/// A form with one file.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form is read as it arrives")]
pub(super) struct Form {
    /// A gzip tar of the contents of the namespace's directory, at most 5,000,000 bytes.
    #[schema(format = Binary, content_media_type = "application/gzip")]
    archive: String,
}

/// Uploads a manifest.
#[utoipa::path(
    put,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/manifest",
    tag = "manifest",
    params(
        ("tenant" = String, Path, description = "The tenant's slug; `-` for the token's own"),
        ("namespace" = String, Path, description = "The namespace's slug"),
        ("if-version" = Option<u64>, Header, description = "The version that must be current; 0 for none; any, if left out"),
    ),
    request_body(content = Form, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The current version: a new one, or the one before where the content is equal", body = Accepted),
        Refusals,
        (status = 409, description = "`version_conflict`, with `details.current_version`", body = Envelope),
        (status = 422, description = "`manifest_lint_failed` or `schema_version_mismatch`, with `details.lint`", body = Envelope),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn put(
    State(app): State<App>,
    principal: Principal,
    Path((tenant, namespace)): Path<(String, String)>,
    info: RequestInfo,
    headers: HeaderMap,
    request: Request,
) -> Result<Json<Accepted>, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    let outcome = async {
        principal.require(Permission::ManifestWrite, tenant, Some(&namespace))?;
        let if_version = number(&headers, &IF_VERSION).map_err(Problem::bad_request)?;
        exists(&app, tenant, &namespace).await?;
        let archive = upload::archive(request, &app).await?;
        let candidate = candidate(&app, &namespace, archive).await?;
        store(&app, &principal, tenant, &namespace, candidate, if_version, &info).await
    }
    .await;
    audited(&app, &principal, tenant, &namespace, &info, "manifest.upload", outcome).await
}

/// Makes the content of an earlier version current again, as a new version.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/rollback",
    tag = "manifest",
    params(
        ("tenant" = String, Path, description = "The tenant's slug; `-` for the token's own"),
        ("namespace" = String, Path, description = "The namespace's slug"),
    ),
    request_body = Rollback,
    responses(
        (status = 200, description = "The current version: a new one, or the one before where the content is equal", body = Accepted),
        Refusals,
        (status = 409, description = "`version_conflict`, with `details.current_version`", body = Envelope),
        (status = 422, description = "`manifest_lint_failed`: lint has become stricter since", body = Envelope),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn rollback(
    State(app): State<App>,
    principal: Principal,
    Path((tenant, namespace)): Path<(String, String)>,
    info: RequestInfo,
    request: Request,
) -> Result<Json<Accepted>, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    let outcome = async {
        principal.require(Permission::ManifestWrite, tenant, Some(&namespace))?;
        let bytes = extract::json_body(request, &app).await?;
        let body: Rollback = serde_json::from_slice(&bytes).map_err(|error| extract::unreadable(&error))?;
        let record = app.store().version(tenant, &namespace, Some(body.version)).await?;
        let record = record.ok_or_else(|| Problem::not_found("the namespace has no such version"))?;
        let archive = app.store().archive(&record.sha256).await?.ok_or_else(|| {
            tracing::error!(sha256 = record.sha256, "the archive of a version is missing");
            Problem::internal()
        })?;
        let candidate = candidate(&app, &namespace, archive).await?;
        store(&app, &principal, tenant, &namespace, candidate, body.if_version, &info).await
    }
    .await;
    audited(&app, &principal, tenant, &namespace, &info, "manifest.rollback", outcome).await
}

/// Lints an archive and changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/lint",
    tag = "manifest",
    params(
        ("tenant" = String, Path, description = "The tenant's slug; `-` for the token's own"),
        ("namespace" = String, Path, description = "The namespace's slug"),
    ),
    request_body(content = Form, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "What lint found, and whether the archive would be accepted", body = Checked),
        Refusals,
    ),
    security(("bearer" = [])),
)]
pub(super) async fn lint(
    State(app): State<App>,
    principal: Principal,
    Path((tenant, namespace)): Path<(String, String)>,
    info: RequestInfo,
    request: Request,
) -> Result<Json<Checked>, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    principal.require(Permission::ManifestRead, tenant, Some(&namespace))?;
    exists(&app, tenant, &namespace).await?;
    let archive = upload::archive(request, &app).await?;
    let report = app.work().run(move || examine(&namespace, &archive)).await??.linted.report;
    Ok(Json(Checked {
        passed: report.passed(),
        flag_count: report.flags as u64,
        segment_count: report.segments as u64,
        lint: Lint::of(&report),
        request_id: info.id().to_owned(),
    }))
}

async fn audited(
    app: &App,
    principal: &Principal,
    tenant: &str,
    namespace: &str,
    info: &RequestInfo,
    action: &'static str,
    outcome: Result<Accepted, Problem>,
) -> Result<Json<Accepted>, Problem> {
    let uploads =
        if outcome.is_ok() { &app.metrics().uploads_accepted } else { &app.metrics().uploads_refused };
    uploads.add(1);
    let target = format!("{tenant}/{namespace}");
    let write = Write::new(app, principal, info, action, Some(tenant), &target);
    app.audited(write, outcome, |accepted| format!("version {}", accepted.version)).await.map(Json)
}

/// Asked before five megabytes are read for nothing.
async fn exists(app: &App, tenant: &str, namespace: &str) -> Result<(), Problem> {
    match app.store().namespace(tenant, namespace).await? {
        Some(_) => Ok(()),
        None => Err(Problem::not_found("the namespace does not exist; create it first")),
    }
}

async fn candidate(app: &App, namespace: &str, archive: Bytes) -> Result<Candidate, Problem> {
    let namespace = namespace.to_owned();
    app.work().run(move || examine(&namespace, &archive).and_then(Examined::accept)).await?
}

async fn store(
    app: &App,
    principal: &Principal,
    tenant: &str,
    namespace: &str,
    candidate: Candidate,
    if_version: Option<u64>,
    info: &RequestInfo,
) -> Result<Accepted, Problem> {
    let mut new = candidate.new;
    new.uploaded_by.clone_from(&principal.token().id);
    new.if_version = if_version;
    // Whoever asks for the version from now on waits for what is checked already, instead of reading it again.
    let turn = app.heads().turn(tenant, namespace).await;
    let record = match app.store().put_version(tenant, namespace, &new, app.clock().wall()).await? {
        Stored::Accepted(record) => {
            let (tree, manifest) = (candidate.tree, candidate.manifest);
            let accepted = record.clone();
            let head = app.work().run(move || Head::assemble(accepted, new.archive, tree, manifest)).await;
            match head {
                Ok(head) => turn.publish(&Arc::new(head)),
                // It is durable already, so whoever asks for it reads it.
                Err(_) => app.heads().expect(tenant, namespace, record.version),
            }
            record
        }
        Stored::Same(record) => record,
        Stored::Conflict(current) => return Err(Problem::version_conflict(current)),
    };
    Ok(Accepted {
        version: record.version,
        uploaded_at: seconds(record.uploaded_at),
        flag_count: record.flag_count,
        segment_count: record.segment_count,
        lint: candidate.lint,
        request_id: info.id().to_owned(),
    })
}
