//! Which service a path names.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::App,
    principal::{Permission, Principal},
    problem::Problem,
    settings::{
        checked,
        model::{Service, ServiceId},
    },
};

/// The service that a path names.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ServicePath {
    /// Slug; `-` stands for the token's own tenant.
    tenant: String,
    /// Slug.
    namespace: String,
    /// The environment's name.
    environment: String,
}

/// The entry of a service that a path names.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct EntryPath {
    /// Slug; `-` stands for the token's own tenant.
    tenant: String,
    /// Slug.
    namespace: String,
    /// The environment's name.
    environment: String,
    /// The entry's name.
    key: String,
}

impl ServicePath {
    /// Resolves `-`.
    pub(super) fn named(&self, principal: &Principal) -> Result<ServiceId, Problem> {
        named(principal, &self.tenant, &self.namespace, &self.environment)
    }
}

impl EntryPath {
    /// Resolves `-`.
    pub(super) fn named(self, principal: &Principal) -> Result<(ServiceId, String), Problem> {
        Ok((named(principal, &self.tenant, &self.namespace, &self.environment)?, self.key))
    }
}

/// Resolves `-`.
pub(super) fn named(
    principal: &Principal,
    tenant: &str,
    namespace: &str,
    environment: &str,
) -> Result<ServiceId, Problem> {
    Ok(ServiceId::new(principal.resolve_tenant(tenant)?, namespace, environment))
}

/// Lets the principal through or refuses it.
pub(super) fn require(principal: &Principal, permission: Permission, id: &ServiceId) -> Result<(), Problem> {
    principal.require(permission, &id.tenant, Some(&id.namespace))
}

/// Returns the service of that name.
pub(super) async fn existing(app: &App, id: &ServiceId) -> Result<Service, Problem> {
    // What no service can be called is not looked for.
    let service = match checked::service_id(id) {
        Ok(()) => app.store().settings_service(id).await?,
        Err(_) => None,
    };
    service.ok_or_else(|| Problem::not_found("there is no such environment"))
}
