//! Settings keys at hand, so that a request costs no look into the database.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use leverframe::{Error, ErrorKind, Result, traits::Tick};

use super::model::{ServiceId, SettingsKey};
use crate::{app::secret_hash, limit::Bucket, model::SecretHash, slot::Slot, store::Store};

/// As many keys as are kept at hand.
const MOST: usize = 10_000;
/// Bytes of a key: more than twice what ours have.
const LONGEST: usize = 128;
/// How long a key is believed while the store cannot be asked.
const BELIEVED_WITHOUT_STORE: Duration = Duration::from_secs(600);

/// The keys at hand, by the digest of their secrets. What is doubted stays, and is read again when it is next used: those
/// who use it are still no strangers.
#[derive(Debug, Default)]
pub(super) struct Keys {
    held: RwLock<HashMap<SecretHash, Arc<Known>>>,
    /// Counts doubts, so that nothing read before is put in after.
    doubts: AtomicU64,
}

/// A key that was found in the store.
#[derive(Debug)]
pub(super) struct Known {
    key: Slot<SettingsKey>,
    /// What is left for it.
    pub(super) bucket: Bucket,
}

/// Returns the digest of what may be a key's secret.
pub(super) fn digest(secret: &str) -> Option<SecretHash> {
    let known = ["wxs_", "wxp_", "sk_live_", "pk_live_"];
    let rest = known.iter().find_map(|prefix| secret.strip_prefix(prefix))?;
    let is_one = secret.len() <= LONGEST
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_one.then(|| secret_hash(secret))
}

impl Keys {
    /// Returns true for a key that was found before, so that whoever has it is likely no stranger.
    pub(super) fn has(&self, secret: &SecretHash) -> bool {
        self.get(secret).is_some()
    }

    /// Returns a live key; `None` for one that is revoked, or was never made.
    ///
    /// # Errors
    /// When it has to be read and the store fails.
    pub(super) async fn live(
        &self,
        store: &dyn Store,
        secret: &SecretHash,
        now: Tick,
    ) -> Result<Option<(Arc<SettingsKey>, Arc<Known>)>> {
        let (key, known) = match self.get(secret) {
            Some(known) => {
                let key = match known.key.get(now, || read(store, secret)).await {
                    // Who was let in moments ago is let in while the database restarts.
                    Err(error) if error.kind() == ErrorKind::Unavailable => {
                        known.key.within(now, BELIEVED_WITHOUT_STORE).ok_or(error)
                    }
                    key => key,
                };
                (key, known)
            }
            None => {
                let doubts = self.doubts.load(Ordering::Acquire);
                match read(store, secret).await {
                    Ok(key) => {
                        let key = Arc::new(key);
                        let known = self.put(secret, &key, now, doubts);
                        (Ok(key), known)
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        };
        match key {
            Ok(key) => Ok(Some((key, known)).filter(|(key, _)| key.revoked_at.is_none())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn get(&self, secret: &SecretHash) -> Option<Arc<Known>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).get(secret).map(Arc::clone)
    }

    fn put(&self, secret: &SecretHash, key: &Arc<SettingsKey>, now: Tick, doubts: u64) -> Arc<Known> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = held.get(secret) {
            return Arc::clone(known);
        }
        let known = Arc::new(Known { key: Slot::holding(Arc::clone(key), now), bucket: Bucket::default() });
        if self.doubts.load(Ordering::Acquire) == doubts {
            if held.len() >= MOST {
                // Which one goes does not matter much: it is read again when it is next used.
                let any = held.keys().next().copied();
                any.and_then(|secret| held.remove(&secret));
            }
            held.insert(*secret, Arc::clone(&known));
        }
        known
    }

    /// Takes note that keys of a service, or of all, may have changed.
    pub(super) fn doubt(&self, service: Option<&ServiceId>) {
        // Excludes `put`, which looks at the count.
        let held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        self.doubts.fetch_add(1, Ordering::AcqRel);
        for known in held.values() {
            let of = known.key.last();
            if service.is_none_or(|service| of.is_none_or(|key| key.service == *service)) {
                known.key.doubt();
            }
        }
    }
}

async fn read(store: &dyn Store, secret: &SecretHash) -> Result<SettingsKey> {
    let found = store.settings_key_by_secret(secret).await?;
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, "find a settings key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_not_looked_up() {
        for key in ["wxs_a", "wxp_-_9", "sk_live_a", "pk_live_a"] {
            assert!(digest(key).is_some(), "{key}");
        }
        let long = "wxs_".to_owned() + &"a".repeat(125);
        for other in ["", "wxm_a", "wxs", "exd_admin_a", "wxs_a b", "wxs_ä", "wxt_a", "wsk_a", &long] {
            assert!(digest(other).is_none(), "{other}");
        }
    }
}
