//! Keys of services.

use std::time::SystemTime;

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result};

use super::services::{key, kind, notice};
use crate::{
    settings::model::{Kind, ServiceId, SettingsKey},
    store::{
        changes::log,
        engine::{Connection, Row, Work},
        tables::Insert,
    },
};

/// What [`settings_key`] reads.
macro_rules! key_columns {
    () => {
        "id, tenant, namespace, environment, public, name, created_at, created_by, revoked_at"
    };
}
pub(super) use key_columns;

/// Reads a key.
pub(super) fn settings_key(mut row: Row) -> Result<SettingsKey> {
    Ok(SettingsKey {
        id: row.text()?,
        service: ServiceId::new(row.text()?, row.text()?, row.text()?),
        public: row.int()? != 0,
        name: row.text()?,
        created_at: row.time()?,
        created_by: row.text()?,
        revoked_at: row.maybe_time()?,
    })
}

/// Keeps a key of a service that may have one.
#[derive(Debug)]
pub(super) struct CreateKey {
    pub(super) service: ServiceId,
    pub(super) insert: Insert,
}

#[async_trait]
impl Work for CreateKey {
    type Output = ();

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<()> {
        let refused = |of: ErrorKind, reason: &str| {
            Err(Error::new(of, "create a key of a service")
                .with("service", &self.service)
                .with("reason", reason))
        };
        // What a service is never changes, and none is deleted.
        match kind(on, &self.service).await? {
            None => return refused(ErrorKind::NotFound, "there is no such service"),
            Some(Kind::Umbrella) => {
                return refused(ErrorKind::Invalid, "an umbrella service is inherited from, and has no keys");
            }
            Some(_) => self.insert.run(on, again).await?,
        }
        log(on, &notice(&self.service)).await
    }
}

/// Revokes a key that is not revoked yet; comes to whether this did it.
#[derive(Debug)]
pub(super) struct RevokeKey {
    pub(super) service: ServiceId,
    pub(super) id: String,
    pub(super) now: SystemTime,
}

#[async_trait]
impl Work for RevokeKey {
    type Output = bool;

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<bool> {
        let [tenant, namespace, environment] = key(&self.service);
        let values = [tenant, namespace, environment, (&self.id).into(), self.now.into()];
        let revoke = "UPDATE settings_keys SET revoked_at = $5 WHERE tenant = $1 AND namespace = $2 \
                      AND environment = $3 AND id = $4 AND revoked_at IS NULL RETURNING id";
        if on.first(revoke, &values).await?.is_none() {
            let ours = "SELECT 1 FROM settings_keys WHERE tenant = $1 AND namespace = $2 \
                        AND environment = $3 AND id = $4 AND revoked_at = $5";
            return Ok(again && on.first(ours, &values).await?.is_some());
        }
        log(on, &notice(&self.service)).await?;
        Ok(true)
    }
}
