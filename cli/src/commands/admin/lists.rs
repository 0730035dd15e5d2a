//! Tenants, namespaces and tokens for people and for programs.

use std::time::SystemTime;

use leverframe::rfc3339;
use leverframe_server::model::{NamespaceRecord, Tenant, TokenRecord};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    output::{BOLD, Out, styled},
};

/// Rows for people, objects for programs.
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    pub(super) entries: Vec<Value>,
}

impl Table {
    /// Writes the columns as wide as they need to be.
    pub(super) fn write(&self, of: &str, out: &mut Out) -> Result<(), Failure> {
        if self.rows.is_empty() {
            out.note(format!("there are no {of}"));
            return Ok(());
        }
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: Vec<&str>| {
            let padded: Vec<String> =
                cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            padded.join("  ").trim_end().to_owned()
        };
        out.line(styled(BOLD, line(self.head.clone())))?;
        for row in &self.rows {
            out.line(line(row.iter().map(String::as_str).collect()))?;
        }
        Ok(())
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

pub(super) fn tenants(tenants: &[Tenant]) -> Table {
    let row = |t: &Tenant| {
        vec![t.slug.clone(), t.display_name.clone(), t.namespace_count.to_string(), rfc3339(t.created_at)]
    };
    Table {
        head: vec!["tenant", "name", "namespaces", "created at"],
        rows: tenants.iter().map(row).collect(),
        entries: tenants.iter().map(tenant).collect(),
    }
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

pub(super) fn namespaces(namespaces: &[NamespaceRecord]) -> Table {
    let row = |n: &NamespaceRecord| {
        let name = format!("{}/{}", n.tenant, n.slug);
        vec![name, n.display_name.clone(), n.version.to_string(), rfc3339(n.created_at)]
    };
    Table {
        head: vec!["namespace", "name", "version", "created at"],
        rows: namespaces.iter().map(row).collect(),
        entries: namespaces.iter().map(namespace).collect(),
    }
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

pub(super) fn tokens(tokens: &[TokenRecord], now: SystemTime) -> Table {
    let state = |t: &TokenRecord| match (t.revoked_at, t.is_live(now)) {
        (Some(_), _) => "revoked".to_owned(),
        (None, false) => "expired".to_owned(),
        (None, true) => t.expires_at.map_or_else(|| "live".to_owned(), |at| format!("until {}", rfc3339(at))),
    };
    let row = |t: &TokenRecord| {
        vec![t.id.clone(), t.kind.as_str().to_owned(), bound_to(t), t.name.clone(), state(t)]
    };
    Table {
        head: vec!["id", "type", "bound to", "name", "state"],
        rows: tokens.iter().map(row).collect(),
        entries: tokens.iter().map(token).collect(),
    }
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
