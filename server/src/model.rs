//! What the server keeps: tenants, namespaces, versions, tokens, the audit log.

use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// A tenant: the owner of namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tenant {
    /// `[a-z][a-z0-9-]*`, at most 63 characters, unique in the installation.
    pub slug: String,
    /// Name for people.
    pub display_name: String,
    /// How people log in: `sso` or `email_domain`.
    pub login_mode: LoginMode,
    /// The provider of a tenant that logs in by `sso`.
    pub sso_provider: Option<String>,
    /// The domain of a tenant that logs in by `email_domain`.
    pub email_domain: Option<String>,
    /// When it was created.
    pub created_at: SystemTime,
    /// How many namespaces it has.
    pub namespace_count: u64,
}

impl Tenant {
    /// Makes a tenant that is named like its slug and has no namespaces yet.
    #[must_use]
    pub fn new(slug: impl Into<String>, login_mode: LoginMode, created_at: SystemTime) -> Self {
        let slug = slug.into();
        Self {
            display_name: slug.clone(),
            slug,
            login_mode,
            sso_provider: None,
            email_domain: None,
            created_at,
            namespace_count: 0,
        }
    }
}

/// How the people of a tenant log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LoginMode {
    /// Through a configured provider.
    Sso,
    /// With an address of a verified domain.
    EmailDomain,
}

impl LoginMode {
    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sso => "sso",
            Self::EmailDomain => "email_domain",
        }
    }

    /// Returns the mode of that name on the wire.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Sso, Self::EmailDomain].into_iter().find(|mode| mode.as_str() == name)
    }
}

/// A namespace of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceRecord {
    /// The owner's slug.
    pub tenant: String,
    /// `[a-z][a-z0-9-]*`, at most 63 characters, unique in the tenant.
    pub slug: String,
    /// Name for people.
    pub display_name: String,
    /// What it is for.
    pub description: String,
    /// When it was created.
    pub created_at: SystemTime,
    /// The id of the principal that created it.
    pub created_by: String,
    /// The current version of its manifest; 0 before the first upload.
    pub version: u64,
}

impl NamespaceRecord {
    /// Makes a namespace that is named like its slug and has no manifest yet.
    #[must_use]
    pub fn new(tenant: impl Into<String>, slug: impl Into<String>, created_at: SystemTime) -> Self {
        let slug = slug.into();
        Self {
            tenant: tenant.into(),
            display_name: slug.clone(),
            slug,
            description: String::new(),
            created_at,
            created_by: String::new(),
            version: 0,
        }
    }
}

/// What is known of one version of a manifest, besides its content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionRecord {
    /// 1 for the first.
    pub version: u64,
    /// When it was accepted.
    pub uploaded_at: SystemTime,
    /// The id of the principal that uploaded it.
    pub uploaded_by: String,
    /// How many flags it has.
    pub flag_count: u64,
    /// How many segments it has.
    pub segment_count: u64,
    /// Lower-case hex SHA-256 of the archive: its address in the store.
    pub sha256: String,
    /// Digest over the files (M11) and the signature, which two archives of the same content share.
    pub fingerprint: String,
    /// Bytes of the archive.
    pub size: u64,
}

/// A version about to be accepted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewVersion {
    /// The archive: a gzip tar, as it is handed out again.
    pub archive: Bytes,
    /// Lower-case hex SHA-256 of the archive.
    pub sha256: String,
    /// Digest over the files (M11) and the signature.
    pub fingerprint: String,
    /// How many flags it has.
    pub flag_count: u64,
    /// How many segments it has.
    pub segment_count: u64,
    /// The id of the principal that uploads it.
    pub uploaded_by: String,
    /// The version that must be current for this one to be accepted; 0 for none at all; `None` for any.
    pub if_version: Option<u64>,
}

impl NewVersion {
    /// Makes a version of an archive, to be accepted whichever is current.
    #[must_use]
    pub fn new(archive: Bytes, fingerprint: impl Into<String>) -> Self {
        Self {
            sha256: archive_address(&archive),
            archive,
            fingerprint: fingerprint.into(),
            flag_count: 0,
            segment_count: 0,
            uploaded_by: String::new(),
            if_version: None,
        }
    }
}

/// Returns the address of an archive: its SHA-256 in lower-case hex.
#[must_use]
pub fn archive_address(archive: &[u8]) -> String {
    leverframe::encoding::hex(&Sha256::digest(archive))
}

