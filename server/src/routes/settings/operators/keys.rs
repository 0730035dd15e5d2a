//! Keys of services.

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use leverframe::rfc3339;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::place::{ServicePath, existing, named, require};
use crate::{
    app::App,
    audit::Write,
    extract::{Json, PageQuery, Path, Query},
    principal::{Permission, Principal},
    problem::{Problem, Refusals},
    request::RequestInfo,
    routes::list_error,
    settings::{NewSettingsKey, checked, issue_settings_key, key_word, model::SettingsKey, services},
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(revoke))
}

/// What a key reads.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KeyType {
    /// A secret key: all that the service has, and writes it where that is a backend.
    Sk,
    /// A public key: configs and flags.
    Pk,
}

/// A key about to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewServiceKey {
    r#type: KeyType,
    /// Name for people.
    #[schema(max_length = 200)]
    name: Option<String>,
    /// Whether it begins with `sk_live_` or `pk_live_`, as clients before 0.15 expect.
    #[serde(default)]
    legacy: bool,
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct ServiceKeyView {
    id: String,
    r#type: KeyType,
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
struct CreatedServiceKey {
    key: ServiceKeyView,
    secret: String,
    /// The first label of the host name that the service is asked at.
    slug: String,
    request_id: String,
}

/// Keys, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct ServiceKeysAnswer {
    keys: Vec<ServiceKeyView>,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

impl From<&SettingsKey> for ServiceKeyView {
    fn from(key: &SettingsKey) -> Self {
        Self {
            id: key.id.clone(),
            r#type: if key.public { KeyType::Pk } else { KeyType::Sk },
            name: key.name.clone(),
            created_at: rfc3339(key.created_at),
            created_by: key.created_by.clone(),
            revoked_at: key.revoked_at.map(rfc3339),
        }
    }
}

/// Makes a key of an environment. It is shown in this answer only.
///
/// A secret key reads secrets: making one takes a token that may read them itself.
#[utoipa::path(
    post, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/keys",
    tag = "settings", security(("bearer" = [])), request_body = NewServiceKey,
    params(ServicePath),
    responses((status = 201, description = "It is valid from now on", body = CreatedServiceKey), Refusals)
)]
async fn create(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(path): Path<ServicePath>,
    body: Result<Json<NewServiceKey>, Problem>,
) -> Result<(StatusCode, Answer<CreatedServiceKey>), Problem> {
    let id = path.named(&principal)?;
    let write = Write::new(&app, &principal, &info, "settings_key.create", Some(&id.tenant), &id.to_string());
    let outcome = async {
        require(&principal, Permission::SettingsWrite, &id)?;
        let Json(asked) = body?;
        let public = matches!(asked.r#type, KeyType::Pk);
        if !public {
            require(&principal, Permission::SecretRead, &id)?;
        }
        let service = existing(&app, &id).await?;
        checked::keyed(service.kind)?;
        let mut new = NewSettingsKey::new(id.clone(), public);
        (new.legacy, new.name) = (asked.legacy, asked.name.unwrap_or_default());
        new.created_by.clone_from(&principal.token().id);
        checked::key_name(&new.name)?;
        let issued = issue_settings_key(app.store(), &new, app.clock().wall()).await?;
        Ok((issued, service.slug))
    }
    .await;
    let detail = |(issued, _): &(crate::settings::IssuedSettingsKey, String)| {
        format!("{} {}", key_word(issued.key.public), issued.key.id)
    };
    let (issued, slug) = app.audited(write, outcome, detail).await?;
    let answer = CreatedServiceKey {
        key: ServiceKeyView::from(&issued.key),
        secret: issued.secret.expose().to_owned(),
        slug,
        request_id: info.id().to_owned(),
    };
    Ok((StatusCode::CREATED, Answer(answer)))
}

/// Lists the keys of an environment in the order they were made in, those that are revoked among them.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/keys",
    tag = "settings", security(("bearer" = [])),
    params(ServicePath, PageQuery),
    responses((status = 200, description = "The keys, without their secrets", body = ServiceKeysAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(path): Path<ServicePath>,
    Query(asked): Query<PageQuery>,
) -> Result<Answer<ServiceKeysAnswer>, Problem> {
    let id = path.named(&principal)?;
    require(&principal, Permission::SettingsRead, &id)?;
    let page = asked.page()?;
    existing(&app, &id).await?;
    let page = app.store().settings_keys(&id, &page).await.map_err(list_error)?;
    let keys = page.items.iter().map(ServiceKeyView::from).collect();
    Ok(Answer(ServiceKeysAnswer { keys, next_cursor: page.next, request_id: info.id().to_owned() }))
}

/// Revokes a key, at once. Revoking it again changes nothing.
#[utoipa::path(
    delete, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/keys/{id}",
    tag = "settings", security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("namespace" = String, Path, description = "Slug"),
        ("environment" = String, Path, description = "Its name"),
        ("id" = String, Path, description = "`set_…`"),
    ),
    responses((status = 204, description = "It is not valid any more"), Refusals)
)]
async fn revoke(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((tenant, namespace, environment, key)): Path<(String, String, String, String)>,
) -> Result<StatusCode, Problem> {
    let id = named(&principal, &tenant, &namespace, &environment)?;
    let target = format!("{id} {key}");
    let write = Write::new(&app, &principal, &info, "settings_key.revoke", Some(&id.tenant), &target);
    let outcome = async {
        require(&principal, Permission::SettingsWrite, &id)?;
        existing(&app, &id).await?;
        if !services::has_key(app.store(), &id, &key).await? {
            return Err(Problem::not_found("there is no such key"));
        }
        let revoked = app.store().revoke_settings_key(&id, &key, app.clock().wall()).await;
        // Even if the store failed: it may have done so after the key was gone.
        app.settings().doubt(&id);
        Ok(revoked?)
    }
    .await;
    let again = |revoked: &bool| if *revoked { String::new() } else { "revoked before".to_owned() };
    app.audited(write, outcome, again).await.map(|_| StatusCode::NO_CONTENT)
}
