//! What a service holds: configs, secrets and flags.

use std::{collections::BTreeMap, fmt, io};

use bytes::Bytes;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{NexusError, decode};
use crate::{Secret, encoding::from_base64};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    /// Reads configs and flags.
    Public,
    /// Reads and writes everything.
    Secret,
}

impl KeyType {
    /// Says what a key is by its beginning; what the service says of it goes before.
    pub(crate) fn of_key(key: &str) -> Self {
        if key.starts_with("pk_") || key.starts_with("wxp_") { Self::Public } else { Self::Secret }
    }

    /// Reads the service's word.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        match word {
            "pk" => Some(Self::Public),
            "sk" => Some(Self::Secret),
            _ => None,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Public => "pk",
            Self::Secret => "sk",
        }
    }
}

/// A config and where the service has it from.
///
/// `Debug` does not show the value: it may hold what a reference to a secret was resolved to.
///
/// # Examples
/// ```
/// use leverframe::settings::sync_types::SyncResponse;
/// let answer = br#"{"synced_at":"t","configs":{"url":{"value":"postgres://u:s3cret@h","source":"service"}}}"#;
/// let config = &SyncResponse::from_json(answer)?.snapshot.configs["url"];
/// assert_eq!((config.value.as_str(), config.source.as_str()), (Some("postgres://u:s3cret@h"), "service"));
/// assert!(!format!("{config:?}").contains("s3cret"));
/// # Ok::<(), leverframe::NexusError>(())
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ConfigEntry {
    /// The value, `null` included.
    pub value: Value,
    /// The service's word for where it comes from, such as `service`.
    pub source: String,
    /// 0 for the service, else one more than the place of the layer that gives the value.
    pub(super) layer: usize,
}

impl fmt::Debug for ConfigEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigEntry").field("source", &self.source).finish_non_exhaustive()
    }
}

/// A secret.
///
/// # Examples
/// ```
/// use leverframe::settings::sync_types::SyncResponse;
/// let answer = br#"{"synced_at":"t","secrets":{"cert":{"value":"-","version":2,"type":"file","source":"service"}}}"#;
/// let secret = &SyncResponse::from_json(answer)?.snapshot.secrets["cert"];
/// assert!(secret.is_file() && secret.version == 2);
/// # Ok::<(), leverframe::NexusError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SecretEntry {
    /// The value; of a file, its content.
    pub value: Secret,
    /// Counts the values that the secret has had.
    pub version: u32,
    /// The service's word for where it comes from, such as `service`.
    pub source: String,
    pub(super) form: Form,
}

/// What a secret's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// The text is the content.
    File,
    /// The text is the content in base64.
    FileInBase64,
    /// A file in an encoding that this version does not know.
    Unknown,
}

impl SecretEntry {
    pub(super) fn text(value: Secret, version: u32) -> Self {
        Self { value, version, source: "service".to_owned(), form: Form::Text }
    }

    /// Returns true if the secret is handed over as a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.form != Form::Text
    }

    /// Returns what the secret is: of a file, its bytes. The memory is wiped when the last who holds them lets go.
    ///
    /// # Errors
    /// `Io` for a file in an encoding that this version does not know, or that is not what it says.
    ///
    /// # Examples
    /// ```
    /// use leverframe::settings::sync_types::SyncResponse;
    /// let answer = br#"{"synced_at":"t","secrets":{"cert":{"value":"AP8=","version":1,"type":"file","encoding":"base64",
    ///     "source":"service"}}}"#;
    /// let secrets = SyncResponse::from_json(answer)?.snapshot.secrets;
    /// assert_eq!(&secrets["cert"].content()?[..], [0, 255]);
    /// # Ok::<(), leverframe::NexusError>(())
    /// ```
    pub fn content(&self) -> Result<Bytes, NexusError> {
        Ok(Bytes::from_owner(self.decoded()?))
    }

    pub(super) fn decoded(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
        match self.form {
            Form::FileInBase64 => {
                let bytes = from_base64(self.value.expose());
                bytes.map(Zeroizing::new).ok_or_else(|| invalid("its content is no base64"))
            }
            Form::Unknown => Err(invalid("its content is in an encoding that this version does not know")),
            Form::File | Form::Text => Ok(Zeroizing::new(self.value.expose().as_bytes().to_vec())),
        }
    }

    /// Returns true if both are the same state of a secret.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.version == other.version && self.form == other.form && self.value.same_as(&other.value)
    }
}

/// A flag.
///
/// # Examples
/// ```
/// use leverframe::settings::sync_types::SyncResponse;
/// let answer = br#"{"synced_at":"t","flags":{"a":{"is_active":true,"source":"umbrella"}}}"#;
/// assert!(SyncResponse::from_json(answer)?.snapshot.flags["a"].is_active);
/// # Ok::<(), leverframe::NexusError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlagEntry {
    /// Whether it is on.
    pub is_active: bool,
    /// The service's word for where it comes from, such as `service`.
    pub source: String,
}

/// Everything that a client serves, at one moment.
///
/// # Examples
/// ```
/// use leverframe::settings::sync_types::SyncSnapshot;
/// assert!(SyncSnapshot::default().secrets.is_empty());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SyncSnapshot {
    /// The configs by key.
    pub configs: BTreeMap<String, ConfigEntry>,
    /// The secrets by key.
    pub secrets: BTreeMap<String, SecretEntry>,
    /// The flags by key.
    pub flags: BTreeMap<String, FlagEntry>,
}

/// What a service answers when it is asked for everything.
///
/// # Examples
/// ```
/// use leverframe::settings::sync_types::SyncResponse;
/// let answer = br#"{"synced_at":"2026-06-01T10:00:00Z","key_type":"sk",
///     "secrets":{"token":{"value":"s3cret","version":1,"source":"service"}}}"#;
/// let response = SyncResponse::from_json(answer)?;
/// assert_eq!(response.snapshot.secrets["token"].value.expose(), "s3cret");
/// assert!(!format!("{response:?}").contains("s3cret"));
/// # Ok::<(), leverframe::NexusError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SyncResponse {
    /// When, in the service's words.
    pub synced_at: String,
    /// `sk` or `pk`; empty where the service does not say.
    pub key_type: String,
    /// `backend` or `frontend`; empty where the service does not say.
    pub service_kind: String,
    /// The content.
    pub snapshot: SyncSnapshot,
}

impl SyncResponse {
    /// Reads an answer.
    ///
    /// # Errors
    /// `Json` for what is no such document, with the place of the fault and nothing of the content.
    pub fn from_json(json: &[u8]) -> Result<Self, NexusError> {
        let read = decode::snapshot(json)?;
        Ok(Self {
            synced_at: read.synced_at.to_string(),
            key_type: read.key_type.map_or("", KeyType::word).to_owned(),
            service_kind: read.kind.to_string(),
            snapshot: read.to_maps(),
        })
    }
}
