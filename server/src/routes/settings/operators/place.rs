//! Which service a path names.

use crate::{
    app::App,
    principal::{Permission, Principal},
    problem::Problem,
    settings::{
        checked,
        model::{Service, ServiceId},
    },
};

/// The path's tenant, namespace and environment.
pub(super) type ServicePath = (String, String, String);

/// Resolves `-`.
pub(super) fn named(principal: &Principal, path: &ServicePath) -> Result<ServiceId, Problem> {
    let (tenant, namespace, environment) = path;
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

/// The path's tenant, namespace, environment, and the name of an entry.
pub(super) type EntryPath = (String, String, String, String);

/// Resolves `-`.
pub(super) fn entry(principal: &Principal, path: EntryPath) -> Result<(ServiceId, String), Problem> {
    let (tenant, namespace, environment, key) = path;
    Ok((named(principal, &(tenant, namespace, environment))?, key))
}
