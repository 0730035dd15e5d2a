//! Secrets of a service: lists and versions tell what there is, and one route tells a value.

use axum::{Json as Answer, extract::State};
use leverframe::rfc3339;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    entries::{EntryRequest, WrittenAnswer, absent, held, part, target},
    place::{EntryPath, ServicePath, existing, require},
};
use crate::{
    app::App,
    audit::Write,
    extract::{PageQuery, Path, Query, WipedJson},
    principal::{Permission, Principal},
    problem::{Envelope, Problem, Refusals},
    request::RequestInfo,
    routes::settings::secrets::SecretWrite,
    settings::{
        ChangeRequest,
        model::{EntryKind, KeptVersion, SecretForm, SecretVersion, is_key},
    },
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(versions))
        .routes(routes!(value))
}

/// A version of a secret, without its value.
#[derive(Debug, Serialize, ToSchema)]
struct SecretView {
    key: String,
    version: u64,
    form: SecretForm,
    #[schema(format = DateTime)]
    updated_at: String,
    /// The id of the token or of the key that it was written with.
    updated_by: String,
}

/// A secret, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct SecretAnswer {
    secret: SecretView,
    request_id: String,
}

/// Secrets, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct SecretsAnswer {
    secrets: Vec<SecretView>,
    /// Counts the writes to everything that the environment has.
    revision: u64,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

/// Versions of a secret, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct SecretVersionsAnswer {
    versions: Vec<SecretView>,
    request_id: String,
}

/// The value of a secret, and the request's id.
#[derive(Serialize, ToSchema)]
struct SecretValueAnswer {
    secret: SecretView,
    /// The text; of a file, what is in it; of a file of bytes, those in base64.
    value: String,
    request_id: String,
}

/// Which version is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct VersionQuery {
    /// One version.
    #[param(minimum = 1)]
    version: Option<u64>,
}

impl SecretView {
    fn of(key: &str, kept: KeptVersion) -> Self {
        Self {
            key: key.to_owned(),
            version: kept.version,
            form: kept.form,
            updated_at: rfc3339(kept.created_at),
            updated_by: kept.created_by,
        }
    }
}

impl From<&SecretVersion> for SecretView {
    fn from(secret: &SecretVersion) -> Self {
        Self {
            key: secret.key.clone(),
            version: secret.version,
            form: secret.form,
            updated_at: rfc3339(secret.created_at),
            updated_by: secret.created_by.clone(),
        }
    }
}

/// Lists the secrets that an environment has itself, by key, without their values.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets",
    tag = "settings", security(("bearer" = [])),
    params(ServicePath, PageQuery),
    responses((status = 200, description = "The secrets", body = SecretsAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(path): Path<ServicePath>,
    Query(asked): Query<PageQuery>,
) -> Result<Answer<SecretsAnswer>, Problem> {
    let held = held(&app, &principal, &path.named(&principal)?).await?;
    let (part, next_cursor) = part(&held.secrets, |secret| &secret.key, asked)?;
    Ok(Answer(SecretsAnswer {
        secrets: part.iter().map(SecretView::from).collect(),
        revision: held.revision,
        next_cursor,
        request_id: info.id().to_owned(),
    }))
}

/// Returns what is known of a secret that an environment has itself, but for its value.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets/{key}",
    tag = "settings", security(("bearer" = [])),
    params(EntryPath),
    responses((status = 200, description = "The secret, without its value", body = SecretAnswer), Refusals)
)]
async fn get(asked: EntryRequest) -> Result<Answer<SecretAnswer>, Problem> {
    let held = asked.held().await?;
    let secret = held.secrets.iter().find(|secret| secret.key == asked.key);
    let secret = secret.map(SecretView::from).ok_or_else(|| absent(EntryKind::Secret))?;
    Ok(Answer(SecretAnswer { secret, request_id: asked.info.id().to_owned() }))
}

