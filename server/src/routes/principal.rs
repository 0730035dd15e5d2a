//! Who a token belongs to.

use axum::Json as Answer;
use leverframe::rfc3339;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, model::TokenType, principal::Principal, problem::Refusals, request::RequestInfo};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get))
}

/// The holder of the token.
#[derive(Debug, Serialize, ToSchema)]
struct PrincipalView {
    /// The token's id.
    id: String,
    r#type: TokenType,
    name: String,
    tenant: Option<String>,
    namespace: Option<String>,
    environment: Option<String>,
    /// When the token stops being valid; null for never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

/// The principal, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct PrincipalAnswer {
    principal: PrincipalView,
    request_id: String,
}

/// Returns what the server knows of the token that asks.
///
/// For every live token.
#[utoipa::path(
    get, path = "/api/v1/principal", tag = "tokens", security(("bearer" = [])),
    responses((status = 200, description = "Whose token it is", body = PrincipalAnswer), Refusals)
)]
async fn get(principal: Principal, info: RequestInfo) -> Answer<PrincipalAnswer> {
    let token = principal.token();
    Answer(PrincipalAnswer {
        principal: PrincipalView {
            id: token.id.clone(),
            r#type: token.kind,
            name: token.name.clone(),
            tenant: token.tenant.clone(),
            namespace: token.namespace.clone(),
            environment: token.environment.clone(),
            expires_at: token.expires_at.map(rfc3339),
        },
        request_id: info.id().to_owned(),
    })
}
