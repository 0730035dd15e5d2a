//! AES-256-GCM, and what is written around it: a version byte, the key's id, the nonce, the sealed bytes, their tag.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use bytes::Bytes;
use leverframe::{Error, ErrorKind, Result, encoding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::model::ServiceId;

/// Bytes of a key.
pub(super) const KEY_LEN: usize = 32;
/// Of what an envelope is made.
const VERSION: u8 = 1;
const ID_LEN: usize = 8;
const TAG_LEN: usize = 16;
const SHORTEST: usize = 1 + ID_LEN + NONCE_LEN + TAG_LEN;

/// Tells a key from others, and nothing of it: the beginning of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyId([u8; ID_LEN]);

impl KeyId {
    /// Returns the id that an envelope names.
    pub(super) fn of(envelope: &[u8]) -> Option<Self> {
        let (version, rest) = envelope.split_first()?;
        let id = rest.first_chunk().filter(|_| *version == VERSION && envelope.len() >= SHORTEST)?;
        Some(Self(*id))
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&encoding::hex(&self.0))
    }
}

/// A key that seals and opens. The cryptographic library wipes its own copy when that is freed.
pub(super) struct SealingKey {
    pub(super) id: KeyId,
    key: LessSafeKey,
}

impl SealingKey {
    /// Takes a key; `domain` keeps the ids of keys of one use from being those of another.
    pub(super) fn new(domain: &str, bytes: &[u8; KEY_LEN]) -> Self {
        let digest = Sha256::new().chain_update(domain).chain_update("\n").chain_update(bytes).finalize();
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&digest[..ID_LEN]);
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 takes keys of 32 bytes");
        Self { id: KeyId(id), key: LessSafeKey::new(key) }
    }

    /// Seals bytes; they open only together with the same context.
    pub(super) fn seal(&self, context: &Context, bytes: &[u8]) -> Result<Bytes> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| failed())?;
        self.seal_with(nonce, context, bytes)
    }

    fn seal_with(&self, nonce: [u8; NONCE_LEN], context: &Context, bytes: &[u8]) -> Result<Bytes> {
        // All of it at once: what grows leaves copies of the text behind.
        let mut envelope = Zeroizing::new(Vec::with_capacity(SHORTEST + bytes.len()));
        envelope.push(VERSION);
        envelope.extend_from_slice(&self.id.0);
        envelope.extend_from_slice(&nonce);
        let (nonce, start) = (Nonce::assume_unique_for_key(nonce), envelope.len());
        envelope.extend_from_slice(bytes);
        let aad = Aad::from(&context.0);
        let tag = self.key.seal_in_place_separate_tag(nonce, aad, &mut envelope[start..]);
        envelope.extend_from_slice(tag.map_err(|_| failed())?.as_ref());
        Ok(std::mem::take(&mut *envelope).into())
    }

    /// Opens an envelope of this key; `None` for one of another, of another context, and for one that was changed.
    pub(super) fn open(&self, context: &Context, envelope: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        KeyId::of(envelope).filter(|id| *id == self.id)?;
        let (nonce, sealed) = envelope[1 + ID_LEN..].split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key.open_in_place(nonce, Aad::from(&context.0), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

/// What sealed bytes are bound to: the same bytes in another place do not open.
pub(super) struct Context(Vec<u8>);

impl Context {
    /// Begins with what is sealed, and of which service.
    pub(super) fn new(domain: &str, service: &ServiceId) -> Self {
        let begun = Self(format!("{domain}\n").into_bytes());
        begun.and(&service.tenant).and(&service.namespace).and(&service.environment)
    }

    /// Adds a text, with its length, so that no two lists of texts are written alike.
    pub(super) fn and(mut self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Adds a number.
    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }
}

fn failed() -> Error {
    Error::new(ErrorKind::Unavailable, "seal a secret").with("reason", "the cryptographic library failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(envelope: &[u8]) -> String {
        encoding::hex(envelope)
    }

    fn service() -> ServiceId {
        ServiceId::new("acme", "billing", "production")
    }

    /// Made with another implementation (pyca/cryptography).
    #[test]
    fn envelopes_are_the_known_ones() {
        let mut bytes = [0; KEY_LEN];
        bytes.iter_mut().zip(0..).for_each(|(byte, index)| *byte = index);
        let master = SealingKey::new("leverframe master key", &bytes);
        let data = SealingKey::new("leverframe data key", &[0x42; KEY_LEN]);
        let of_key = Context::new("leverframe settings data key 1", &service());
        let of_secret = Context::new("leverframe settings secret 1", &service()).and("DB_PASSWORD").number(3);

        let key = master.seal_with([7; NONCE_LEN], &of_key, &[0x42; KEY_LEN]).unwrap();
        let secret = data.seal_with([7; NONCE_LEN], &of_secret, b"hunter2").unwrap();

        assert_eq!(
            hex(&key),
            "0154f899d5d6d179660707070707070707070707074d28e41e2d4d95b684df51c2c213b6d9e31ecf31cab5c35bbcf91cb8\
             469c70597a24f56dae0438d8c2db56537947ed90"
        );
        assert_eq!(
            hex(&secret),
            "01ff27056c99f66ef6070707070707070707070707109733d8d0834035605546b2c628e178618e941724e1ca"
        );
        assert_eq!(*data.open(&of_secret, &secret).unwrap(), b"hunter2");
    }

    #[test]
    fn no_part_of_an_envelope_may_be_changed_or_missing() {
        let key = SealingKey::new("x", &[1; KEY_LEN]);
        let context = Context::new("d", &service());
        let envelope = key.seal(&context, b"hunter2").unwrap();

        assert_ne!(key.seal(&context, b"hunter2").unwrap(), envelope, "a nonce was used twice");
        for at in 0..envelope.len() {
            let mut changed = envelope.to_vec();
            changed[at] ^= 1;
            assert!(key.open(&context, &changed).is_none(), "{at}");
            assert!(key.open(&context, &envelope[..at]).is_none(), "{at}");
        }
        let longer = [&envelope[..], b"x"].concat();
        assert!(key.open(&context, &longer).is_none());
        assert!(SealingKey::new("x", &[2; KEY_LEN]).open(&context, &envelope).is_none());
    }

    #[test]
    fn texts_of_a_context_do_not_run_into_each_other() {
        let (one, other) = (ServiceId::new("ab", "c", "d"), ServiceId::new("a", "bc", "d"));

        assert_ne!(Context::new("d", &one).0, Context::new("d", &other).0);
        assert_ne!(Context::new("d", &one).and("x").0, Context::new("d", &one).and("x").number(0).0);
    }
}
