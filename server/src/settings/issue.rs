//! How keys are issued, by the route and by an operator on the machine itself.

use std::{sync::LazyLock, time::SystemTime};

use leverframe::{Error, ErrorKind, Result, Secret};

use super::{
    SettingsStore, checked,
    model::{ServiceId, SettingsKey},
};
use crate::{mint::mint_settings_key, request::Ids};

/// What a key is asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewSettingsKey {
    /// The service that it is to be of.
    pub service: ServiceId,
    /// Whether it may be shown to users: then it reads configs and flags, and nothing else.
    pub public: bool,
    /// Whether it begins as clients before 0.15 expect it, who tell a public key by that.
    pub legacy: bool,
    /// Name for people.
    pub name: String,
    /// The id of the principal that asks; empty for an operator on the machine itself.
    pub created_by: String,
}

impl NewSettingsKey {
    /// Asks for a key without a name.
    #[must_use]
    pub fn new(service: ServiceId, public: bool) -> Self {
        Self { service, public, legacy: false, name: String::new(), created_by: String::new() }
    }
}

/// A key with its secret, which is shown once and kept nowhere.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IssuedSettingsKey {
    /// The key.
    pub key: SettingsKey,
    /// Its secret.
    pub secret: Secret,
}

/// One for all, so that of two keys made in the same millisecond the first one is listed first.
static IDS: LazyLock<Ids> = LazyLock::new(Ids::new);

/// Makes a key, and keeps it with the digest of its secret.
///
/// # Errors
/// `NotFound` without the service, `Invalid` for an umbrella service and for a name that cannot be one, `Unavailable`
/// without randomness, and what the store fails with.
pub async fn issue_settings_key(
    store: &dyn SettingsStore,
    new: &NewSettingsKey,
    now: SystemTime,
) -> Result<IssuedSettingsKey> {
    const OPERATION: &str = "issue a settings key";
    checked::service_id(&new.service).map_err(|bad| bad.into_error(OPERATION))?;
    checked::key_name(&new.name).map_err(|bad| bad.into_error(OPERATION))?;
    let Some(service) = store.settings_service(&new.service).await? else {
        return Err(Error::new(ErrorKind::NotFound, OPERATION)
            .with("service", new.service.to_string())
            .hint("create the service first"));
    };
    checked::keyed(service.kind).map_err(|bad| bad.into_error(OPERATION))?;
    let minted = mint_settings_key(new.public, new.legacy)?;
    let id = format!("set_{}", IDS.next(now));
    let mut key = SettingsKey::new(id, new.service.clone(), new.public, now);
    key.name.clone_from(&new.name);
    key.created_by.clone_from(&new.created_by);
    store.create_settings_key(&key, &minted.hash).await?;
    Ok(IssuedSettingsKey { key, secret: minted.secret })
}
