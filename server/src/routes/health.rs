//! Whether the server lives, whether it is ready, and what it has counted.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use leverframe::Secret;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    problem::{Envelope, Problem},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// Says that the process lives.
#[utoipa::path(
    get, path = "/healthz", tag = "server", security(()),
    responses((status = 200, description = "It does", content_type = "text/plain", body = String))
)]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Says whether requests are answered: the store is there, and the server is not about to stop.
#[utoipa::path(
    get, path = "/readyz", tag = "server", security(()),
    responses(
        (status = 200, description = "They are", content_type = "text/plain", body = String),
        (status = 503, description = "They are not, for now", body = Envelope)
    )
)]
async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    if app.draining().has_begun() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is stopping"));
    }
    app.store().ping().await?;
    Ok("ready\n")
}

/// Returns what the server has counted, for Prometheus.
///
/// Asks for the token that the server was started with for this; without one it answers whoever connects from the
/// same machine.
#[utoipa::path(
    get, path = "/metrics", tag = "server", security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The counts", content_type = "text/plain; version=0.0.4", body = String),
        (status = 401, description = "A token is asked for", body = Envelope),
        (status = 403, description = "From another machine, without a token for it", body = Envelope)
    )
)]
async fn metrics(State(app): State<App>, info: RequestInfo, headers: HeaderMap) -> Result<Response, Problem> {
    match app.metrics_token() {
        Some(token) => {
            let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let sent = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
            if !token.same_as(&Secret::new(sent)) {
                return Err(Problem::unauthenticated());
            }
        }
        None if !info.peer().is_some_and(|peer| peer.to_canonical().is_loopback()) => {
            return Err(Problem::forbidden(
                "metrics are for this machine only, unless the server is started with a token for them",
            ));
        }
        None => {}
    }
    let media = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    Ok(([media], app.metrics().text()).into_response())
}
