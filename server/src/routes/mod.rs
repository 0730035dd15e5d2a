//! The routes. Each file has a `routes()` with its handlers, which carry `#[utoipa::path]` and thereby their part of
//! the OpenAPI document; a file is added by one line below.

use axum::{Router, extract::DefaultBodyLimit, middleware};
use bytes::Bytes;
use leverframe::{Error, ErrorKind};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{app::App, console, finish, frame, problem::Problem};

mod admins;
mod audit;
mod closure;
mod document;
mod evaluate;
mod events;
mod gate;
mod health;
mod hot;
mod manifest;
mod namespaces;
mod ofrep;
mod settings;
mod tenants;
mod tokens;
mod typed;

pub(crate) use self::{hot::Hot, manifest::none_match};

/// Bytes of a body, where a route does not say otherwise with a `DefaultBodyLimit` of its own.
const BODY: usize = 256 * 1_024;

/// Puts the routes together.
pub(crate) fn router(app: App) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(document::Document::openapi())
        .merge(document::routes())
        .merge(evaluate::routes())
        .merge(health::routes())
        .merge(events::routes())
        .merge(gate::routes())
        .merge(closure::routes())
        .merge(manifest::routes())
        .merge(ofrep::routes())
        .merge(settings::routes())
        .merge(tenants::routes())
        .merge(typed::routes())
        .merge(console::routes())
        .merge(namespaces::routes())
        .merge(admins::routes())
        .merge(tokens::routes())
        .merge(audit::routes())
        .split_for_parts();
    // A document that cannot be written would be a mistake in the attributes, which a test would see as no document.
    app.set_document(document.to_json().map(Bytes::from).unwrap_or_default());
    router
        .fallback(|| async { Problem::not_found("there is nothing at this path") })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(app.clone(), finish::finish))
        .layer(middleware::from_fn_with_state(app.clone(), frame::frame))
        .with_state(app)
}

/// Says of a list that it was asked for with a cursor that no list gave.
fn list_error(error: Error) -> Problem {
    if error.kind() == ErrorKind::Invalid {
        return Problem::bad_request("`cursor` must be what an earlier answer gave as `next_cursor`");
    }
    error.into()
}
