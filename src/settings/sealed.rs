//! Last known good, sealed: AES-256-GCM under a key that the caller gives.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::NexusError;
use crate::{Error, ErrorKind, Result, Secret};

/// What sealed content begins with: no answer of a service does.
const MARK: &[u8] = b"leverframe settings, sealed 1\n";
/// Shorter keys are guessed.
const SHORTEST_KEY: usize = 32;
const PURPOSE: &[&[u8]] = &[b"leverframe settings, last known good"];

/// Seals and opens what is kept of one service.
pub(super) struct Seal {
    key: LessSafeKey,
    /// What the content is bound to: sealed content of another service does not open.
    place: String,
}

impl Seal {
    /// Takes the caller's key, of 32 characters or more: whoever has it reads what is kept.
    pub(super) fn new(key: &Secret, place: &str) -> Result<Self, NexusError> {
        if key.expose().len() < SHORTEST_KEY {
            return Err(NexusError::Config(format!(
                "`cache_key` has fewer than {SHORTEST_KEY} characters: make one with `openssl rand -base64 32`"
            )));
        }
        let failed = |_| NexusError::Config("`cache_key` makes no key".to_owned());
        let derived = Salt::new(HKDF_SHA256, &[]).extract(key.expose().as_bytes());
        let material = derived.expand(PURPOSE, &AES_256_GCM).map_err(failed)?;
        let unbound = UnboundKey::from(material);
        Ok(Self { key: LessSafeKey::new(unbound), place: place.to_owned() })
    }

    /// Returns true if content is sealed.
    pub(super) fn is_on(content: &[u8]) -> bool {
        content.starts_with(MARK)
    }

    /// Seals content: the mark, the nonce, the sealed bytes and their tag.
    pub(super) fn close(&self, content: &[u8]) -> Result<Bytes> {
        let failed = |_| Error::new(ErrorKind::Io, "seal what is kept of settings");
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(failed)?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(content.len()));
        sealed.extend_from_slice(content);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.place.as_bytes()),
                &mut sealed,
            )
            .map_err(failed)?;
        Ok([MARK, &nonce, &sealed, tag.as_ref()].concat().into())
    }

    /// Opens sealed content.
    ///
    /// # Errors
    /// `Forbidden` for what another key, another service or somebody else has made: it may open again with the right
    /// key, so that it is not thrown away.
    pub(super) fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NexusError> {
        let parts = sealed.strip_prefix(MARK).and_then(|rest| rest.split_first_chunk::<NONCE_LEN>());
        let Some((nonce, rest)) = parts else { return Err(NexusError::Forbidden) };
        let mut content = Zeroizing::new(rest.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(self.place.as_bytes()), &mut content);
        let length = opened.map_err(|_| NexusError::Forbidden)?.len();
        content.truncate(length);
        Ok(content)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_was_sealed_opens_with_its_key_and_place_only() {
        let seal = Seal::new(&Secret::new(KEY), "https://a").unwrap();
        let sealed = seal.close(b"canary").unwrap();

        assert!(Seal::is_on(&sealed) && !sealed.windows(6).any(|part| part == b"canary"));
        assert_eq!(seal.open(&sealed).unwrap().as_slice(), b"canary");
        assert_ne!(seal.close(b"canary").unwrap(), sealed, "a nonce was used twice");
        let other_key = Seal::new(&Secret::new(KEY.replace('0', "1")), "https://a").unwrap();
        let other_place = Seal::new(&Secret::new(KEY), "https://b").unwrap();
        for other in [other_key, other_place] {
            assert!(matches!(other.open(&sealed), Err(NexusError::Forbidden)));
        }
    }

    #[test]
    fn no_damaged_content_opens() {
        let seal = Seal::new(&Secret::new(KEY), "https://a").unwrap();
        let sealed = seal.close(b"canary").unwrap();
        for at in 0..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[at] ^= 1;
            assert!(seal.open(&damaged).is_err(), "{at}");
            assert!(seal.open(&sealed[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn a_short_key_is_refused_unseen() {
        let error = Seal::new(&Secret::new("canary"), "https://a").err().unwrap();

        assert!(matches!(error, NexusError::Config(_)) && !error.to_string().contains("canary"));
    }
}
