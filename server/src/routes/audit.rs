//! The audit log, to be read.

use axum::{Json as Answer, extract::State};
use leverframe::rfc3339;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::list_error;
use crate::{
    app::App,
    extract::{PageQuery, Path, Query},
    model::{AuditEvent, TokenType},
    principal::{Permission, Principal},
    problem::{Problem, Refusals},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(list_of_tenant))
}

/// A write that was done or refused.
#[derive(Debug, Serialize, ToSchema)]
struct EventView {
    #[schema(format = DateTime)]
    at: String,
    /// The id of the request that asked for it.
    request_id: String,
    /// The id of the token; empty for the command line.
    principal: String,
    /// `manifest.upload`, `token.create`, …
    action: String,
    /// The tenant whose log this belongs to; null for what concerns the installation only.
    tenant: Option<String>,
    /// `acme/payments`, `tok_…`.
    target: String,
    /// `ok`, or the code of the refusal.
    outcome: String,
    detail: String,
}

/// Events, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct AuditAnswer {
    events: Vec<EventView>,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

impl From<AuditEvent> for EventView {
    fn from(event: AuditEvent) -> Self {
        Self {
            at: rfc3339(event.at),
            request_id: event.request_id,
            principal: event.principal,
            action: event.action,
            tenant: event.tenant,
            target: event.target,
            outcome: event.outcome,
            detail: event.detail,
        }
    }
}

/// Lists the audit log of the installation, newest first.
///
/// For superadmins.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", security(("bearer" = [])), params(PageQuery),
    responses((status = 200, description = "The events", body = AuditAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Query(query): Query<PageQuery>,
) -> Result<Answer<AuditAnswer>, Problem> {
    if principal.token().kind != TokenType::Superadmin {
        return Err(Problem::forbidden("the token does not permit this here"));
    }
    answer(&app, None, query, &info).await
}

/// Lists the audit log of a tenant, newest first.
///
/// For its admins and superadmins.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/audit", tag = "audit", security(("bearer" = [])),
    params(("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"), PageQuery),
    responses((status = 200, description = "The events", body = AuditAnswer), Refusals)
)]
async fn list_of_tenant(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(tenant): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<AuditAnswer>, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    principal.require(Permission::AuditRead, tenant, None)?;
    if app.store().tenant(tenant).await?.is_none() {
        return Err(Problem::not_found("there is no such tenant"));
    }
    answer(&app, Some(tenant), query, &info).await
}

async fn answer(
    app: &App,
    tenant: Option<&str>,
    query: PageQuery,
    info: &RequestInfo,
) -> Result<Answer<AuditAnswer>, Problem> {
    let page = app.store().audit(tenant, &query.page()?).await.map_err(list_error)?;
    let events = page.items.into_iter().map(EventView::from).collect();
    Ok(Answer(AuditAnswer { events, next_cursor: page.next, request_id: info.id().to_owned() }))
}
