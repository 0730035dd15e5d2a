//! Manifests (section 5, S3): upload, download, history, rollback, lint, difference.

mod accept;
mod conditional;
mod download;
mod history;
mod upload;
mod wire;
mod write;

use axum::extract::DefaultBodyLimit;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use self::conditional::{etag, none_match, number};
use crate::app::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    let forms = OpenApiRouter::new()
        .routes(routes!(download::current, write::put))
        .routes(routes!(write::lint))
        .layer(DefaultBodyLimit::max(upload::BODY_LIMIT));
    OpenApiRouter::new()
        .routes(routes!(history::versions))
        .routes(routes!(download::version))
        .routes(routes!(history::diff))
        .routes(routes!(write::rollback))
        .merge(forms)
}
