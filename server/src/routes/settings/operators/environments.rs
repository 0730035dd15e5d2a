//! Services, which are environments of a namespace.

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use leverframe::{Error, ErrorKind, from_rfc3339, rfc3339};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::place::{ServicePath, existing, require};
use crate::{
    app::App,
    audit::Write,
    extract::{Json, PageQuery, Path, Query, given, there},
    principal::{Permission, Principal},
    problem::{Envelope, Problem, Refusals},
    request::RequestInfo,
    routes::list_error,
    settings::{
        checked,
        model::{Kind, Quarantine, Service, ServiceId, Trust},
        services,
    },
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put))
}

/// A service.
#[derive(Debug, Serialize, ToSchema)]
struct ServiceView {
    tenant: String,
    namespace: String,
    environment: String,
    kind: Kind,
    /// The first label of the host name that it is asked at.
    slug: String,
    /// The umbrella service that it inherits from.
    inherits: Option<Inherits>,
    /// Whether flags are evaluated for users.
    ab_enabled: bool,
    /// Whether its clients are answered 402.
    billing_overdue: bool,
    /// Whether its clients are answered 429 for a while, and why.
    quarantine: Option<QuarantineView>,
    /// Whose workloads are believed to be it, without a key.
    trusts: Vec<Trust>,
    /// Counts the changes of the above.
    revision: u64,
    #[schema(format = DateTime)]
    created_at: String,
    /// The id of the token that it was created with; empty for the command line.
    created_by: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// The id of the token that it was changed with last.
    updated_by: String,
}

/// An umbrella service of the same tenant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Inherits {
    namespace: String,
    environment: String,
}

/// Why a service is not answered, and until when.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct QuarantineView {
    /// A word, such as `bulk_delete`.
    #[schema(max_length = 64)]
    reason: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// What a service is to be: what is left out stays, and what is null is taken away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ServiceChanges {
    /// What it is; needed for a new one, and never another one afterwards.
    #[serde(default, deserialize_with = "there")]
    kind: Option<Kind>,
    /// The first label of its host name, unique in the installation; of its name if never given.
    #[serde(default, deserialize_with = "there")]
    #[schema(max_length = 63)]
    slug: Option<String>,
    /// The umbrella service that it inherits from. Takes a token that may read secrets there; a frontend service, which is
    /// given none, takes one only for another namespace.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Inherits>)]
    inherits: Option<Option<Inherits>>,
    /// Whether flags are evaluated for users; they are if never given.
    #[serde(default, deserialize_with = "there")]
    ab_enabled: Option<bool>,
    /// Whether its clients are answered 402.
    #[serde(default, deserialize_with = "there")]
    billing_overdue: Option<bool>,
    /// Whether its clients are answered 429 for a while, and why.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<QuarantineView>)]
    quarantine: Option<Option<QuarantineView>>,
    /// Whose workloads are believed to be it, without a key; takes a token that may read secrets.
    #[serde(default, deserialize_with = "there")]
    #[schema(max_items = 50)]
    trusts: Option<Vec<Trust>>,
    /// The revision that this is a change of, 0 if there is none yet; any if left out.
    if_revision: Option<u64>,
}

/// A service, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct ServiceAnswer {
    environment: ServiceView,
    request_id: String,
}

/// Services, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct ServicesAnswer {
    environments: Vec<ServiceView>,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

impl From<&Service> for ServiceView {
    fn from(service: &Service) -> Self {
        Self {
            tenant: service.id.tenant.clone(),
            namespace: service.id.namespace.clone(),
            environment: service.id.environment.clone(),
            kind: service.kind,
            slug: service.slug.clone(),
            inherits: service.inherits.as_ref().map(|umbrella| Inherits {
                namespace: umbrella.namespace.clone(),
                environment: umbrella.environment.clone(),
            }),
            ab_enabled: service.ab_enabled,
            billing_overdue: service.billing_overdue,
            quarantine: service.quarantine.as_ref().map(|quarantine| QuarantineView {
                reason: quarantine.reason.clone(),
                expires_at: rfc3339(quarantine.expires_at),
            }),
            trusts: service.trusts.clone(),
            revision: service.revision,
            created_at: rfc3339(service.created_at),
            created_by: service.created_by.clone(),
            updated_at: rfc3339(service.updated_at),
            updated_by: service.updated_by.clone(),
        }
    }
}

