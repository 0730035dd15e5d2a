//! What settings ask of the store.

use std::{fmt, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use leverframe::Result;

use super::model::{
    EntryKind, Held, SecretVersion, Service, ServiceId, SettingsKey, Standing, Write, Written,
};
use crate::model::{Page, PageRequest, SecretHash};

/// Keeps services, their keys and what they have. What is a secret comes sealed, and is never opened here.
///
/// As of [`Store`](crate::store::Store): every write is durable and whole when it returns; errors are of the kinds
/// named there; a list of what belongs to a service that does not exist is empty. Changes of a service, its keys and its
/// entries are told as [`Notice::Settings`](crate::store::Notice::Settings).
#[async_trait]
pub trait SettingsStore: fmt::Debug + Send + Sync + 'static {
    /// Lists services by tenant, namespace and environment: of a namespace, of a tenant, or all. A namespace without its
    /// tenant is none.
    async fn settings_services(
        &self,
        tenant: Option<&str>,
        namespace: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Service>>;
    /// Returns a service.
    async fn settings_service(&self, id: &ServiceId) -> Result<Option<Service>>;
    /// Returns the service with this slug, written as it is kept.
    async fn settings_service_by_slug(&self, slug: &str) -> Result<Option<Service>>;
    /// Lists the services that believe an issuer, by tenant, namespace and environment.
    async fn settings_services_trusting(&self, issuer: &str, page: &PageRequest) -> Result<Page<Service>>;
    /// Keeps a service, if its revision is still that of `service`; returns it as it is now, with the next revision, or
    /// `None` if another change came first. With revision 0 it is created: `NotFound` if there is no such namespace.
    /// Of one that exists, `id`, `kind`, `data_key` and how it was created stay what they are. `Conflict` if another
    /// service has the slug; `Invalid` for more than 256 KiB, and for one that inherits from what is no umbrella
    /// service of the tenant, or from anything while it is one itself; environment and slug have 1 to 255 bytes, an issuer
    /// at most 1,024.
    async fn put_settings_service(&self, service: &Service) -> Result<Option<Service>>;

    /// Keeps a key with the digest of its secret; `NotFound` without the service, `Invalid` for an umbrella service.
    async fn create_settings_key(&self, key: &SettingsKey, secret: &SecretHash) -> Result<()>;
    /// Returns the key with this secret, live or not.
    async fn settings_key_by_secret(&self, secret: &SecretHash) -> Result<Option<SettingsKey>>;
    /// Lists a service's keys by id, which is the order they were made in.
    async fn settings_keys(&self, service: &ServiceId, page: &PageRequest) -> Result<Page<SettingsKey>>;
    /// Revokes a key of a service; false if there is none or it was revoked before.
    async fn revoke_settings_key(&self, service: &ServiceId, id: &str, now: SystemTime) -> Result<bool>;

    /// Returns what a service has, all of one moment.
    async fn settings_held(&self, id: &ServiceId) -> Result<Option<Held>>;
    /// Returns where an entry stands; the default if there never was one.
    async fn settings_standing(&self, id: &ServiceId, kind: EntryKind, key: &str) -> Result<Standing>;
    /// Returns the versions of a secret that exist, newest first.
    async fn settings_secret_versions(&self, id: &ServiceId, key: &str) -> Result<Vec<SecretVersion>>;
    /// Changes an entry. A request that is remembered is recognised before anything else is looked at. `NotFound`
    /// without the service; `LimitExceeded` for a new entry where there are as many as there may be, and for one that
    /// grows where all of them come to [`MOST_BYTES`](super::model::MOST_BYTES); `Invalid` for a change that is not one
    /// of this kind of entry, for a secret of a frontend service, for a name that [`is_key`](super::model::is_key)
    /// refuses, and for content of more than 1 MiB (sealed, of 1 KiB more).
    async fn write_settings(&self, id: &ServiceId, write: &Write, now: SystemTime) -> Result<Written>;

    /// Returns every service's sealed data key.
    async fn settings_data_keys(&self) -> Result<Vec<(ServiceId, Bytes)>>;
    /// Replaces data keys, all or none: each by the third if it is still the second; false if one is not. No notice is
    /// given of it, because nothing that is handed out changes.
    async fn replace_settings_data_keys(&self, keys: &[(ServiceId, Bytes, Bytes)]) -> Result<bool>;
}
