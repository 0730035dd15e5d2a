//! The store on top of a database.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use leverframe::{Error, ErrorKind, Result, traits::Clock};
use tokio::{sync::broadcast, task::AbortHandle};
use ulid::Ulid;

use super::{
    Notice, Store, TokenQuery,
    changes::{Follower, Signal},
    copy,
    cursor::{List, rows},
    engine::{Engine, Mode, Row, Value, Work},
    keys::KeepKey,
    migration::Migrate,
    tables::{
        self, AUDIT, Find, Insert, NAMESPACES, TENANTS, TOKENS, event_columns, namespace_columns,
        tenant_columns, token_columns, version_columns,
    },
    tokens::Revoke,
    versions::{PutVersion, checked},
};
use crate::{
    events::SigningKey,
    model::{
        AuditEvent, NamespaceRecord, NewVersion, Page, PageRequest, SecretHash, Stored, Tenant, TokenRecord,
        VersionRecord, archive_address,
    },
};

/// Lists tokens whose tenant meets a condition.
macro_rules! tokens_where {
    ($owner:literal) => {
        concat!(
            "SELECT ",
            token_columns!(),
            " FROM tokens WHERE id > $1 AND ",
            $owner,
            " AND (CAST($3 AS TEXT) IS NULL OR namespace = $3) AND (CAST($4 AS TEXT) IS NULL OR kind = $4) \
             AND (CAST($5 AS BIGINT) IS NULL OR revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $5)) \
             ORDER BY id LIMIT $6"
        )
    };
}

/// No tenant has a longer name, and an index has room for no more.
const LONGEST_TENANT: usize = 255;
/// A receiver that is further behind has to look at everything.
const NOTICES: usize = 1024;

/// A store that keeps its records in a database.
#[derive(Debug)]
pub struct Records<E> {
    engine: Arc<E>,
    signal: Arc<Signal>,
    notices: broadcast::Sender<Notice>,
    tasks: Vec<Task>,
    /// The steps that opening took, for whoever asks to migrate.
    steps: AtomicU32,
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct Task(AbortHandle);

impl Task {
    /// Starts it.
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<E: Engine> Records<E> {
    /// Migrates the database and begins to follow its changes: when told by the signal, and once in `every`.
    pub(super) async fn start(
        engine: E,
        clock: Arc<dyn Clock>,
        signal: Arc<Signal>,
        every: Duration,
    ) -> Result<Self> {
        let engine = Arc::new(engine);
        let steps = engine.run(Mode::Write, Arc::new(Migrate(engine.migrations()))).await?;
        let last =
            engine.run(Mode::Read, Arc::new(last_change())).await?.into_iter().next().unwrap_or_default();
        let (notices, _) = broadcast::channel(NOTICES);
        let follower = Follower {
            engine: Arc::clone(&engine),
            clock,
            signal: Arc::clone(&signal),
            notices: notices.clone(),
            every,
        };
        Ok(Self {
            engine,
            signal,
            notices,
            tasks: vec![Task::spawn(follower.run(last))],
            steps: steps.into(),
        })
    }

    /// Keeps a task for as long as the store.
    pub(super) fn with(mut self, task: Task) -> Self {
        self.tasks.push(task);
        self
    }

    pub(super) async fn write<W: Work>(&self, work: W) -> Result<W::Output> {
        let done = self.engine.run(Mode::Write, Arc::new(work)).await;
        // Even where it failed: it may have been committed all the same.
        self.signal.wake();
        done
    }

    /// Writes what nobody is told of.
    pub(super) async fn quiet_write<W: Work>(&self, work: W) -> Result<W::Output> {
        self.engine.run(Mode::Write, Arc::new(work)).await
    }

    pub(super) async fn find<T: Send + 'static>(
        &self,
        sql: &'static str,
        values: Vec<Value>,
        read: fn(Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.engine.run(Mode::Read, Arc::new(Find { sql, values, read })).await
    }

    /// Reads of one moment.
    pub(super) async fn snapshot<W: Work>(&self, work: W) -> Result<W::Output> {
        self.engine.run(Mode::Snapshot, Arc::new(work)).await
    }

    pub(super) async fn one<T: Send + 'static>(
        &self,
        sql: &'static str,
        values: Vec<Value>,
        read: fn(Row) -> Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.find(sql, values, read).await?.into_iter().next())
    }
}

