//! Namespaces, but for what is in them.

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
    model::{NamespaceRecord, Page, PageRequest, TokenType},
    principal::{Permission, Principal},
    problem::{Envelope, Problem, Refusals},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list_of_tenant))
        .routes(routes!(list))
        .routes(routes!(get, delete))
}

/// A namespace about to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewNamespace {
    /// `[a-z][a-z0-9-]*`, unique in the tenant, for ever.
    #[schema(max_length = 63, pattern = "^[a-z][a-z0-9-]*$")]
    slug: String,
    /// Name for people; the slug if left out.
    #[schema(max_length = 200)]
    display_name: Option<String>,
    /// What it is for.
    #[schema(max_length = 2000)]
    description: Option<String>,
}

/// A namespace.
#[derive(Debug, Serialize, ToSchema)]
struct NamespaceView {
    tenant: String,
    slug: String,
    display_name: String,
    description: String,
    #[schema(format = DateTime)]
    created_at: String,
    created_by: String,
    /// The current version of the manifest; 0 before the first upload.
    version: u64,
}

/// A namespace, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct NamespaceAnswer {
    namespace: NamespaceView,
    request_id: String,
}

/// Namespaces, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct NamespacesAnswer {
    namespaces: Vec<NamespaceView>,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

impl From<NamespaceRecord> for NamespaceView {
    fn from(namespace: NamespaceRecord) -> Self {
        Self {
            tenant: namespace.tenant,
            slug: namespace.slug,
            display_name: namespace.display_name,
            description: namespace.description,
            created_at: rfc3339(namespace.created_at),
            created_by: namespace.created_by,
            version: namespace.version,
        }
    }
}

impl NamespacesAnswer {
    fn new(page: Page<NamespaceRecord>, info: &RequestInfo) -> Self {
        let namespaces = page.items.into_iter().map(NamespaceView::from).collect();
        Self { namespaces, next_cursor: page.next, request_id: info.id().to_owned() }
    }
}

/// Creates a namespace, without a manifest and without tokens.
///
/// For the tenant's admins and superadmins.
#[utoipa::path(
    post, path = "/api/v1/tenants/{tenant}/namespaces", tag = "namespaces", security(("bearer" = [])),
    params(("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant")),
    request_body = NewNamespace,
    responses(
        (status = 201, description = "It exists", body = NamespaceAnswer),
        (status = 409, description = "The tenant has a namespace of that slug", body = Envelope),
        Refusals
    )
)]
async fn create(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(tenant): Path<String>,
    body: Result<Json<NewNamespace>, Problem>,
) -> Result<(StatusCode, Answer<NamespaceAnswer>), Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    let slug = body.as_ref().map_or("", |Json(new)| new.slug.as_str());
    let target = format!("{tenant}/{slug}");
    let write = Write::new(&app, &principal, &info, "namespace.create", Some(tenant), &target);
    let outcome = async {
        principal.require(Permission::NamespaceCreate, tenant, None)?;
        let Json(new) = body?;
        let mut namespace = NamespaceRecord::new(tenant, new.slug, app.clock().wall());
        namespace.created_by = principal.token().id.clone();
        namespace.description = new.description.unwrap_or_default();
        if let Some(name) = new.display_name {
            namespace.display_name = name;
        }
        checked::namespace(&namespace)?;
        match app.store().create_namespace(&namespace).await {
            Ok(()) => Ok(namespace),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                Err(Problem::already_exists(format!("the namespace `{}` exists already", namespace.slug)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Problem::not_found("there is no such tenant"))
            }
            Err(error) => Err(error.into()),
        }
    }
    .await;
    let namespace = app.audited(write, outcome, |_| String::new()).await?;
    let answer = NamespaceAnswer { namespace: namespace.into(), request_id: info.id().to_owned() };
    Ok((StatusCode::CREATED, Answer(answer)))
}

