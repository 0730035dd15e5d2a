//! What the server has signed and believes when it comes back: snapshot URLs that are good for a while without a token
//! (S6), and tokens that nothing is kept of.
//!
//! Of a URL, the signature covers the method, the path and the query, sorted, without the signature. What is signed is made of
//! characters only that need no escaping, so that there is one way to write it.

use std::{
    fmt,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use leverframe::{Error, ErrorKind, Result, flags::events::FlagFilter};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::private_file::{self, Others};

/// How long a snapshot URL is good for.
pub const VALID_FOR: Duration = Duration::from_secs(300);

/// The key that snapshot URLs are signed with; wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Zeroizing<[u8; 32]>);

/// Signs snapshot URLs, and checks signatures.
#[derive(Clone, Debug)]
pub struct Signer {
    key: SigningKey,
}

/// What a text is signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To ask for policies with.
    GateToken,
    /// To tell whether settings changed. Where there are secrets among them, of a signer that is bound to a master key.
    SettingsTag,
    /// To ask for settings with; of a signer that is bound to a master key.
    SettingsSession,
}

/// A signature that is not believed. Why is nobody's business but the log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The time is over.
    Expired,
    /// The signature is none of ours, or not of this request.
    Forged,
}

impl SigningKey {
    /// Takes bytes that nobody can guess for a key.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Makes a key.
    ///
    /// # Errors
    /// `Unavailable` if the operating system has no randomness.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "read the operating system's randomness").source(error)
        })?;
        Ok(Self(bytes))
    }

    /// Returns the bytes, for a store to keep.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the key of a data directory, made now if it has none. The file is whole at every moment, readable by its
    /// owner only, and of several processes that start at once one makes it.
    ///
    /// # Errors
    /// `Corrupt` for a file of another length; what reading or writing fails with.
    pub fn in_directory(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let make = || Ok(Zeroizing::new(Self::generate()?.expose().to_vec()));
        let bytes = private_file::read_or_make(&path, "the signing key", Others::Unchecked, make)?;
        let bytes = <[u8; 32]>::try_from(&bytes[..]).map_err(|_| {
            Error::new(ErrorKind::Corrupt, "read the signing key")
                .with("file", path.display())
                .hint("remove the file; a new key is made at the next start, and clients fetch new URLs")
        })?;
        Ok(Self::new(bytes))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

impl Signer {
    /// Signs with this key.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Self { key }
    }

    /// Returns where the closure of these flags can be fetched until then: path and query.
    #[must_use]
    pub fn snapshot_url(
        &self,
        tenant: &str,
        namespace: &str,
        filter: &FlagFilter,
        version: u64,
        until: SystemTime,
    ) -> String {
        let path = format!("/api/v1/tenants/{tenant}/namespaces/{namespace}/closure");
        let flags = match filter {
            FlagFilter::Only(flags) => Some(flags.join(",")),
            _ => None,
        };
        let version = version.to_string();
        let flags = flags.as_deref().map(|flags| ("flags", flags));
        self.url(&path, flags.into_iter().chain([("version", version.as_str())]), until)
    }

    /// Returns the path with this query, which may be asked for with `GET` until then. Keys and values are made of
    /// characters only that need no escaping.
    pub(crate) fn url<'a>(
        &self,
        path: &str,
        query: impl IntoIterator<Item = (&'a str, &'a str)>,
        until: SystemTime,
    ) -> String {
        let exp = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let mut query: Vec<(&str, &str)> = query.into_iter().collect();
        query.push(("exp", &exp));
        query.sort_unstable();
        let sig = URL_SAFE_NO_PAD.encode(self.mac(path, query.iter().copied()).finalize().into_bytes());
        query.push(("sig", &sig));
        let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("{path}?{}", query.join("&"))
    }

    /// Checks a `GET` with this path and this query, decoded.
    ///
    /// # Errors
    /// [`Refused`] unless it is one that [`snapshot_url`](Self::snapshot_url) gave out, and not long ago.
    pub fn check(
        &self,
        path: &str,
        query: &[(String, String)],
        now: SystemTime,
    ) -> std::result::Result<(), Refused> {
        let mut sorted: Vec<(&str, &str)> = query.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        sorted.sort_unstable();
        let twice = sorted.windows(2).any(|pair| pair[0].0 == pair[1].0);
        // With these characters inside a value, two queries could be written alike.
        let ambiguous =
            sorted.iter().any(|(k, v)| k.contains(['&', '=', '\n']) || v.contains(['&', '=', '\n']));
        let sig = sorted.iter().position(|(key, _)| *key == "sig").map(|index| sorted.remove(index).1);
        let sig = sig.and_then(|sig| URL_SAFE_NO_PAD.decode(sig).ok());
        let Some(sig) = sig.filter(|_| !twice && !ambiguous) else { return Err(Refused::Forged) };
        let exp = sorted.iter().find(|(key, _)| *key == "exp").and_then(|(_, exp)| exp.parse::<u64>().ok());
        // Compared in constant time. The time is looked at after, so that only what we signed is told expired.
        self.mac(path, sorted).verify_slice(&sig).map_err(|_| Refused::Forged)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match exp {
            Some(exp) if now <= exp => Ok(()),
            _ => Err(Refused::Expired),
        }
    }

    /// Returns a signer whose key takes this one's and a secret that is kept elsewhere: whoever has only one of them signs
    /// nothing with it.
    pub(crate) fn bound_to(&self, secret: &[u8; 32], domain: &str) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of every length");
        mac.update(domain.as_bytes());
        mac.update(&*self.key.0);
        Self::new(SigningKey::new(mac.finalize().into_bytes().into()))
    }

    /// Signs a text for one purpose: the seal is good for no other, nor for a URL.
    pub(crate) fn seal(&self, purpose: Purpose, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.sealing(purpose, text).finalize().into_bytes())
    }

    /// Returns true if that is the seal of the text for this purpose, in time that does not depend on where it differs.
    pub(crate) fn is_sealed(&self, purpose: Purpose, text: &str, seal: &str) -> bool {
        let seal = URL_SAFE_NO_PAD.decode(seal).ok();
        seal.is_some_and(|seal| self.sealing(purpose, text).verify_slice(&seal).is_ok())
    }

    fn sealing(&self, purpose: Purpose, text: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.key.0).expect("HMAC takes keys of every length");
        // What is signed of a URL begins with another line.
        mac.update(match purpose {
            Purpose::GateToken => &b"gate token\n"[..],
            Purpose::SettingsTag => b"settings tag\n",
            Purpose::SettingsSession => b"settings session\n",
        });
        mac.update(text.as_bytes());
        mac
    }

    fn mac<'a>(&self, path: &str, query: impl IntoIterator<Item = (&'a str, &'a str)>) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.key.0).expect("HMAC takes keys of every length");
        mac.update(b"GET\n");
        mac.update(path.as_bytes());
        for (index, (key, value)) in query.into_iter().enumerate() {
            mac.update(if index == 0 { b"\n" } else { b"&" });
            mac.update(key.as_bytes());
            mac.update(b"=");
            mac.update(value.as_bytes());
        }
        mac
    }
}

