//! Gate keys.

use std::time::SystemTime;

use async_trait::async_trait;
use leverframe::Result;

use crate::{
    gate::model::GateKey,
    model::SecretHash,
    store::{
        Notice,
        changes::log,
        engine::{Connection, Row, Work},
        tables::Insert,
    },
};

/// What [`key`] reads.
macro_rules! key_columns {
    () => {
        "publish_key, org, site, name, created_at, created_by, revoked_at"
    };
}
pub(super) use key_columns;

/// Reads a key.
pub(super) fn key(mut row: Row) -> Result<GateKey> {
    read(&mut row)
}

/// Reads a key and the digest of its secret, which follows it.
pub(super) fn key_with_secret(mut row: Row) -> Result<(GateKey, Option<SecretHash>)> {
    let key = read(&mut row)?;
    Ok((key, row.blob()?[..].try_into().ok()))
}

fn read(row: &mut Row) -> Result<GateKey> {
    Ok(GateKey {
        publish_key: row.text()?,
        org: row.text()?,
        site: row.maybe_text()?,
        name: row.text()?,
        created_at: row.time()?,
        created_by: row.text()?,
        revoked_at: row.maybe_time()?,
    })
}

/// Keeps a key, and its org where it is the first that is heard of it.
#[derive(Debug)]
pub(super) struct CreateKey {
    pub(super) org: String,
    pub(super) insert: Insert,
}

#[async_trait]
impl Work for CreateKey {
    type Output = ();

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<()> {
        let org = "INSERT INTO gate_orgs (org, sites) VALUES ($1, 0) ON CONFLICT DO NOTHING";
        on.put(org, &[(&self.org).into()]).await?;
        self.insert.run(on, again).await?;
        log(on, &Notice::Gate { org: self.org.clone() }).await
    }
}

/// Revokes a key that is not revoked yet; comes to whether this did it.
#[derive(Debug)]
pub(super) struct RevokeKey {
    pub(super) org: String,
    pub(super) publish_key: String,
    pub(super) now: SystemTime,
}

#[async_trait]
impl Work for RevokeKey {
    type Output = bool;

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<bool> {
        let values = [(&self.publish_key).into(), (&self.org).into(), self.now.into()];
        let revoke = "UPDATE gate_keys SET revoked_at = $3 WHERE publish_key = $1 AND org = $2 \
                      AND revoked_at IS NULL RETURNING publish_key";
        if on.first(revoke, &values).await?.is_none() {
            let ours = "SELECT 1 FROM gate_keys WHERE publish_key = $1 AND org = $2 AND revoked_at = $3";
            return Ok(again && on.first(ours, &values).await?.is_some());
        }
        log(on, &Notice::Gate { org: self.org.clone() }).await?;
        Ok(true)
    }
}
