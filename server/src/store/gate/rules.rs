//! Deciding about a site's rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result, gate::reflex::RuleState};

use super::{sites, window};
use crate::{
    gate::{
        Evaluate,
        model::{SiteId, SiteState},
    },
    store::{
        Notice,
        changes::log,
        engine::{Connection, Row, Work, micros},
    },
};

/// What [`state`] reads.
pub(super) const READ: &str = "SELECT gate_sites.pulses, gate_sites.last_pulse_at, \
     COALESCE(gate_rules.revision, 0), COALESCE(gate_rules.states, '{}') FROM gate_sites \
     LEFT JOIN gate_rules ON gate_rules.org = gate_sites.org AND gate_rules.site = gate_sites.site \
     WHERE gate_sites.org = $1 AND gate_sites.site = $2";
const KEEP: &str = "INSERT INTO gate_rules (org, site, revision, states) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (org, site) DO UPDATE SET revision = excluded.revision, states = excluded.states";

/// Reads how a site stands.
pub(super) fn state(mut row: Row) -> Result<SiteState> {
    let (pulses, last_pulse_at, revision) = (row.count()?, row.maybe_time()?, row.count()?);
    let rules = serde_json::from_str(&row.text()?).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "read the states of rules").source(error).hint("restore a backup")
    })?;
    Ok(SiteState { revision, rules, last_pulse_at, pulses })
}

/// Looks at what a site counted, and decides.
#[derive(Debug)]
pub(super) struct Decide {
    pub(super) site: SiteId,
    pub(super) evaluate: Arc<dyn Evaluate>,
    pub(super) now: SystemTime,
}

#[async_trait]
impl Work for Decide {
    type Output = SiteState;

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<SiteState> {
        let held = sites::hold(on, std::slice::from_ref(&self.site)).await?;
        let key = sites::key(&self.site);
        let found = if held.is_empty() { None } else { on.first(READ, &key).await? };
        // Nothing was counted ever, so that there is nothing to decide upon.
        let Some(found) = found else { return Ok(SiteState::default()) };
        let mut state = state(found)?;
        let mut windows = BTreeMap::new();
        for seconds in self.evaluate.windows().into_iter().collect::<BTreeSet<_>>() {
            windows.insert(seconds, window::read(on, &self.site, seconds, micros(self.now)).await?);
        }
        let mut rules = self.evaluate.evaluate(&state.rules, &windows, self.now);
        for rule in rules.values_mut() {
            // As they will be read.
            rule.value = rule.value.filter(|value| value.is_finite());
            rule.tripped_by = rule.tripped_by.filter(|value| value.is_finite());
        }
        if rules == state.rules {
            return Ok(state);
        }
        let acts = in_force(&rules) != in_force(&state.rules);
        state.rules = rules;
        state.revision += u64::from(acts);
        let states = serde_json::to_string(&state.rules)
            .map_err(|error| Error::new(ErrorKind::Invalid, "write the states of rules").source(error))?;
        let [org, site] = key;
        on.put(KEEP, &[org, site, state.revision.into(), states.as_str().into()]).await?;
        if acts {
            log(on, &Notice::Gate { org: self.site.org.clone() }).await?;
        }
        Ok(state)
    }
}

/// Returns which rules act, and since when: what a policy depends on.
fn in_force(rules: &BTreeMap<String, RuleState>) -> BTreeMap<&str, u64> {
    rules.iter().filter_map(|(name, rule)| Some((name.as_str(), rule.in_force_since_ms?))).collect()
}
