//! The reflex rules of an org: those in `gate.toml` of every namespace of the tenant that is named like it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use leverframe::{
    ErrorKind, Result,
    gate::reflex::{ReflexRule, RuleState, Window, evaluate},
};

use super::{store::Evaluate, token::millis};
use crate::{heads::Heads, model::PageRequest, store::Store};

/// Namespaces asked for at once.
const PAGE: usize = 500;

/// Reads the rules, named `namespace/rule`.
///
/// # Errors
/// When the store fails. A namespace whose manifest cannot be read is passed over: others must not lose theirs.
pub(super) async fn read(store: &dyn Store, heads: &Heads, org: &str) -> Result<Arc<[ReflexRule]>> {
    let mut rules = Vec::new();
    let mut page = PageRequest::first(PAGE);
    loop {
        let namespaces = store.namespaces(Some(org), &page).await?;
        for namespace in namespaces.items {
            match heads.current(org, &namespace.slug).await {
                Ok(Some(head)) => rules.extend(head.manifest.reflex_rules.iter().map(|rule| {
                    let mut rule = rule.clone();
                    rule.name = format!("{}/{}", namespace.slug, rule.name);
                    rule
                })),
                Ok(None) => {}
                Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::error!(
                        error = %error.chain(), org, namespace = namespace.slug,
                        "the reflex rules of a namespace cannot be read"
                    );
                }
            }
        }
        match namespaces.next {
            Some(next) => page = PageRequest::after(PAGE, next),
            None => return Ok(rules.into()),
        }
    }
}

/// Decides about rules.
#[derive(Debug)]
pub(super) struct Deciding(pub(super) Arc<[ReflexRule]>);

impl Evaluate for Deciding {
    fn windows(&self) -> Vec<u32> {
        let lengths: BTreeSet<u32> = self.0.iter().map(|rule| rule.window_secs).collect();
        lengths.into_iter().collect()
    }

    fn evaluate(
        &self,
        states: &BTreeMap<String, RuleState>,
        windows: &BTreeMap<u32, Window>,
        now: SystemTime,
    ) -> BTreeMap<String, RuleState> {
        // What was decided is told once it is kept: this may be asked more than once.
        evaluate(&self.0, states, windows, millis(now)).0
    }
}

/// Logs the rules that came into force or ended.
pub(super) fn tell(
    org: &str,
    site: &str,
    rules: &[ReflexRule],
    before: &BTreeMap<String, RuleState>,
    after: &BTreeMap<String, RuleState>,
) {
    for rule in rules {
        let is = after.get(&rule.name).copied().unwrap_or_default();
        let was = before.get(&rule.name).copied().unwrap_or_default();
        match (was.is_in_force(), is.is_in_force()) {
            (false, true) => {
                let why = rule.why(&is).unwrap_or_default();
                tracing::warn!(org, site, rule = rule.name, action = %rule.action, why, "a reflex rule tripped");
            }
            (true, false) => tracing::info!(org, site, rule = rule.name, "a reflex rule recovered"),
            _ => {}
        }
    }
}
