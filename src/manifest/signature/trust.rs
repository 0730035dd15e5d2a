//! Who is believed, and what a signature must say.

use std::{collections::BTreeSet, time::SystemTime};

use super::{PublicKey, Signature};
use crate::{Error, ErrorKind, Result, manifest::Fingerprint};

/// The keys that are believed, and how many of them must have signed.
///
/// # Examples
/// ```
/// use std::time::SystemTime;
/// use leverframe::{document::Tree, manifest::{Fingerprint, signature::{Signature, SigningKey, Trust}}};
/// let tree: Tree = [("flags/a.toml", "x")].into_iter().collect();
/// let digest = Fingerprint::of(&tree);
/// let key = SigningKey::generate()?;
/// let mut signature = Signature::new("shop", &digest, 7);
/// signature.sign(&key);
///
/// let trust = Trust::new([key.public()], 1)?;
/// let now = SystemTime::UNIX_EPOCH;
/// let verified = trust.verify(signature.to_string().as_bytes(), &digest, now, 0)?;
/// assert_eq!((verified.namespace.as_str(), verified.counter), ("shop", 7));
/// assert!(trust.verify(signature.to_string().as_bytes(), &digest, now, 8).is_err(), "an older state");
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    keys: Vec<PublicKey>,
    threshold: usize,
}

/// What a signature that was believed says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The slug of the namespace that was signed.
    pub namespace: String,
    /// The place in the succession of signed states.
    pub counter: u64,
    /// The time after which the files are no longer accepted.
    pub expires: Option<SystemTime>,
    /// The ids of the believed keys that signed.
    pub signers: Vec<String>,
}

impl Trust {
    /// Believes these keys where at least `threshold` of them signed.
    ///
    /// # Errors
    /// `Config` for no key, and for a threshold of zero or beyond the number of different keys.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>, threshold: usize) -> Result<Self> {
        let mut different: Vec<PublicKey> = Vec::new();
        for key in keys {
            if !different.contains(&key) {
                different.push(key);
            }
        }
        if threshold == 0 || threshold > different.len() {
            return Err(Error::new(ErrorKind::Config, "trust keys")
                .with("keys", different.len())
                .with("threshold", threshold)
                .hint("the threshold is at least 1 and at most the number of different keys"));
        }
        Ok(Self { keys: different, threshold })
    }

    /// Checks a signature file against the digest of the files that it came with.
    ///
    /// `lowest` is the counter below which a state is older than one that was served.
    ///
    /// # Errors
    /// `PermissionDenied` where the signature does not vouch for these files now: too few believed keys, other
    /// files, expired, or older than what was served; what reading it reports.
    pub fn verify(
        &self,
        signature: &[u8],
        digest: &Fingerprint,
        now: SystemTime,
        lowest: u64,
    ) -> Result<Verified> {
        let signature = Signature::parse(signature)?;
        let refuse = |reason: &str, hint: &'static str| {
            Error::new(ErrorKind::PermissionDenied, "verify the signature")
                .with("namespace", signature.namespace())
                .with("reason", reason)
                .hint(hint)
        };
        if signature.digest() != digest.as_str() {
            return Err(refuse(
                "it was made for other files",
                "the files changed after they were signed: sign them again, or restore them",
            ));
        }
        let payload = signature.payload();
        let signers: BTreeSet<String> = signature
            .signatures
            .iter()
            .filter_map(|(id, bytes)| {
                let key = self.keys.iter().find(|key| key.id() == *id)?;
                key.accepts(payload.as_bytes(), bytes).then(|| id.clone())
            })
            .collect();
        if signers.len() < self.threshold {
            let found = format!("{} of {} trusted signatures", signers.len(), self.threshold);
            return Err(refuse(
                &found,
                "sign with the keys that are trusted here, or add theirs to `trusted_keys`",
            ));
        }
        if signature.expires().is_some_and(|expires| expires < now) {
            return Err(refuse("it has expired", "sign the files again with a later expiry"));
        }
        if signature.counter < lowest {
            return Err(refuse(
                "it is older than what was served before",
                "sign the files again with a higher counter",
            )
            .with("counter", signature.counter)
            .with("served", lowest));
        }
        Ok(Verified {
            counter: signature.counter,
            expires: signature.expires(),
            signers: signers.into_iter().collect(),
            namespace: signature.namespace,
        })
    }
}