/// Lists the namespaces of a tenant that the token may read.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces", tag = "namespaces", security(("bearer" = [])),
    params(("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"), PageQuery),
    responses((status = 200, description = "The namespaces, by slug", body = NamespacesAnswer), Refusals)
)]
async fn list_of_tenant(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(tenant): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<NamespacesAnswer>, Problem> {
    let page = query.page()?;
    let tenant = principal.resolve_tenant(&tenant)?;
    if principal.token().kind != TokenType::Superadmin && principal.tenant() != Some(tenant) {
        return Err(Problem::forbidden("the token does not permit this here"));
    }
    let seen = visible(&app, &principal, Some(tenant), &page).await?;
    if seen.items.is_empty() && app.store().tenant(tenant).await?.is_none() {
        return Err(Problem::not_found("there is no such tenant"));
    }
    Ok(Answer(NamespacesAnswer::new(seen, &info)))
}

/// Lists the namespaces that the token may read, of all tenants for superadmins.
#[utoipa::path(
    get, path = "/api/v1/namespaces", tag = "namespaces", security(("bearer" = [])), params(PageQuery),
    responses((status = 200, description = "The namespaces, by tenant and slug", body = NamespacesAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Query(query): Query<PageQuery>,
) -> Result<Answer<NamespacesAnswer>, Problem> {
    let page = query.page()?;
    let seen = visible(&app, &principal, principal.tenant(), &page).await?;
    Ok(Answer(NamespacesAnswer::new(seen, &info)))
}

/// Lists what the principal may read of a tenant that it belongs to, or of all.
async fn visible(
    app: &App,
    principal: &Principal,
    tenant: Option<&str>,
    page: &PageRequest,
) -> Result<Page<NamespaceRecord>, Problem> {
    match (principal.token().kind, tenant, principal.token().namespace.as_deref()) {
        (TokenType::Superadmin, ..) | (TokenType::TenantAdmin, Some(_), _) => {
            app.store().namespaces(tenant, page).await.map_err(list_error)
        }
        (_, Some(tenant), Some(own)) if principal.may(Permission::ManifestRead, tenant, Some(own)) => {
            let namespace = app.store().namespace(tenant, own).await?;
            Ok(Page { items: Vec::from_iter(namespace), next: None })
        }
        _ => Ok(Page { items: Vec::new(), next: None }),
    }
}

/// Returns a namespace.
///
/// For every token that may read it.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}", tag = "namespaces",
    security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("namespace" = String, Path, description = "Slug")
    ),
    responses((status = 200, description = "The namespace", body = NamespaceAnswer), Refusals)
)]
async fn get(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((tenant, slug)): Path<(String, String)>,
) -> Result<Answer<NamespaceAnswer>, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    principal.require(Permission::ManifestRead, tenant, Some(&slug))?;
    let namespace = app.store().namespace(tenant, &slug).await?;
    let namespace = namespace.ok_or_else(|| Problem::not_found("there is no such namespace"))?;
    Ok(Answer(NamespaceAnswer { namespace: namespace.into(), request_id: info.id().to_owned() }))
}

/// Deletes a namespace. Not implemented.
///
/// A namespace that is created again would count its versions from 1, and a client that holds the old version 1 would
/// take it for the new one. Until that is settled, revoke the namespace's tokens instead.
#[utoipa::path(
    delete, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}", tag = "namespaces",
    security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("namespace" = String, Path, description = "Slug")
    ),
    responses((status = 501, description = "Not implemented", body = Envelope), Refusals)
)]
async fn delete(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((tenant, slug)): Path<(String, String)>,
) -> Result<(), Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    let target = format!("{tenant}/{slug}");
    let write = Write::new(&app, &principal, &info, "namespace.delete", Some(tenant), &target);
    let outcome = principal.require(Permission::NamespaceCreate, tenant, None).and_then(|()| {
        Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "not_implemented",
            "namespaces cannot be deleted; revoke the namespace's tokens to put it out of use",
        ))
    });
    app.audited(write, outcome, |()| String::new()).await
}
