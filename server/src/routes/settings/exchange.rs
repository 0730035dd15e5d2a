//! Sessions for workloads.

use axum::{
    Json as Answer,
    extract::{DefaultBodyLimit, Request, State},
};
use http::StatusCode;
use leverframe::Secret;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    audit::Write,
    extract,
    problem::{Problem, Refusals},
    request::RequestInfo,
    settings::{
        self,
        exchange::{Ask, Federation, Refusal, choose},
        host::Host,
        model::{Service, Trust},
        session::Session,
    },
};

/// Bytes of a body: a token, or a signed request with a session token of AWS.
const BODY: usize = 64 * 1_024;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(exchange)).layer(DefaultBodyLimit::max(BODY))
}

/// A session.
#[derive(Serialize, ToSchema)]
struct SessionAnswer {
    /// To be sent as `Authorization: Bearer …`.
    session_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until it ends.
    expires_in: u64,
    /// What the service is.
    #[schema(example = "backend")]
    service_kind: &'static str,
    /// What vouched for the workload.
    #[schema(example = "kubernetes")]
    wif_provider: String,
}

/// Gives a session to a workload that proves who it is.
///
/// The body is `{"oidc_token": "…"}` with a token of an issuer that the operator has configured, or `{"provider":
/// "aws_iam", "aws_sts_request": {"headers": {…}, "body": "…"}}` with a signed `GetCallerIdentity`. It speaks for the
/// backend service that trusts it; if several do, the host that is asked says which.
#[utoipa::path(
    post, path = "/v1/auth/token-exchange", tag = "settings", security(("workload_identity" = [])),
    request_body(content = Object, content_type = "application/json", description = "The proof"),
    responses(
        (status = 200, description = "Valid for as long as it says, or until the service trusts it no more", body = SessionAnswer),
        Refusals
    )
)]
async fn exchange(
    State(app): State<App>,
    info: RequestInfo,
    request: Request,
) -> Result<Answer<SessionAnswer>, Problem> {
    // Whoever asks is a stranger until the end.
    app.doubt_stranger(&info)?;
    let federation = app
        .federation()
        .ok_or_else(|| Problem::forbidden("workload identity is not set up on this server: use a key"))?;
    let host = Host::of(request.headers(), request.uri());
    let body = extract::json_body(request, &app).await?;
    let (session, service) = match believe(&app, federation, &body, &host, &info).await? {
        Ok(believed) => believed,
        Err(refusal) => return Err(refused(&app, refusal, &info).await),
    };
    if let Some(problem) = settings::refusal(&service, info.wall()) {
        return Err(problem);
    }
    let token: Secret = session.sign(&*app.settings().signers().await?);
    let target = service.id.to_string();
    let write = Write::by(&app, &session.id, &info, CREATE, Some(&service.id.tenant), &target);
    app.audited_first(write, &format!("{} by {}", session.trust, session.provider)).await?;
    Ok(Answer(SessionAnswer {
        session_token: token.expose().to_owned(),
        token_type: "Bearer",
        expires_in: federation.lasts().as_secs(),
        service_kind: service.kind.as_str(),
        wif_provider: session.provider,
    }))
}

const CREATE: &str = "settings.session.create";
const REFUSE: &str = "settings.session.refuse";

/// Finds the service that a proof is of, and begins a session.
async fn believe(
    app: &App,
    federation: &Federation,
    body: &[u8],
    host: &Host,
    info: &RequestInfo,
) -> Result<Result<(Session, Service), Refusal>, Problem> {
    // What the parser says may repeat what was sent.
    let Ok(ask) = serde_json::from_slice::<Ask>(body) else { return Ok(Err(Refusal::unreadable())) };
    let proof = match federation.prove(ask, host, info.wall()).await {
        Ok(proof) => proof,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let chosen = choose(app.store(), &proof, host).await?;
    Ok(chosen.map(|(service, trust)| {
        let session = begin(app, federation, &service, &trust, &proof.provider, info);
        (session, service)
    }))
}

fn begin(
    app: &App,
    federation: &Federation,
    service: &Service,
    trust: &Trust,
    provider: &str,
    info: &RequestInfo,
) -> Session {
    let id = format!("wif_{}", app.next_id());
    Session::new(&service.id, trust, provider, info.wall() + federation.lasts(), id)
}

/// Says in the log why, and to whoever asked as much as is theirs to know.
async fn refused(app: &App, refusal: Refusal, info: &RequestInfo) -> Problem {
    let (reason, issuer) = (refusal.reason(), refusal.issuer.clone());
    tracing::info!(reason, issuer, request_id = info.id(), "a workload was not believed");
    let problem = Problem::from(refusal);
    if problem.status() == StatusCode::UNAUTHORIZED {
        app.metrics().unauthenticated.add(1);
    }
    // Of more than a few a minute the server's own log tells.
    if app.settings().refusals.takes(REFUSE, info.begun()) {
        let write = Write::by(app, "", info, REFUSE, None, &issuer);
        let outcome: Result<(), Problem> = Err(problem.clone());
        // The outcome is what is recorded, and comes back as it is.
        let _ = app.audited(write, outcome, |()| String::new()).await;
    }
    problem
}
