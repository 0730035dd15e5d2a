//! Sealing secrets anew: the keys that they are sealed with, sealed by another master key.

use async_trait::async_trait;
use bytes::Bytes;
use leverframe::Result;

use super::services::key;
use crate::{
    settings::model::ServiceId,
    store::engine::{Connection, Value, Work},
};

/// Replaces data keys, all or none; comes to whether it did.
#[derive(Debug)]
pub(super) struct ReplaceDataKeys {
    keys: Vec<(ServiceId, Bytes, Bytes)>,
}

impl ReplaceDataKeys {
    pub(super) fn new(keys: &[(ServiceId, Bytes, Bytes)]) -> Self {
        let mut keys = keys.to_vec();
        // Of two who do this at once, one waits at the first.
        keys.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        Self { keys }
    }
}

#[async_trait]
impl Work for ReplaceDataKeys {
    type Output = bool;

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<bool> {
        let lock = "SELECT data_key FROM settings_services \
                    WHERE tenant = $1 AND namespace = $2 AND environment = $3 FOR UPDATE";
        let (mut before, mut after) = (true, true);
        // Umbrella services first, all of them: see the module.
        let umbrellas = "SELECT 1 FROM settings_services WHERE kind = 'umbrella' \
                         ORDER BY tenant, namespace, environment FOR UPDATE";
        on.query(umbrellas, &[]).await?;
        for (id, old, new) in &self.keys {
            let kept = on.first(lock, &key(id)).await?.map(|mut row| row.blob()).transpose()?;
            before &= kept.as_ref() == Some(old);
            after &= kept.as_ref() == Some(new);
        }
        if !before {
            return Ok(again && after);
        }
        for (id, _, new) in &self.keys {
            let [tenant, namespace, environment] = key(id);
            on.put(
                "UPDATE settings_services SET data_key = $4 \
                 WHERE tenant = $1 AND namespace = $2 AND environment = $3",
                &[tenant, namespace, environment, Value::Blob(new.clone())],
            )
            .await?;
        }
        Ok(true)
    }
}
