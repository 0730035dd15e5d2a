//! What an operator does on the machine itself, straight on the store.
//!
//! Checks and records the same as the routes do; the principal of the audit log is empty.

use std::sync::Arc;

use leverframe::{Error, ErrorKind, Result, Secret, traits::Clock};

use crate::{
    checked::{self, Bad},
    gate::{IssuedGateKey, NewGateKey, issue_gate_key, model::GateKey},
    mint::mint,
    model::{AuditEvent, NamespaceRecord, Page, PageRequest, Tenant, TokenRecord, TokenType},
    request::Ids,
    store::{Store, TokenQuery},
};

/// An operator at work.
#[derive(Debug)]
pub struct Admin {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    ids: Ids,
}

/// A token with its secret, which is shown once and kept nowhere.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Issued {
    /// The token.
    pub token: TokenRecord,
    /// Its secret.
    pub secret: Secret,
}

impl Admin {
    /// Works on a store that is up to date.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, ids: Ids::new() }
    }

    /// Issues the first superadmin token.
    ///
    /// # Errors
    /// `Conflict` if a live one exists, unless it is forced: then one more is issued beside those.
    pub async fn bootstrap(&self, name: &str, force: bool) -> Result<Issued> {
        let live = TokenQuery {
            kind: Some(TokenType::Superadmin),
            live_at: Some(self.clock.wall()),
            ..TokenQuery::default()
        };
        let held = self.store.tokens(&live, &PageRequest::first(1)).await?;
        if let Some(token) = held.items.first().filter(|_| !force) {
            return Err(Error::new(ErrorKind::Conflict, "issue the first superadmin token")
                .with("live superadmin", &token.id)
                .hint("use the token that exists, or add `--force` to issue another one beside it"));
        }
        let mut token = self.token(TokenType::Superadmin);
        token.name = name.to_owned();
        self.issue(token, "admin.bootstrap").await
    }

    /// Returns a token of that type to be filled in for [`mint`](Self::mint).
    #[must_use]
    pub fn token(&self, kind: TokenType) -> TokenRecord {
        let now = self.clock.wall();
        TokenRecord::new(format!("tok_{}", self.ids.next(now)), kind, now)
    }

    /// Issues a token.
    ///
    /// # Errors
    /// `Invalid` for bindings that the type does not have, `NotFound` for a tenant or namespace that does not exist.
    pub async fn mint(&self, token: TokenRecord) -> Result<Issued> {
        self.issue(token, "token.create").await
    }

    async fn issue(&self, token: TokenRecord, action: &'static str) -> Result<Issued> {
        const OPERATION: &str = "issue a token";
        checked::token(&token, self.clock.wall()).map_err(|bad| bad.into_error(OPERATION))?;
        if let Some(tenant) = &token.tenant {
            let exists = match &token.namespace {
                Some(namespace) => self.store.namespace(tenant, namespace).await?.is_some(),
                None => self.store.tenant(tenant).await?.is_some(),
            };
            if !exists {
                return Err(Error::new(ErrorKind::NotFound, OPERATION)
                    .with("tenant", tenant)
                    .with("namespace", token.namespace.as_deref().unwrap_or("-"))
                    .hint("create the tenant and the namespace first"));
            }
        }
        let minted = mint(token.kind)?;
        self.store.create_token(&token, &minted.hash).await?;
        self.record(action, token.tenant.as_deref(), &token.id, token.kind.as_str()).await?;
        Ok(Issued { token, secret: minted.secret })
    }

    /// Lists tokens, without their secrets, which nobody keeps.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn tokens(&self, query: &TokenQuery, page: &PageRequest) -> Result<Page<TokenRecord>> {
        self.store.tokens(query, page).await
    }

    /// Revokes a token; false if it was revoked before. Servers that run on the store learn of it by themselves.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub async fn revoke(&self, id: &str) -> Result<bool> {
        let Some(token) = self.store.token(id).await? else {
            return Err(Error::new(ErrorKind::NotFound, "revoke a token")
                .with("id", id)
                .hint("`leverframe admin token list` shows the ids; the secret is not the id"));
        };
        let revoked = self.store.revoke_token(id, self.clock.wall()).await?;
        let detail = if revoked { "" } else { "revoked before" };
        self.record("token.revoke", token.tenant.as_deref(), id, detail).await?;
        Ok(revoked)
    }

    /// Creates a tenant.
    ///
    /// # Errors
    /// `Invalid` for a slug or another field that may not be, `Conflict` if there is one.
    pub async fn create_tenant(&self, tenant: &Tenant) -> Result<()> {
        checked::tenant(tenant).map_err(|bad| bad.into_error("create a tenant"))?;
        self.store.create_tenant(tenant).await?;
        self.record("tenant.create", Some(&tenant.slug), &tenant.slug, "").await
    }

    /// Lists tenants by slug.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn tenants(&self, page: &PageRequest) -> Result<Page<Tenant>> {
        self.store.tenants(page).await
    }

    /// Creates a namespace.
    ///
    /// # Errors
    /// `Invalid` for a slug or another field that may not be, `NotFound` without the tenant, `Conflict` if there is
    /// one.
    pub async fn create_namespace(&self, namespace: &NamespaceRecord) -> Result<()> {
        checked::namespace(namespace).map_err(|bad: Bad| bad.into_error("create a namespace"))?;
        self.store.create_namespace(namespace).await?;
        let target = format!("{}/{}", namespace.tenant, namespace.slug);
        self.record("namespace.create", Some(&namespace.tenant), &target, "").await
    }

    /// Lists namespaces, of one tenant or of all.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn namespaces(
        &self,
        tenant: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<NamespaceRecord>> {
        self.store.namespaces(tenant, page).await
    }

    /// Issues a key of the gate.
    ///
    /// # Errors
    /// `Invalid` for an org or a site that cannot be one, and what the store fails with.
    pub async fn issue_gate_key(&self, new: &NewGateKey) -> Result<IssuedGateKey> {
        let issued = issue_gate_key(&*self.store, new, self.clock.wall()).await?;
        let site = new.site.as_deref().unwrap_or_default();
        self.record("gate_key.create", Some(&new.org), &issued.key.publish_key, site).await?;
        Ok(issued)
    }

    /// Lists an org's keys of the gate, those that are revoked as well.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn gate_keys(&self, org: &str, page: &PageRequest) -> Result<Page<GateKey>> {
        self.store.gate_keys(org, page).await
    }

    /// Revokes a key of the gate; false if it was revoked before. Servers that run on the store learn of it by
    /// themselves.
    ///
    /// # Errors
    /// `NotFound` if the org has no such key.
    pub async fn revoke_gate_key(&self, org: &str, publish_key: &str) -> Result<bool> {
        let held = self.store.gate_key(publish_key).await?;
        if held.is_none_or(|(key, _)| key.org != org) {
            return Err(Error::new(ErrorKind::NotFound, "revoke a gate key")
                .with("org", org)
                .hint("`leverframe admin gate-key list` shows the publish keys; the secret is not one"));
        }
        let revoked = self.store.revoke_gate_key(org, publish_key, self.clock.wall()).await?;
        let detail = if revoked { "" } else { "revoked before" };
        self.record("gate_key.revoke", Some(org), publish_key, detail).await?;
        Ok(revoked)
    }

    pub(crate) async fn record(
        &self,
        action: &str,
        tenant: Option<&str>,
        target: &str,
        detail: &str,
    ) -> Result<()> {
        let mut event = AuditEvent::new(self.clock.wall(), action, target);
        event.tenant = tenant.map(str::to_owned);
        event.detail = detail.to_owned();
        self.store.record(&event).await
    }
}