/// The key's file in a data directory.
const FILE: &str = "signing.key";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn signed() -> (Signer, String, Vec<(String, String)>, SystemTime) {
        let signer = Signer::new(SigningKey::new([7; 32]));
        let until = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let url = signer.snapshot_url("acme", "billing", &FlagFilter::only(["b", "a"]), 8, until);
        let (path, query) = url.split_once('?').unwrap();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
        (signer, path.into(), pairs.map(|(k, v)| (k.into(), v.into())).collect(), until)
    }

    #[test]
    fn a_url_is_good_until_its_time_is_over_in_whatever_order_its_query_is() {
        let (signer, path, mut query, until) = signed();

        assert_eq!(path, "/api/v1/tenants/acme/namespaces/billing/closure");
        assert_eq!(query[1], ("flags".into(), "a,b".into()));
        assert_eq!(signer.check(&path, &query, until), Ok(()));
        query.reverse();
        assert_eq!(signer.check(&path, &query, until), Ok(()));
        assert_eq!(signer.check(&path, &query, until + Duration::from_secs(1)), Err(Refused::Expired));
    }

    #[test]
    fn every_part_of_the_request_is_covered() {
        let (signer, path, query, until) = signed();

        for index in 0..query.len() {
            let mut changed = query.clone();
            // In the middle: the last character of base64 without padding has bits that do not count.
            changed[index].1.insert(0, '1');
            assert_eq!(signer.check(&path, &changed, until), Err(Refused::Forged), "{changed:?}");
            let mut left_out = query.clone();
            left_out.remove(index);
            assert_eq!(signer.check(&path, &left_out, until), Err(Refused::Forged), "{left_out:?}");
            let mut twice = query.clone();
            twice.push(query[index].clone());
            assert_eq!(signer.check(&path, &twice, until), Err(Refused::Forged), "{twice:?}");
        }
        let mut more = query.clone();
        more.push(("x".into(), "y".into()));
        assert_eq!(signer.check(&path, &more, until), Err(Refused::Forged));
        assert_eq!(signer.check(&path.replace("billing", "growth"), &query, until), Err(Refused::Forged));
        assert_eq!(
            Signer::new(SigningKey::new([8; 32])).check(&path, &query, until),
            Err(Refused::Forged),
            "another key"
        );
    }

    #[test]
    fn values_that_pretend_to_be_several_are_refused() {
        let (signer, path, query, until) = signed();
        let get = |name: &str| query.iter().find(|(key, _)| key == name).unwrap().1.clone();
        // Written out, this is what was signed; read, it is another query.
        let exp = ("exp".into(), format!("{}&flags={}", get("exp"), get("flags")));
        let joined = vec![exp, ("version".into(), get("version")), ("sig".into(), get("sig"))];

        assert_eq!(signer.check(&path, &joined, until), Err(Refused::Forged));
    }

    #[test]
    fn a_seal_is_good_for_its_text_and_purpose_only() {
        let signer = Signer::new(SigningKey::new([7; 32]));
        let seal = signer.seal(Purpose::GateToken, "acme");

        assert!(signer.is_sealed(Purpose::GateToken, "acme", &seal));
        assert!(!signer.is_sealed(Purpose::GateToken, "acmf", &seal));
        assert!(!signer.is_sealed(Purpose::SettingsSession, "acme", &seal));
        assert!(!signer.is_sealed(Purpose::GateToken, "acme", ""));
        assert!(!signer.is_sealed(Purpose::GateToken, "acme", &format!("{seal}A")));
        // The seal of a text that looks like a URL's is not that URL's signature, nor the other way round.
        let url = signer.url("/p", [], UNIX_EPOCH);
        let (_, sig) = url.split_once("sig=").unwrap();
        for text in ["/p\nexp=0", "GET\n/p\nexp=0"] {
            assert!(!signer.is_sealed(Purpose::GateToken, text, sig));
        }
        let other = Signer::new(SigningKey::new([8; 32]));
        assert!(!other.is_sealed(Purpose::GateToken, "acme", &seal));
    }

    #[test]
    fn the_key_of_a_directory_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let dir = dir.path().to_owned();
                std::thread::spawn(move || SigningKey::in_directory(&dir).unwrap())
            })
            .collect();

        let keys: Vec<SigningKey> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();

        assert!(keys.iter().all(|key| *key == keys[0] && *key.expose() != [0; 32]));
        assert_eq!(SigningKey::in_directory(dir.path()).unwrap(), keys[0]);
        let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), 1, "nothing is left over: {files:?}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_key_of_another_length_is_not_believed_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"short").unwrap();

        let error = SigningKey::in_directory(dir.path()).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(!error.chain().to_string().contains("short"));
        assert_eq!(format!("{:?}", SigningKey::new([1; 32])), "SigningKey(***)");
    }
}
