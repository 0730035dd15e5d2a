//! The tables, and how their rows read.

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result};

use super::engine::{Connection, Row, Value, Work};
use crate::model::{AuditEvent, LoginMode, NamespaceRecord, Tenant, TokenRecord, TokenType, VersionRecord};

/// What [`tenant`] reads.
macro_rules! tenant_columns {
    () => {
        "slug, display_name, login_mode, sso_provider, email_domain, created_at, \
         (SELECT count(*) FROM namespaces WHERE tenant = tenants.slug)"
    };
}
/// What [`namespace`] reads.
macro_rules! namespace_columns {
    () => {
        "tenant, slug, display_name, description, created_at, created_by, version"
    };
}
/// What [`version`] reads, of a table of that name.
macro_rules! version_columns {
    ($table:literal) => {
        concat!(
            $table,
            ".version, ",
            $table,
            ".uploaded_at, ",
            $table,
            ".uploaded_by, ",
            $table,
            ".flag_count, ",
            $table,
            ".segment_count, ",
            $table,
            ".sha256, ",
            $table,
            ".fingerprint, ",
            $table,
            ".size"
        )
    };
}
/// What [`token`] reads: everything but the secret's digest.
macro_rules! token_columns {
    () => {
        "id, kind, tenant, namespace, environment, name, allowed_origins, created_at, created_by, expires_at, \
         revoked_at"
    };
}
/// What [`event`] reads.
macro_rules! event_columns {
    () => {
        "seq, at, request_id, principal, action, tenant, target, outcome, detail"
    };
}
pub(super) use {event_columns, namespace_columns, tenant_columns, token_columns, version_columns};

/// A table that is backed up.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// What is inserted.
    pub(super) columns: &'static [&'static str],
    /// What orders the rows: the first columns, as many as this, unless the database numbers them.
    pub(super) key: usize,
    /// The column by which the database numbers the rows as they come.
    pub(super) numbered_by: Option<&'static str>,
}

/// Every table of records: what is referred to before what refers to it.
///
/// Not among them is what a gate counted within the last hour, and which writes of settings may be sent again: of no use
/// any more when a backup is restored.
pub(super) const TABLES: [&Table; 18] = [
    &TENANTS,
    &NAMESPACES,
    &ARCHIVES,
    &VERSIONS,
    &TOKENS,
    &AUDIT,
    &GATE_ORGS,
    &GATE_KEYS,
    &GATE_SETTINGS,
    &GATE_SITES,
    &GATE_RULES,
    &GATE_INSTANCES,
    &GATE_TOTALS,
    &SETTINGS_SERVICES,
    &SETTINGS_TRUSTS,
    &SETTINGS_KEYS,
    &SETTINGS_ENTRIES,
    &SETTINGS_SECRET_VERSIONS,
];

pub(super) const TENANTS: Table = Table {
    name: "tenants",
    columns: &["slug", "display_name", "login_mode", "sso_provider", "email_domain", "created_at"],
    key: 1,
    numbered_by: None,
};

pub(super) const NAMESPACES: Table = Table {
    name: "namespaces",
    columns: &["tenant", "slug", "display_name", "description", "created_at", "created_by", "version"],
    key: 2,
    numbered_by: None,
};

pub(super) const ARCHIVES: Table =
    Table { name: "archives", columns: &["sha256", "content"], key: 1, numbered_by: None };

pub(super) const VERSIONS: Table = Table {
    name: "versions",
    columns: &[
        "tenant",
        "namespace",
        "version",
        "uploaded_at",
        "uploaded_by",
        "flag_count",
        "segment_count",
        "sha256",
        "fingerprint",
        "size",
    ],
    key: 3,
    numbered_by: None,
};

pub(super) const TOKENS: Table = Table {
    name: "tokens",
    columns: &[
        "id",
        "secret",
        "kind",
        "tenant",
        "namespace",
        "environment",
        "name",
        "allowed_origins",
        "created_at",
        "created_by",
        "expires_at",
        "revoked_at",
    ],
    key: 1,
    numbered_by: None,
};

