//! Forgetting what nobody looks at any more.

use std::time::Duration;

use async_trait::async_trait;
use leverframe::Result;

use super::{
    sites,
    window::{LONGEST, MINUTE},
};
use crate::{
    gate::model::SiteId,
    store::engine::{Connection, Value, Work},
};

/// How long an instance that is silent is remembered: it may come back with a report from before an outage.
const SILENCE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// So many instances of a site are remembered at most, those that were heard of last.
const MOST_INSTANCES: i64 = 100_000;
/// How long a batch can be asked for again: much longer than work is tried.
pub(super) const BATCHES: Duration = Duration::from_secs(10 * 60);

/// Forgets what a site does not need any more.
#[derive(Debug)]
pub(super) struct PruneSite {
    pub(super) site: SiteId,
    /// In microseconds.
    pub(super) now: i64,
}

#[async_trait]
impl Work for PruneSite {
    type Output = ();

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<()> {
        // Nobody counts for it meanwhile, who would hold rows in another order.
        sites::hold(on, std::slice::from_ref(&self.site)).await?;
        let of_site = |more: Vec<Value>| sites::key(&self.site).into_iter().chain(more).collect::<Vec<_>>();
        let cells = self.now.div_euclid(1_000_000) - LONGEST - MINUTE;
        on.put(
            "DELETE FROM gate_cells WHERE org = $1 AND site = $2 AND span = 1 AND start <= $3",
            &of_site(vec![cells.into()]),
        )
        .await?;
        on.put(
            "DELETE FROM gate_cells WHERE org = $1 AND site = $2 AND span = 60 AND start <= $3",
            &of_site(vec![cells.into()]),
        )
        .await?;
        let silence = i64::try_from(SILENCE.as_micros()).unwrap_or(i64::MAX);
        on.put(
            "DELETE FROM gate_instances WHERE org = $1 AND site = $2 AND seen_at <= $3",
            &of_site(vec![self.now.saturating_sub(silence).into()]),
        )
        .await?;
        on.put(
            "DELETE FROM gate_instances WHERE org = $1 AND site = $2 AND seen_at <= \
             (SELECT seen_at FROM gate_instances WHERE org = $1 AND site = $2 \
              ORDER BY seen_at DESC LIMIT 1 OFFSET $3)",
            &of_site(vec![MOST_INSTANCES.into()]),
        )
        .await?;
        Ok(())
    }
}

/// Forgets batches from before one.
#[derive(Debug)]
pub(super) struct PruneBatches(pub(super) String);

#[async_trait]
impl Work for PruneBatches {
    type Output = ();

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<()> {
        on.put("DELETE FROM gate_batches WHERE id < $1", &[(&self.0).into()]).await.map(drop)
    }
}
