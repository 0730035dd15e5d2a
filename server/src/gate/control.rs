//! The control plane of one process: what it has at hand, and the way of a pulse through it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use leverframe::{
    Result,
    gate::reflex::ReflexRule,
    traits::{Clock, Tick},
};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    commit::{self, Committer, Queue, Told},
    keys::Keys,
    model::{DEFAULT_SITE, MOST_SITES, Pulse, SiteId, Verdict},
    policy,
    rules::{self, Deciding},
    view::{Client, View},
    watch as watching,
};
use crate::{heads::Heads, metrics::Metrics, problem::Problem, slot::Slot, store::Store};

/// The control plane of one process. What must be shared or survive is in the store.
#[derive(Debug)]
pub(crate) struct Control {
    store: Arc<dyn Store>,
    heads: Arc<Heads>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    pub(crate) keys: Keys,
    orgs: RwLock<HashMap<String, Arc<Rules>>>,
    sites: RwLock<HashMap<SiteId, Arc<Site>>>,
    committer: Committer,
    /// Until it is started.
    queue: Mutex<Option<Queue>>,
    closing: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The rules of an org.
type Rules = Slot<Arc<[ReflexRule]>>;

/// A site that somebody has asked about.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) id: SiteId,
    pub(super) view: Slot<View>,
    /// Whether pulses were counted since its rules were last looked at.
    pub(super) has_news: AtomicBool,
    /// When its rules were last looked at, in nanoseconds since the clock's origin, and one: 0 for never.
    looked_at: AtomicU64,
}

/// Rules are looked at this often at most.
const LOOK: Duration = Duration::from_secs(1);

impl Site {
    fn new(id: SiteId) -> Self {
        Self { id, view: Slot::default(), has_news: AtomicBool::new(false), looked_at: AtomicU64::new(0) }
    }

    /// Returns true to one of those who ask, if it is time to look at the rules again.
    pub(super) fn claim(&self, now: Tick) -> bool {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1);
        let now = nanos(now.since_origin()) + 1;
        let due = |last: u64| (last == 0 || now.saturating_sub(last) >= nanos(LOOK)).then_some(now);
        self.looked_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, due).is_ok()
    }
}

