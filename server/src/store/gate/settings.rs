//! What operators set.

use std::collections::BTreeMap;

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::sites::{add, hold_org};
use crate::{
    gate::model::{MOST_SITES, Settings, SiteId},
    store::{
        Notice,
        changes::log,
        engine::{Connection, Row, Value, Work, micros, time},
    },
};

/// So much text do settings have at most: some thousand tags.
const LARGEST: usize = 256 * 1024;

pub(super) const READ: &str =
    "SELECT revision, content, updated_at, updated_by FROM gate_settings WHERE org = $1 AND site = $2";
const KEEP: &str = "INSERT INTO gate_settings (org, site, revision, content, updated_at, updated_by) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (org, site) DO UPDATE SET revision = excluded.revision, \
     content = excluded.content, updated_at = excluded.updated_at, updated_by = excluded.updated_by";

/// Settings as they are kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Content {
    global_max_weight: Option<f64>,
    tag_max_weights: BTreeMap<String, f64>,
    kill_signal: bool,
    status: Option<String>,
    lease_duration_seconds: Option<u64>,
    pulse_interval: Option<u64>,
}

/// Returns the values that [`READ`] is asked with; settings of the org have the site `''`.
pub(super) fn place(org: &str, site: Option<&str>) -> [Value; 2] {
    [org.into(), site.unwrap_or_default().into()]
}

/// Reads what [`READ`] found.
pub(super) fn settings(mut row: Row) -> Result<Settings> {
    let (revision, content) = (row.count()?, row.text()?);
    let content: Content = serde_json::from_str(&content).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "read the settings of a gate").source(error).hint("restore a backup")
    })?;
    Ok(Settings {
        revision,
        global_max_weight: content.global_max_weight,
        tag_max_weights: content.tag_max_weights,
        kill_signal: content.kill_signal,
        status: content.status,
        lease_duration_seconds: content.lease_duration_seconds,
        pulse_interval: content.pulse_interval,
        updated_at: row.maybe_time()?,
        updated_by: row.maybe_text()?,
    })
}

/// Replaces settings, if their revision is still the one that is expected.
#[derive(Debug)]
pub(super) struct PutSettings {
    org: String,
    site: Option<String>,
    /// As they will be read.
    next: Settings,
    content: String,
}

impl PutSettings {
    /// Prepares what follows the settings of that revision; `Invalid` for what cannot be kept.
    pub(super) fn new(org: &str, site: Option<&str>, settings: &Settings) -> Result<Self> {
        let invalid = |reason: &str| {
            Err(Error::new(ErrorKind::Invalid, "store the settings of a gate").with("reason", reason))
        };
        if site == Some("") {
            return invalid("a site has a name");
        }
        let weights = settings.tag_max_weights.values().chain(&settings.global_max_weight);
        if !weights.copied().all(f64::is_finite) {
            return invalid("a weight is no number");
        }
        let mut next = settings.clone();
        next.revision += 1;
        next.updated_at = next.updated_at.map(|at| time(micros(at)));
        let content = serde_json::to_string(&Content {
            global_max_weight: next.global_max_weight,
            tag_max_weights: next.tag_max_weights.clone(),
            kill_signal: next.kill_signal,
            status: next.status.clone(),
            lease_duration_seconds: next.lease_duration_seconds,
            pulse_interval: next.pulse_interval,
        });
        match content {
            Ok(content) if content.len() <= LARGEST => {
                Ok(Self { org: org.to_owned(), site: site.map(str::to_owned), next, content })
            }
            _ => invalid("they are larger than 256 KiB"),
        }
    }
}

#[async_trait]
impl Work for PutSettings {
    type Output = Option<Settings>;

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<Option<Settings>> {
        let place = place(&self.org, self.site.as_deref());
        // Looked at before anything is held: a wrong expectation makes no org.
        let expected = self.next.revision - 1;
        if expected > 0 && on.first(READ, &place).await?.is_none() {
            return Ok(None);
        }
        let sites = hold_org(on, &self.org).await?;
        let current = on.first(READ, &place).await?.map(settings).transpose()?.unwrap_or_default();
        if again && current == self.next {
            return Ok(Some(current));
        }
        if current.revision != expected {
            return Ok(None);
        }
        if let Some(site) = &self.site
            && add(on, &SiteId::new(&self.org, site), sites).await?.is_none()
        {
            return Err(Error::new(ErrorKind::LimitExceeded, "store the settings of a site")
                .with("reason", format!("an org has at most {MOST_SITES} sites")));
        }
        let [org, site] = place;
        let values = [
            org,
            site,
            self.next.revision.into(),
            (&self.content).into(),
            Value::maybe_time(self.next.updated_at),
            Value::maybe(self.next.updated_by.as_deref()),
        ];
        on.put(KEEP, &values).await?;
        log(on, &Notice::Gate { org: self.org.clone() }).await?;
        Ok(Some(self.next.clone()))
    }
}
