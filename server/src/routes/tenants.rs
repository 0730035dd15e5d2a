//! Tenants.

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use leverframe::{ErrorKind, rfc3339};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::list_error;
use crate::{
    app::App,
    audit::Write,
    checked,
    extract::{Json, PageQuery, Path, Query},
    model::{LoginMode, Page, Tenant, TokenType},
    principal::{Permission, Principal},
    problem::{Envelope, Problem, Refusals},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(get))
}

/// A tenant about to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    /// `[a-z][a-z0-9-]*`, unique in the installation, for ever.
    #[schema(max_length = 63, pattern = "^[a-z][a-z0-9-]*$")]
    slug: String,
    /// Name for people; the slug if left out.
    #[schema(max_length = 200)]
    display_name: Option<String>,
    login_mode: LoginMode,
    /// The provider, for `sso`.
    #[schema(max_length = 200)]
    sso_provider: Option<String>,
    /// The domain, for `email_domain`.
    #[schema(max_length = 253)]
    email_domain: Option<String>,
    /// The first admins of a tenant that logs in by `sso`, of which none is taken: people cannot log in yet. Ignored
    /// for `email_domain`.
    #[serde(default)]
    initial_admin_user_ids: Vec<String>,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
struct TenantView {
    slug: String,
    display_name: String,
    login_mode: LoginMode,
    sso_provider: Option<String>,
    email_domain: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    namespace_count: u64,
}

/// A tenant, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct TenantAnswer {
    tenant: TenantView,
    request_id: String,
}

/// Tenants, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct TenantsAnswer {
    tenants: Vec<TenantView>,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

impl From<Tenant> for TenantView {
    fn from(tenant: Tenant) -> Self {
        Self {
            slug: tenant.slug,
            display_name: tenant.display_name,
            login_mode: tenant.login_mode,
            sso_provider: tenant.sso_provider,
            email_domain: tenant.email_domain,
            created_at: rfc3339(tenant.created_at),
            namespace_count: tenant.namespace_count,
        }
    }
}

/// Creates a tenant.
///
/// For superadmins.
#[utoipa::path(
    post, path = "/api/v1/tenants", tag = "tenants", security(("bearer" = [])),
    request_body = NewTenant,
    responses(
        (status = 201, description = "It exists", body = TenantAnswer),
        (status = 409, description = "A tenant of that slug exists", body = Envelope),
        Refusals
    )
)]
async fn create(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    body: Result<Json<NewTenant>, Problem>,
) -> Result<(StatusCode, Answer<TenantAnswer>), Problem> {
    let slug = body.as_ref().map_or("", |Json(new)| new.slug.as_str());
    let write = Write::new(&app, &principal, &info, "tenant.create", Some(slug), slug);
    let outcome = async {
        principal.require(Permission::TenantCreate, "", None)?;
        let Json(new) = body?;
        let tenant = new.checked(&app)?;
        match app.store().create_tenant(&tenant).await {
            Ok(()) => Ok(tenant),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                Err(Problem::already_exists(format!("the tenant `{}` exists already", tenant.slug)))
            }
            Err(error) => Err(error.into()),
        }
    }
    .await;
    let tenant = app.audited(write, outcome, |_| String::new()).await?;
    let answer = TenantAnswer { tenant: tenant.into(), request_id: info.id().to_owned() };
    Ok((StatusCode::CREATED, Answer(answer)))
}

impl NewTenant {
    fn checked(self, app: &App) -> Result<Tenant, Problem> {
        if !self.initial_admin_user_ids.is_empty() && self.login_mode == LoginMode::Sso {
            return Err(Problem::bad_request(
                "people cannot log in yet: leave `initial_admin_user_ids` out and issue tenant-admin tokens",
            ));
        }
        let mut tenant = Tenant::new(self.slug, self.login_mode, app.clock().wall());
        tenant.sso_provider = self.sso_provider;
        tenant.email_domain = self.email_domain;
        if let Some(name) = self.display_name {
            tenant.display_name = name;
        }
        checked::tenant(&tenant)?;
        Ok(tenant)
    }
}

/// Lists the tenants that the token may see: all of them for superadmins, its own for others.
#[utoipa::path(
    get, path = "/api/v1/tenants", tag = "tenants", security(("bearer" = [])), params(PageQuery),
    responses((status = 200, description = "The tenants, by slug", body = TenantsAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Query(query): Query<PageQuery>,
) -> Result<Answer<TenantsAnswer>, Problem> {
    let page = query.page()?;
    let Page { items, next } = match principal.token().kind {
        TokenType::Superadmin => app.store().tenants(&page).await.map_err(list_error)?,
        _ => {
            let own = principal.tenant().filter(|slug| sees(&principal, slug));
            let tenant = match own {
                Some(slug) => app.store().tenant(slug).await?,
                None => None,
            };
            Page { items: Vec::from_iter(tenant), next: None }
        }
    };
    let tenants = items.into_iter().map(TenantView::from).collect();
    Ok(Answer(TenantsAnswer { tenants, next_cursor: next, request_id: info.id().to_owned() }))
}

/// Returns a tenant.
///
/// For every token that is bound to it, but for client tokens, which are public.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}", tag = "tenants", security(("bearer" = [])),
    params(("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant")),
    responses((status = 200, description = "The tenant", body = TenantAnswer), Refusals)
)]
async fn get(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(tenant): Path<String>,
) -> Result<Answer<TenantAnswer>, Problem> {
    let slug = principal.resolve_tenant(&tenant)?;
    if !sees(&principal, slug) {
        return Err(Problem::forbidden("the token does not permit this here"));
    }
    let tenant = app.store().tenant(slug).await?;
    let tenant = tenant.ok_or_else(|| Problem::not_found("there is no such tenant"))?;
    Ok(Answer(TenantAnswer { tenant: tenant.into(), request_id: info.id().to_owned() }))
}

/// Returns whether the principal may know what there is to know of a tenant: its members may.
fn sees(principal: &Principal, tenant: &str) -> bool {
    match principal.token().kind {
        TokenType::Superadmin => true,
        TokenType::NamespaceClient => false,
        _ => principal.tenant() == Some(tenant),
    }
}
