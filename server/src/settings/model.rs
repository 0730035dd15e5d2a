//! What is kept of settings.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A service has at most this many live configs, this many flags and this many secrets.
pub const MOST_ENTRIES: u64 = 10_000;
/// All live values of a service, with their names, come to at most this: no client takes a larger document.
pub const MOST_BYTES: u64 = 8 * 1024 * 1024;
/// Versions of a secret that are kept; the oldest one goes.
pub const MOST_SECRET_VERSIONS: u64 = 100;
/// Characters of a key's name.
pub const LONGEST_KEY: usize = 256;
/// How long a request's `Idempotency-Key` is remembered.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Returns true if a config, a secret or a flag may have this name: a letter, then letters, digits, `_`, `.`, `:` and
/// `-`, and at the end a letter or a digit.
#[must_use]
pub fn is_key(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= LONGEST_KEY
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(byte))
}

/// Names a service: an environment of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ServiceId {
    /// The tenant's slug.
    pub tenant: String,
    /// The namespace's slug.
    pub namespace: String,
    /// The environment.
    pub environment: String,
}

impl ServiceId {
    /// Names a service.
    #[must_use]
    pub fn new(
        tenant: impl Into<String>,
        namespace: impl Into<String>,
        environment: impl Into<String>,
    ) -> Self {
        Self { tenant: tenant.into(), namespace: namespace.into(), environment: environment.into() }
    }
}

/// `tenant/namespace/environment`.
impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.namespace, self.environment)
    }
}

/// What a service is; that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Runs where its keys are safe, and may have secrets.
    Backend,
    /// Runs at its users', and has no secrets.
    Frontend,
    /// Has no keys: services inherit from it.
    Umbrella,
}

impl Kind {
    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Frontend => "frontend",
            Self::Umbrella => "umbrella",
        }
    }

    /// Returns true unless everything of it may be shown to users.
    #[must_use]
    pub const fn has_secrets(self) -> bool {
        !matches!(self, Self::Frontend)
    }
}

/// A service.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// Its name.
    pub id: ServiceId,
    /// What it is.
    pub kind: Kind,
    /// The first label of the host name that it is asked at, unique in the installation.
    pub slug: String,
    /// The umbrella service of the same tenant that it inherits from.
    pub inherits: Option<ServiceId>,
    /// Whether flags are evaluated for users.
    pub ab_enabled: bool,
    /// Whether it is answered 402.
    pub billing_overdue: bool,
    /// Whether it is answered 429 for a while, and why.
    pub quarantine: Option<Quarantine>,
    /// Whose workloads are believed to be this service, without a key.
    pub trusts: Vec<Trust>,
    /// The key that its secrets are sealed with, itself sealed.
    pub data_key: Bytes,
    /// Counts the changes of the above; 0 before it is stored.
    pub revision: u64,
    /// When it was created.
    pub created_at: SystemTime,
    /// The id of the principal that created it.
    pub created_by: String,
    /// When it was last changed.
    pub updated_at: SystemTime,
    /// The id of the principal that changed it last.
    pub updated_by: String,
}

impl Service {
    /// Makes a service that is asked at `<tenant>-<namespace>-<environment>`.
    #[must_use]
    pub fn new(id: ServiceId, kind: Kind, data_key: Bytes, created_at: SystemTime) -> Self {
        Self {
            slug: format!("{}-{}-{}", id.tenant, id.namespace, id.environment),
            id,
            kind,
            inherits: None,
            ab_enabled: true,
            billing_overdue: false,
            quarantine: None,
            trusts: Vec::new(),
            data_key,
            revision: 0,
            created_at,
            created_by: String::new(),
            updated_at: created_at,
            updated_by: String::new(),
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("slug", &self.slug)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// Why a service is not answered, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Quarantine {
    /// A word, such as `bulk_delete`.
    pub reason: String,
    /// When it ends.
    pub expires_at: SystemTime,
}

impl Quarantine {
    /// Makes one.
    #[must_use]
    pub fn new(reason: impl Into<String>, expires_at: SystemTime) -> Self {
        Self { reason: reason.into(), expires_at }
    }
}

/// A rule by which a token of somebody else's proves that a workload is a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Trust {
    /// Tells it from the service's others.
    pub id: String,
    /// Who must have issued the token: one of the server's configured issuers, or `aws_iam`.
    pub issuer: String,
    /// Whom the token must be for; for `aws_iam` the account.
    pub audience: String,
    /// Whom it must speak of; a `*` stands for any characters. For `aws_iam` the ARN.
    pub subject: String,
    /// Further claims that it must have, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
}

impl Trust {
    /// Makes a rule without further claims.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        issuer: impl Into<String>,
        audience: impl Into<String>,
        subject: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            issuer: issuer.into(),
            audience: audience.into(),
            subject: subject.into(),
            claims: BTreeMap::new(),
        }
    }
}

