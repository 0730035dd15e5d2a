//! Issuers of tokens: keys of every kind, tokens of every form, and a place to publish the keys at that may misbehave.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use axum::{
    Router,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// A key that signs tokens.
pub(super) struct Key {
    pub(super) id: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    pub(super) fn rsa(id: &'static str) -> Self {
        Self { id, pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    pub(super) fn p256(id: &'static str) -> Self {
        Self { id, pair: Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    pub(super) fn p384(id: &'static str) -> Self {
        Self { id, pair: Pair::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()) }
    }

    pub(super) fn ed25519(id: &'static str) -> Self {
        Self { id, pair: Pair::Ed25519(Ed25519KeyPair::generate().unwrap()) }
    }

    /// The public half as issuers publish it.
    pub(super) fn published(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.pair {
            Pair::Rsa(pair) => {
                // `SEQUENCE { INTEGER, INTEGER }`: of 2,048 bits every part is where it always is.
                let der = pair.public_key().as_ref();
                assert_eq!(
                    (&der[..9], &der[265..]),
                    (&b"\x30\x82\x01\x0a\x02\x82\x01\x01\0"[..], &b"\x02\x03\x01\0\x01"[..])
                );
                json!({ "kty": "RSA", "n": text(&der[9..265]), "e": "AQAB" })
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]) })
            }
            Pair::P384(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-384", "x": text(&point[1..49]), "y": text(&point[49..]) })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
        };
        key["kid"] = self.id.into();
        key["use"] = "sig".into();
        key
    }

    /// A token with these claims, signed the way that the head says.
    pub(super) fn token_with(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(head), part(claims));
        let (message, random) = (signed.as_bytes(), SystemRandom::new());
        let rsa = |pair: &RsaKeyPair, how: &'static aws_lc_rs::signature::RsaSignatureEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(how, &random, message, &mut signature).unwrap();
            signature
        };
        let signature = match (&self.pair, head["alg"].as_str().unwrap()) {
            (Pair::Rsa(pair), "HS256") => {
                // What a server verifies that takes the public key for a secret.
                let secret = hmac::Key::new(hmac::HMAC_SHA256, pair.public_key().as_ref());
                hmac::sign(&secret, message).as_ref().to_vec()
            }
            (_, "none") => Vec::new(),
            (Pair::Rsa(pair), "PS256") => rsa(pair, &RSA_PSS_SHA256),
            (Pair::Rsa(pair), "RS512") => rsa(pair, &RSA_PKCS1_SHA512),
            (Pair::Rsa(pair), _) => rsa(pair, &RSA_PKCS1_SHA256),
            (Pair::P256(pair) | Pair::P384(pair), _) => {
                pair.sign(&random, message).unwrap().as_ref().to_vec()
            }
            (Pair::Ed25519(pair), _) => pair.sign(message).as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token with these claims.
    pub(super) fn token(&self, claims: &Value) -> String {
        let algorithm = match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed25519(_) => "EdDSA",
        };
        self.token_with(&json!({ "alg": algorithm, "kid": self.id, "typ": "JWT" }), claims)
    }
}

/// The set of these keys.
pub(super) fn set(keys: &[&Key]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.published()).collect();
    json!({ "keys": keys }).to_string()
}

/// What a place answers.
#[derive(Clone)]
pub(super) enum Answer {
    Text(String),
    Redirect(String),
    Status(u16),
    /// As long as nobody gives up.
    Never,
}

/// A place that keys are fetched from.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) url: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    came: Arc<Notify>,
}

impl Place {
    pub(super) async fn new(answer: Answer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let place =
            Self { url, answer: Arc::new(Mutex::new(answer)), asked: Arc::default(), came: Arc::default() };
        let here = place.clone();
        let router = Router::new().fallback(get(move || here.clone().answer()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        place
    }

    async fn answer(self) -> Response {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.came.notify_one();
        let answer = self.answer.lock().unwrap().clone();
        match answer {
            Answer::Text(text) => text.into_response(),
            Answer::Redirect(to) => Redirect::temporary(&to).into_response(),
            Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
            Answer::Never => std::future::pending().await,
        }
    }

    pub(super) fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until it is asked.
    pub(super) async fn came(&self) {
        self.came.notified().await;
    }
}
