//! Sites: who holds them, and how many there may be.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use leverframe::Result;

use super::rows::Rows;
use crate::{
    gate::model::{MOST_SITES, SiteId},
    store::engine::{Connection, Row, Value, Work},
};

/// What is counted of a site itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) pulses: u64,
    /// In microseconds.
    pub(super) last_pulse_at: Option<i64>,
    /// How many tags its totals tell apart.
    pub(super) tags: u64,
}

/// In the order of the key, so that of two who want the same sites one waits at the first.
const HOLD: Rows = Rows {
    before: "SELECT held.org, held.site, held.pulses, held.last_pulse_at, held.tags FROM (VALUES ",
    row: "?, ?",
    after: ") AS wanted CROSS JOIN gate_sites AS held WHERE held.org = wanted.column1 AND held.site = wanted.column2 \
            ORDER BY held.org, held.site FOR UPDATE OF held",
};

/// Holds sites until the transaction ends; returns those that there are.
pub(super) async fn hold(on: &mut dyn Connection, sites: &[SiteId]) -> Result<BTreeMap<SiteId, Standing>> {
    let wanted = HOLD.about(&sites.iter().map(key).collect::<Vec<_>>());
    on.find_all(&wanted).await?.into_iter().map(standing).collect()
}

pub(super) fn key(site: &SiteId) -> [Value; 2] {
    [(&site.org).into(), (&site.site).into()]
}

/// Reads the site that begins a row.
pub(super) fn site(row: &mut Row) -> Result<SiteId> {
    Ok(SiteId::new(row.text()?, row.text()?))
}

fn standing(mut row: Row) -> Result<(SiteId, Standing)> {
    let site = site(&mut row)?;
    let standing = Standing { pulses: row.count()?, last_pulse_at: row.maybe_int()?, tags: row.count()? };
    Ok((site, standing))
}

/// Adds sites; comes to those for which there is no room.
#[derive(Debug)]
pub(super) struct AddSites(pub(super) BTreeSet<SiteId>);

#[async_trait]
impl Work for AddSites {
    type Output = BTreeSet<SiteId>;

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<Self::Output> {
        let mut refused = BTreeSet::new();
        let mut held = BTreeMap::new();
        for site in &self.0 {
            let count = match held.get(&site.org) {
                Some(count) => *count,
                None => hold_org(on, &site.org).await?,
            };
            let count = match add(on, site, count).await? {
                Some(count) => count,
                None => {
                    refused.insert(site.clone());
                    count
                }
            };
            held.insert(site.org.clone(), count);
        }
        Ok(refused)
    }
}

/// Holds an org, which is made where there is none; returns how many sites it has.
pub(super) async fn hold_org(on: &mut dyn Connection, org: &str) -> Result<u64> {
    on.put("INSERT INTO gate_orgs (org, sites) VALUES ($1, 0) ON CONFLICT DO NOTHING", &[org.into()]).await?;
    let held = on.first("SELECT sites FROM gate_orgs WHERE org = $1 FOR UPDATE", &[org.into()]).await?;
    Ok(held.map(|mut row| row.count()).transpose()?.unwrap_or_default())
}

/// Adds a site to an org that is held and has so many; returns how many it has then, or nothing if there is no room.
pub(super) async fn add(on: &mut dyn Connection, site: &SiteId, count: u64) -> Result<Option<u64>> {
    let known = on.first("SELECT 1 FROM gate_sites WHERE org = $1 AND site = $2", &key(site)).await?;
    if known.is_some() {
        return Ok(Some(count));
    }
    if count >= MOST_SITES {
        return Ok(None);
    }
    on.put("INSERT INTO gate_sites (org, site, pulses, tags) VALUES ($1, $2, 0, 0)", &key(site)).await?;
    on.put("UPDATE gate_orgs SET sites = $2 WHERE org = $1", &[(&site.org).into(), (count + 1).into()])
        .await?;
    Ok(Some(count + 1))
}
