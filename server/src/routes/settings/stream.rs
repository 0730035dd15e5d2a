//! The stream that says when to sync.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Uri};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    problem::{Problem, Refusals},
    request::RequestInfo,
    routes::events::event_stream_headers,
    settings::Caller,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(stream))
}

/// Says as server-sent events when something changes.
///
/// The first event is `resync`. Then `config.…`, `flag.…` and `secret.…` (`created`, `updated`, `deleted`; flags also
/// `toggled`) with the key that it is about, `resync` for more than can be told, and `auth_expiring` five minutes before a
/// session ends. A sync sees what an event tells of. The stream ends with the key, the session or the server.
#[utoipa::path(
    get, path = "/v1/stream", tag = "settings", security(("settings_key" = []), ("settings_session" = [])),
    responses(
        (status = 200, description = "Events without end", content_type = "text/event-stream", body = String),
        (status = 402, description = "The account is behind with its payments"),
        Refusals
    )
)]
async fn stream(
    State(app): State<App>,
    info: RequestInfo,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = Caller::of(&app, &headers, &uri, &info).await?;
    let events = caller.listen(&app).await?;
    Ok((event_stream_headers(), Body::from_stream(events)).into_response())
}
