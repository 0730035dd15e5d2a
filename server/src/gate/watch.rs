//! What the control plane does by itself: rules recover without anybody reporting, and what is old is forgotten.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use leverframe::{Result, traits::Tick};
use tokio::sync::watch;

use super::{commit::closed, control::Control, model::SiteId};
use crate::model::PageRequest;

/// Between two looks at everything.
const LOOK: Duration = Duration::from_secs(1);
/// Between two counts of instances.
const COUNT: Duration = Duration::from_secs(10);
/// Between two times that what is old is forgotten.
const PRUNE: Duration = Duration::from_secs(60);
/// Orgs asked for at once.
const PAGE: usize = 500;
/// Clients of other makes report every 20 seconds whatever they are told.
const SLOWEST_INTERVAL: Duration = Duration::from_secs(20);

/// Looks after everything until told to close.
pub(super) async fn run(control: Arc<Control>, mut closing: watch::Receiver<bool>) {
    let mut has_found = false;
    let (mut count_at, mut prune_at) = (Tick::ORIGIN, Tick::ORIGIN);
    loop {
        let now = control.clock().now();
        let alarm = control.clock().sleep_until(now + LOOK);
        tokio::select! {
            biased;
            () = closed(&mut closing) => return,
            () = alarm => {}
        }
        let now = control.clock().now();
        // As long as it does not succeed, it is tried with each look.
        if !has_found {
            has_found = told(find(&control).await, "find rules that are in force");
        }
        for site in control.all_sites() {
            let is_due = site.has_news.load(Ordering::Acquire)
                || site.view.last().is_some_and(|view| view.is_restricted());
            if is_due && site.claim(now) {
                control.look(&site).await;
            }
        }
        if count_at <= now && told(count(&control).await, "count instances") {
            count_at = now + COUNT;
        }
        if prune_at <= now {
            let pruned = control.store().prune_gate(control.clock().wall()).await;
            if told(pruned, "forget what is old") {
                prune_at = now + PRUNE;
            }
        }
    }
}

/// Returns how long an instance of a policy with this interval may be silent before it is taken for gone.
pub(crate) fn patience(pulse_interval_ms: u64) -> Duration {
    3 * Duration::from_millis(pulse_interval_ms).max(SLOWEST_INTERVAL)
}

/// Finds the sites with rules in force, which nobody need report for.
async fn find(control: &Control) -> Result<()> {
    let mut page = PageRequest::first(PAGE);
    loop {
        let orgs = control.store().gate_orgs(&page).await?;
        for org in orgs.items {
            for site in control.store().gate_sites(&org).await? {
                let id = SiteId::new(&org, site);
                let state = control.store().gate_site(&id).await?;
                if state.rules.values().any(leverframe::gate::reflex::RuleState::is_in_force) {
                    control.view(&control.hold(&id)).await?;
                }
            }
        }
        match orgs.next {
            Some(next) => page = PageRequest::after(PAGE, next),
            None => return Ok(()),
        }
    }
}

async fn count(control: &Control) -> Result<()> {
    let now = control.clock().wall();
    let mut instances = 0;
    for site in control.all_sites() {
        let Some(view) = site.view.last() else { continue };
        let within = patience(view.policy.pulse_interval);
        instances += control.store().gate_instances(&site.id, within, now).await?;
    }
    control.metrics().gate.instances.set(i64::try_from(instances).unwrap_or(i64::MAX));
    Ok(())
}

fn told(outcome: Result<()>, what: &'static str) -> bool {
    if let Err(error) = &outcome {
        tracing::warn!(error = %error.chain(), what, "the control plane will try again");
    }
    outcome.is_ok()
}
