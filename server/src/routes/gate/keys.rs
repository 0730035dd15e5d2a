//! Gate keys.

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use leverframe::rfc3339;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    audit::Write,
    checked,
    extract::{Json, PageQuery, Path, Query},
    gate::{NewGateKey, issue_gate_key, model::GateKey},
    principal::{Permission, Principal},
    problem::{Problem, Refusals},
    request::RequestInfo,
    routes::list_error,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(revoke))
}

/// A key about to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// The one site that it may report for; any if left out.
    #[schema(max_length = 64)]
    site: Option<String>,
    /// Name for people.
    #[schema(max_length = 200)]
    name: Option<String>,
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct KeyView {
    org_id: String,
    publish_key: String,
    site: Option<String>,
    name: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// The id of the token that it was made with; empty for the command line.
    created_by: String,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// A key with its secret, which is shown this once and kept nowhere.
#[derive(Serialize, ToSchema)]
struct CreatedKey {
    key: KeyView,
    secret_key: String,
    request_id: String,
}

/// Keys, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct KeysAnswer {
    keys: Vec<KeyView>,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

impl From<&GateKey> for KeyView {
    fn from(key: &GateKey) -> Self {
        Self {
            org_id: key.org.clone(),
            publish_key: key.publish_key.clone(),
            site: key.site.clone(),
            name: key.name.clone(),
            created_at: rfc3339(key.created_at),
            created_by: key.created_by.clone(),
            revoked_at: key.revoked_at.map(rfc3339),
        }
    }
}

/// Makes a pair of keys for instances of a fleet. The secret is shown in this answer only.
///
/// For superadmins, and for the admins of the tenant that is named like the organisation.
#[utoipa::path(
    post, path = "/api/v1/gate/{org}/keys", tag = "gate", security(("bearer" = [])), request_body = NewKey,
    params(("org" = String, Path, description = "The organisation; `-` for the token's tenant")),
    responses((status = 201, description = "They are valid from now on", body = CreatedKey), Refusals)
)]
async fn create(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(org): Path<String>,
    body: Result<Json<NewKey>, Problem>,
) -> Result<(StatusCode, Answer<CreatedKey>), Problem> {
    let org = principal.resolve_tenant(&org)?;
    let write = Write::new(&app, &principal, &info, "gate_key.create", Some(org), org);
    let outcome = async {
        principal.require(Permission::GateWrite, org, None)?;
        let Json(asked) = body?;
        let mut new = NewGateKey::new(org);
        (new.site, new.name) = (asked.site, asked.name.unwrap_or_default());
        new.created_by.clone_from(&principal.token().id);
        checked::gate_key(&new)?;
        Ok(issue_gate_key(app.store(), &new, app.clock().wall()).await?)
    }
    .await;
    let issued = app.audited(write, outcome, |issued| issued.key.publish_key.clone()).await?;
    let answer = CreatedKey {
        key: KeyView::from(&issued.key),
        secret_key: issued.secret.expose().to_owned(),
        request_id: info.id().to_owned(),
    };
    Ok((StatusCode::CREATED, Answer(answer)))
}

/// Lists the keys of a fleet, those that are revoked among them, without their secrets.
///
/// For superadmins, and for the admins of the tenant that is named like the organisation.
#[utoipa::path(
    get, path = "/api/v1/gate/{org}/keys", tag = "gate", security(("bearer" = [])),
    params(("org" = String, Path, description = "The organisation; `-` for the token's tenant"), PageQuery),
    responses((status = 200, description = "The keys", body = KeysAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(org): Path<String>,
    Query(asked): Query<PageQuery>,
) -> Result<Answer<KeysAnswer>, Problem> {
    let org = principal.resolve_tenant(&org)?;
    principal.require(Permission::GateRead, org, None)?;
    let page = app.store().gate_keys(org, &asked.page()?).await.map_err(list_error)?;
    let keys = page.items.iter().map(KeyView::from).collect();
    Ok(Answer(KeysAnswer { keys, next_cursor: page.next, request_id: info.id().to_owned() }))
}

/// Revokes a key, at once, and the tokens that were issued for it. Revoking it again changes nothing.
///
/// For superadmins, and for the admins of the tenant that is named like the organisation.
#[utoipa::path(
    delete, path = "/api/v1/gate/{org}/keys/{publish_key}", tag = "gate", security(("bearer" = [])),
    params(
        ("org" = String, Path, description = "The organisation; `-` for the token's tenant"),
        ("publish_key" = String, Path, description = "`wpk_…`"),
    ),
    responses((status = 204, description = "It is not valid any more"), Refusals)
)]
async fn revoke(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((org, publish_key)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let org = principal.resolve_tenant(&org)?;
    let write = Write::new(&app, &principal, &info, "gate_key.revoke", Some(org), &publish_key);
    let outcome = async {
        principal.require(Permission::GateWrite, org, None)?;
        let is_key = publish_key.len() <= 64 && publish_key.bytes().all(|b| b.is_ascii_graphic());
        let key = if is_key { app.store().gate_key(&publish_key).await? } else { None };
        if key.is_none_or(|(key, _)| key.org != org) {
            return Err(Problem::not_found("there is no such key"));
        }
        let revoked = app.store().revoke_gate_key(org, &publish_key, app.clock().wall()).await;
        // Even if the store failed: it may have done so after the key was gone.
        app.gate().doubt(org);
        Ok(revoked?)
    }
    .await;
    let again = |revoked: &bool| if *revoked { String::new() } else { "revoked before".to_owned() };
    app.audited(write, outcome, again).await.map(|_| StatusCode::NO_CONTENT)
}