/// Lists the environments of a namespace that have settings.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments", tag = "settings",
    security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("namespace" = String, Path, description = "Slug"),
        PageQuery
    ),
    responses((status = 200, description = "By name", body = ServicesAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((tenant, namespace)): Path<(String, String)>,
    Query(asked): Query<PageQuery>,
) -> Result<Answer<ServicesAnswer>, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    principal.require(Permission::SettingsRead, tenant, Some(&namespace))?;
    let page = asked.page()?;
    must_exist(&app, tenant, &namespace).await?;
    let page = app.store().settings_services(Some(tenant), Some(&namespace), &page).await;
    let page = page.map_err(list_error)?;
    Ok(Answer(ServicesAnswer {
        environments: page.items.iter().map(ServiceView::from).collect(),
        next_cursor: page.next,
        request_id: info.id().to_owned(),
    }))
}

async fn must_exist(app: &App, tenant: &str, namespace: &str) -> Result<(), Problem> {
    let is_name = leverframe::manifest::is_slug;
    let found =
        is_name(tenant) && is_name(namespace) && app.store().namespace(tenant, namespace).await?.is_some();
    if found { Ok(()) } else { Err(no_namespace()) }
}

fn no_namespace() -> Problem {
    Problem::not_found("there is no such namespace")
}

/// Returns what an environment is to those who ask for settings.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}",
    tag = "settings", security(("bearer" = [])),
    params(ServicePath),
    responses((status = 200, description = "The environment", body = ServiceAnswer), Refusals)
)]
async fn get(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(path): Path<ServicePath>,
) -> Result<Answer<ServiceAnswer>, Problem> {
    let id = path.named(&principal)?;
    require(&principal, Permission::SettingsRead, &id)?;
    let service = existing(&app, &id).await?;
    Ok(Answer(ServiceAnswer { environment: ServiceView::from(&service), request_id: info.id().to_owned() }))
}

/// Creates an environment that has settings, or changes what it is.
///
/// Whoever adds to `trusts` or sets `inherits` hands out what reads secrets: that takes a token that may read them.
#[utoipa::path(
    put, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}",
    tag = "settings", security(("bearer" = [])), request_body = ServiceChanges,
    params(ServicePath),
    responses(
        (status = 200, description = "It is changed", body = ServiceAnswer),
        (status = 201, description = "It is created", body = ServiceAnswer),
        (status = 409, description = "`conflict` if it is of another kind or at another revision, `already_exists` if another service has the slug", body = Envelope),
        Refusals
    )
)]
async fn put(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(path): Path<ServicePath>,
    body: Result<Json<ServiceChanges>, Problem>,
) -> Result<(StatusCode, Answer<ServiceAnswer>), Problem> {
    let id = path.named(&principal)?;
    let write = Write::new(&app, &principal, &info, "settings.set", Some(&id.tenant), &id.to_string());
    let detail = body.as_ref().map(|Json(changes)| changes.detail()).unwrap_or_default();
    let outcome = async {
        require(&principal, Permission::SettingsWrite, &id)?;
        let Json(changes) = body?;
        checked::service_id(&id)?;
        apply(&app, &principal, &id, &changes).await
    }
    .await;
    let detail = |service: &Service| format!("revision {}: {detail}", service.revision);
    let service = app.audited(write, outcome, detail).await?;
    let status = if service.revision == 1 { StatusCode::CREATED } else { StatusCode::OK };
    let answer = ServiceAnswer { environment: ServiceView::from(&service), request_id: info.id().to_owned() };
    Ok((status, Answer(answer)))
}

/// Times that a change is tried which names no revision, and which others were faster than.
const ATTEMPTS: u32 = 16;

async fn apply(
    app: &App,
    principal: &Principal,
    id: &ServiceId,
    changes: &ServiceChanges,
) -> Result<Service, Problem> {
    let mut revision = 0;
    for _ in 0..ATTEMPTS {
        let held = app.store().settings_service(id).await?;
        revision = held.as_ref().map_or(0, |held| held.revision);
        if changes.if_revision.is_some_and(|asked| asked != revision) {
            break;
        }
        let stored = match held {
            Some(held) => {
                let next = changes.of(principal, &held, app)?;
                app.store().put_settings_service(&next).await
            }
            None => {
                must_exist(app, &id.tenant, &id.namespace).await?;
                let fresh = changes.fresh(app, id)?;
                let next = changes.of(principal, &fresh, app)?;
                services::create(app.store(), next, changes.slug.as_deref()).await
            }
        };
        // Even if the store failed: it may have done so after it was kept.
        app.settings().doubt(id);
        if let Some(service) = stored.map_err(not_kept)? {
            return Ok(service);
        }
    }
    let said = format!("the environment is at revision {revision}");
    Err(Problem::new(StatusCode::CONFLICT, "conflict", said).with("revision", revision))
}