impl Control {
    /// Puts it together; nothing is counted before it is started.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        heads: Arc<Heads>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (committer, queue) = Committer::new();
        Self {
            store,
            heads,
            clock,
            metrics,
            keys: Keys::default(),
            orgs: RwLock::default(),
            sites: RwLock::default(),
            committer,
            queue: Mutex::new(Some(queue)),
            closing: watch::Sender::new(false),
            tasks: Mutex::default(),
        }
    }

    /// Starts to count and to look at rules. Once is enough.
    pub(crate) fn start(self: &Arc<Self>) {
        let Some(queue) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let counting = tokio::spawn(commit::run(Arc::clone(self), queue, self.closing.subscribe()));
        let watching = tokio::spawn(watching::run(Arc::clone(self), self.closing.subscribe()));
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend([counting, watching]);
    }

    /// Counts what has come, takes no more, and ends.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // What it fails with is a panic, which was told.
            let _ = task.await;
        }
    }

    /// Ends at once. What has come and is not counted was not acknowledged.
    pub(crate) fn abort(&self) {
        self.closing.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(JoinHandle::abort);
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes note that keys, settings or rules in force of an org may have changed.
    pub(crate) fn doubt(&self, org: &str) {
        self.keys.doubt(|key| key.org == org);
        self.doubt_sites(|site| site.id.org == org);
    }

    /// Takes note that the rules of an org may have changed.
    pub(crate) fn doubt_rules(&self, org: &str) {
        let orgs = self.orgs.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = orgs.get(org) {
            rules.doubt();
            self.doubt_sites(|site| site.id.org == org);
        }
    }

    /// Takes note that anything may have changed.
    pub(crate) fn doubt_all(&self) {
        self.keys.doubt(|_| true);
        self.orgs.read().unwrap_or_else(PoisonError::into_inner).values().for_each(|rules| rules.doubt());
        self.doubt_sites(|_| true);
    }

    fn doubt_sites(&self, which: impl Fn(&Site) -> bool) {
        let sites = self.sites.read().unwrap_or_else(PoisonError::into_inner);
        sites.values().filter(|site| which(site)).for_each(|site| site.view.doubt());
    }

    /// Counts a pulse whose body had so many bytes; returns what became of it and what its site is told.
    ///
    /// # Errors
    /// `unavailable` if the store cannot be reached or too much waits already, `forbidden` for one site too many: then
    /// nothing is counted.
    pub(crate) async fn pulse(&self, pulse: Pulse, bytes: usize) -> Result<(Verdict, Arc<View>), Problem> {
        let site = self.admit(&pulse.site).await?;
        // There has to be an answer before anything is counted: a pulse that is counted is not refused.
        let before = self.view(&site).await?;
        let verdict = self.committer.count(pulse, bytes).await?;
        if verdict == Verdict::TooManySites {
            self.sites.write().unwrap_or_else(PoisonError::into_inner).remove(&site.id);
            return Err(too_many_sites());
        }
        Ok((verdict, self.view(&site).await.unwrap_or(before)))
    }

    /// Tells what became of pulses; where rules are due, after they were looked at.
    pub(super) fn counted(self: &Arc<Self>, told: Vec<Told>) {
        let mut by_site: HashMap<SiteId, Vec<Told>> = HashMap::new();
        for told in told {
            by_site.entry(told.site.clone()).or_default().push(told);
        }
        let now = self.clock.now();
        for (id, told) in by_site {
            let due = self.held(&id).filter(|site| {
                let any = told.iter().any(|told| matches!(told.outcome, Ok(Verdict::Counted)));
                any && {
                    site.has_news.store(true, Ordering::Release);
                    site.view.fresh(now).is_none_or(|view| view.has_rules()) && site.claim(now)
                }
            });
            match due {
                None => told.into_iter().for_each(Told::tell),
                // Beside the next commit, which need not wait for it.
                Some(site) => {
                    let control = Arc::clone(self);
                    tokio::spawn(async move {
                        control.look(&site).await;
                        told.into_iter().for_each(Told::tell);
                    });
                }
            }
        }
    }

    /// Looks at what a site counted, and decides about its rules. What fails is logged, and tried again.
    pub(super) async fn look(&self, site: &Site) {
        // Before the window is read, so that what is counted meanwhile is looked at again.
        site.has_news.store(false, Ordering::Release);
        let begun = self.clock.now();
        let looked: Result<()> = async {
            // For all of it: nobody reads meanwhile what would then be overwritten.
            let turn = site.view.turn().await;
            let held = turn.get(begun, || self.read(&site.id)).await?;
            let view = held.value();
            if !view.has_rules() {
                return Ok(());
            }
            let deciding = Arc::new(Deciding(Arc::clone(&view.rules)));
            let state = self.store.evaluate_gate_site(&site.id, deciding, self.clock.wall()).await?;
            rules::tell(&site.id.org, &site.id.site, &view.rules, &view.state.rules, &state.rules);
            // Only the rules were looked at: the settings are as old as they were.
            turn.replace(&held, view.with(state));
            Ok(())
        }
        .await;
        if let Err(error) = looked {
            site.has_news.store(true, Ordering::Release);
            let SiteId { org, site } = &site.id;
            tracing::warn!(error = %error.chain(), org, site, "reflex rules could not be looked at");
        }
        self.metrics.gate.evaluations.add(self.clock.now() - begun);
    }

    /// Returns what a site is told.
    pub(super) async fn view(&self, site: &Site) -> Result<Arc<View>> {
        site.view.get(self.clock.now(), || self.read(&site.id)).await
    }

    /// Returns what a site is told, which need not have reported yet.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn view_of(&self, id: &SiteId) -> Result<Arc<View>> {
        match self.held(id) {
            Some(site) => self.view(&site).await,
            None => self.read(id).await.map(Arc::new),
        }
    }

    async fn read(&self, id: &SiteId) -> Result<View> {
        let rules = self.rules(&id.org).await?;
        View::read(&*self.store, id, &rules).await
    }

    async fn rules(&self, org: &str) -> Result<Arc<[ReflexRule]>> {
        let held = self.orgs.read().unwrap_or_else(PoisonError::into_inner).get(org).map(Arc::clone);
        let slot = held.unwrap_or_else(|| {
            let mut orgs = self.orgs.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(orgs.entry(org.to_owned()).or_default())
        });
        let rules = slot.get(self.clock.now(), || rules::read(&*self.store, &self.heads, org)).await?;
        Ok(Arc::clone(&rules))
    }

    /// Returns what is told to the holder of a token, who does not say of which site it is: the strictest of all.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn policy(&self, org: &str, site: Option<&str>, client: &Client<'_>) -> Result<Bytes> {
        if let Some(site) = site {
            return Ok(self.view_of(&SiteId::new(org, site)).await?.told(client));
        }
        let mut sites = self.store.gate_sites(org).await?;
        if sites.is_empty() {
            sites.push(DEFAULT_SITE.to_owned());
        }
        let mut views = Vec::with_capacity(sites.len());
        for site in sites {
            views.push(self.view_of(&SiteId::new(org, site)).await?);
        }
        if let [only] = &views[..] {
            return Ok(only.told(client));
        }
        let strictest = policy::strictest(views.iter().map(|view| &view.policy)).unwrap_or_default();
        Ok(client.told(&strictest))
    }

    /// Returns the site of a pulse, unless the org has as many as it may have.
    async fn admit(&self, id: &SiteId) -> Result<Arc<Site>, Problem> {
        if let Some(site) = self.held(id) {
            return Ok(site);
        }
        // What is held takes memory, so that it is bounded before the store decides.
        let sites = self.store.gate_sites(&id.org).await?;
        if sites.len() as u64 >= MOST_SITES && !sites.contains(&id.site) {
            return Err(too_many_sites());
        }
        Ok(self.hold(id))
    }

    pub(super) fn hold(&self, id: &SiteId) -> Arc<Site> {
        let mut sites = self.sites.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sites.entry(id.clone()).or_insert_with(|| Arc::new(Site::new(id.clone()))))
    }

    fn held(&self, id: &SiteId) -> Option<Arc<Site>> {
        self.sites.read().unwrap_or_else(PoisonError::into_inner).get(id).map(Arc::clone)
    }

    pub(super) fn all_sites(&self) -> Vec<Arc<Site>> {
        self.sites.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }
}

fn too_many_sites() -> Problem {
    Problem::forbidden(format!("the organisation has {MOST_SITES} sites, which is as many as it may have"))
}
