//! What the tests of settings clients need: services, their keys and entries, and an issuer of workload tokens.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Plane;

/// Issues tokens that workloads prove themselves with.
#[derive(Debug)]
pub struct Issuer {
    key: EcdsaKeyPair,
}

/// Who issues them.
pub const ISSUER: &str = "https://issuer.example.com";

impl Default for Issuer {
    fn default() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self { key }
    }
}

impl Issuer {
    /// Returns what its tokens are verified with, as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> String {
        // An uncompressed point: a byte that says so, and both coordinates.
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "1",
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        }] })
        .to_string()
    }

    /// Issues a token of a subject for an audience, valid for a quarter of an hour.
    ///
    /// # Panics
    /// Without randomness.
    #[must_use]
    pub fn token(&self, subject: &str, audience: &str) -> String {
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
        let head = json!({ "alg": "ES256", "kid": "1", "typ": "JWT" });
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": audience, "iat": now, "nbf": now, "exp": now + 900,
        });
        let text = [head, claims].map(|part| BASE64.encode(part.to_string())).join(".");
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature");
        format!("{text}.{}", BASE64.encode(signature))
    }
}

/// A service of the tenant `acme`.
#[derive(Debug)]
pub struct Service<'a> {
    plane: &'a Plane,
    path: String,
}

impl Plane {
    /// Makes a service of this kind.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn service(&self, kind: &str) -> Service<'_> {
        let tenant = json!({ "slug": "acme", "login_mode": "sso", "sso_provider": "okta" });
        self.ask(Method::POST, "/api/v1/tenants", &tenant).await;
        self.ask(Method::POST, "/api/v1/tenants/acme/namespaces", &json!({ "slug": "shop" })).await;
        let path = "/api/v1/tenants/acme/namespaces/shop/settings/environments/production".to_owned();
        let service = Service { plane: self, path };
        service.change(json!({ "kind": kind })).await;
        service
    }
}

impl Service<'_> {
    /// Changes what the service is.
    pub async fn change(&self, changes: Value) {
        self.plane.ask(Method::PUT, &self.path, &changes).await;
    }

    /// Makes a key: `sk` or `pk`, as clients of today or before 0.15 write it.
    ///
    /// # Panics
    /// When the answer has none.
    pub async fn key(&self, kind: &str, legacy: bool) -> String {
        let asked = json!({ "type": kind, "legacy": legacy, "name": "interop" });
        let made = self.plane.ask(Method::POST, &format!("{}/keys", self.path), &asked).await;
        made["secret"].as_str().expect("the key is text").to_owned()
    }

    /// Returns the ids of its keys, in the order they were made in.
    ///
    /// # Panics
    /// When the answer has none.
    pub async fn key_ids(&self) -> Vec<String> {
        let answer = self.plane.ask(Method::GET, &format!("{}/keys", self.path), &Value::Null).await;
        let keys = answer["keys"].as_array().expect("a list");
        keys.iter().map(|key| key["id"].as_str().expect("an id is text").to_owned()).collect()
    }

    /// Writes an entry: `configs`, `flags` or `secrets`.
    pub async fn put(&self, kind: &str, key: &str, entry: Value) {
        self.plane.ask(Method::PUT, &format!("{}/{kind}/{key}", self.path), &entry).await;
    }

    /// Deletes an entry.
    pub async fn delete(&self, kind: &str, key: &str) {
        self.plane.ask(Method::DELETE, &format!("{}/{kind}/{key}", self.path), &Value::Null).await;
    }
}
