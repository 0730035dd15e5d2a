//! The keys of Ed25519 (RFC 8032), as text.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    encoding::AsBigEndian,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    Error, ErrorKind, Result, Secret,
    encoding::{base64, from_base64, hex},
};

const PUBLIC: &str = "lvf-pub-";
const SECRET: &str = "lvf-key-";
const LENGTH: usize = 32;

/// A key that vouches for namespaces, as configurations name it: `lvf-pub-` and base64.
///
/// # Examples
/// ```
/// use leverframe::manifest::signature::{PublicKey, SigningKey};
/// let key = SigningKey::generate()?.public();
/// assert_eq!(key.to_string().parse::<PublicKey>()?, key);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; LENGTH]);

impl PublicKey {
    /// Returns the 16 hex digits by which signatures name the key: the beginning of its SHA-256.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&Sha256::digest(self.0)[..8])
    }

    pub(super) fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", base64(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = text.trim().strip_prefix(PUBLIC).and_then(from_base64);
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| {
            let hint = if text.trim_start().starts_with(SECRET) {
                "this is the secret key: keep it to yourself, and give the line that `leverframe keygen` printed"
            } else {
                "a public key is `lvf-pub-` and 44 characters of base64, as `leverframe keygen` prints it"
            };
            // The text is not shown: it may be a secret key.
            Error::new(ErrorKind::Invalid, "read a public key").hint(hint)
        })
    }
}

/// A secret key that signs namespaces. `Debug` shows its public half.
///
/// # Examples
/// ```
/// use leverframe::manifest::signature::SigningKey;
/// let key = SigningKey::generate()?;
/// let again = SigningKey::from_text(key.to_text()?.expose())?;
/// assert_eq!(again.public(), key.public());
/// # Ok::<(), leverframe::Error>(())
/// ```
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Makes a new key of the operating system's randomness.
    ///
    /// # Errors
    /// `Io` where there is none to be had.
    pub fn generate() -> Result<Self> {
        let pair = Ed25519KeyPair::generate()
            .map_err(|_| Error::new(ErrorKind::Io, "make a key").with("reason", "no randomness"))?;
        Ok(Self(pair))
    }

    /// Reads a key from its text.
    ///
    /// # Errors
    /// `Invalid` for what is none.
    pub fn from_text(text: &str) -> Result<Self> {
        let refuse = || {
            Error::new(ErrorKind::Invalid, "read a secret key")
                .hint("a key file holds one line, `lvf-key-` and 44 characters of base64, as `leverframe keygen` writes it")
        };
        let seed = text.trim().strip_prefix(SECRET).and_then(from_base64).map(Zeroizing::new);
        let seed = seed.filter(|seed| seed.len() == LENGTH).ok_or_else(refuse)?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map(Self).map_err(|_| refuse())
    }

    /// Returns the key's text, to be kept where only its owner reads.
    ///
    /// # Errors
    /// `Unsupported` where the cryptographic library does not give keys out.
    pub fn to_text(&self) -> Result<Secret> {
        let closed = |_| Error::new(ErrorKind::Unsupported, "write a secret key");
        let seed = self.0.seed().map_err(closed)?;
        let seed = seed.as_be_bytes().map_err(closed)?;
        let text = Zeroizing::new(base64(seed.as_ref()));
        Ok(Secret::new(format!("{SECRET}{}", *text)))
    }

    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; LENGTH];
        let public = self.0.public_key().as_ref();
        // Ed25519 has no other length.
        bytes.iter_mut().zip(public).for_each(|(to, from)| *to = *from);
        PublicKey(bytes)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public().id()).finish()
    }
}
