//! Tokens (RFC 7519) in the compact form: three parts, the last one the signature of the others.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{algorithm::Algorithm, key::Key};

/// By how much the issuer's clock may be off.
const LEEWAY: f64 = 60.0;

/// A token that nobody has vouched for yet.
pub(super) struct Token<'t> {
    algorithm: Algorithm,
    key_id: Option<String>,
    issuer: String,
    signed: &'t str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Parts that must be understood; none is.
    #[serde(default)]
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Issued {
    iss: String,
}

impl<'t> Token<'t> {
    /// Takes a token apart. Of what it says only is looked at whose it claims to be.
    pub(super) fn read(text: &'t str) -> Result<Self, &'static str> {
        let (signed, signature) = text.rsplit_once('.').ok_or("it is no token")?;
        let (head, payload) =
            signed.split_once('.').filter(|(_, p)| !p.contains('.')).ok_or("it is no token")?;
        let decoded = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| "a part is no base64");
        let head: Head = serde_json::from_slice(&decoded(head)?).map_err(|_| "its head cannot be read")?;
        if head.crit.is_some() {
            return Err("its head asks for what is not understood");
        }
        // `none` and the algorithms of shared secrets have no name here.
        let algorithm = Algorithm::named(&head.alg).ok_or("its algorithm is not one of public keys")?;
        let payload = decoded(payload)?;
        let issued: Issued = serde_json::from_slice(&payload).map_err(|_| "it names no issuer")?;
        Ok(Self {
            algorithm,
            key_id: head.kid,
            issuer: issued.iss,
            signed,
            payload,
            signature: decoded(signature)?,
        })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns what the token says, if this key has signed it and its time is now.
    pub(super) fn verified(&self, key: &Key, now: SystemTime) -> Result<Map<String, Value>, &'static str> {
        if !key.has_signed(self.algorithm, self.signed.as_bytes(), &self.signature) {
            return Err("the signature is not the issuer's");
        }
        let claims: Map<String, Value> =
            serde_json::from_slice(&self.payload).map_err(|_| "its claims are no object")?;
        // Where a claim stands twice, the one that was looked at before must be the one that counts.
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err("it names two issuers");
        }
        check_times(&claims, now)?;
        Ok(claims)
    }
}

fn check_times(claims: &Map<String, Value>, now: SystemTime) -> Result<(), &'static str> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or("a time is no number"),
    };
    let expires = time("exp")?.ok_or("it has no end")?;
    if now >= expires + LEEWAY {
        return Err("it has expired");
    }
    if time("nbf")?.is_some_and(|begins| now + LEEWAY < begins) {
        return Err("it is not valid yet");
    }
    if time("iat")?.is_some_and(|issued| now + LEEWAY < issued) {
        return Err("it was issued in the future");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn made(head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(head), part(claims))
    }

    #[test]
    fn tokens_that_could_not_be_believed_are_not_looked_into() {
        let claims = json!({ "iss": "https://issuer.example" });
        assert!(Token::read(&made(&json!({ "alg": "RS256", "kid": "a" }), &claims)).is_ok());

        for head in [
            json!({ "alg": "none" }),
            json!({ "alg": "None" }),
            json!({ "alg": "HS256" }),
            json!({ "alg": "rs256" }),
            json!({ "alg": ["RS256"] }),
            json!({ "kid": "a" }),
            json!({ "alg": "RS256", "crit": ["b64"], "b64": false }),
            json!({ "alg": "RS256", "kid": 1 }),
            json!("RS256"),
        ] {
            assert!(Token::read(&made(&head, &claims)).is_err(), "{head}");
        }
        let good = made(&json!({ "alg": "RS256" }), &claims);
        for text in [
            "",
            "a",
            "a.b",
            "a.b.c.d",
            ".",
            "..",
            &format!("{good}.a"),
            &format!("{good}="),
            &good.replace('.', ". "),
        ] {
            assert!(Token::read(text).is_err(), "{text}");
        }
        for claims in [json!({}), json!({ "iss": 1 }), json!([]), json!(null)] {
            assert!(Token::read(&made(&json!({ "alg": "RS256" }), &claims)).is_err(), "{claims}");
        }
    }

    #[test]
    fn times_are_kept_to_the_minute() {
        let check = |claims: Value| {
            let claims = claims.as_object().unwrap().clone();
            check_times(&claims, UNIX_EPOCH + Duration::from_secs(1_000))
        };

        assert_eq!(check(json!({ "exp": 1_000, "nbf": 1_000, "iat": 1_000 })), Ok(()));
        assert_eq!(check(json!({ "exp": 941 })), Ok(()));
        assert_eq!(check(json!({ "exp": 940 })), Err("it has expired"));
        assert_eq!(check(json!({ "exp": 940.5 })), Ok(()));
        assert_eq!(check(json!({ "exp": 2_000, "nbf": 1_060 })), Ok(()));
        assert_eq!(check(json!({ "exp": 2_000, "nbf": 1_061 })), Err("it is not valid yet"));
        assert_eq!(check(json!({ "exp": 2_000, "iat": 1_061 })), Err("it was issued in the future"));
        assert_eq!(check(json!({})), Err("it has no end"));
        for wrong in [json!("2000"), json!(null), json!([])] {
            assert_eq!(check(json!({ "exp": wrong })), Err("a time is no number"));
        }
    }
}