/// Writes a version of a secret. Clients that follow have it at once.
#[utoipa::path(
    put, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets/{key}",
    tag = "settings", security(("bearer" = [])), request_body = SecretWrite,
    params(
        EntryPath,
        ("If-Version" = Option<u64>, Header, description = "The version that must be current, 0 for none"),
        ("Idempotency-Key" = Option<String>, Header, description = "Tells this request from others, if it is sent again"),
    ),
    responses(
        (status = 200, description = "It is written", body = WrittenAnswer),
        (status = 409, description = "Another version is current", body = Envelope),
        Refusals
    )
)]
async fn put(
    asked: EntryRequest,
    body: Result<WipedJson<SecretWrite>, Problem>,
) -> Result<Answer<WrittenAnswer>, Problem> {
    asked.write(EntryKind::Secret, body.and_then(|WipedJson(secret)| secret.try_into())).await.map(Answer)
}

/// Deletes a secret, unless a config refers to it, or one version: then the newest one that remains is handed out.
#[utoipa::path(
    delete, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets/{key}",
    tag = "settings", security(("bearer" = [])),
    params(
        EntryPath,
        ("If-Version" = Option<u64>, Header, description = "The version that must be current"),
        ("Idempotency-Key" = Option<String>, Header, description = "Tells this request from others, if it is sent again"),
        VersionQuery
    ),
    responses(
        (status = 200, description = "It is gone", body = WrittenAnswer),
        (status = 409, description = "Another version is current, or a config refers to it", body = Envelope),
        Refusals
    )
)]
async fn delete(
    asked: EntryRequest,
    query: Result<Query<VersionQuery>, Problem>,
) -> Result<Answer<WrittenAnswer>, Problem> {
    let change =
        query.map(|Query(query)| query.version.map_or(ChangeRequest::Delete, ChangeRequest::DeleteVersion));
    asked.write(EntryKind::Secret, change).await.map(Answer)
}

/// Lists the versions of a secret that are kept, newest first, without their values.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets/{key}/versions",
    tag = "settings", security(("bearer" = [])),
    params(EntryPath),
    responses((status = 200, description = "At most 100", body = SecretVersionsAnswer), Refusals)
)]
async fn versions(asked: EntryRequest) -> Result<Answer<SecretVersionsAnswer>, Problem> {
    let EntryRequest { app, principal, info, id, key, .. } = asked;
    require(&principal, Permission::SettingsRead, &id)?;
    existing(&app, &id).await?;
    // What no secret can be called is not looked for.
    let kept = if is_key(&key) { app.store().settings_secret_versions(&id, &key).await? } else { Vec::new() };
    if kept.is_empty() {
        return Err(absent(EntryKind::Secret));
    }
    let versions = kept.into_iter().map(|kept| SecretView::of(&key, kept)).collect();
    Ok(Answer(SecretVersionsAnswer { versions, request_id: info.id().to_owned() }))
}

/// Tells the value of a secret. That it is told is in the audit log before it is.
///
/// For superadmins and tenant admins.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/secrets/{key}/value",
    tag = "settings", security(("bearer" = [])),
    params(EntryPath, VersionQuery),
    responses((status = 200, description = "The value", body = SecretValueAnswer), Refusals)
)]
async fn value(
    asked: EntryRequest,
    query: Result<Query<VersionQuery>, Problem>,
) -> Result<Answer<SecretValueAnswer>, Problem> {
    let EntryRequest { app, principal, info, id, key, .. } = asked;
    let write = Write::new(&app, &principal, &info, "secret.read", Some(&id.tenant), &target(&id, &key));
    let outcome = async {
        require(&principal, Permission::SecretRead, &id)?;
        let Query(query) = query?;
        let service = existing(&app, &id).await?;
        let secret = match is_key(&key) {
            true => app.store().settings_secret_version(&id, &key, query.version).await?,
            false => None,
        };
        let secret = secret.ok_or_else(|| absent(EntryKind::Secret))?;
        let value = app.settings().open(&service, &secret)?;
        Ok((SecretView::from(&secret), value))
    }
    .await;
    let (secret, value) = match outcome {
        Ok(opened) => opened,
        Err(problem) => return app.audited(write, Err(problem), |_: &Answer<_>| String::new()).await,
    };
    app.audited_first(write, &format!("version {}", secret.version)).await?;
    let answer =
        SecretValueAnswer { secret, value: value.expose().to_owned(), request_id: info.id().to_owned() };
    Ok(Answer(answer))
}
