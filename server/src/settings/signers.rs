//! What sessions, and the names of states with secrets in them, are signed with.
//!
//! The key that a store keeps signs none of them by itself: whoever reads the database, or a dump of it, would have the
//! server open every secret for a session of their own making, or try guesses of a secret against an `ETag`. Each key here
//! is made of that one and of a master key, and whoever lacks either has none.

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use leverframe::Result;

use super::{Keyring, Settings, keyring::MasterKeys, session::Session};
use crate::{
    events::{Purpose, Signer},
    problem::Problem,
};

/// Tells keys that are made for this from others that a master key is part of.
const DOMAIN: &str = "leverframe settings signer 1";

/// A signer for each master key: the first one signs, what any of them has signed is believed, so that a master key can
/// be replaced while servers run.
#[derive(Debug)]
pub(crate) struct Signers {
    of: MasterKeys,
    first: Arc<Signer>,
    others: Vec<Signer>,
}

/// Signs the names of states.
#[derive(Clone, Debug)]
pub(super) struct Tagger {
    /// Where secrets are, or may be.
    pub(super) secret: Arc<Signer>,
    /// Where everything may be seen by anybody: without a master key there are such states, too.
    pub(super) public: Arc<Signer>,
}

/// The signers made last, so that a request costs none.
#[derive(Debug, Default)]
pub(super) struct Kept(ArcSwapOption<Signers>);

impl Signers {
    fn of(keys: MasterKeys, stored: &Signer) -> Self {
        let mut all = keys.each(|key| stored.bound_to(key, DOMAIN)).into_iter();
        let first = Arc::new(all.next().expect("a keyring holds a key"));
        Self { first, others: all.collect(), of: keys }
    }

    /// Seals a session's text.
    pub(super) fn seal(&self, text: &str) -> String {
        self.first.seal(Purpose::SettingsSession, text)
    }

    /// Returns true if one of them has sealed a session's text so.
    pub(super) fn is_sealed(&self, text: &str, seal: &str) -> bool {
        let mut all = std::iter::once(&*self.first).chain(&self.others);
        all.any(|signer| signer.is_sealed(Purpose::SettingsSession, text, seal))
    }

    #[cfg(test)]
    pub(super) fn for_tests(bytes: u8) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};

        let text = leverframe::Secret::new(STANDARD.encode([bytes; 32]));
        let keys = Keyring::from_secret(&text).expect("32 bytes").keys();
        Self::of(keys, &Signer::new(crate::events::SigningKey::new([7; 32])))
    }
}

impl Settings {
    /// Returns what sessions are signed with.
    ///
    /// # Errors
    /// `no_master_key`; when the store has no signing key and cannot make one.
    pub(crate) async fn signers(&self) -> std::result::Result<Arc<Signers>, Problem> {
        Ok(self.signers_of(self.keyring()?).await?)
    }

    /// Reads a session; `None` unless it is one of ours and its time is not over. Without master keys none is.
    ///
    /// # Errors
    /// When the store has no signing key and cannot make one.
    pub(crate) async fn session(&self, token: &str, now: SystemTime) -> Result<Option<Session>> {
        let Some(keyring) = &self.keyring else { return Ok(None) };
        let signers = self.signers_of(keyring).await?;
        let read = Session::read(token, &signers, now);
        // Another server may have signed it by a key that has come to stand in the file since.
        if read.is_none() && keyring.has_others(&signers.of) {
            return Ok(Session::read(token, &*self.signers_of(keyring).await?, now));
        }
        Ok(read)
    }

    /// Returns what the names of states are signed with.
    pub(super) async fn tagger(&self) -> Result<Tagger> {
        let public = self.hub.signer().await?;
        let secret = match &self.keyring {
            Some(keyring) => Arc::clone(&self.signers_of(keyring).await?.first),
            // Nothing is handed out then that was sealed.
            None => Arc::clone(&public),
        };
        Ok(Tagger { secret, public })
    }

    async fn signers_of(&self, keyring: &Keyring) -> Result<Arc<Signers>> {
        let keys = keyring.keys();
        if let Some(kept) = self.signers.0.load_full().filter(|kept| kept.of.is(&keys)) {
            return Ok(kept);
        }
        let made = Arc::new(Signers::of(keys, &*self.hub.signer().await?));
        self.signers.0.store(Some(Arc::clone(&made)));
        Ok(made)
    }
}
