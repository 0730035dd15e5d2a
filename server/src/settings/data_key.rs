//! The key of one service's secrets.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use leverframe::{Error, ErrorKind, Result, Secret};
use zeroize::Zeroize;

use super::{
    SettingsStore,
    envelope::{Context, KEY_LEN, KeyId, SealingKey},
    keyring::Keyring,
    model::{Service, ServiceId},
};

/// Refuses master keys that none of a store's data keys is sealed by, where it has any: what is sealed by them could not
/// be opened by the servers that have the right ones.
///
/// # Errors
/// `Config`; what the store fails with.
pub(crate) async fn require_known(store: &dyn SettingsStore, keyring: &Keyring) -> Result<()> {
    let keys = store.settings_data_keys().await?;
    let mut sealed = keys.iter().filter(|(_, sealed)| !sealed.is_empty()).peekable();
    if sealed.peek().is_none() || sealed.any(|(id, sealed)| keyring.open_data_key(id, sealed).is_ok()) {
        return Ok(());
    }
    Err(unknown().with("at hand", keyring.id()))
}

/// Refuses to make a master key for a store that has data keys, which are sealed by another one.
///
/// # Errors
/// As of [`require_known`].
pub(crate) async fn require_none(store: &dyn SettingsStore) -> Result<()> {
    let keys = store.settings_data_keys().await?;
    if keys.iter().all(|(_, sealed)| sealed.is_empty()) { Ok(()) } else { Err(unknown()) }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Config, "find the master key of this store")
        .with("reason", "its services have keys that another master key has sealed")
        .hint(
            "name the file that the server has, with `--master-key-file` or `LEVERFRAME_MASTER_KEY_FILE`, or set \
             `LEVERFRAME_MASTER_KEY`",
        )
}

/// Seals and opens the secrets of one service; clones share it.
#[derive(Clone)]
pub struct DataKey(Arc<SealingKey>);

impl DataKey {
    pub(super) fn new(bytes: &[u8; KEY_LEN]) -> Self {
        Self(Arc::new(SealingKey::new("leverframe data key", bytes)))
    }

    /// Returns the key of a service, for whoever is about to write a secret: made and kept now, if the service came to
    /// be when the server had no master key.
    ///
    /// # Errors
    /// As of [`Keyring::open_data_key`], also where the store has data keys and the keyring opens none; `NotFound` if the
    /// service is gone; what the store fails with.
    pub async fn of(store: &dyn SettingsStore, keyring: &Keyring, service: &Service) -> Result<Self> {
        let id = &service.id;
        if !service.data_key.is_empty() {
            return keyring.open_data_key(id, &service.data_key);
        }
        require_known(store, keyring).await?;
        let made = keyring.new_data_key(id)?;
        if store.replace_settings_data_keys(&[(id.clone(), Bytes::new(), made.clone())]).await? {
            return keyring.open_data_key(id, &made);
        }
        // Another one was first.
        let now = store.settings_service(id).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "make the service's data key").with("service", id)
        })?;
        keyring.open_data_key(id, &now.data_key)
    }

    /// Seals a version of a secret.
    ///
    /// # Errors
    /// `Unavailable` if the operating system has no randomness.
    pub fn seal(&self, service: &ServiceId, key: &str, version: u64, secret: &Secret) -> Result<Bytes> {
        self.0.seal(&context(service, key, version), secret.expose().as_bytes())
    }

    /// Opens a version of a secret.
    ///
    /// # Errors
    /// `Corrupt` for what is not the sealed text of this version of this secret of this service.
    pub fn open(&self, service: &ServiceId, key: &str, version: u64, sealed: &[u8]) -> Result<Secret> {
        let refused = |reason: &'static str| {
            Error::new(ErrorKind::Corrupt, "open a secret")
                .with("service", service)
                .with("key", key)
                .with("version", version)
                .with("reason", reason)
        };
        let Some(id) = KeyId::of(sealed) else {
            return Err(refused("it is no envelope that this program makes").hint("write the secret again"));
        };
        if id != self.0.id {
            return Err(refused(
                "it was sealed by the key of another service, or of one of this name before",
            )
            .hint("write the secret again"));
        }
        let opened = self.0.open(&context(service, key, version), sealed);
        let mut opened = opened.ok_or_else(|| {
            refused("it was changed, or is that of another version")
                .hint("restore a backup, or write it again")
        })?;
        String::from_utf8(std::mem::take(&mut *opened)).map(Secret::new).map_err(|error| {
            error.into_bytes().zeroize();
            refused("it is no text")
        })
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.0.id)
    }
}

fn context(service: &ServiceId, key: &str, version: u64) -> Context {
    Context::new("leverframe settings secret 1", service).and(key).number(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_in_its_place_only() {
        let (data, other) = (DataKey::new(&[1; KEY_LEN]), DataKey::new(&[2; KEY_LEN]));
        let service = ServiceId::new("acme", "billing", "production");
        let staging = ServiceId::new("acme", "billing", "staging");
        let sealed = data.seal(&service, "DB", 3, &Secret::new("hünter2")).unwrap();

        assert_eq!(data.open(&service, "DB", 3, &sealed).unwrap().expose(), "hünter2");
        for (key, service, name, version) in [
            (&data, &staging, "DB", 3),
            (&data, &service, "DC", 3),
            (&data, &service, "DB", 4),
            (&other, &service, "DB", 3),
        ] {
            let error = key.open(service, name, version, &sealed).unwrap_err();

            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(!error.chain().contains("nter2"));
        }
        let error = other.open(&service, "DB", 3, &sealed).unwrap_err();
        assert!(error.to_string().contains("another service"), "{error}");
        assert!(data.open(&service, "DB", 3, b"").is_err());
        assert!(!format!("{data:?}").contains("0101"));
    }

    #[test]
    fn an_empty_secret_and_a_long_one_come_back() {
        let (data, service) = (DataKey::new(&[1; KEY_LEN]), ServiceId::new("a", "b", "c"));

        for text in [String::new(), "x".repeat(1 << 20)] {
            let sealed = data.seal(&service, "K", 1, &Secret::new(&*text)).unwrap();
            assert_eq!(data.open(&service, "K", 1, &sealed).unwrap().expose(), text);
        }
    }
}