pub(super) const AUDIT: Table = Table {
    name: "audit",
    columns: &["nonce", "at", "request_id", "principal", "action", "tenant", "target", "outcome", "detail"],
    key: 0,
    numbered_by: Some("seq"),
};

const GATE_ORGS: Table = Table { name: "gate_orgs", columns: &["org", "sites"], key: 1, numbered_by: None };

pub(super) const GATE_KEYS: Table = Table {
    name: "gate_keys",
    columns: &["publish_key", "org", "site", "name", "secret", "created_at", "created_by", "revoked_at"],
    key: 1,
    numbered_by: None,
};

const GATE_SETTINGS: Table = Table {
    name: "gate_settings",
    columns: &["org", "site", "revision", "content", "updated_at", "updated_by"],
    key: 2,
    numbered_by: None,
};

const GATE_SITES: Table = Table {
    name: "gate_sites",
    columns: &["org", "site", "pulses", "last_pulse_at", "tags"],
    key: 2,
    numbered_by: None,
};

const GATE_RULES: Table =
    Table { name: "gate_rules", columns: &["org", "site", "revision", "states"], key: 2, numbered_by: None };

const GATE_INSTANCES: Table = Table {
    name: "gate_instances",
    columns: &["org", "site", "instance", "memory", "seen_at"],
    key: 3,
    numbered_by: None,
};

const GATE_TOTALS: Table =
    Table { name: "gate_totals", columns: &["org", "site", "tag", "counts"], key: 3, numbered_by: None };

pub(super) const SETTINGS_SERVICES: Table = Table {
    name: "settings_services",
    columns: &[
        "tenant",
        "namespace",
        "environment",
        "kind",
        "slug",
        "revision",
        "content_revision",
        "size",
        "created_at",
        "created_by",
        "updated_at",
        "updated_by",
        "data_key",
        "content",
    ],
    key: 3,
    numbered_by: None,
};

const SETTINGS_TRUSTS: Table = Table {
    name: "settings_trusts",
    columns: &["issuer", "tenant", "namespace", "environment"],
    key: 4,
    numbered_by: None,
};

pub(super) const SETTINGS_KEYS: Table = Table {
    name: "settings_keys",
    columns: &[
        "id",
        "secret",
        "tenant",
        "namespace",
        "environment",
        "public",
        "name",
        "created_at",
        "created_by",
        "revoked_at",
    ],
    key: 1,
    numbered_by: None,
};

pub(super) const SETTINGS_ENTRIES: Table = Table {
    name: "settings_entries",
    columns: &[
        "tenant",
        "namespace",
        "environment",
        "kind",
        "name",
        "last_version",
        "live_version",
        "size",
        "updated_at",
        "updated_by",
        "content",
    ],
    key: 5,
    numbered_by: None,
};

pub(super) const SETTINGS_SECRET_VERSIONS: Table = Table {
    name: "settings_secret_versions",
    columns: &[
        "tenant",
        "namespace",
        "environment",
        "name",
        "version",
        "form",
        "created_at",
        "created_by",
        "sealed",
    ],
    key: 5,
    numbered_by: None,
};

impl Table {
    /// Returns the statement that adds a row unless one of the same key is there.
    pub(super) fn insert(&self) -> String {
        let places: Vec<_> = (1..=self.columns.len()).map(|place| format!("${place}")).collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING",
            self.name,
            self.columns.join(", "),
            places.join(", ")
        )
    }

    /// Returns the statement that finds rows with just these values.
    fn identical(&self) -> String {
        let same = |(index, column)| format!("{column} IS NOT DISTINCT FROM ${}", index + 1);
        let same: Vec<_> = self.columns.iter().enumerate().map(same).collect();
        format!("SELECT 1 FROM {} WHERE {}", self.name, same.join(" AND "))
    }
}

