//! Signed namespaces: who vouches for the files, in which order, and until when.
//!
//! A signature covers the namespace's slug, the digest of its files (M11), a counter and an optional expiry. It is a
//! small TOML file, `leverframe.sig`, in the tree, or with `.sig` behind the archive's own name beside it. Several
//! keys may sign; whoever trusts them says how many must. The counter only grows: a tree with a lower one than was
//! served before is refused, so that nobody can serve an old state of flags again.

mod key;
mod stamp;
mod trust;

use std::fmt::Write;

use serde::Deserialize;

use self::stamp::Stamp;
pub use self::{
    key::{PublicKey, SigningKey},
    trust::{Trust, Verified},
};
use super::Fingerprint;
use crate::{
    Error, ErrorKind, Result,
    encoding::{base64, from_base64},
};

/// The name of the signature in a tree.
pub const FILE_NAME: &str = super::layout::SIGNATURE_FILE;
/// What the detached signature of an archive has behind the archive's own name.
pub const EXTENSION: &str = crate::document::SIGNATURE_EXTENSION;
/// The largest signature file that is read, in bytes.
pub const LIMIT: usize = 64 * 1024;

const FORMAT: u32 = 1;
/// More keys than any team signs with.
const MOST_SIGNATURES: usize = 64;

/// What is signed, and the signatures over it.
///
/// # Examples
/// ```
/// use leverframe::{document::Tree, manifest::{Fingerprint, signature::{Signature, SigningKey}}};
/// let tree: Tree = [("flags/a.toml", "x")].into_iter().collect();
/// let key = SigningKey::generate()?;
/// let mut signature = Signature::new("shop", &Fingerprint::of(&tree), 1);
/// signature.sign(&key);
/// let text = signature.to_string();
/// assert_eq!(Signature::parse(text.as_bytes())?, signature);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    namespace: String,
    digest: String,
    counter: u64,
    expires: Option<Stamp>,
    signatures: Vec<(String, Vec<u8>)>,
}

/// The file, as TOML has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    namespace: String,
    digest: String,
    counter: u64,
    expires: Option<toml::value::Datetime>,
    #[serde(default)]
    signatures: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    signature: String,
}

impl Signature {
    /// Makes a signature file that nobody has signed yet.
    #[must_use]
    pub fn new(namespace: impl Into<String>, digest: &Fingerprint, counter: u64) -> Self {
        Self {
            namespace: namespace.into(),
            digest: digest.as_str().to_owned(),
            counter,
            expires: None,
            signatures: Vec::new(),
        }
    }

    /// Sets the time, to the second, after which the files are no longer accepted; signatures made before are void.
    ///
    /// # Errors
    /// `Invalid` for a time before 1970 or after the year 9999.
    pub fn expiring(mut self, at: std::time::SystemTime) -> Result<Self> {
        let stamp = Stamp::from_time(at).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "set the expiry").hint("give a time between 1970 and 9999")
        })?;
        self.expires = Some(stamp);
        self.signatures.clear();
        Ok(self)
    }

    /// Adds the key's signature, in place of one that it made before.
    pub fn sign(&mut self, key: &SigningKey) {
        let id = key.public().id();
        self.signatures.retain(|(other, _)| *other != id);
        self.signatures.push((id, key.sign(self.payload().as_bytes())));
    }

    /// Reads a signature file.
    ///
    /// # Errors
    /// `Invalid` for what is none, `LimitExceeded` for what is larger than any, `Unsupported` for a later format.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let refuse = |reason: &str| {
            Error::new(ErrorKind::Invalid, "read the signature")
                .with("reason", reason)
                .hint("make it anew with `leverframe sign`")
        };
        if bytes.len() > LIMIT {
            return Err(Error::new(ErrorKind::LimitExceeded, "read the signature").with("limit", LIMIT));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8"))?;
        let file: File = toml::from_str(text).map_err(|error| refuse(error.message()))?;
        if file.format != FORMAT {
            return Err(Error::new(ErrorKind::Unsupported, "read the signature")
                .with("format", file.format)
                .with("known", FORMAT)
                .hint("a later version of leverframe made it: update this one"));
        }
        if file.signatures.len() > MOST_SIGNATURES {
            return Err(refuse("it has more than 64 signatures"));
        }
        let plain = |text: &str| text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        if !plain(&file.namespace) || !plain(&file.digest) {
            return Err(refuse("its namespace or digest is malformed"));
        }
        let expires = match file.expires {
            None => None,
            Some(when) => Some(
                Stamp::from_toml(&when).ok_or_else(|| refuse("`expires` is no UTC time to the second"))?,
            ),
        };
        let signatures = file.signatures.into_iter().map(|line| {
            let bytes = from_base64(&line.signature).ok_or_else(|| refuse("a signature is no base64"))?;
            Ok((line.key, bytes))
        });
        Ok(Self {
            namespace: file.namespace,
            digest: file.digest,
            counter: file.counter,
            expires,
            signatures: signatures.collect::<Result<_>>()?,
        })
    }

    /// Returns the slug of the namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the digest of the files.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns the place in the succession of signed states.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// Returns the time after which the files are no longer accepted.
    #[must_use]
    pub fn expires(&self) -> Option<std::time::SystemTime> {
        self.expires.map(Stamp::to_time)
    }

    /// Returns the ids of the keys that signed, valid or not.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|(key, _)| key.as_str())
    }

    /// What a signature covers. No field can hold a line feed, so no two states have one text.
    fn payload(&self) -> String {
        let expires = self.expires.map_or_else(|| "never".to_owned(), |stamp| stamp.to_string());
        format!(
            "leverframe signature {FORMAT}\nnamespace {}\ndigest {}\ncounter {}\nexpires {expires}\n",
            self.namespace, self.digest, self.counter
        )
    }
}

impl std::fmt::Display for Signature {
    /// Writes the signature file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "format = {FORMAT}")?;
        writeln!(f, "namespace = \"{}\"", self.namespace)?;
        writeln!(f, "digest = \"{}\"", self.digest)?;
        writeln!(f, "counter = {}", self.counter)?;
        if let Some(expires) = self.expires {
            writeln!(f, "expires = {expires}")?;
        }
        for (key, signature) in &self.signatures {
            let mut line = String::new();
            write!(line, "\n[[signatures]]\nkey = \"{key}\"\nsignature = \"{}\"", base64(signature))?;
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
