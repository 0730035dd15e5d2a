//! Who of the people may do what: people cannot log in yet, so that these answer 501 to whom they will be for.

use axum::extract::State;
use http::StatusCode;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    audit::Write,
    extract::Path,
    principal::{Permission, Principal},
    problem::{Envelope, Problem, Refusals},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(put_of_tenant, delete_of_tenant))
        .routes(routes!(list_of_namespace))
        .routes(routes!(put_of_namespace, delete_of_namespace))
}

fn not_yet() -> Problem {
    Problem::new(
        StatusCode::NOT_IMPLEMENTED,
        "not_implemented",
        "people cannot log in to this server; service tokens do everything",
    )
}

/// Makes a person an admin of a tenant. Not implemented.
#[utoipa::path(
    put, path = "/api/v1/tenants/{tenant}/admins/{user_id}", tag = "tenants", security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("user_id" = String, Path, description = "`usr_…`")
    ),
    responses((status = 501, description = "Not implemented", body = Envelope), Refusals)
)]
async fn put_of_tenant(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((tenant, user)): Path<(String, String)>,
) -> Result<(), Problem> {
    refuse(&app, &principal, &info, "tenant.admin.add", (&tenant, None, &user)).await
}

/// Makes a person no longer an admin of a tenant. Not implemented.
#[utoipa::path(
    delete, path = "/api/v1/tenants/{tenant}/admins/{user_id}", tag = "tenants", security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("user_id" = String, Path, description = "`usr_…`")
    ),
    responses((status = 501, description = "Not implemented", body = Envelope), Refusals)
)]
async fn delete_of_tenant(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((tenant, user)): Path<(String, String)>,
) -> Result<(), Problem> {
    refuse(&app, &principal, &info, "tenant.admin.remove", (&tenant, None, &user)).await
}

/// Lists the admins of a namespace. Not implemented.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/admins", tag = "namespaces",
    security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("namespace" = String, Path, description = "Slug")
    ),
    responses((status = 501, description = "Not implemented", body = Envelope), Refusals)
)]
async fn list_of_namespace(
    principal: Principal,
    Path((tenant, namespace)): Path<(String, String)>,
) -> Result<(), Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    principal.require(Permission::TokenManage, tenant, Some(&namespace))?;
    Err(not_yet())
}

/// Makes a person an admin of a namespace. Not implemented.
#[utoipa::path(
    put, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/admins/{user_id}", tag = "namespaces",
    security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("namespace" = String, Path, description = "Slug"),
        ("user_id" = String, Path, description = "`usr_…`")
    ),
    responses((status = 501, description = "Not implemented", body = Envelope), Refusals)
)]
async fn put_of_namespace(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((tenant, namespace, user)): Path<(String, String, String)>,
) -> Result<(), Problem> {
    refuse(&app, &principal, &info, "namespace.admin.add", (&tenant, Some(&namespace), &user)).await
}

/// Makes a person no longer an admin of a namespace. Not implemented.
#[utoipa::path(
    delete, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/admins/{user_id}", tag = "namespaces",
    security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("namespace" = String, Path, description = "Slug"),
        ("user_id" = String, Path, description = "`usr_…`")
    ),
    responses((status = 501, description = "Not implemented", body = Envelope), Refusals)
)]
async fn delete_of_namespace(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((tenant, namespace, user)): Path<(String, String, String)>,
) -> Result<(), Problem> {
    refuse(&app, &principal, &info, "namespace.admin.remove", (&tenant, Some(&namespace), &user)).await
}

async fn refuse(
    app: &App,
    principal: &Principal,
    info: &RequestInfo,
    action: &'static str,
    (tenant, namespace, user): (&str, Option<&str>, &str),
) -> Result<(), Problem> {
    let tenant = principal.resolve_tenant(tenant)?;
    let target =
        namespace.map_or_else(|| format!("{tenant}/{user}"), |slug| format!("{tenant}/{slug}/{user}"));
    let write = Write::new(app, principal, info, action, Some(tenant), &target);
    // Whoever may issue tokens for a place will be who may name its admins.
    let permitted = principal.require(Permission::TokenManage, tenant, namespace);
    app.audited(write, permitted.and_then(|()| Err(not_yet())), |()| String::new()).await
}