/// Adds a row; `Conflict` if its key is taken, `NotFound` if what it refers to is not there.
#[derive(Debug)]
pub(super) struct Insert {
    pub(super) operation: &'static str,
    pub(super) table: &'static Table,
    /// What is added, for whoever reads the error.
    pub(super) subject: String,
    pub(super) values: Vec<Value>,
}

#[async_trait]
impl Work for Insert {
    type Output = ();

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<()> {
        let added = on.put(&self.table.insert(), &self.values).await;
        let added = added.map_err(|error| match error.kind() {
            ErrorKind::NotFound => self.refused(ErrorKind::NotFound, "what it belongs to does not exist"),
            _ => error,
        })?;
        if added == 1 || again && !on.query(&self.table.identical(), &self.values).await?.is_empty() {
            return Ok(());
        }
        Err(self.refused(ErrorKind::Conflict, "it exists already"))
    }
}

impl Insert {
    fn refused(&self, kind: ErrorKind, reason: &str) -> Error {
        Error::new(kind, self.operation).with("subject", &self.subject).with("reason", reason)
    }
}

/// Returns what a statement finds.
#[derive(Debug)]
pub(super) struct Find<T> {
    pub(super) sql: &'static str,
    pub(super) values: Vec<Value>,
    pub(super) read: fn(Row) -> Result<T>,
}

#[async_trait]
impl<T: Send + 'static> Work for Find<T> {
    type Output = Vec<T>;

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<Vec<T>> {
        on.find(self.sql, &self.values).await?.into_iter().map(self.read).collect()
    }
}

pub(super) fn tenant(mut row: Row) -> Result<Tenant> {
    Ok(Tenant {
        slug: row.text()?,
        display_name: row.text()?,
        login_mode: {
            let name = row.text()?;
            LoginMode::parse(&name).ok_or_else(|| unknown("login_mode", &name))?
        },
        sso_provider: row.maybe_text()?,
        email_domain: row.maybe_text()?,
        created_at: row.time()?,
        namespace_count: row.count()?,
    })
}

pub(super) fn namespace(mut row: Row) -> Result<NamespaceRecord> {
    Ok(NamespaceRecord {
        tenant: row.text()?,
        slug: row.text()?,
        display_name: row.text()?,
        description: row.text()?,
        created_at: row.time()?,
        created_by: row.text()?,
        version: row.count()?,
    })
}

pub(super) fn version(mut row: Row) -> Result<VersionRecord> {
    Ok(VersionRecord {
        version: row.count()?,
        uploaded_at: row.time()?,
        uploaded_by: row.text()?,
        flag_count: row.count()?,
        segment_count: row.count()?,
        sha256: row.text()?,
        fingerprint: row.text()?,
        size: row.count()?,
    })
}

pub(super) fn token(mut row: Row) -> Result<TokenRecord> {
    Ok(TokenRecord {
        id: row.text()?,
        kind: {
            let name = row.text()?;
            TokenType::parse(&name).ok_or_else(|| unknown("kind", &name))?
        },
        tenant: row.maybe_text()?,
        namespace: row.maybe_text()?,
        environment: row.maybe_text()?,
        name: row.text()?,
        allowed_origins: {
            let list = row.text()?;
            serde_json::from_str(&list).map_err(|_| unknown("allowed_origins", &list))?
        },
        created_at: row.time()?,
        created_by: row.text()?,
        expires_at: row.maybe_time()?,
        revoked_at: row.maybe_time()?,
    })
}

/// Returns an event and the number that orders it.
pub(super) fn event(mut row: Row) -> Result<(i64, AuditEvent)> {
    let number = row.int()?;
    let event = AuditEvent {
        at: row.time()?,
        request_id: row.text()?,
        principal: row.text()?,
        action: row.text()?,
        tenant: row.maybe_text()?,
        target: row.text()?,
        outcome: row.text()?,
        detail: row.text()?,
    };
    Ok((number, event))
}

fn unknown(column: &str, value: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "read a stored row").with("column", column).with("value", value)
}
