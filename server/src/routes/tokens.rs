//! Tokens (S7).

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use leverframe::{ErrorKind, from_rfc3339, rfc3339};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::list_error;
use crate::{
    app::App,
    audit::Write,
    checked,
    extract::{Json, Path, Query, page},
    mint::mint,
    model::{TokenRecord, TokenType},
    principal::{Permission, Principal},
    problem::{Problem, Refusals},
    request::RequestInfo,
    store::TokenQuery,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(own)).routes(routes!(get, revoke))
}

/// A token about to be issued.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    r#type: TokenType,
    /// The tenant that it is bound to, for every type but `superadmin`; the issuing token's own if left out.
    tenant: Option<String>,
    /// The namespace that it is bound to, for the namespace types.
    namespace: Option<String>,
    /// The environment that it is bound to, for `namespace_client`.
    environment: Option<String>,
    /// Name for people.
    #[schema(max_length = 200)]
    name: Option<String>,
    /// The origins that may use it, for `namespace_client`: without any, no page in a browser may.
    #[serde(default)]
    #[schema(max_items = 50)]
    allowed_origins: Vec<String>,
    /// When it stops being valid; never if left out.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct TokenView {
    id: String,
    r#type: TokenType,
    tenant: Option<String>,
    namespace: Option<String>,
    environment: Option<String>,
    name: String,
    allowed_origins: Vec<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// The id of the token that issued it; empty for the command line.
    created_by: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// A token with its secret, which is shown this once and kept nowhere.
#[derive(Serialize, ToSchema)]
struct MintedAnswer {
    token: TokenView,
    secret: String,
    request_id: String,
}

/// A token, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct TokenAnswer {
    token: TokenView,
    request_id: String,
}

/// Tokens, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct TokensAnswer {
    tokens: Vec<TokenView>,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

impl From<&TokenRecord> for TokenView {
    fn from(token: &TokenRecord) -> Self {
        Self {
            id: token.id.clone(),
            r#type: token.kind,
            tenant: token.tenant.clone(),
            namespace: token.namespace.clone(),
            environment: token.environment.clone(),
            name: token.name.clone(),
            allowed_origins: token.allowed_origins.clone(),
            created_at: rfc3339(token.created_at),
            created_by: token.created_by.clone(),
            expires_at: token.expires_at.map(rfc3339),
            revoked_at: token.revoked_at.map(rfc3339),
        }
    }
}

/// Issues a token. Its secret is shown in this answer only.
///
/// For superadmins, and for a tenant's admins as far as the tenant goes.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "tokens", security(("bearer" = [])), request_body = NewToken,
    responses((status = 201, description = "It is valid from now on", body = MintedAnswer), Refusals)
)]
async fn create(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    body: Result<Json<NewToken>, Problem>,
) -> Result<(StatusCode, Answer<MintedAnswer>), Problem> {
    let token = body.and_then(|Json(new)| new.record(&app, &principal));
    let tenant = token.as_ref().map_or_else(|_| principal.tenant(), |token| token.tenant.as_deref());
    let target = token.as_ref().map_or("", |token| &token.id);
    let write = Write::new(&app, &principal, &info, "token.create", tenant, target);
    let outcome = async {
        // Before the request's own mistakes are told, which are nobody's business who may not issue anything.
        let tenant = token.as_ref().ok().and_then(|token| token.tenant.as_deref());
        may_issue(&principal, token.as_ref().ok().map(|token| token.kind), tenant)?;
        let token = token?;
        checked::token(&token, app.clock().wall())?;
        must_exist(&app, &token).await?;
        let minted = mint(token.kind)?;
        app.store().create_token(&token, &minted.hash).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Problem::not_found("there is no such tenant or namespace"),
            _ => error.into(),
        })?;
        Ok((token, minted.secret))
    }
    .await;
    let outcome = app.audited(write, outcome, |(token, _)| token.kind.as_str().to_owned()).await;
    let (token, secret) = outcome?;
    let answer = MintedAnswer {
        token: TokenView::from(&token),
        secret: secret.expose().to_owned(),
        request_id: info.id().to_owned(),
    };
    Ok((StatusCode::CREATED, Answer(answer)))
}

impl NewToken {
    /// Fills in what is left out; nothing is checked but the time, which has no other form.
    fn record(self, app: &App, principal: &Principal) -> Result<TokenRecord, Problem> {
        let mut token = TokenRecord::new(format!("tok_{}", app.next_id()), self.r#type, app.clock().wall());
        token.tenant = match self.tenant {
            Some(tenant) => Some(principal.resolve_tenant(&tenant)?.to_owned()),
            None if self.r#type == TokenType::Superadmin => None,
            None => principal.tenant().map(str::to_owned),
        };
        token.namespace = self.namespace;
        token.environment = self.environment;
        token.name = self.name.unwrap_or_default();
        token.allowed_origins = self.allowed_origins;
        token.created_by = principal.token().id.clone();
        token.expires_at = match self.expires_at {
            Some(text) => Some(from_rfc3339(&text).ok_or_else(|| {
                Problem::bad_request("`expires_at` must be a time such as `2026-12-31T23:59:59Z`")
            })?),
            None => None,
        };
        Ok(token)
    }
}

/// Lets those through who may issue a token of that type, bound to that tenant.
fn may_issue(principal: &Principal, kind: Option<TokenType>, tenant: Option<&str>) -> Result<(), Problem> {
    let issuer = principal.token().kind;
    let permitted = match (issuer, tenant) {
        (TokenType::Superadmin, _) => true,
        (TokenType::TenantAdmin, None) => kind != Some(TokenType::Superadmin),
        (TokenType::TenantAdmin, Some(tenant)) => {
            kind != Some(TokenType::Superadmin) && principal.may(Permission::TokenManage, tenant, None)
        }
        _ => false,
    };
    if permitted { Ok(()) } else { Err(Problem::forbidden("the token does not permit this here")) }
}

async fn must_exist(app: &App, token: &TokenRecord) -> Result<(), Problem> {
    let Some(tenant) = &token.tenant else { return Ok(()) };
    let exists = match &token.namespace {
        Some(namespace) => app.store().namespace(tenant, namespace).await?.is_some(),
        None => app.store().tenant(tenant).await?.is_some(),
    };
    if exists { Ok(()) } else { Err(Problem::not_found("there is no such tenant or namespace")) }
}

/// Which tokens are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TokensQuery {
    /// Only those bound to this tenant; an admin of a tenant gets those of the tenant in any case.
    tenant: Option<String>,
    /// Only those bound to this namespace of the tenant.
    namespace: Option<String>,
    /// Only those of this type.
    r#type: Option<TokenType>,
    /// Only those that are neither revoked nor expired.
    #[serde(default)]
    live: bool,
    /// At most this many entries.
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: Option<usize>,
    /// The `next_cursor` of the part before.
    #[param(max_length = 512)]
    cursor: Option<String>,
}

