//! Gate keys at hand, so that a pulse costs no look into the database.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use leverframe::{Error, ErrorKind, Result, gate::signing::verify_pulse, traits::Tick};

use super::model::GateKey;
use crate::{app::secret_hash, mint::PUBLISH_KEY, model::SecretHash, slot::Slot, store::Store};

/// As many keys as are kept at hand.
const MOST: usize = 10_000;
/// Bytes of a publish key: more than twice what ours have.
const LONGEST: usize = 64;

/// The keys at hand, by publish key. What is doubted stays, and is read again when it is next used: those who use it are
/// still no strangers.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    held: RwLock<HashMap<String, Arc<Slot<Known>>>>,
    /// Counts doubts, so that nothing read before is put in after.
    doubts: AtomicU64,
}

/// A key that was found in the store.
pub(crate) struct Known {
    pub(crate) key: GateKey,
    secret: SecretHash,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The digest signs as well as the secret does.
        f.debug_struct("Known").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Known {
    /// Returns true if the key's secret has signed the body at the time.
    pub(crate) fn has_signed(&self, body: &[u8], timestamp: &str, signature: &str) -> bool {
        // The secret is longer than a block, so that its digest is what HMAC makes of it.
        verify_pulse(body, timestamp, self.secret, signature)
    }

    /// Returns true if this is the key's secret, in time that does not depend on where it differs.
    pub(crate) fn has_secret(&self, secret: &str) -> bool {
        let given = secret_hash(secret);
        let difference = given.iter().zip(&self.secret).fold(0, |acc, (a, b)| acc | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl Keys {
    /// Returns true for a key that was found before, so that whoever names it is likely no stranger.
    pub(crate) fn has(&self, publish_key: &str) -> bool {
        self.slot(publish_key).is_some()
    }

    /// Returns a live key; `None` for one that is revoked, or was never made.
    ///
    /// # Errors
    /// When it has to be read and the store fails.
    pub(crate) async fn live(
        &self,
        store: &dyn Store,
        publish_key: &str,
        now: Tick,
    ) -> Result<Option<Arc<Known>>> {
        // What is no key is not asked for.
        let is_key = publish_key.len() <= LONGEST
            && publish_key.strip_prefix(PUBLISH_KEY).is_some_and(|rest| {
                rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            });
        if !is_key {
            return Ok(None);
        }
        let known = match self.slot(publish_key) {
            Some(slot) => match slot.get(now, || read(store, publish_key)).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                known => known?,
            },
            None => {
                let doubts = self.doubts.load(Ordering::Acquire);
                match read(store, publish_key).await {
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    known => self.put(publish_key, Arc::new(known?), now, doubts),
                }
            }
        };
        Ok(Some(known).filter(|known| known.key.revoked_at.is_none()))
    }

    fn slot(&self, publish_key: &str) -> Option<Arc<Slot<Known>>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).get(publish_key).map(Arc::clone)
    }

    fn put(&self, publish_key: &str, known: Arc<Known>, now: Tick, doubts: u64) -> Arc<Known> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if self.doubts.load(Ordering::Acquire) == doubts {
            if held.len() >= MOST {
                // Which one goes does not matter much: it is read again when it is next used.
                let any = held.keys().next().cloned();
                any.and_then(|key| held.remove(&key));
            }
            held.insert(publish_key.to_owned(), Arc::new(Slot::holding(Arc::clone(&known), now)));
        }
        known
    }

    /// Takes note that such keys may have changed.
    pub(crate) fn doubt(&self, which: impl Fn(&GateKey) -> bool) {
        // Excludes `put`, which looks at the count.
        let held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        self.doubts.fetch_add(1, Ordering::AcqRel);
        for slot in held.values() {
            if slot.last().is_none_or(|known| which(&known.key)) {
                slot.doubt();
            }
        }
    }
}

async fn read(store: &dyn Store, publish_key: &str) -> Result<Known> {
    let found = store.gate_key(publish_key).await?;
    let (key, secret) = found.ok_or_else(|| Error::new(ErrorKind::NotFound, "find a gate key"))?;
    Ok(Known { key, secret })
}
