//! Where a store is, so that a test can open it again and damage it.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use leverframe::{Result, Secret, backends::clock_system::SystemClock, traits::Clock};
use leverframe_server::{
    model::{LoginMode, NamespaceRecord, NewVersion, Stored, Tenant, VersionRecord},
    store::{self, Notice, Store},
};
use tokio::sync::broadcast::Receiver;

use crate::postgres::{Postgres, execute, number};

/// A place of one test alone.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    database: Option<(Arc<Postgres>, Secret)>,
}

impl Place {
    /// A data directory that does not exist yet.
    pub(crate) async fn on_sqlite() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), database: None }
    }

    /// An empty database.
    pub(crate) async fn on_postgres() -> Self {
        let server = Postgres::shared();
        let url = server.database().await;
        Self { database: Some((server, url)), ..Self::on_sqlite().await }
    }

    /// A place of the other kind, to carry things there.
    pub(crate) async fn another(&self) -> Self {
        if self.database.is_some() { Self::on_sqlite().await } else { Self::on_postgres().await }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn url(&self) -> Option<&Secret> {
        self.database.as_ref().map(|(_, url)| url)
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        self.open_with(Arc::new(SystemClock::new())).await
    }

    pub(crate) async fn open_with(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        store::open(&self.data(), self.url(), clock).await.unwrap()
    }

    pub(crate) async fn try_open(&self) -> Result<Arc<dyn Store>> {
        store::open(&self.data(), self.url(), Arc::new(SystemClock::new())).await
    }

    /// Returns how often the database had to break up a circle of those who waited for each other.
    pub(crate) async fn deadlocks(&self) -> i64 {
        match self.url() {
            Some(url) => {
                number(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await
            }
            None => 0,
        }
    }

    /// Runs statements past the store.
    pub(crate) async fn tamper(&self, script: &str) {
        if let Some(url) = self.url() {
            return execute(url, script).await;
        }
        let handle = rusqlite::Connection::open(self.data().join("leverframe.db")).unwrap();
        handle.busy_timeout(Duration::from_secs(10)).unwrap();
        handle.execute_batch(script).unwrap();
    }
}

/// A moment with a fraction that is kept.
pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds) + Duration::from_micros(123_456)
}

pub(crate) fn tenant(slug: &str) -> Tenant {
    Tenant::new(slug, LoginMode::Sso, at(0))
}

pub(crate) fn namespace(tenant: &str, slug: &str) -> NamespaceRecord {
    NamespaceRecord::new(tenant, slug, at(1))
}

/// A version whose archive and fingerprint are made of a text.
pub(crate) fn version(content: &str, if_version: Option<u64>) -> NewVersion {
    let mut new =
        NewVersion::new(Bytes::from(format!("archive of {content}")), format!("print of {content}"));
    new.if_version = if_version;
    new.flag_count = 3;
    new.segment_count = 2;
    new.uploaded_by = "tok_1".to_owned();
    new
}

pub(crate) fn accepted(stored: Stored) -> VersionRecord {
    match stored {
        Stored::Accepted(record) => record,
        other => panic!("not accepted: {other:?}"),
    }
}

/// Makes `acme/payments`.
pub(crate) async fn with_namespace(store: &dyn Store) {
    store.create_tenant(&tenant("acme")).await.unwrap();
    store.create_namespace(&namespace("acme", "payments")).await.unwrap();
}

/// Waits for a notice, for a bounded time.
pub(crate) async fn heard(notices: &mut Receiver<Notice>) -> Notice {
    tokio::time::timeout(Duration::from_secs(20), notices.recv()).await.expect("a notice in time").unwrap()
}
