//! What an operator does with services and their keys on the machine itself.

use leverframe::{Error, ErrorKind, Result};

use super::{
    IssuedSettingsKey, Keyring, NewSettingsKey, checked,
    data_key::require_known,
    issue_settings_key,
    model::{Kind, Service, ServiceId, SettingsKey},
    services,
};
use crate::{
    admin::Admin,
    model::{LoginMode, NamespaceRecord, Page, PageRequest, Tenant},
};

/// A key, and what had to be created for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MadeSettingsKey {
    /// The key with its secret, which is shown once and kept nowhere.
    pub issued: IssuedSettingsKey,
    /// The service that it is of; its `slug` begins the host name that it is asked at.
    pub service: Service,
    /// What was created, as in `tenant acme`, `namespace acme/web` and `service acme/web/prod`; nothing if all was there.
    pub created: Vec<String>,
}

/// What a tenant logs in by that is created beside a key.
const SSO_PROVIDER: &str = "default";

impl Admin {
    /// Makes a key of settings, and the tenant, the namespace and the service where they are missing.
    ///
    /// # Errors
    /// `Conflict` if the service is of another kind, `Invalid` for an umbrella service and for names that cannot be,
    /// `Config` for a keyring that opens none of the store's data keys if a service has to be made, and what the store and
    /// the keyring fail with.
    pub async fn settings_key(
        &self,
        keyring: &Keyring,
        new: &NewSettingsKey,
        kind: Kind,
    ) -> Result<MadeSettingsKey> {
        const OPERATION: &str = "issue a settings key";
        // Before anything is created that would be left behind.
        checked::service_id(&new.service).map_err(|bad| bad.into_error(OPERATION))?;
        checked::key_name(&new.name).map_err(|bad| bad.into_error(OPERATION))?;
        checked::keyed(kind).map_err(|bad| bad.into_error(OPERATION))?;
        let mut created = Vec::new();
        let held = self.store.settings_service(&new.service).await?;
        if held.is_none() {
            require_known(&*self.store, keyring).await?;
        }
        let service = match held {
            Some(service) => service,
            None => self.settings_service(keyring, &new.service, kind, &mut created).await?,
        };
        if service.kind != kind {
            let (held, id) = (service.kind.as_str(), &new.service);
            return Err(Error::new(ErrorKind::Conflict, OPERATION)
                .with("service", id.to_string())
                .with("kind", held)
                .hint(format!(
                    "`{id}` exists as `{held}`, and what a service is never changes: make a key of that kind, or \
                     name another environment"
                )));
        }
        let issued = issue_settings_key(&*self.store, new, self.clock.wall()).await?;
        self.record_key("settings_key.create", &new.service, &issued.key.id, key_word(new.public)).await?;
        Ok(MadeSettingsKey { issued, service, created })
    }

    async fn settings_service(
        &self,
        keyring: &Keyring,
        id: &ServiceId,
        kind: Kind,
        created: &mut Vec<String>,
    ) -> Result<Service> {
        let now = self.clock.wall();
        if self.store.tenant(&id.tenant).await?.is_none() {
            let mut tenant = Tenant::new(&id.tenant, LoginMode::Sso, now);
            tenant.sso_provider = Some(SSO_PROVIDER.to_owned());
            self.create_tenant(&tenant).await?;
            created.push(format!("tenant {}", id.tenant));
        }
        if self.store.namespace(&id.tenant, &id.namespace).await?.is_none() {
            self.create_namespace(&NamespaceRecord::new(&id.tenant, &id.namespace, now)).await?;
            created.push(format!("namespace {}/{}", id.tenant, id.namespace));
        }
        let mut service = Service::new(id.clone(), kind, keyring.new_data_key(id)?, now);
        services::name(&mut service, None);
        checked::service(&service).map_err(|bad| bad.into_error("create a settings service"))?;
        let Some(service) = services::create(&*self.store, service, None).await? else {
            return Err(Error::new(ErrorKind::Conflict, "create a settings service")
                .with("service", id.to_string())
                .hint("somebody has just created it; try again"));
        };
        created.push(format!("service {id}"));
        self.record("settings.create", Some(&id.tenant), &id.to_string(), kind.as_str()).await?;
        Ok(service)
    }

    /// Lists services by name: of a namespace, of a tenant, or all.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn settings_services(
        &self,
        tenant: Option<&str>,
        namespace: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Service>> {
        self.store.settings_services(tenant, namespace, page).await
    }

    /// Lists a service's keys, those that are revoked as well.
    ///
    /// # Errors
    /// `NotFound` without the service, and what the store fails with.
    pub async fn settings_keys(&self, id: &ServiceId, page: &PageRequest) -> Result<Page<SettingsKey>> {
        if self.store.settings_service(id).await?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, "list settings keys")
                .with("service", id.to_string())
                .hint("`leverframe admin settings-key create` creates a service with its first key"));
        }
        self.store.settings_keys(id, page).await
    }

    /// Revokes a key of a service; false if it was revoked before. Servers that run on the store learn of it by
    /// themselves.
    ///
    /// # Errors
    /// `NotFound` if the service has no such key.
    pub async fn revoke_settings_key(&self, id: &ServiceId, key: &str) -> Result<bool> {
        if !services::has_key(&*self.store, id, key).await? {
            return Err(Error::new(ErrorKind::NotFound, "revoke a settings key")
                .with("service", id.to_string())
                .hint("`leverframe admin settings-key list` shows the ids; the secret is not one"));
        }
        let revoked = self.store.revoke_settings_key(id, key, self.clock.wall()).await?;
        self.record_key("settings_key.revoke", id, key, if revoked { "" } else { "revoked before" }).await?;
        Ok(revoked)
    }

    async fn record_key(&self, action: &str, id: &ServiceId, key: &str, detail: &str) -> Result<()> {
        self.record(action, Some(&id.tenant), &format!("{id} {key}"), detail).await
    }
}

/// Says which key it is, for the audit log.
pub(crate) fn key_word(public: bool) -> &'static str {
    if public { "public" } else { "secret" }
}
