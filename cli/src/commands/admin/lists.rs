//! Tenants, namespaces and tokens for people and for programs.

use std::time::SystemTime;

use leverframe::rfc3339;
use leverframe_server::model::{NamespaceRecord, Tenant, TokenRecord};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    output::{Cell, Column, Out, Table, words},
};

/// Rows for people, objects for programs.
pub(super) struct List {
    table: Table,
    pub(super) entries: Vec<Value>,
}

impl List {
    pub(super) fn new(columns: &[Column], rows: Vec<Vec<String>>, entries: Vec<Value>) -> Self {
        let mut table = Table::new(columns);
        for row in rows {
            table.row(row.into_iter().map(Cell::new).collect());
        }
        Self { table, entries }
    }

    pub(super) fn write(&self, of: &str, out: &mut Out) -> Result<(), Failure> {
        if self.table.is_empty() {
            out.note(format!("there are no {of}"));
            return Ok(());
        }
        self.table.lines().into_iter().try_for_each(|line| out.line(line))
    }
}

pub(super) fn tenant(tenant: &Tenant) -> Value {
    json!({
        "slug": tenant.slug,
        "display_name": tenant.display_name,
        "login_mode": tenant.login_mode.as_str(),
        "sso_provider": tenant.sso_provider,
        "email_domain": tenant.email_domain,
        "created_at": rfc3339(tenant.created_at),
        "namespace_count": tenant.namespace_count,
    })
}

pub(super) fn tenants(tenants: &[Tenant]) -> List {
    let row = |t: &Tenant| {
        vec![t.slug.clone(), t.display_name.clone(), t.namespace_count.to_string(), rfc3339(t.created_at)]
    };
    List::new(
        &[words("tenant"), words("name"), words("namespaces"), words("created at")],
        tenants.iter().map(row).collect(),
        tenants.iter().map(tenant).collect(),
    )
}

pub(super) fn namespace(namespace: &NamespaceRecord) -> Value {
    json!({
        "tenant": namespace.tenant,
        "slug": namespace.slug,
        "display_name": namespace.display_name,
        "description": namespace.description,
        "created_at": rfc3339(namespace.created_at),
        "created_by": namespace.created_by,
        "version": namespace.version,
    })
}

pub(super) fn namespaces(namespaces: &[NamespaceRecord]) -> List {
    let row = |n: &NamespaceRecord| {
        let name = format!("{}/{}", n.tenant, n.slug);
        vec![name, n.display_name.clone(), n.version.to_string(), rfc3339(n.created_at)]
    };
    List::new(
        &[words("namespace"), words("name"), words("version"), words("created at")],
        namespaces.iter().map(row).collect(),
        namespaces.iter().map(namespace).collect(),
    )
}

pub(super) fn token(token: &TokenRecord) -> Value {
    json!({
        "id": token.id,
        "type": token.kind.as_str(),
        "tenant": token.tenant,
        "namespace": token.namespace,
        "environment": token.environment,
        "name": token.name,
        "allowed_origins": token.allowed_origins,
        "created_at": rfc3339(token.created_at),
        "created_by": token.created_by,
        "expires_at": token.expires_at.map(rfc3339),
        "revoked_at": token.revoked_at.map(rfc3339),
    })
}

pub(super) fn tokens(tokens: &[TokenRecord], now: SystemTime) -> List {
    let state = |t: &TokenRecord| match (t.revoked_at, t.is_live(now)) {
        (Some(_), _) => "revoked".to_owned(),
        (None, false) => "expired".to_owned(),
        (None, true) => t.expires_at.map_or_else(|| "live".to_owned(), |at| format!("until {}", rfc3339(at))),
    };
    let row = |t: &TokenRecord| {
        vec![t.id.clone(), t.kind.as_str().to_owned(), bound_to(t), t.name.clone(), state(t)]
    };
    List::new(
        &[words("id"), words("type"), words("bound to"), words("name"), words("state")],
        tokens.iter().map(row).collect(),
        tokens.iter().map(token).collect(),
    )
}

/// Returns what a token is bound to: `acme/payments (production)`.
pub(super) fn bound_to(token: &TokenRecord) -> String {
    let mut text = token.tenant.clone().unwrap_or_else(|| "everything".to_owned());
    if let Some(namespace) = &token.namespace {
        text.push_str(&format!("/{namespace}"));
    }
    if let Some(environment) = &token.environment {
        text.push_str(&format!(" ({environment})"));
    }
    text
}
