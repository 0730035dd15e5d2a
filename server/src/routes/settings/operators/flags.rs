//! Flags of a service.

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
    settings::{
        ChangeRequest, FlagWrite,
        model::{Entry, EntryKind},
    },
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put, delete))
}

/// A flag.
#[derive(Debug, Serialize, ToSchema)]
struct FlagView {
    key: String,
    version: u64,
    /// As it was written.
    value: FlagWrite,
    #[schema(format = DateTime)]
    updated_at: String,
    /// The id of the token or of the key that it was written with.
    updated_by: String,
}

/// A flag, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct FlagAnswer {
    flag: FlagView,
    request_id: String,
}

/// Flags, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct FlagsAnswer {
    flags: Vec<FlagView>,
    /// Counts the writes to everything that the environment has.
    revision: u64,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

impl From<&Entry> for FlagView {
    fn from(entry: &Entry) -> Self {
        Self {
            key: entry.key.clone(),
            version: entry.version,
            // What was kept was checked.
            value: serde_json::from_str(&entry.content).unwrap_or_default(),
            updated_at: rfc3339(entry.updated_at),
            updated_by: entry.updated_by.clone(),
        }
    }
}

/// Lists the flags that an environment has itself, by key.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/flags",
    tag = "settings", security(("bearer" = [])),
    params(ServicePath, PageQuery),
    responses((status = 200, description = "The flags", body = FlagsAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(path): Path<ServicePath>,
    Query(asked): Query<PageQuery>,
) -> Result<Answer<FlagsAnswer>, Problem> {
    let held = held(&app, &principal, &path.named(&principal)?).await?;
    let (part, next_cursor) = part(&held.flags, |entry| &entry.key, asked)?;
    Ok(Answer(FlagsAnswer {
        flags: part.iter().map(FlagView::from).collect(),
        revision: held.revision,
        next_cursor,
        request_id: info.id().to_owned(),
    }))
}

/// Returns a flag that an environment has itself.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/flags/{key}",
    tag = "settings", security(("bearer" = [])),
    params(EntryPath),
    responses((status = 200, description = "The flag", body = FlagAnswer), Refusals)
)]
async fn get(asked: EntryRequest) -> Result<Answer<FlagAnswer>, Problem> {
    let held = asked.held().await?;
    let flag = held.flags.iter().find(|entry| entry.key == asked.key);
    let flag = flag.map(FlagView::from).ok_or_else(|| absent(EntryKind::Flag))?;
    Ok(Answer(FlagAnswer { flag, request_id: asked.info.id().to_owned() }))
}

/// Writes a flag. Clients that follow have it at once.
#[utoipa::path(
    put, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/flags/{key}",
    tag = "settings", security(("bearer" = [])), request_body = FlagWrite,
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
    body: Result<Json<FlagWrite>, Problem>,
) -> Result<Answer<WrittenAnswer>, Problem> {
    asked.write(EntryKind::Flag, body.map(|Json(flag)| ChangeRequest::Flag(flag))).await.map(Answer)
}

/// Deletes a flag, unless a config refers to it.
#[utoipa::path(
    delete, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/flags/{key}",
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
    asked.write(EntryKind::Flag, Ok(ChangeRequest::Delete)).await.map(Answer)
}