#[async_trait]
impl<E: Engine> Store for Records<E> {
    async fn create_tenant(&self, tenant: &Tenant) -> Result<()> {
        let values = vec![
            (&tenant.slug).into(),
            (&tenant.display_name).into(),
            tenant.login_mode.as_str().into(),
            Value::maybe(tenant.sso_provider.as_deref()),
            Value::maybe(tenant.email_domain.as_deref()),
            tenant.created_at.into(),
        ];
        let subject = tenant.slug.clone();
        self.write(Insert { operation: "create a tenant", table: &TENANTS, subject, values }).await
    }

    async fn tenant(&self, slug: &str) -> Result<Option<Tenant>> {
        let sql = concat!("SELECT ", tenant_columns!(), " FROM tenants WHERE slug = $1");
        self.one(sql, vec![slug.into()], tables::tenant).await
    }

    async fn tenants(&self, page: &PageRequest) -> Result<Page<Tenant>> {
        let after = List::Tenants.start(page)?.unwrap_or_default();
        let sql =
            concat!("SELECT ", tenant_columns!(), " FROM tenants WHERE slug > $1 ORDER BY slug LIMIT $2");
        let found = self.find(sql, vec![(&after).into(), rows(page).into()], tables::tenant).await?;
        Ok(List::Tenants.page(page, found, |tenant| tenant.slug.clone()))
    }

    async fn create_namespace(&self, namespace: &NamespaceRecord) -> Result<()> {
        let values = vec![
            (&namespace.tenant).into(),
            (&namespace.slug).into(),
            (&namespace.display_name).into(),
            (&namespace.description).into(),
            namespace.created_at.into(),
            (&namespace.created_by).into(),
            Value::Int(0),
        ];
        let subject = format!("{}/{}", namespace.tenant, namespace.slug);
        self.write(Insert { operation: "create a namespace", table: &NAMESPACES, subject, values }).await
    }

    async fn namespace(&self, tenant: &str, slug: &str) -> Result<Option<NamespaceRecord>> {
        let sql =
            concat!("SELECT ", namespace_columns!(), " FROM namespaces WHERE tenant = $1 AND slug = $2");
        self.one(sql, vec![tenant.into(), slug.into()], tables::namespace).await
    }

