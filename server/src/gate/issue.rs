//! How keys are issued, by the route and by an operator on the machine itself.

use std::time::SystemTime;

use leverframe::{Result, Secret};

use super::{GateStore, model::GateKey};
use crate::{checked, mint::mint_gate_key};

/// What a key is asked for with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewGateKey {
    /// The organisation that it is to report for; it need not be a tenant.
    pub org: String,
    /// The one site that it is to report for; `None` for any.
    pub site: Option<String>,
    /// Name for people.
    pub name: String,
    /// The id of the principal that asks; empty for an operator on the machine itself.
    pub created_by: String,
}

impl NewGateKey {
    /// Asks for a key that may report for every site of an org.
    #[must_use]
    pub fn new(org: impl Into<String>) -> Self {
        Self { org: org.into(), ..Self::default() }
    }
}

/// A key with its secret, which is shown once and kept nowhere.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IssuedGateKey {
    /// The key.
    pub key: GateKey,
    /// Its secret.
    pub secret: Secret,
}

/// Makes a key, and keeps it with the digest of its secret.
///
/// # Errors
/// `Invalid` for an org or a site that cannot be one, `Unavailable` without randomness, and what the store fails with.
pub async fn issue_gate_key(
    store: &dyn GateStore,
    new: &NewGateKey,
    now: SystemTime,
) -> Result<IssuedGateKey> {
    checked::gate_key(new).map_err(|bad| bad.into_error("issue a gate key"))?;
    let (publish_key, minted) = mint_gate_key()?;
    let key = GateKey {
        org: new.org.clone(),
        publish_key,
        site: new.site.clone(),
        name: new.name.clone(),
        created_at: now,
        created_by: new.created_by.clone(),
        revoked_at: None,
    };
    store.create_gate_key(&key, &minted.hash).await?;
    Ok(IssuedGateKey { key, secret: minted.secret })
}
