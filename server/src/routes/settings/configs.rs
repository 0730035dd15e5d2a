//! Configs, by whoever has a secret key of the service.

use axum::{
    Json as Answer,
    extract::{DefaultBodyLimit, Request, State},
};
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::entries::{BODY, SettingWritten, Writer};
use crate::{
    app::App,
    extract::{Json, Path, there},
    problem::{Problem, Refusals},
    request::RequestInfo,
    settings::{ChangeRequest, model::EntryKind},
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(put, delete)).layer(DefaultBodyLimit::max(BODY))
}

/// A config as it is written.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigWrite {
    /// Any JSON. `{{secret:K}}`, `{{config:K}}` and `{{flag:K}}` in its texts are put in when it is handed out.
    #[serde(deserialize_with = "there")]
    #[schema(value_type = Object, required = true)]
    value: Option<serde_json::Value>,
}

impl From<ConfigWrite> for ChangeRequest {
    fn from(config: ConfigWrite) -> Self {
        Self::Config(config.value.unwrap_or_default())
    }
}

/// Writes a config.
///
/// For secret keys and sessions of backend services. A change that an event has told of is in the next sync.
#[utoipa::path(
    put, path = "/v1/configs/{key}", tag = "settings", security(("settings_key" = []), ("settings_session" = [])),
    request_body = ConfigWrite,
    params(
        ("key" = String, Path, description = "Its name"),
        ("If-Version" = Option<u64>, Header, description = "The version that must be current, 0 for none"),
        ("Idempotency-Key" = Option<String>, Header, description = "Tells this request from others, if it is sent again"),
    ),
    responses(
        (status = 200, description = "It is written", body = SettingWritten),
        (status = 409, description = "Another version is current"),
        Refusals
    )
)]
async fn put(
    State(app): State<App>,
    info: RequestInfo,
    uri: Uri,
    Path(key): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Answer<SettingWritten>, Problem> {
    let writer = Writer::of(&app, &info, &uri, &headers).await?;
    let asked = match writer.may() {
        true => Json::<ConfigWrite>::read(request, &app).await.map(|config| (key, config.into())),
        false => Ok((key, ChangeRequest::Delete)),
    };
    writer.write("config.set", EntryKind::Config, asked).await.map(Answer)
}

/// Deletes a config, unless another one refers to it.
///
/// For secret keys and sessions of backend services.
#[utoipa::path(
    delete, path = "/v1/configs/{key}", tag = "settings", security(("settings_key" = []), ("settings_session" = [])),
    params(
        ("key" = String, Path, description = "Its name"),
        ("If-Version" = Option<u64>, Header, description = "The version that must be current"),
        ("Idempotency-Key" = Option<String>, Header, description = "Tells this request from others, if it is sent again"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "Another version is current, or a config refers to it"),
        Refusals
    )
)]
async fn delete(
    State(app): State<App>,
    info: RequestInfo,
    uri: Uri,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let writer = Writer::of(&app, &info, &uri, &headers).await?;
    writer.write("config.delete", EntryKind::Config, Ok((key, ChangeRequest::Delete))).await?;
    Ok(StatusCode::NO_CONTENT)
}
