//! Where everything that must survive a restart is kept.

mod changes;
mod copy;
mod cursor;
pub mod engine;
mod gate;
mod keys;
pub mod migration;
pub mod postgres;
pub mod records;
mod settings;
pub mod sqlite;
mod tables;
mod tokens;
mod versions;

use std::{path::Path, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use leverframe::{Result, Secret, traits::Clock};
use tokio::sync::broadcast;

pub use self::{postgres::PostgresStore, sqlite::SqliteStore};

use crate::{
    events::SigningKey,
    gate::GateStore,
    model::{
        AuditEvent, NamespaceRecord, NewVersion, Page, PageRequest, SecretHash, Stored, Tenant, TokenRecord,
        TokenType, VersionRecord,
    },
    settings::SettingsStore,
};

/// What changed in the store, by whichever process.
///
/// A receiver that lags has to look at everything that it cares for: notices may be dropped, never invented.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A namespace has a new current version.
    Manifest {
        /// The owner's slug.
        tenant: String,
        /// The namespace's slug.
        namespace: String,
        /// The version.
        version: u64,
    },
    /// A token was revoked.
    TokenRevoked {
        /// Its id.
        id: String,
    },
    /// An org's gate keys, settings or rules in force changed; not what was counted.
    Gate {
        /// The org.
        org: String,
    },
    /// A service of settings, its keys or its entries changed.
    Settings {
        /// The tenant's slug.
        tenant: String,
        /// The namespace's slug.
        namespace: String,
        /// The environment.
        environment: String,
    },
    /// Something may have changed that could not be told apart: a connection was lost and is back.
    Everything,
}

/// Which tokens are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenQuery {
    /// Only those bound to this tenant.
    pub tenant: Option<String>,
    /// Only those bound to this namespace of the tenant.
    pub namespace: Option<String>,
    /// Only those of this type.
    pub kind: Option<TokenType>,
    /// Only those that are live at this time.
    pub live_at: Option<SystemTime>,
}

/// Keeps tenants, namespaces, versions, tokens and the audit log.
///
/// Every write is durable when it returns, and whole: a process killed at any point leaves either all of it or
/// nothing. Errors are of kind `Conflict` for what exists already, `NotFound` for an owner that does not exist,
/// `Unavailable` (to be tried again) when the database cannot be reached, `Corrupt` for what cannot be believed,
/// `Invalid` for a [`PageRequest::after`] that no page gave, and for text that holds a NUL character. A list of what
/// belongs to an owner that does not exist is empty. Times are kept to the microsecond.
#[async_trait]
pub trait Store: GateStore + SettingsStore {
    /// Creates a tenant. `namespace_count` is ignored.
    async fn create_tenant(&self, tenant: &Tenant) -> Result<()>;
    /// Returns the tenant.
    async fn tenant(&self, slug: &str) -> Result<Option<Tenant>>;
    /// Lists tenants by slug.
    async fn tenants(&self, page: &PageRequest) -> Result<Page<Tenant>>;

    /// Creates a namespace. `version` is ignored.
    async fn create_namespace(&self, namespace: &NamespaceRecord) -> Result<()>;
    /// Returns the namespace.
    async fn namespace(&self, tenant: &str, slug: &str) -> Result<Option<NamespaceRecord>>;
    /// Lists namespaces by tenant and slug, of one tenant or of all.
    async fn namespaces(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<NamespaceRecord>>;

    /// Makes a version the current one, if it still may be: of concurrent calls with one `if_version` exactly one is
    /// accepted.
    async fn put_version(
        &self,
        tenant: &str,
        namespace: &str,
        new: &NewVersion,
        now: SystemTime,
    ) -> Result<Stored>;
    /// Returns a version; `None` stands for the current one.
    async fn version(
        &self,
        tenant: &str,
        namespace: &str,
        version: Option<u64>,
    ) -> Result<Option<VersionRecord>>;
    /// Lists versions, newest first.
    async fn versions(
        &self,
        tenant: &str,
        namespace: &str,
        page: &PageRequest,
    ) -> Result<Page<VersionRecord>>;
    /// Returns an archive by its address, checked against it.
    async fn archive(&self, sha256: &str) -> Result<Option<Bytes>>;

    /// Keeps a token by the hash of its secret.
    async fn create_token(&self, token: &TokenRecord, secret: &SecretHash) -> Result<()>;
    /// Returns the token with this secret, live or not.
    async fn token_by_secret(&self, secret: &SecretHash) -> Result<Option<TokenRecord>>;
    /// Returns the token with this id, live or not.
    async fn token(&self, id: &str) -> Result<Option<TokenRecord>>;
    /// Lists tokens by id, which is the order they were issued in.
    async fn tokens(&self, query: &TokenQuery, page: &PageRequest) -> Result<Page<TokenRecord>>;
    /// Revokes a token; false if there is none or it was revoked before.
    async fn revoke_token(&self, id: &str, now: SystemTime) -> Result<bool>;

    /// Adds to the audit log.
    async fn record(&self, event: &AuditEvent) -> Result<()>;
    /// Lists the audit log of a tenant or of all, newest first.
    async fn audit(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<AuditEvent>>;

    /// Returns a receiver of what changes from now on, by whichever process. A change is told within moments; one
    /// whose notice was lost, within five seconds.
    fn notices(&self) -> broadcast::Receiver<Notice>;

    /// Returns the key that snapshot URLs are signed with, made when it is first asked for: one for all processes that
    /// share the store. An embedded store keeps it in its data directory ([`SigningKey::in_directory`]), a shared one
    /// in itself.
    async fn signing_key(&self) -> Result<SigningKey>;

    /// Returns whether the store answers now.
    async fn ping(&self) -> Result<()>;
    /// Brings the schema up to date; returns how many steps that took, with those that opening the store took: each is
    /// counted once.
    async fn migrate(&self) -> Result<u32>;
    /// Writes a copy of everything, consistent in itself, to a file that does not exist yet.
    async fn backup(&self, to: &Path) -> Result<()>;
    /// Takes everything over from such a copy, into a store that is empty.
    async fn restore(&self, from: &Path) -> Result<()>;
    /// Lets go of connections and tasks.
    async fn close(&self);
}

/// Opens the store: the database of that URL, or else the embedded one in the data directory; migrates it.
///
/// # Errors
/// `Config` for a URL that cannot be used, `Unsupported` for a database of a newer program, and what the store itself
/// fails with.
pub async fn open(data: &Path, database: Option<&Secret>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
    Ok(match database {
        Some(url) => Arc::new(PostgresStore::connect(url, clock).await?),
        None => Arc::new(SqliteStore::open(data, clock).await?),
    })
}
