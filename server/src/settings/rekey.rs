//! Replacing the master key: every data key is sealed anew, no secret is.
//!
//! Where the data directory keeps the master key, its file names the new key beside the old one from before the first
//! data key is replaced until after the last one is. Whatever ends the process between, and at whatever point, the
//! next start opens everything; the same replacement asked for again, or another, carries on from there.

use leverframe::{Error, ErrorKind, Result};

use super::{Keyring, SettingsStore};

/// How often data keys that came to be meanwhile are looked for.
const ROUNDS: usize = 16;

/// Seals every data key by the first key of `new`; returns how many were not yet. Servers that run learn of it by
/// themselves if they can read the new key: those on the same data directory at once, others if their file holds it
/// beside the old one.
///
/// # Errors
/// As of [`Keyring::open_data_key`], where `old` is not what sealed them: then none is replaced; `Conflict` if data keys
/// are replaced by somebody else at the same time; what the store and the file fail with.
pub async fn reseal_data_keys(store: &dyn SettingsStore, old: &Keyring, new: &Keyring) -> Result<usize> {
    old.put_first(new)?;
    let mut done = 0;
    for _ in 0..ROUNDS {
        let mut swaps = Vec::new();
        for (service, sealed) in store.settings_data_keys().await? {
            // Empty where a server without a master key made the service.
            if !sealed.is_empty() && !new.has_sealed(&sealed) {
                let anew = old.reseal(&service, &sealed, new)?;
                swaps.push((service, sealed, anew));
            }
        }
        if swaps.is_empty() {
            old.keep_first()?;
            return Ok(done);
        }
        // All or none: one that is another by now is looked at again.
        if store.replace_settings_data_keys(&swaps).await? {
            done += swaps.len();
        }
    }
    Err(Error::new(ErrorKind::Conflict, "replace the master key")
        .with("rounds", ROUNDS)
        .hint("another replacement is at work: wait for its end, then try again"))
}