/// Lists tokens, without their secrets, in the order they were issued in.
///
/// For superadmins, and for a tenant's admins as far as the tenant goes.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "tokens", security(("bearer" = [])), params(TokensQuery),
    responses((status = 200, description = "The tokens", body = TokensAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Query(asked): Query<TokensQuery>,
) -> Result<Answer<TokensAnswer>, Problem> {
    let tenant = match &asked.tenant {
        Some(tenant) => Some(principal.resolve_tenant(tenant)?),
        None => principal.tenant(),
    };
    may_issue(&principal, None, tenant)?;
    if asked.namespace.is_some() && tenant.is_none() {
        return Err(Problem::bad_request("`namespace` needs `tenant`"));
    }
    let page = page(asked.limit, asked.cursor)?;
    let query = TokenQuery {
        tenant: tenant.map(str::to_owned),
        namespace: asked.namespace,
        kind: asked.r#type,
        live_at: asked.live.then(|| app.clock().wall()),
    };
    let page = app.store().tokens(&query, &page).await.map_err(list_error)?;
    let tokens = page.items.iter().map(TokenView::from).collect();
    Ok(Answer(TokensAnswer { tokens, next_cursor: page.next, request_id: info.id().to_owned() }))
}

/// Returns the token that the request is made with.
///
/// For every token.
#[utoipa::path(
    get, path = "/api/v1/tokens/self", tag = "tokens", security(("bearer" = [])),
    responses((status = 200, description = "The token", body = TokenAnswer), Refusals)
)]
async fn own(principal: Principal, info: RequestInfo) -> Answer<TokenAnswer> {
    Answer(TokenAnswer { token: TokenView::from(principal.token()), request_id: info.id().to_owned() })
}

/// Returns a token, without its secret.
///
/// For superadmins, and for a tenant's admins as far as the tenant goes.
#[utoipa::path(
    get, path = "/api/v1/tokens/{id}", tag = "tokens", security(("bearer" = [])),
    params(("id" = String, Path, description = "`tok_…`")),
    responses((status = 200, description = "The token", body = TokenAnswer), Refusals)
)]
async fn get(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(id): Path<String>,
) -> Result<Answer<TokenAnswer>, Problem> {
    may_issue(&principal, None, principal.tenant())?;
    let token = managed(&app, &principal, &id).await?;
    Ok(Answer(TokenAnswer { token: TokenView::from(&token), request_id: info.id().to_owned() }))
}

/// Revokes a token, at once: its open event streams end. Revoking it again changes nothing.
///
/// For superadmins, and for a tenant's admins as far as the tenant goes.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "tokens", security(("bearer" = [])),
    params(("id" = String, Path, description = "`tok_…`")),
    responses((status = 204, description = "It is not valid any more"), Refusals)
)]
async fn revoke(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let permitted = may_issue(&principal, None, principal.tenant());
    let token = match permitted {
        Ok(()) => managed(&app, &principal, &id).await,
        Err(problem) => Err(problem),
    };
    let tenant = token.as_ref().map_or_else(|_| principal.tenant(), |token| token.tenant.as_deref());
    let write = Write::new(&app, &principal, &info, "token.revoke", tenant, &id);
    let outcome = match token {
        Ok(token) => {
            let revoked = app.store().revoke_token(&token.id, app.clock().wall()).await;
            // Even if the store failed: it may have done so after the token was gone.
            app.forget_token(&token.id);
            revoked.map_err(Problem::from)
        }
        Err(problem) => Err(problem),
    };
    let again = |revoked: &bool| if *revoked { String::new() } else { "revoked before".to_owned() };
    app.audited(write, outcome, again).await.map(|_| StatusCode::NO_CONTENT)
}

/// Returns a token that the principal manages; of another tenant's it does not learn that they exist.
async fn managed(app: &App, principal: &Principal, id: &str) -> Result<TokenRecord, Problem> {
    // What is no id is not asked for.
    let is_id = id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let token = if is_id { app.store().token(id).await? } else { None };
    let managed = token.filter(|token| match principal.token().kind {
        TokenType::Superadmin => true,
        _ => {
            token.tenant.as_deref().is_some_and(|tenant| principal.may(Permission::TokenManage, tenant, None))
        }
    });
    managed.ok_or_else(|| Problem::not_found("there is no such token"))
}