/// What became of a [`NewVersion`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stored {
    /// It is the current version now, durably.
    Accepted(VersionRecord),
    /// Its content is that of the current version, which stays.
    Same(VersionRecord),
    /// Another version than `if_version` is current: this one.
    Conflict(u64),
}

/// What a token may do, by and large; [`Principal`](crate::principal::Principal) has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenType {
    /// Downloads and evaluates one namespace.
    NamespaceRead,
    /// And uploads.
    NamespaceWrite,
    /// Evaluates one public environment of one namespace, from browsers and the like.
    NamespaceClient,
    /// Everything in one tenant.
    TenantAdmin,
    /// Everything.
    Superadmin,
}

impl TokenType {
    /// Every type.
    pub const ALL: [Self; 5] = [
        Self::NamespaceRead,
        Self::NamespaceWrite,
        Self::NamespaceClient,
        Self::TenantAdmin,
        Self::Superadmin,
    ];

    /// Returns what secrets of this type begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::NamespaceRead => "exd_read_",
            Self::NamespaceWrite => "exd_write_",
            Self::NamespaceClient => "exd_client_",
            Self::TenantAdmin => "exd_tenant_",
            Self::Superadmin => "exd_admin_",
        }
    }

    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NamespaceRead => "namespace_read",
            Self::NamespaceWrite => "namespace_write",
            Self::NamespaceClient => "namespace_client",
            Self::TenantAdmin => "tenant_admin",
            Self::Superadmin => "superadmin",
        }
    }

    /// Returns the type of that name on the wire.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A token, without its secret, which nobody keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRecord {
    /// `tok_` and a ULID.
    pub id: String,
    /// What it may do.
    pub kind: TokenType,
    /// The tenant it is bound to; `None` for superadmins only.
    pub tenant: Option<String>,
    /// The namespace it is bound to, for the namespace types.
    pub namespace: Option<String>,
    /// The environment it is bound to, for client tokens.
    pub environment: Option<String>,
    /// Name for people.
    pub name: String,
    /// The origins that may use it, for client tokens.
    pub allowed_origins: Vec<String>,
    /// When it was issued.
    pub created_at: SystemTime,
    /// The id of the principal that issued it; empty for the command line.
    pub created_by: String,
    /// When it stops being valid.
    pub expires_at: Option<SystemTime>,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
}

impl TokenRecord {
    /// Makes a token that is bound to nothing and never expires.
    #[must_use]
    pub fn new(id: impl Into<String>, kind: TokenType, created_at: SystemTime) -> Self {
        Self {
            id: id.into(),
            kind,
            tenant: None,
            namespace: None,
            environment: None,
            name: String::new(),
            allowed_origins: Vec::new(),
            created_at,
            created_by: String::new(),
            expires_at: None,
            revoked_at: None,
        }
    }

    /// Returns true if the token is neither revoked nor expired.
    #[must_use]
    pub fn is_live(&self, now: SystemTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

/// The SHA-256 of a token's secret, by which it is found.
pub type SecretHash = [u8; 32];

/// An authorised write, or an attempt that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent {
    /// When.
    pub at: SystemTime,
    /// The request's id.
    pub request_id: String,
    /// The id of the principal.
    pub principal: String,
    /// What was done: `manifest.upload`, `token.create`, …
    pub action: String,
    /// The tenant whose log it belongs to; `None` for what concerns the installation only.
    pub tenant: Option<String>,
    /// To what: `acme/payments`, `tok_…`.
    pub target: String,
    /// `ok`, or the code of the refusal.
    pub outcome: String,
    /// What else is worth knowing, such as the version that came of it; empty if nothing is.
    pub detail: String,
}

impl AuditEvent {
    /// Makes an event that went well, of nobody in particular.
    #[must_use]
    pub fn new(at: SystemTime, action: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            at,
            request_id: String::new(),
            principal: String::new(),
            action: action.into(),
            tenant: None,
            target: target.into(),
            outcome: "ok".to_owned(),
            detail: String::new(),
        }
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next part begins; `None` at the end.
    pub next: Option<String>,
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageRequest {
    /// At most this many entries, 1 to 500.
    pub limit: usize,
    /// What an earlier part gave as `next`.
    pub after: Option<String>,
}

impl PageRequest {
    /// Asks for a list's first part.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self { limit, after: None }
    }

    /// Asks for the part that follows one of the same list with this `next`.
    #[must_use]
    pub fn after(limit: usize, next: impl Into<String>) -> Self {
        Self { limit, after: Some(next.into()) }
    }
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: 50, after: None }
    }
}
