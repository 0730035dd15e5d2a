//! Flags, by whoever has a secret key of the service.

use axum::{
    Json as Answer,
    extract::{Request, State},
};
use http::{HeaderMap, StatusCode, Uri};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::entries::{SettingWritten, Writer};
use crate::{
    app::App,
    extract::{Json, Path},
    problem::{Problem, Refusals},
    request::RequestInfo,
    settings::{ChangeRequest, FlagWrite, model::EntryKind},
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(put, delete))
}

/// Writes a flag.
///
/// For secret keys and sessions of backend services.
#[utoipa::path(
    put, path = "/v1/flags/{key}", tag = "settings", security(("settings_key" = []), ("settings_session" = [])),
    request_body = FlagWrite,
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
        true => Json::<FlagWrite>::read(request, &app).await.map(|flag| (key, ChangeRequest::from(flag))),
        false => Ok((key, ChangeRequest::Delete)),
    };
    writer.write("flag.set", EntryKind::Flag, asked).await.map(Answer)
}

/// Deletes a flag, unless a config refers to it.
///
/// For secret keys and sessions of backend services.
#[utoipa::path(
    delete, path = "/v1/flags/{key}", tag = "settings", security(("settings_key" = []), ("settings_session" = [])),
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
    writer.write("flag.delete", EntryKind::Flag, Ok((key, ChangeRequest::Delete))).await?;
    Ok(StatusCode::NO_CONTENT)
}