/// A key of a service, without the secret: the store keeps its SHA-256 beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingsKey {
    /// `set_` and a ULID.
    pub id: String,
    /// The service.
    pub service: ServiceId,
    /// Whether it may be shown to users: then it reads configs and flags, and nothing else.
    pub public: bool,
    /// Name for people.
    pub name: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// The id of the principal that made it.
    pub created_by: String,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
}

impl SettingsKey {
    /// Makes a key without a name.
    #[must_use]
    pub fn new(id: impl Into<String>, service: ServiceId, public: bool, created_at: SystemTime) -> Self {
        Self {
            id: id.into(),
            service,
            public,
            name: String::new(),
            created_at,
            created_by: String::new(),
            revoked_at: None,
        }
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// A value of any type.
    Config,
    /// A boolean, perhaps scheduled, perhaps by user.
    Flag,
    /// A text or a file that is sealed.
    Secret,
}

impl EntryKind {
    /// Returns the name in the database, and of events on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Flag => "flag",
            Self::Secret => "secret",
        }
    }
}

/// A config or a flag.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Counts what was ever written under this name; never used twice, by whatever is deleted between.
    pub version: u64,
    /// JSON: what the routes make of it.
    pub content: String,
    /// When it was written.
    pub updated_at: SystemTime,
    /// The id of the principal or of the key that wrote it.
    pub updated_by: String,
}

impl Entry {
    /// Makes an entry.
    #[must_use]
    pub fn new(
        key: impl Into<String>,
        version: u64,
        content: impl Into<String>,
        updated_at: SystemTime,
    ) -> Self {
        Self { key: key.into(), version, content: content.into(), updated_at, updated_by: String::new() }
    }
}

/// Says how large the content is, and not what it is.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("version", &self.version)
            .field("bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

/// How a secret is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SecretForm {
    /// As text.
    Text,
    /// As a file with this text.
    File,
    /// As a file with the bytes that this text is in base64.
    FileBase64,
}

impl SecretForm {
    /// Returns the name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::File => "file",
            Self::FileBase64 => "file_base64",
        }
    }
}

/// A version of a secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretVersion {
    /// The secret's name.
    pub key: String,
    /// Counts what was ever written under this name; never used twice.
    pub version: u64,
    /// How it is handed out.
    pub form: SecretForm,
    /// The text, sealed.
    pub sealed: Bytes,
    /// When it was written.
    pub created_at: SystemTime,
    /// The id of the principal or of the key that wrote it.
    pub created_by: String,
}

impl SecretVersion {
    /// Makes a version.
    #[must_use]
    pub fn new(
        key: impl Into<String>,
        version: u64,
        form: SecretForm,
        sealed: Bytes,
        created_at: SystemTime,
    ) -> Self {
        Self { key: key.into(), version, form, sealed, created_at, created_by: String::new() }
    }
}

impl fmt::Debug for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretVersion")
            .field("key", &self.key)
            .field("version", &self.version)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// What is known of a version of a secret without what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptVersion {
    /// Counts what was ever written under the secret's name.
    pub version: u64,
    /// How it is handed out.
    pub form: SecretForm,
    /// When it was written.
    pub created_at: SystemTime,
    /// The id of the principal or of the key that wrote it.
    pub created_by: String,
}

