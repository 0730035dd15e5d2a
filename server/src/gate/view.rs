//! What a process has at hand of a site: settings, rules, how they stand, and the policy that comes of it.

use std::sync::Arc;

use bytes::Bytes;
use leverframe::{
    Result,
    gate::{
        Policy,
        reflex::{ReflexRule, restrict},
    },
};

use super::{
    model::{Settings, SiteId, SiteState},
    policy,
};
use crate::store::Store;

/// How a site stands.
#[derive(Debug)]
pub(crate) struct View {
    /// What is set for the site.
    pub(crate) settings: Settings,
    /// The rules for it, named `namespace/rule`.
    pub(crate) rules: Arc<[ReflexRule]>,
    pub(crate) state: SiteState,
    pub(crate) policy: Policy,
    /// What the settings of org and site come to.
    unrestricted: Policy,
    /// The policy as it is told to those who take all of it.
    written: Bytes,
}

/// Whom a policy is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'c> {
    /// Whether it takes `throttle`.
    pub(crate) knows_throttle: bool,
    /// What tells it from others.
    pub(crate) instance: &'c str,
    /// The time, in milliseconds since 1970.
    pub(crate) now_ms: u64,
}

impl View {
    /// Reads how a site of an org with these rules stands.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn read(store: &dyn Store, id: &SiteId, rules: &[ReflexRule]) -> Result<Self> {
        let org = store.gate_settings(&id.org, None).await?;
        let settings = store.gate_settings(&id.org, Some(&id.site)).await?;
        let state = store.gate_site(id).await?;
        let rules = rules.iter().filter(|rule| rule.applies_to(&id.site)).cloned().collect();
        Ok(Self::of(policy::of_settings(&org, &settings), settings, rules, state))
    }

    fn of(unrestricted: Policy, settings: Settings, rules: Arc<[ReflexRule]>, state: SiteState) -> Self {
        let policy = restrict(unrestricted.clone(), &rules, &state.rules);
        Self { written: policy::written(&policy), policy, unrestricted, settings, rules, state }
    }

    /// Returns the same with the rules standing otherwise.
    pub(super) fn with(&self, state: SiteState) -> Self {
        Self::of(self.unrestricted.clone(), self.settings.clone(), Arc::clone(&self.rules), state)
    }

    /// Returns true if there is anything to decide about: rules, or states of rules that are gone.
    pub(super) fn has_rules(&self) -> bool {
        !(self.rules.is_empty() && self.state.rules.is_empty())
    }

    /// Returns true if a rule is in force, which has to be looked at although nothing is reported.
    pub(super) fn is_restricted(&self) -> bool {
        self.state.rules.values().any(leverframe::gate::reflex::RuleState::is_in_force)
    }

    /// Writes the policy for a client.
    pub(crate) fn told(&self, client: &Client<'_>) -> Bytes {
        if client.knows_throttle || self.policy.throttle.is_empty() {
            return self.written.clone();
        }
        client.told(&self.policy)
    }
}

impl Client<'_> {
    /// Writes a policy for the client.
    pub(crate) fn told(&self, policy: &Policy) -> Bytes {
        if self.knows_throttle || policy.throttle.is_empty() {
            return policy::written(policy);
        }
        let interval = self.now_ms / policy.pulse_interval.max(1);
        policy::written(&policy::without_throttle(policy, self.instance, interval))
    }
}