fn not_kept(error: Error) -> Problem {
    match error.kind() {
        ErrorKind::Conflict => Problem::already_exists("another service has this slug"),
        ErrorKind::NotFound => no_namespace(),
        ErrorKind::Invalid => Problem::bad_request(
            "`inherits` must name an umbrella service of the tenant, and all of it may have at most 256 KiB",
        ),
        _ => error.into(),
    }
}

impl ServiceChanges {
    /// Makes a service of which nothing is kept yet.
    fn fresh(&self, app: &App, id: &ServiceId) -> Result<Service, Problem> {
        let kind = self
            .kind
            .ok_or_else(|| Problem::bad_request("`kind` is needed: there is no such environment yet"))?;
        // Without a master key it gets one with its first secret, once there is a master key.
        let keyring = app.settings().keyring().ok();
        let data_key = keyring.map(|keyring| keyring.new_data_key(id)).transpose()?.unwrap_or_default();
        let mut service = Service::new(id.clone(), kind, data_key, app.clock().wall());
        services::name(&mut service, self.slug.as_deref());
        Ok(service)
    }

    /// Returns what the service is to be, checked, if the principal may make it that.
    fn of(&self, principal: &Principal, held: &Service, app: &App) -> Result<Service, Problem> {
        if let Some(kind) = self.kind.filter(|kind| *kind != held.kind) {
            let said = format!(
                "the environment is of kind `{}`, which never changes, and not `{}`",
                held.kind.as_str(),
                kind.as_str()
            );
            return Err(Problem::new(StatusCode::CONFLICT, "conflict", said));
        }
        let mut next = held.clone();
        if let Some(slug) = &self.slug {
            next.slug.clone_from(slug);
        }
        if let Some(inherits) = &self.inherits {
            next.inherits = inherits
                .as_ref()
                .map(|umbrella| ServiceId::new(&held.id.tenant, &umbrella.namespace, &umbrella.environment));
        }
        next.ab_enabled = self.ab_enabled.unwrap_or(held.ab_enabled);
        next.billing_overdue = self.billing_overdue.unwrap_or(held.billing_overdue);
        if let Some(quarantine) = &self.quarantine {
            next.quarantine = quarantine.as_ref().map(Quarantine::try_from).transpose()?;
        }
        if let Some(trusts) = &self.trusts {
            next.trusts.clone_from(trusts);
        }
        checked::service(&next)?;
        if next.trusts != held.trusts {
            require(principal, Permission::SecretRead, &held.id)?;
        }
        // Its clients are given what the umbrella has: of another namespace anything, and secrets wherever they are.
        let is_told =
            |umbrella: &&ServiceId| next.kind.has_secrets() || umbrella.namespace != held.id.namespace;
        let set = next.inherits.as_ref().filter(|_| next.inherits != held.inherits);
        if let Some(umbrella) = set.filter(is_told) {
            require(principal, Permission::SecretRead, umbrella)?;
        }
        next.updated_at = app.clock().wall();
        next.updated_by.clone_from(&principal.token().id);
        if held.revision == 0 {
            next.created_by.clone_from(&principal.token().id);
        }
        Ok(next)
    }

    /// Says what is changed, for the audit log.
    fn detail(&self) -> String {
        let switch =
            |name: &str, on: Option<bool>| on.map(|on| format!("{name} {}", if on { "on" } else { "off" }));
        let mut parts = Vec::new();
        parts.extend(self.kind.map(|kind| kind.as_str().to_owned()));
        parts.extend(self.slug.as_ref().map(|_| "slug".to_owned()));
        parts.extend(self.inherits.as_ref().map(|umbrella| match umbrella {
            Some(umbrella) => format!("inherits {}/{}", umbrella.namespace, umbrella.environment),
            None => "inherits nothing".to_owned(),
        }));
        parts.extend(switch("ab_enabled", self.ab_enabled));
        parts.extend(switch("billing_overdue", self.billing_overdue));
        parts.extend(self.quarantine.as_ref().map(|quarantine| match quarantine {
            Some(quarantine) => format!("quarantine until {}", quarantine.expires_at),
            None => "no quarantine".to_owned(),
        }));
        parts.extend(self.trusts.as_ref().map(|trusts| format!("trusts {}", trusts.len())));
        parts.join(", ")
    }
}

impl TryFrom<&QuarantineView> for Quarantine {
    type Error = Problem;

    fn try_from(view: &QuarantineView) -> Result<Self, Problem> {
        let expires_at = from_rfc3339(&view.expires_at).ok_or_else(|| {
            Problem::bad_request("`quarantine.expires_at` must be a time such as `2026-06-01T10:00:00Z`")
        })?;
        Ok(Self::new(&view.reason, expires_at))
    }
}