impl KeptVersion {
    /// Makes one, of whoever has no id.
    #[must_use]
    pub fn new(version: u64, form: SecretForm, created_at: SystemTime) -> Self {
        Self { version, form, created_at, created_by: String::new() }
    }
}

/// What a service has itself, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Held {
    /// The service.
    pub service: Service,
    /// Counts the writes to its entries, of whatever kind.
    pub revision: u64,
    /// Its configs, by key.
    pub configs: Vec<Entry>,
    /// Its flags, by key.
    pub flags: Vec<Entry>,
    /// The current version of each of its secrets, by key.
    pub secrets: Vec<SecretVersion>,
}

impl Held {
    /// Puts together what a service has.
    #[must_use]
    pub fn new(
        service: Service,
        revision: u64,
        configs: Vec<Entry>,
        flags: Vec<Entry>,
        secrets: Vec<SecretVersion>,
    ) -> Self {
        Self { service, revision, configs, flags, secrets }
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// The last version that was ever written; 0 if none was.
    pub last: u64,
    /// The version that is handed out; `None` if it does not exist, or no more.
    pub current: Option<u64>,
}

impl Standing {
    /// Makes one.
    #[must_use]
    pub fn new(last: u64, current: Option<u64>) -> Self {
        Self { last, current }
    }
}

/// What is done to an entry.
#[derive(Clone)]
#[non_exhaustive]
pub enum Change {
    /// Writes a config or a flag.
    Put {
        /// Its JSON.
        content: String,
    },
    /// Writes a secret, sealed for the version that follows [`Write::expected`].
    PutSecret {
        /// How it is handed out.
        form: SecretForm,
        /// The text, sealed.
        sealed: Bytes,
    },
    /// Deletes it, of a secret every version.
    Delete,
    /// Deletes one version of a secret; the newest one that remains is handed out.
    DeleteVersion(u64),
}

/// Says how large a value is, and not what it is.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { content } => write!(f, "Put({} bytes)", content.len()),
            Self::PutSecret { form, sealed } => write!(f, "PutSecret({form:?}, {} bytes)", sealed.len()),
            Self::Delete => f.write_str("Delete"),
            Self::DeleteVersion(version) => write!(f, "DeleteVersion({version})"),
        }
    }
}

/// What the check of a write has looked at besides the entry. If any of it has changed since, what was checked is not what
/// would be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// The service's own [`revision`](Service::revision): it says what the service inherits from.
    pub service: u64,
    /// The revision of its entries.
    pub entries: u64,
    /// The umbrella service that it inherits from, with the revision of that one's entries.
    pub umbrella: Option<(ServiceId, u64)>,
    /// Of an umbrella service, those that inherit from it, by name, each with the revision of its entries.
    pub heirs: Vec<(ServiceId, u64)>,
}

impl Seen {
    /// Begins with a service that inherits nothing.
    #[must_use]
    pub fn new(service: u64, entries: u64) -> Self {
        Self { service, entries, umbrella: None, heirs: Vec::new() }
    }
}

/// A write.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Write {
    /// What the entry is.
    pub kind: EntryKind,
    /// Its name.
    pub key: String,
    /// What is done.
    pub change: Change,
    /// Where it stands, as whoever writes has read; nothing is written if it stands elsewhere.
    pub expected: Standing,
    /// What else must be as it was; whoever depends on nothing else says nothing, and waits for nobody else.
    pub seen: Option<Seen>,
    /// SHA-256 of what tells this request from others, where it may be sent again.
    pub request: Option<[u8; 32]>,
    /// The id of the principal or of the key that writes.
    pub by: String,
}

impl Write {
    /// Makes a write that is not sent again.
    #[must_use]
    pub fn new(kind: EntryKind, key: impl Into<String>, change: Change, expected: Standing) -> Self {
        Self { kind, key: key.into(), change, expected, seen: None, request: None, by: String::new() }
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Written {
    /// It is done, durably; the version that was written, or the last one of what was deleted.
    Done(u64),
    /// The same request did it before, within [`REMEMBERED_FOR`]; what it came to then.
    Before(u64),
    /// The entry does not stand where it was expected, or something else is not as it was seen; nothing was written.
    Moved,
    /// There is nothing to be deleted.
    Absent,
}
