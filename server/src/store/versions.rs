//! Accepting a version, and reading archives.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use leverframe::{Error, ErrorKind, Result};

use super::{
    Notice,
    changes::log,
    engine::{Connection, Value, Work, micros, time},
    tables::{self, VERSIONS, version_columns},
};
use crate::model::{NewVersion, Stored, VersionRecord, archive_address};

/// Makes a version the current one, if it still may be.
#[derive(Debug)]
pub(super) struct PutVersion {
    pub(super) tenant: String,
    pub(super) namespace: String,
    pub(super) new: NewVersion,
    pub(super) now: SystemTime,
}

/// Held until the end of the transaction where other connections could write meanwhile.
const LOCK: &str = "SELECT version FROM namespaces WHERE tenant = $1 AND slug = $2 FOR UPDATE";
const CURRENT: &str = concat!(
    "SELECT ",
    version_columns!("versions"),
    " FROM versions WHERE tenant = $1 AND namespace = $2 AND version = $3"
);
const OURS: &str = concat!(
    "SELECT ",
    version_columns!("versions"),
    " FROM versions WHERE tenant = $1 AND namespace = $2 AND sha256 = $3 AND uploaded_at = $4 AND uploaded_by = $5 \
     ORDER BY version DESC LIMIT 1"
);
/// Content that was damaged is mended by whoever brings it again.
const KEEP: &str = "INSERT INTO archives (sha256, content) VALUES ($1, $2) \
     ON CONFLICT (sha256) DO UPDATE SET content = excluded.content \
     WHERE archives.content IS DISTINCT FROM excluded.content";
const ADVANCE: &str = "UPDATE namespaces SET version = $3 WHERE tenant = $1 AND slug = $2";

#[async_trait]
impl Work for PutVersion {
    type Output = Stored;

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<Stored> {
        let owner = [Value::from(&self.tenant), Value::from(&self.namespace)];
        let Some(mut held) = on.first(LOCK, &owner).await? else {
            return Err(Error::new(ErrorKind::NotFound, "store a version")
                .with("namespace", format!("{}/{}", self.tenant, self.namespace))
                .with("reason", "there is no such namespace"));
        };
        let current = held.count()?;
        if again && let Some(ours) = self.ours(on).await? {
            return Ok(Stored::Accepted(ours));
        }
        if self.new.if_version.is_some_and(|wanted| wanted != current) {
            return Ok(Stored::Conflict(current));
        }
        if current > 0 {
            let mut values = owner.to_vec();
            values.push(current.into());
            let row = on.first(CURRENT, &values).await?.ok_or_else(|| self.lost(current))?;
            let record = tables::version(row)?;
            if record.fingerprint == self.new.fingerprint {
                return Ok(Stored::Same(record));
            }
        }
        let record = self.record(current + 1);
        on.put(KEEP, &[(&record.sha256).into(), Value::Blob(self.new.archive.clone())]).await?;
        on.put(&VERSIONS.insert(), &self.values(&record)).await?;
        let [tenant, namespace] = owner;
        on.put(ADVANCE, &[tenant, namespace, record.version.into()]).await?;
        let notice = Notice::Manifest {
            tenant: self.tenant.clone(),
            namespace: self.namespace.clone(),
            version: record.version,
        };
        log(on, &notice).await?;
        Ok(Stored::Accepted(record))
    }
}

impl PutVersion {
    /// Returns the version that an earlier attempt of this very call has stored.
    async fn ours(&self, on: &mut dyn Connection) -> Result<Option<VersionRecord>> {
        let values = [
            (&self.tenant).into(),
            (&self.namespace).into(),
            (&self.new.sha256).into(),
            self.now.into(),
            (&self.new.uploaded_by).into(),
        ];
        on.first(OURS, &values).await?.map(tables::version).transpose()
    }

    fn record(&self, version: u64) -> VersionRecord {
        VersionRecord {
            version,
            // As it will be read.
            uploaded_at: time(micros(self.now)),
            uploaded_by: self.new.uploaded_by.clone(),
            flag_count: self.new.flag_count,
            segment_count: self.new.segment_count,
            sha256: self.new.sha256.clone(),
            fingerprint: self.new.fingerprint.clone(),
            size: self.new.archive.len() as u64,
        }
    }

    fn values(&self, record: &VersionRecord) -> [Value; 10] {
        [
            (&self.tenant).into(),
            (&self.namespace).into(),
            record.version.into(),
            record.uploaded_at.into(),
            (&record.uploaded_by).into(),
            record.flag_count.into(),
            record.segment_count.into(),
            (&record.sha256).into(),
            (&record.fingerprint).into(),
            record.size.into(),
        ]
    }

    fn lost(&self, version: u64) -> Error {
        Error::new(ErrorKind::Corrupt, "read the current version")
            .with("namespace", format!("{}/{}", self.tenant, self.namespace))
            .with("version", version)
            .hint("restore a backup: rows are missing that nothing deletes")
    }
}

/// Believes an archive if it is what its address says.
pub(super) fn checked(address: &str, content: Bytes) -> Result<Bytes> {
    if archive_address(&content) == address {
        return Ok(content);
    }
    Err(Error::new(ErrorKind::Corrupt, "read a stored archive")
        .with("sha256", address)
        .with("reason", "its content has another digest")
        .hint("upload the same content again, which mends it, or restore a backup"))
}