    async fn namespaces(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<NamespaceRecord>> {
        let (after_tenant, after_slug) = List::Namespaces.start_pair(page)?.unwrap_or_default();
        let after = (&after_tenant).into();
        let found = if let Some(tenant) = tenant {
            // A cursor of another tenant's list stands before all of this one's, or behind.
            let sql = concat!(
                "SELECT ",
                namespace_columns!(),
                " FROM namespaces WHERE (tenant, slug) > ($1, $2) AND tenant = $3 ORDER BY tenant, slug LIMIT $4"
            );
            let values = vec![after, (&after_slug).into(), tenant.into(), rows(page).into()];
            self.find(sql, values, tables::namespace).await?
        } else {
            let sql = concat!(
                "SELECT ",
                namespace_columns!(),
                " FROM namespaces WHERE (tenant, slug) > ($1, $2) ORDER BY tenant, slug LIMIT $3"
            );
            self.find(sql, vec![after, (&after_slug).into(), rows(page).into()], tables::namespace).await?
        };
        Ok(List::Namespaces.page(page, found, |namespace| format!("{}/{}", namespace.tenant, namespace.slug)))
    }

    async fn put_version(
        &self,
        tenant: &str,
        namespace: &str,
        new: &NewVersion,
        now: SystemTime,
    ) -> Result<Stored> {
        // What is stored under a wrong address could never be read.
        if archive_address(&new.archive) != new.sha256 {
            return Err(Error::new(ErrorKind::Invalid, "store a version")
                .with("reason", "the archive has another digest than was given"));
        }
        let (tenant, namespace) = (tenant.to_owned(), namespace.to_owned());
        self.write(PutVersion { tenant, namespace, new: new.clone(), now }).await
    }

    async fn version(
        &self,
        tenant: &str,
        namespace: &str,
        version: Option<u64>,
    ) -> Result<Option<VersionRecord>> {
        let values = vec![tenant.into(), namespace.into()];
        let Some(version) = version else {
            let sql = concat!(
                "SELECT ",
                version_columns!("v"),
                " FROM namespaces n JOIN versions v \
                 ON v.tenant = n.tenant AND v.namespace = n.slug AND v.version = n.version \
                 WHERE n.tenant = $1 AND n.slug = $2"
            );
            return self.one(sql, values, tables::version).await;
        };
        let sql = concat!(
            "SELECT ",
            version_columns!("versions"),
            " FROM versions WHERE tenant = $1 AND namespace = $2 AND version = $3"
        );
        self.one(sql, [values, vec![version.into()]].concat(), tables::version).await
    }

    async fn versions(
        &self,
        tenant: &str,
        namespace: &str,
        page: &PageRequest,
    ) -> Result<Page<VersionRecord>> {
        let before = List::Versions.start_number(page)?.unwrap_or(i64::MAX);
        let sql = concat!(
            "SELECT ",
            version_columns!("versions"),
            " FROM versions WHERE tenant = $1 AND namespace = $2 AND version < $3 ORDER BY version DESC LIMIT $4"
        );
        let values = vec![tenant.into(), namespace.into(), before.into(), rows(page).into()];
        let found = self.find(sql, values, tables::version).await?;
        Ok(List::Versions.page(page, found, |record| record.version.to_string()))
    }

    async fn archive(&self, sha256: &str) -> Result<Option<Bytes>> {
        let sql = "SELECT content FROM archives WHERE sha256 = $1";
        let content = self.one(sql, vec![sha256.into()], |mut row| row.blob()).await?;
        content.map(|content| checked(sha256, content)).transpose()
    }

    async fn create_token(&self, token: &TokenRecord, secret: &SecretHash) -> Result<()> {
        let values = vec![
            (&token.id).into(),
            Value::Blob(Bytes::copy_from_slice(secret)),
            token.kind.as_str().into(),
            Value::maybe(token.tenant.as_deref()),
            Value::maybe(token.namespace.as_deref()),
            Value::maybe(token.environment.as_deref()),
            (&token.name).into(),
            Value::Text(serde_json::Value::from(token.allowed_origins.as_slice()).to_string()),
            token.created_at.into(),
            (&token.created_by).into(),
            Value::maybe_time(token.expires_at),
            Value::maybe_time(token.revoked_at),
        ];
        let subject = token.id.clone();
        self.write(Insert { operation: "create a token", table: &TOKENS, subject, values }).await
    }

    async fn token_by_secret(&self, secret: &SecretHash) -> Result<Option<TokenRecord>> {
        let sql = concat!("SELECT ", token_columns!(), " FROM tokens WHERE secret = $1");
        self.one(sql, vec![Value::Blob(Bytes::copy_from_slice(secret))], tables::token).await
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>> {
        let sql = concat!("SELECT ", token_columns!(), " FROM tokens WHERE id = $1");
        self.one(sql, vec![id.into()], tables::token).await
    }

    async fn tokens(&self, query: &TokenQuery, page: &PageRequest) -> Result<Page<TokenRecord>> {
        let after = List::Tokens.start(page)?.unwrap_or_default();
        // Said apart, so that those of one tenant are found by an index.
        let sql = if query.tenant.is_some() {
            tokens_where!("tenant = $2")
        } else {
            tokens_where!("CAST($2 AS TEXT) IS NULL")
        };
        let values = vec![
            (&after).into(),
            Value::maybe(query.tenant.as_deref()),
            Value::maybe(query.namespace.as_deref()),
            Value::maybe(query.kind.map(|kind| kind.as_str())),
            Value::maybe_time(query.live_at),
            rows(page).into(),
        ];
        let found = self.find(sql, values, tables::token).await?;
        Ok(List::Tokens.page(page, found, |token| token.id.clone()))
    }

    async fn revoke_token(&self, id: &str, now: SystemTime) -> Result<bool> {
        self.write(Revoke { id: id.to_owned(), now }).await
    }

    async fn record(&self, event: &AuditEvent) -> Result<()> {
        // By which an attempt is recognised whose answer was lost.
        let nonce = Ulid::from_bytes(random()?);
        let values = vec![
            Value::Text(nonce.to_string()),
            event.at.into(),
            (&event.request_id).into(),
            (&event.principal).into(),
            (&event.action).into(),
            Value::maybe(event.tenant.as_deref().filter(|tenant| tenant.len() <= LONGEST_TENANT)),
            (&event.target).into(),
            (&event.outcome).into(),
            (&event.detail).into(),
        ];
        let subject = event.action.clone();
        self.write(Insert { operation: "write the audit log", table: &AUDIT, subject, values }).await
    }

    async fn audit(&self, tenant: Option<&str>, page: &PageRequest) -> Result<Page<AuditEvent>> {
        let before = List::Audit.start_number(page)?.unwrap_or(i64::MAX);
        let found = if let Some(tenant) = tenant {
            let sql = concat!(
                "SELECT ",
                event_columns!(),
                " FROM audit WHERE tenant = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3"
            );
            self.find(sql, vec![tenant.into(), before.into(), rows(page).into()], tables::event).await?
        } else {
            let sql =
                concat!("SELECT ", event_columns!(), " FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2");
            self.find(sql, vec![before.into(), rows(page).into()], tables::event).await?
        };
        let page = List::Audit.page(page, found, |(number, _)| number.to_string());
        Ok(Page { items: page.items.into_iter().map(|(_, event)| event).collect(), next: page.next })
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    async fn signing_key(&self) -> Result<SigningKey> {
        let Some(dir) = self.engine.directory().map(Path::to_owned) else {
            return self.engine.run(Mode::Write, Arc::new(KeepKey(SigningKey::generate()?))).await;
        };
        let read = tokio::task::spawn_blocking(move || SigningKey::in_directory(&dir)).await;
        read.map_err(|error| Error::new(ErrorKind::Cancelled, "read the signing key").source(error))?
    }

    async fn ping(&self) -> Result<()> {
        self.engine.run(Mode::Probe, Arc::new(last_change())).await.map(drop)
    }

    async fn migrate(&self) -> Result<u32> {
        let steps = self.write(Migrate(self.engine.migrations())).await?;
        Ok(steps + self.steps.swap(0, Ordering::Relaxed))
    }

    async fn backup(&self, to: &Path) -> Result<()> {
        copy::backup(&*self.engine, to).await
    }

    async fn restore(&self, from: &Path) -> Result<()> {
        let restored = copy::restore(&*self.engine, from).await;
        self.signal.wake();
        restored
    }

    async fn close(&self) {
        for task in &self.tasks {
            task.0.abort();
        }
        self.engine.close().await;
    }
}

/// Draws what nobody else has.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut drawn = [0; N];
    getrandom::fill(&mut drawn)
        .map_err(|error| Error::new(ErrorKind::Io, "draw a random number").source(error.to_string()))?;
    Ok(drawn)
}

/// Reads the number of the last change.
fn last_change() -> Find<i64> {
    Find {
        sql: "SELECT seq FROM change_counter WHERE one = 1",
        values: Vec::new(),
        read: |mut row| row.int(),
    }
}
