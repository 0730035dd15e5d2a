//! Configs of a service.

use axum::{Json as Answer, extract::State};
use leverframe::rfc3339;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    entries::{EntryRequest, WrittenAnswer, absent, held, part},
    place::{EntryPath, ServicePath},
};
use crate::{
    app::App,
    extract::{Json, PageQuery, Path, Query},
    principal::Principal,
    problem::{Envelope, Problem, Refusals},
    request::RequestInfo,
    routes::settings::configs::ConfigWrite,
    settings::{
        ChangeRequest,
        model::{Entry, EntryKind},
    },
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put, delete))
}

/// A config.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigView {
    key: String,
    version: u64,
    /// As it was written: references are not resolved.
    #[schema(value_type = Value)]
    value: serde_json::Value,
    /// The value as text, exact where readers of JSON round numbers.
    text: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// The id of the token or of the key that it was written with.
    updated_by: String,
}

/// A config, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigAnswer {
    config: ConfigView,
    request_id: String,
}

/// Configs, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigsAnswer {
    configs: Vec<ConfigView>,
    /// Counts the writes to everything that the environment has.
    revision: u64,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

impl From<&Entry> for ConfigView {
    fn from(entry: &Entry) -> Self {
        Self {
            key: entry.key.clone(),
            version: entry.version,
            value: serde_json::from_str(&entry.content).unwrap_or_default(),
            text: entry.content.clone(),
            updated_at: rfc3339(entry.updated_at),
            updated_by: entry.updated_by.clone(),
        }
    }
}

/// Lists the configs that an environment has itself, by key.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/configs",
    tag = "settings", security(("bearer" = [])),
    params(ServicePath, PageQuery),
    responses((status = 200, description = "The configs", body = ConfigsAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(path): Path<ServicePath>,
    Query(asked): Query<PageQuery>,
) -> Result<Answer<ConfigsAnswer>, Problem> {
    let held = held(&app, &principal, &path.named(&principal)?).await?;
    let (part, next_cursor) = part(&held.configs, |entry| &entry.key, asked)?;
    Ok(Answer(ConfigsAnswer {
        configs: part.iter().map(ConfigView::from).collect(),
        revision: held.revision,
        next_cursor,
        request_id: info.id().to_owned(),
    }))
}

/// Returns a config that an environment has itself.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/configs/{key}",
    tag = "settings", security(("bearer" = [])),
    params(EntryPath),
    responses((status = 200, description = "The config", body = ConfigAnswer), Refusals)
)]
async fn get(asked: EntryRequest) -> Result<Answer<ConfigAnswer>, Problem> {
    let held = asked.held().await?;
    let config = held.configs.iter().find(|entry| entry.key == asked.key);
    let config = config.map(ConfigView::from).ok_or_else(|| absent(EntryKind::Config))?;
    Ok(Answer(ConfigAnswer { config, request_id: asked.info.id().to_owned() }))
}

/// Writes a config. Clients that follow have it at once.
#[utoipa::path(
    put, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/configs/{key}",
    tag = "settings", security(("bearer" = [])), request_body = ConfigWrite,
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
    body: Result<Json<ConfigWrite>, Problem>,
) -> Result<Answer<WrittenAnswer>, Problem> {
    asked.write(EntryKind::Config, body.map(|Json(config)| config.into())).await.map(Answer)
}

/// Deletes a config, unless another one refers to it.
#[utoipa::path(
    delete, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/configs/{key}",
    tag = "settings", security(("bearer" = [])),
    params(
        EntryPath,
        ("If-Version" = Option<u64>, Header, description = "The version that must be current"),
        ("Idempotency-Key" = Option<String>, Header, description = "Tells this request from others, if it is sent again"),
    ),
    responses(
        (status = 200, description = "It is gone", body = WrittenAnswer),
        (status = 409, description = "Another version is current, or a config refers to it", body = Envelope),
        Refusals
    )
)]
async fn delete(asked: EntryRequest) -> Result<Answer<WrittenAnswer>, Problem> {
    asked.write(EntryKind::Config, Ok(ChangeRequest::Delete)).await.map(Answer)
}
