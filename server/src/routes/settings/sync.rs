//! Everything of a service at once.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    audit::Write,
    problem::{Problem, Refusals},
    request::RequestInfo,
    routes::none_match,
    settings::Caller,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(sync))
}

/// Hands out everything that a service has: configs with what they refer to put in, flags as they are now, and to secret
/// keys of backend services also secrets.
#[utoipa::path(
    get, path = "/v1/sync", tag = "settings", security(("settings_key" = []), ("settings_session" = [])),
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer")),
    responses(
        (status = 200, description = "`synced_at`, `key_type`, `service_kind`, `configs`, `flags`, `secrets`", body = Object,
            headers(("etag" = String, description = "Of everything but `synced_at`, for this kind of key"))),
        (status = 304, description = "Nothing has changed"),
        (status = 402, description = "The account is behind with its payments"),
        Refusals
    )
)]
async fn sync(
    State(app): State<App>,
    info: RequestInfo,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = Caller::of(&app, &headers, &uri, &info).await?;
    let face = caller.face();
    if none_match(&headers, face.etag.to_str().unwrap_or_default()) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, face.etag.clone())]).into_response());
    }
    if face.secrets > 0 {
        let revisions = caller.view.revisions();
        let record = || async {
            let target = caller.service.to_string();
            let tenant = Some(&*caller.service.tenant);
            let write = Write::by(&app, &caller.id, &info, "settings.secrets.read", tenant, &target);
            let detail = format!("{} secrets of revision {}", face.secrets, revisions.1);
            app.audited_first(write, &detail).await
        };
        app.settings().reading(&Arc::clone(&caller.id), revisions, record).await?;
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::ETAG, face.etag.clone()),
    ];
    Ok((headers, face.body.clone()).into_response())
}
