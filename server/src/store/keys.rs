//! The key of snapshot URLs, for databases that several processes share.

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result};

use super::engine::{Connection, Value, Work};
use crate::events::SigningKey;

/// Keeps this key, unless there is one already; comes to the one that is kept.
#[derive(Debug)]
pub(super) struct KeepKey(pub(super) SigningKey);

#[async_trait]
impl Work for KeepKey {
    type Output = SigningKey;

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<SigningKey> {
        let value = Value::Blob(self.0.expose().to_vec().into());
        on.put(
            "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
            &[NAME.into(), value],
        )
        .await?;
        let kept = on.first("SELECT value FROM secrets WHERE name = $1", &[NAME.into()]).await?;
        let bytes = kept.map(|mut row| row.blob()).transpose()?.and_then(|bytes| bytes[..].try_into().ok());
        bytes.map(SigningKey::new).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "read the signing key")
                .hint("remove the row of the table `secrets`; a new key is made at the next start")
        })
    }
}

const NAME: &str = "snapshot_urls";
