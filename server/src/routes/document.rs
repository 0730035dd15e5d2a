//! The OpenAPI document.

use axum::{extract::State, response::IntoResponse};
use http::header;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    problem::{Envelope, EnvelopeError},
};

/// What the document says besides the routes.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Leverframe",
        description = "Namespaces of feature flags, their versions, events and evaluation.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(Envelope, EnvelopeError)),
    modifiers(&Bearer),
    tags(
        (name = "tenants", description = "Owners of namespaces"),
        (name = "namespaces", description = "Namespaces of flags"),
        (name = "tokens", description = "Credentials of services"),
        (name = "events", description = "Changes as they happen"),
        (name = "manifest", description = "Versions of a namespace's files"),
        (name = "evaluation", description = "Values of flags, for callers that do not evaluate in process"),
        (name = "ofrep", description = "The OpenFeature Remote Evaluation Protocol"),
        (name = "gate", description = "What fleets do and what they may"),
        (name = "settings", description = "What services are configured with"),
        (name = "audit", description = "Who changed what"),
        (name = "server", description = "The server itself")
    )
)]
pub(super) struct Document;

/// Every route but those that say otherwise asks for a token.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", scheme);
        let header = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
        components.add_security_scheme("api_key", header);
        let of_gate = "A gate key. `POST /v1/auth/token` takes both halves in its body; `POST /v1/pulse` names the \
            publish key in this header and is signed with the secret key.";
        let key = ApiKeyValue::with_description("x-waitstate-id", of_gate);
        components.add_security_scheme("gate_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
        let mut token = Http::new(HttpAuthScheme::Bearer);
        token.description = Some("A token of `POST /v1/auth/token`".to_owned());
        components.add_security_scheme("gate_token", SecurityScheme::Http(token));
        let key = ApiKeyValue::with_description("x-nexus-api-key", "A key of a service of settings");
        components.add_security_scheme("settings_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
        let mut session = Http::new(HttpAuthScheme::Bearer);
        session.description = Some("A session of `POST /v1/auth/token-exchange`".to_owned());
        components.add_security_scheme("settings_session", SecurityScheme::Http(session));
        let mut proof = Http::new(HttpAuthScheme::Bearer);
        proof.description =
            Some("What proves who a workload is; it is sent in the body, not in this header".to_owned());
        components.add_security_scheme("workload_identity", SecurityScheme::Http(proof));
    }
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(openapi))
}

/// Returns this document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "server", security(()),
    responses((status = 200, description = "The document", content_type = "application/json", body = Object))
)]
async fn openapi(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], app.document())
}
