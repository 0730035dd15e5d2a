//! Who somebody has proven to be.

use serde_json::{Map, Value};

/// Audiences of one token.
const MOST_AUDIENCES: usize = 100;

/// Who somebody has proven to be, and who vouches for it.
#[derive(Debug)]
pub(crate) struct Proof {
    /// By the name that trusts know it by.
    pub(crate) issuer: String,
    /// What sessions call it.
    pub(crate) provider: String,
    pub(super) audiences: Vec<String>,
    pub(super) subject: String,
    pub(super) claims: Map<String, Value>,
}

impl Proof {
    /// Takes the claims of a token that was verified.
    pub(super) fn of_claims(
        issuer: &str,
        provider: &str,
        claims: Map<String, Value>,
    ) -> Result<Self, &'static str> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let audiences = match claims.get("aud") {
            Some(Value::String(audience)) => Some(vec![audience.clone()]),
            Some(Value::Array(list)) if list.len() <= MOST_AUDIENCES => list.iter().map(text).collect(),
            _ => None,
        };
        let subject = claims.get("sub").and_then(text).filter(|subject| !subject.is_empty());
        Ok(Self {
            issuer: issuer.to_owned(),
            provider: provider.to_owned(),
            audiences: audiences.ok_or("it is for nobody")?,
            subject: subject.ok_or("it speaks of nobody")?,
            claims,
        })
    }

    /// Returns true if a claim has this text, or holds it in a list. A name that begins with `/` is a JSON pointer.
    pub(super) fn says(&self, claim: &str, value: &str) -> bool {
        let found = match claim.split_once('/') {
            Some(("", path)) => path.split('/').try_fold(None, |within: Option<&Value>, step| {
                let step = step.replace("~1", "/").replace("~0", "~");
                match within {
                    None => self.claims.get(&step).map(Some),
                    Some(value) => value.get(&step).map(Some),
                }
            }),
            _ => self.claims.get(claim).map(Some),
        };
        let is = |found: &Value| match found {
            Value::String(text) => text == value,
            Value::Bool(flag) => value == if *flag { "true" } else { "false" },
            Value::Number(number) => *value == *number.to_string(),
            _ => false,
        };
        found.flatten().is_some_and(|found| match found {
            Value::Array(list) => list.iter().any(is),
            one => is(one),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn proof(claims: Value) -> Result<Proof, &'static str> {
        Proof::of_claims("i", "p", claims.as_object().unwrap().clone())
    }

    #[test]
    fn a_token_is_for_somebody_and_speaks_of_somebody() {
        assert_eq!(proof(json!({ "aud": "a", "sub": "s" })).unwrap().audiences, ["a"]);
        assert_eq!(proof(json!({ "aud": ["a", "b"], "sub": "s" })).unwrap().audiences, ["a", "b"]);
        for claims in [
            json!({ "sub": "s" }),
            json!({ "aud": 1, "sub": "s" }),
            json!({ "aud": ["a", 1], "sub": "s" }),
            json!({ "aud": vec!["a"; 101], "sub": "s" }),
            json!({ "aud": "a" }),
            json!({ "aud": "a", "sub": "" }),
            json!({ "aud": "a", "sub": ["s"] }),
        ] {
            assert!(proof(claims.clone()).is_err(), "{claims}");
        }
    }

    #[test]
    fn claims_are_found_by_name_and_by_place() {
        let proof = proof(json!({
            "aud": "a", "sub": "s", "email_verified": true, "run": 7, "groups": ["x", "y"], "https://a/b": "c",
            "kubernetes.io": { "namespace": "billing", "pod/name": "p" }, "none": null,
        }))
        .unwrap();

        for (claim, value) in [
            ("email_verified", "true"),
            ("run", "7"),
            ("groups", "y"),
            ("https://a/b", "c"),
            ("/kubernetes.io/namespace", "billing"),
            ("/kubernetes.io/pod~1name", "p"),
            ("/run", "7"),
        ] {
            assert!(proof.says(claim, value), "{claim}");
            assert!(!proof.says(claim, "other"), "{claim}");
        }
        for (claim, value) in
            [("none", "null"), ("kubernetes.io", "billing"), ("/", ""), ("/a/b/c", "x"), ("groups", "xy")]
        {
            assert!(!proof.says(claim, value), "{claim}");
        }
    }
}
