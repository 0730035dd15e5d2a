//! Revoking tokens.

use std::time::SystemTime;

use async_trait::async_trait;
use leverframe::Result;

use super::{
    Notice,
    changes::log,
    engine::{Connection, Work},
};

/// Revokes a token that is not revoked yet; comes to whether this did it.
#[derive(Debug)]
pub(super) struct Revoke {
    pub(super) id: String,
    pub(super) now: SystemTime,
}

#[async_trait]
impl Work for Revoke {
    type Output = bool;

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<bool> {
        let values = [(&self.id).into(), self.now.into()];
        let found = on
            .first(
                "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING id",
                &values,
            )
            .await?;
        if found.is_none() {
            let ours = "SELECT id FROM tokens WHERE id = $1 AND revoked_at = $2";
            return Ok(again && on.first(ours, &values).await?.is_some());
        }
        log(on, &Notice::TokenRevoked { id: self.id.clone() }).await?;
        Ok(true)
    }
}
