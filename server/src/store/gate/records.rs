//! What the gate asks of the store, on top of a database.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use leverframe::{Error, ErrorKind, Result, gate::reflex::Window};
use ulid::Ulid;

use super::{
    batch::Batch,
    count::{Count, Counted},
    counts,
    keys::{self, CreateKey, RevokeKey, key_columns},
    prune::{BATCHES, PruneBatches, PruneSite},
    rules::{self, Decide},
    settings::{self, PutSettings},
    sites::{self, AddSites},
    window,
};
use crate::{
    gate::{
        Evaluate, GateStore,
        model::{GateKey, Pulse, Settings, SiteId, SiteState, Totals, Verdict},
    },
    model::{Page, PageRequest, SecretHash},
    store::{
        cursor::{List, rows},
        engine::{Engine, Value, micros},
        records::{Records, random},
        tables::{GATE_KEYS, Insert},
    },
};

#[async_trait]
impl<E: Engine> GateStore for Records<E> {
    async fn create_gate_key(&self, key: &GateKey, secret: &SecretHash) -> Result<()> {
        let values = vec![
            (&key.publish_key).into(),
            (&key.org).into(),
            Value::maybe(key.site.as_deref()),
            (&key.name).into(),
            Value::Blob(Bytes::copy_from_slice(secret)),
            key.created_at.into(),
            (&key.created_by).into(),
            Value::maybe_time(key.revoked_at),
        ];
        let (subject, org) = (key.publish_key.clone(), key.org.clone());
        let insert = Insert { operation: "create a gate key", table: &GATE_KEYS, subject, values };
        self.write(CreateKey { org, insert }).await
    }

    async fn gate_key(&self, publish_key: &str) -> Result<Option<(GateKey, SecretHash)>> {
        let sql = concat!("SELECT ", key_columns!(), ", secret FROM gate_keys WHERE publish_key = $1");
        let found = self.one(sql, vec![publish_key.into()], keys::key_with_secret).await?;
        let Some((key, secret)) = found else { return Ok(None) };
        let secret = secret.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "read a gate key")
                .with("publish_key", publish_key)
                .hint("revoke the key and issue another")
        })?;
        Ok(Some((key, secret)))
    }

    async fn gate_keys(&self, org: &str, page: &PageRequest) -> Result<Page<GateKey>> {
        let after = List::GateKeys.start(page)?.unwrap_or_default();
        let sql = concat!(
            "SELECT ",
            key_columns!(),
            " FROM gate_keys WHERE org = $1 AND publish_key > $2 ORDER BY publish_key LIMIT $3"
        );
        let found = self.find(sql, vec![org.into(), (&after).into(), rows(page).into()], keys::key).await?;
        Ok(List::GateKeys.page(page, found, |key| key.publish_key.clone()))
    }

    async fn revoke_gate_key(&self, org: &str, publish_key: &str, now: SystemTime) -> Result<bool> {
        let (org, publish_key) = (org.to_owned(), publish_key.to_owned());
        self.write(RevokeKey { org, publish_key, now }).await
    }

    async fn gate_orgs(&self, page: &PageRequest) -> Result<Page<String>> {
        let after = List::GateOrgs.start(page)?.unwrap_or_default();
        let sql = "SELECT org FROM gate_orgs WHERE org > $1 ORDER BY org LIMIT $2";
        let found = self.find(sql, vec![(&after).into(), rows(page).into()], |mut row| row.text()).await?;
        Ok(List::GateOrgs.page(page, found, String::clone))
    }

    async fn gate_sites(&self, org: &str) -> Result<Vec<String>> {
        let sql = "SELECT site FROM gate_sites WHERE org = $1 ORDER BY site";
        self.find(sql, vec![org.into()], |mut row| row.text()).await
    }

    async fn gate_settings(&self, org: &str, site: Option<&str>) -> Result<Settings> {
        let values = settings::place(org, site).to_vec();
        Ok(self.one(settings::READ, values, settings::settings).await?.unwrap_or_default())
    }

    async fn put_gate_settings(
        &self,
        org: &str,
        site: Option<&str>,
        settings: &Settings,
    ) -> Result<Option<Settings>> {
        self.write(PutSettings::new(org, site, settings)?).await
    }

    async fn count_pulses(&self, pulses: &[Pulse], now: SystemTime) -> Result<Vec<Verdict>> {
        let batch = Arc::new(Batch::of(pulses)?);
        let id = batch_id(now)?;
        let mut refused = BTreeSet::new();
        loop {
            let (id, batch) = (id.clone(), Arc::clone(&batch));
            let count = Count { id, batch, refused: refused.clone(), now: micros(now) };
            let missing = match self.quiet_write(count).await? {
                Counted::All(verdicts) => return Ok(verdicts),
                Counted::Missing(missing) => missing,
            };
            // Beforehand and by itself: who adds sites holds the org, and who holds sites must not wait for it.
            refused.append(&mut self.quiet_write(AddSites(missing)).await?);
        }
    }

    async fn gate_site(&self, site: &SiteId) -> Result<SiteState> {
        let values = sites::key(site).to_vec();
        Ok(self.one(rules::READ, values, rules::state).await?.unwrap_or_default())
    }

    async fn evaluate_gate_site(
        &self,
        site: &SiteId,
        evaluate: Arc<dyn Evaluate>,
        now: SystemTime,
    ) -> Result<SiteState> {
        self.write(Decide { site: site.clone(), evaluate, now }).await
    }

    async fn gate_window(&self, site: &SiteId, seconds: u32, now: SystemTime) -> Result<Window> {
        let values = window::values(site, seconds, micros(now));
        window::sum(self.find(window::READ, values, Ok).await?)
    }

    async fn gate_totals(&self, site: &SiteId) -> Result<Totals> {
        let sql = "SELECT tag, counts FROM gate_totals WHERE org = $1 AND site = $2";
        let found = self
            .find(sql, sites::key(site).to_vec(), |mut row| Ok((row.text()?, counts::decode(&row.blob()?)?)))
            .await?;
        Ok(found.into_iter().collect())
    }

    async fn gate_instances(&self, site: &SiteId, within: Duration, now: SystemTime) -> Result<u64> {
        let within = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
        let since = Value::Int(micros(now).saturating_sub(within));
        let values = sites::key(site).into_iter().chain([since]).collect();
        let sql = "SELECT count(*) FROM gate_instances WHERE org = $1 AND site = $2 AND seen_at > $3";
        Ok(self.one(sql, values, |mut row| row.count()).await?.unwrap_or_default())
    }

    async fn prune_gate(&self, now: SystemTime) -> Result<()> {
        let before = Ulid::from_parts(millis(now.checked_sub(BATCHES).unwrap_or(UNIX_EPOCH)), 0);
        self.quiet_write(PruneBatches(before.to_string())).await?;
        let all = "SELECT org, site FROM gate_sites ORDER BY org, site";
        // One by one: counting goes on between them.
        for site in self.find(all, Vec::new(), |mut row| sites::site(&mut row)).await? {
            self.quiet_write(PruneSite { site, now: micros(now) }).await?;
        }
        Ok(())
    }
}

/// Returns a new id; later ones are greater, to the millisecond.
fn batch_id(now: SystemTime) -> Result<String> {
    Ok(Ulid::from_parts(millis(now), u128::from_le_bytes(random()?)).to_string())
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(micros(time)).unwrap_or_default() / 1_000
}
