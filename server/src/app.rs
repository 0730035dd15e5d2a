//! What the routes share.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request::Parts};
use leverframe::traits::Clock;
use sha2::{Digest, Sha256};

use crate::{
    heads::Heads,
    model::{SecretHash, TokenType},
    principal::{Permission, Principal},
    problem::Problem,
    store::Store,
};

/// The state of a running server; clones share it.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    heads: Heads,
    clock: Arc<dyn Clock>,
}

impl App {
    /// Puts a server's state together.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let heads = Heads::new(Arc::clone(&store));
        Self { inner: Arc::new(Inner { store, heads, clock }) }
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.inner.store
    }

    /// Returns the current manifests.
    #[must_use]
    pub fn heads(&self) -> &Heads {
        &self.inner.heads
    }

    /// Returns the clock.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// Finds who sent these headers.
    ///
    /// # Errors
    /// `unauthenticated` unless they carry the secret of a live token; what the store failed with.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        let secret = bearer(headers).ok_or_else(Problem::unauthenticated)?;
        // Told apart before anything is looked up, so that garbage costs nothing.
        if secret.len() > 128 || !TokenType::ALL.iter().any(|kind| secret.starts_with(kind.prefix())) {
            return Err(Problem::unauthenticated());
        }
        // Looked up by its digest: how long that takes says nothing about a secret that exists.
        let token = self.store().token_by_secret(&secret_hash(secret)).await?;
        let token =
            token.filter(|token| token.is_live(self.clock().wall())).ok_or_else(Problem::unauthenticated)?;
        Ok(Principal::of(Arc::new(token)))
    }
}

/// Returns the digest that a secret is kept and found by.
#[must_use]
pub fn secret_hash(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !secret.is_empty()).then_some(secret)
}

impl FromRequestParts<App> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        app.authenticate(&parts.headers).await
    }
}

impl Principal {
    /// Returns the slug of the tenant that a path segment names: `-` stands for the token's own (S2).
    ///
    /// # Errors
    /// `bad_request` for `-` without a tenant of one's own.
    pub fn resolve_tenant<'a>(&'a self, segment: &'a str) -> Result<&'a str, Problem> {
        match segment {
            "-" => self.tenant().ok_or_else(|| {
                Problem::bad_request(
                    "`-` stands for the token's tenant, and this token has none; name the tenant",
                )
            }),
            named => Ok(named),
        }
    }

    /// Lets the principal through or refuses it.
    ///
    /// # Errors
    /// `forbidden`, in the same words whether the namespace exists or not.
    pub fn require(
        &self,
        permission: Permission,
        tenant: &str,
        namespace: Option<&str>,
    ) -> Result<(), Problem> {
        if self.may(permission, tenant, namespace) {
            return Ok(());
        }
        Err(Problem::forbidden("the token does not permit this here"))
    }
}
