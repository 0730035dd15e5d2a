//! An issuer's public keys, as it publishes them (RFC 7517).

use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::algorithm::Algorithm;

/// Keys of one issuer: more than twice what rotation needs anywhere.
const MOST_KEYS: usize = 100;

/// A public key.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    material: Material,
    /// The one algorithm that it is for, where it says so.
    only: Option<Algorithm>,
}

#[derive(Debug)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Published>,
}

#[derive(Deserialize)]
struct Published {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Key {
    /// Returns true if the key may have made such a signature.
    fn is_for(&self, algorithm: Algorithm) -> bool {
        let fits = match &self.material {
            Material::Rsa { .. } => algorithm.rsa().is_some(),
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::P384(_) => algorithm == Algorithm::Es384,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        fits && self.only.is_none_or(|only| only == algorithm)
    }

    /// Returns true if the signature is of this key, this algorithm and this message.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.is_for(algorithm) {
            return false;
        }
        let by = |how: &'static dyn VerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(how, point).verify(message, signature).is_ok()
        };
        match &self.material {
            Material::Rsa { modulus, exponent } => algorithm.rsa().is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature).is_ok()
            }),
            Material::P256(point) => by(&ECDSA_P256_SHA256_FIXED, point),
            Material::P384(point) => by(&ECDSA_P384_SHA384_FIXED, point),
            Material::Ed25519(point) => by(&ED25519, point),
        }
    }
}

/// Reads a set of keys. Those that sign nothing, or are of no known kind, are left out.
///
/// # Errors
/// Why it is no set of keys, or holds none that is of use.
pub(super) fn keys_in(json: &[u8]) -> Result<Vec<Arc<Key>>, &'static str> {
    let set: Set = serde_json::from_slice(json).map_err(|_| "it is no JSON with `keys`")?;
    if set.keys.len() > MOST_KEYS {
        return Err("it holds more than 100 keys");
    }
    let keys: Vec<_> = set.keys.into_iter().filter_map(|key| key.into_key()).map(Arc::new).collect();
    if keys.is_empty() { Err("it holds no key that tokens are signed with") } else { Ok(keys) }
}

/// Returns the key that a token names; one that names none has to be of the only key.
pub(super) fn find(keys: &[Arc<Key>], id: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
    let mut fitting = keys.iter().filter(|key| key.is_for(algorithm));
    let found = match id {
        Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)),
        None => fitting.next().filter(|_| keys.len() == 1),
    };
    found.map(Arc::clone)
}

impl Published {
    fn into_key(self) -> Option<Key> {
        let signs = self.usage.is_none_or(|usage| usage == "sig")
            && self.key_ops.is_none_or(|uses| uses.iter().any(|name| name == "verify"));
        let only = match self.alg.as_deref().map(Algorithm::named) {
            Some(None) => return None,
            Some(named) => named,
            None => None,
        };
        let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
        let (x, y) = (bytes(self.x), bytes(self.y));
        let point = |length: usize| {
            let (x, y) = (x.as_ref()?, y.as_ref()?);
            (x.len() == length && y.len() == length).then(|| [&[4][..], x, y].concat())
        };
        let material = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => {
                let (mut modulus, exponent) = (bytes(self.n)?, bytes(self.e)?);
                let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
                modulus.drain(..zeros);
                Material::Rsa { modulus, exponent }
            }
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(x.filter(|x| x.len() == 32)?),
            _ => return None,
        };
        let key = Key { id: self.kid, material, only };
        (signs && only.is_none_or(|only| key.is_for(only))).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn count(key: serde_json::Value) -> usize {
        let set = json!({ "keys": [key] });
        keys_in(set.to_string().as_bytes()).map_or(0, |keys| keys.len())
    }

    /// RFC 8037, appendix A.
    fn ed25519() -> serde_json::Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "a" })
    }

    fn with(mut key: serde_json::Value, name: &str, value: serde_json::Value) -> serde_json::Value {
        key[name] = value;
        key
    }

    #[test]
    fn a_known_signature_is_believed() {
        let set = json!({ "keys": [ed25519()] }).to_string();
        let keys = keys_in(set.as_bytes()).unwrap();
        let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = URL_SAFE_NO_PAD
            .decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
            .unwrap();

        let key = find(&keys, Some("a"), Algorithm::EdDsa).unwrap();
        assert!(key.has_signed(Algorithm::EdDsa, message.as_bytes(), &signature));
        assert!(!key.has_signed(Algorithm::EdDsa, b"x", &signature));
        assert!(!key.has_signed(Algorithm::Es256, message.as_bytes(), &signature));
        assert!(find(&keys, None, Algorithm::EdDsa).is_some(), "the only key");
        assert!(find(&keys, Some("b"), Algorithm::EdDsa).is_none());
        assert!(find(&keys, Some("a"), Algorithm::Rs256).is_none());
    }

    #[test]
    fn keys_that_sign_no_tokens_are_left_out() {
        assert_eq!(count(ed25519()), 1);
        assert_eq!(count(with(ed25519(), "use", json!("sig"))), 1);
        assert_eq!(count(with(ed25519(), "alg", json!("EdDSA"))), 1);
        for (name, value) in [
            ("use", json!("enc")),
            ("key_ops", json!(["sign"])),
            ("alg", json!("HS256")),
            ("alg", json!("ES256")),
            ("alg", json!("none")),
            ("kty", json!("oct")),
            ("crv", json!("X25519")),
            ("x", json!("AAAA")),
            ("x", json!("?")),
        ] {
            assert_eq!(count(with(ed25519(), name, value.clone())), 0, "{name}: {value}");
        }
        assert_eq!(count(json!({ "kty": "oct", "k": "c2VjcmV0" })), 0);
        assert_eq!(count(json!({ "kty": "RSA", "n": "AQAB" })), 0);
    }

    #[test]
    fn what_is_no_set_of_keys_is_refused() {
        for json in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "{\"keys\":[{}]}", "<html>"] {
            assert!(keys_in(json.as_bytes()).is_err(), "{json}");
        }
        let many = json!({ "keys": vec![ed25519(); 101] }).to_string();
        assert_eq!(keys_in(many.as_bytes()).unwrap_err(), "it holds more than 100 keys");
    }

    #[test]
    fn a_token_that_names_no_key_is_of_the_only_one_or_of_none() {
        let set = json!({ "keys": [ed25519(), ed25519()] }).to_string();

        assert!(find(&keys_in(set.as_bytes()).unwrap(), None, Algorithm::EdDsa).is_none());
    }
}
