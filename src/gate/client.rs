//! The client: gates calls, counts them, and keeps the policy current.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::{
    GateMode, GateResult, GateState, Policy, WaitStateBuilder, WaitStateConfig,
    entry::Entry,
    limiter::AdaptiveLimiter,
    product::{GateProduct, Given},
    rules::{Found, Rules},
    safe_mode::SafeMode,
    source::GateSource,
    timer::Timer,
    wire::is_valid_metric_name,
};
use crate::{
    Error, ErrorKind, Result,
    live::{Feed, Ladder, Origin, Schedule, Stop, block_on},
    traits::{Clock, Source, Tick},
};

/// How long a policy holds when none says so.
const LEASE: Duration = Duration::from_secs(300);

/// The pause before the client's thread is started again, should it panic.
const RESTART: Duration = Duration::from_secs(1);

/// Gates calls under a policy that a control plane gives to a whole fleet.
///
/// `Clone + Send + Sync`; clones are one client. [`gate`](Self::gate) never fails, blocks, waits or allocates, but for
/// the first call of a tag. A thread of the client's own reports what was counted and fetches the policy, at once and
/// then at the pulse interval; it needs no async runtime.
///
/// What is counted is not lost by failures: a report that was not acknowledged is sent again, under the id that it
/// had. The last clone to go, or [`close`](Self::close), sends what is left.
///
/// What was counted since the last report is in the memory of the process: it is lost where that is killed, and where
/// `main` returns before the last report has arrived, which `close` waits for. A process that forks has no such
/// thread in the child, and both have the counts that were not reported yet: start the client after the fork.
///
/// # Examples
/// ```
/// use leverframe::gate::{WaitState, WaitStateConfig};
/// let ws = WaitState::start(WaitStateConfig {
///     publish_key: "pk".into(),
///     secret_key: "sk".into(),
///     base_url: "http://127.0.0.1:9".into(),
///     ..Default::default()
/// });
/// // Nobody answers there, and until somebody does, everything may pass.
/// assert!(ws.gate(Some("checkout"), Some(1.0)).allowed);
/// ws.report_latency(12.5, Some("checkout"));
/// ```
#[derive(Clone)]
pub struct WaitState {
    shared: Arc<Shared>,
    limiter: Option<AdaptiveLimiter>,
    /// Ends the thread when the last clone goes; the thread itself holds only `shared`.
    _last: Arc<EndOnDrop>,
}

struct Shared {
    config: WaitStateConfig,
    instance_id: String,
    clock: Arc<dyn Clock>,
    rules: Arc<ArcSwap<Rules>>,
    /// Held while the rules are replaced, so that no change undoes another.
    writing: Mutex<Lease>,
    lease_moved: Notify,
    state: watch::Sender<GateState>,
    source: Arc<GateSource>,
    stop: Stop,
    /// Given when the thread has ended.
    ended: Stop,
    /// Set once the thread has made it.
    feed: Mutex<Option<Feed<GateProduct>>>,
}

/// How long the policy holds.
#[derive(Debug)]
struct Lease {
    duration: Duration,
    /// `None` as long as nobody has given a policy.
    ends_at: Option<Tick>,
    /// The feed's version that the rules were made of.
    adopted: u64,
    /// Whether the rules were made of a policy that did not come from the feed.
    overridden: bool,
}

struct EndOnDrop(Stop);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl WaitState {
    /// Starts a client; returns at once, before the control plane has answered.
    ///
    /// Settings that cannot work do not keep it from starting: it lets everything pass, as it does while the control
    /// plane has not been reached, and [`state`](Self::state) says why. [`WaitState::builder`] refuses them.
    #[must_use]
    pub fn start(config: WaitStateConfig) -> Self {
        WaitStateBuilder::new(config).start()
    }

    /// Returns a builder, for a transport, clock or cache of one's own.
    pub fn builder() -> WaitStateBuilder {
        WaitStateBuilder::new(WaitStateConfig::default())
    }

    pub(super) fn assemble(
        config: WaitStateConfig,
        source: GateSource,
        rules: Arc<ArcSwap<Rules>>,
        ladder: Ladder,
        clock: Arc<dyn Clock>,
        broken: Option<Error>,
    ) -> Self {
        let state = GateState {
            mode: GateMode::NeverSynced,
            since: clock.wall(),
            last_success: None,
            last_error: broken.as_ref().map(Error::chain),
            last_report_error: None,
            clock_offset_ms: None,
        };
        let shared = Arc::new(Shared {
            instance_id: source.instance_id().to_owned(),
            clock,
            rules,
            writing: Mutex::new(Lease { duration: LEASE, ends_at: None, adopted: 0, overridden: false }),
            lease_moved: Notify::new(),
            state: watch::Sender::new(state),
            source: Arc::new(source),
            stop: Stop::new(),
            ended: Stop::new(),
            feed: Mutex::default(),
            config,
        });
        let client = Self {
            _last: Arc::new(EndOnDrop(shared.stop.clone())),
            limiter: None,
            shared: Arc::clone(&shared),
        };
        if broken.is_some() {
            shared.ended.stop();
            return client;
        }
        let spawned = thread::Builder::new().name("leverframe-gate".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                let _ended = EndOnDrop(shared.ended.clone());
                shared.run_whatever_happens(&ladder);
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for the gate: no policy is fetched and nothing is reported");
            shared.state.send_modify(|state| state.last_error = Some(error.to_string()));
            shared.ended.stop();
        }
        client
    }

    /// Decides whether a call may pass, and counts it.
    ///
    /// A weight that is left out is 1; a call without a tag has the tag `__default__`.
    #[inline]
    pub fn gate(&self, tag: Option<&str>, weight: Option<f64>) -> GateResult {
        self.shared.with(tag, |found| found.gate(weight, || self.shared.clock.now()))
    }

    /// Returns the same client with a limiter, which [`enter`](Self::enter) asks about what the policy lets pass.
    ///
    /// A client may have several, for calls that go to different places: each is a client of its own in nothing else.
    ///
    /// # Examples
    /// ```
    /// use leverframe::gate::{WaitState, limiter::AdaptiveLimiter};
    /// # let ws = WaitState::builder().publish_key("pk").secret_key("sk").base_url("http://127.0.0.1:9").build()?;
    /// let to_database = ws.limited(AdaptiveLimiter::builder().max(64).build()?);
    /// let entry = to_database.enter(Some("checkout"), None).unwrap();
    /// assert_eq!(to_database.limiter().unwrap().snapshot().in_flight, 1);
    /// # Ok::<(), leverframe::Error>(())
    /// ```
    #[must_use]
    pub fn limited(&self, limiter: AdaptiveLimiter) -> Self {
        Self { limiter: Some(limiter), ..self.clone() }
    }

    /// Returns the limiter that the client was given.
    #[must_use]
    pub fn limiter(&self) -> Option<&AdaptiveLimiter> {
        self.limiter.as_ref()
    }

    /// Decides whether a call may begin, counts it, and measures it until the entry is dropped.
    ///
    /// The policy decides first, then the limiter, if there is one ([`limited`](Self::limited)). Whichever refuses,
    /// the call is counted as denied under its tag. Allocates nothing, but for the first call of a tag.
    ///
    /// # Errors
    /// Why the call may not begin.
    #[inline]
    pub fn enter(&self, tag: Option<&str>, weight: Option<f64>) -> std::result::Result<Entry, GateResult> {
        let admit = || self.limiter.as_ref().map(|limiter| limiter.acquire(tag, None)).transpose();
        let (permit, counted_under) = self.shared.with(tag, |found| {
            let admitted = found.enter(weight, || self.shared.clock.now(), admit);
            admitted.map(|permit| (permit, found.tag()))
        })?;
        Ok(Entry::new(Timer::new(self.clone(), counted_under, self.shared.clock.now()), permit))
    }

    /// Reports how long a call took, in milliseconds.
    #[inline]
    pub fn report_latency(&self, milliseconds: f64, tag: Option<&str>) {
        self.shared.with(tag, |found| found.counters().latency(milliseconds));
    }

    /// Reports that a call failed.
    pub fn report_error(&self, tag: Option<&str>) {
        self.shared.with(tag, |found| found.counters().error());
    }

    /// Reports a value of a custom metric. Values that are no number, and names that the protocol does not allow
    /// ([`is_valid_metric_name`](super::types::is_valid_metric_name)), are left out.
    pub fn report(&self, metric: &str, value: f64, tag: Option<&str>) {
        if value.is_finite() && is_valid_metric_name(metric) {
            self.shared.with(tag, |found| found.counters().custom(metric, value));
        }
    }

    /// Measures a call: what is dropped at its end reports how long it took.
    #[must_use = "the time ends when it is dropped"]
    pub fn timer(&self, tag: Option<&str>) -> Timer {
        let tag = self.shared.with(tag, |found| found.tag());
        Timer::new(self.clone(), tag, self.shared.clock.now())
    }

    pub(super) fn now(&self) -> Tick {
        self.shared.clock.now()
    }

    /// Returns how the client stands.
    #[must_use]
    pub fn state(&self) -> GateState {
        let mut state = self.shared.state.borrow().clone();
        state.last_report_error = self.shared.source.report_error();
        state.clock_offset_ms = self.shared.source.clock_offset_ms();
        state
    }

    /// Waits until there is a policy, from the control plane or kept from an earlier start; false if there is none
    /// within `timeout`, or the client ends before.
    pub async fn ready(&self, timeout: Duration) -> bool {
        let mut state = self.shared.state.subscribe();
        let synced = state.wait_for(|state| state.mode != GateMode::NeverSynced);
        let late = self.shared.clock.sleep_until(self.shared.clock.now() + timeout);
        until(until(self.shared.ended.stopped(), late), synced).await.is_some_and(|synced| synced.is_ok())
    }

    /// Returns the policy that calls are decided by.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(self.shared.rules.load().policy())
    }

    /// Puts a policy in force until the control plane gives another; its lease goes on as it was.
    pub fn set_policy(&self, policy: Policy) {
        let mut lease = self.shared.writing();
        lease.overridden = true;
        self.shared.rules.store(Arc::new(self.shared.rules.load().with_policy(Arc::new(policy))));
    }

    /// Returns the id of this client, made anew at each start.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.shared.instance_id
    }

    /// Returns the settings, without the secret key.
    #[must_use]
    pub fn config(&self) -> &WaitStateConfig {
        &self.shared.config
    }

    /// Reports what was counted so far, and waits until the control plane has it.
    ///
    /// # Errors
    /// When it does not arrive; it is kept and sent again with the next report.
    pub async fn flush(&self) -> Result<()> {
        self.shared.flush().await
    }

    /// Ends the reports, the last of which is sent in the background. Calls are still gated, by the policy that was in
    /// force last. [`close`](Self::close) does the same and waits.
    pub fn shutdown(&self) {
        self.shared.stop.stop();
    }

    /// Reports what was counted and ends the reports. Calls are still gated, by the policy that was in force last.
    ///
    /// Without an async runtime, [`block_on`](crate::live::block_on) waits for it.
    ///
    /// # Errors
    /// When the last report does not arrive within its deadline.
    pub async fn close(&self) -> Result<()> {
        self.shutdown();
        self.shared.ended.stopped().await;
        self.shared.delivered(
            "send the last report",
            "what it said is lost with the process; close earlier, or again later",
        )
    }
}

impl fmt::Debug for WaitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitState")
            .field("config", &self.shared.config)
            .field("instance_id", &self.shared.instance_id)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn writing(&self) -> MutexGuard<'_, Lease> {
        // Under the lock there are plain assignments and one swap.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a tag a place of its own, if there is one left.
    #[cold]
    fn include(&self, tag: Option<&str>) {
        // Asked before the lock is taken: tags without a place come here with each call.
        if let Some(tag) = tag.filter(|tag| self.rules.load().has_place(tag)) {
            let _writing = self.writing();
            if let Some(more) = self.rules.load().with_tag(tag) {
                self.rules.store(Arc::new(more));
            }
        }
    }

    /// Does something under what a tag is counted by.
    #[inline]
    fn with<T>(&self, tag: Option<&str>, act: impl FnOnce(Found<'_>) -> T) -> T {
        let rules = self.rules.load();
        if let Some(found) = rules.find(tag) {
            return act(found);
        }
        self.include(tag);
        act(self.rules.load().find_or_other(tag))
    }

    /// What the client's thread does from start to end, should a transport or a cache panic more than once.
    fn run_whatever_happens(self: &Arc<Self>, ladder: &Ladder) {
        // What is shared is whole at any point: counters, one swap, and locks that a panic gives back.
        while catch_unwind(AssertUnwindSafe(|| block_on(self.run(ladder.clone())))).is_err() {
            tracing::error!("the gate's thread panicked; it is started again");
            let told = "the thread that reports panicked; its message went to standard error".to_owned();
            self.state.send_modify(|state| state.last_error = Some(told));
            if self.stop.is_stopped() {
                return;
            }
            self.settle_mode();
            let pause = self.clock.sleep_until(self.clock.now() + RESTART);
            block_on(until(self.stop.stopped(), pause));
        }
    }

    async fn run(&self, ladder: Ladder) {
        until(self.stay_current(ladder), self.watch_lease()).await;
        // What the last report cannot deliver is lost with the process.
        self.source.finish().await;
        if let Some(error) = self.source.report_error() {
            tracing::warn!(error, "the last report did not arrive");
        }
    }

    /// Reports and takes policies over until the client is told to stop.
    async fn stay_current(&self, ladder: Ladder) {
        self.writing().adopted = 0;
        let source = Arc::clone(&self.source) as Arc<dyn Source>;
        let opened = Feed::open_with(GateProduct, source, Arc::clone(&self.clock), ladder);
        // First contact may take its deadline; a client that is closed meanwhile does not wait for it.
        let Some(feed) = until(self.stop.stopped(), opened).await else { return };
        let feed = match feed {
            Ok(feed) => feed,
            Err(error) => {
                // The ladder ends in a policy that always reads, so this does not happen.
                tracing::error!(error = %error.chain(), "the gate has no policy to start from");
                return;
            }
        };
        *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = Some(feed.clone());
        self.adopt(&feed);
        let poll = |feed: Feed<GateProduct>| async move {
            let outcome = feed.poll().await;
            self.adopt(&feed);
            outcome
        };
        // What was kept is served at once, without having asked.
        let status = feed.status();
        if status.origin == Origin::Kept && status.consecutive_failures == 0 {
            // The feed has noted and told how it went.
            let _ = until(self.stop.stopped(), poll(feed.clone())).await;
        }
        let usual = Duration::from_secs(self.config.pulse_interval_secs.max(1));
        feed.run(Schedule::every(usual).jittered(), &self.stop, poll).await;
    }

    async fn flush(&self) -> Result<()> {
        let feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match feed {
            Some(feed) => {
                let polled = feed.poll().await;
                self.adopt(&feed);
                polled?;
            }
            None => {
                self.source.load(None).await?;
            }
        }
        self.delivered(
            "report to the control plane",
            "nothing is lost: it is sent again with the next report",
        )
    }

    fn delivered(&self, operation: &'static str, hint: &'static str) -> Result<()> {
        match self.source.report_error() {
            None => Ok(()),
            Some(error) => {
                Err(Error::new(ErrorKind::Unavailable, operation).with("reason", error).hint(hint))
            }
        }
    }

    /// Takes over what the feed has: the policy, and how long it holds from here.
    fn adopt(&self, feed: &Feed<GateProduct>) {
        // All of it under the lock and in this order: of two who are here at once, the later one has the later news,
        // and a lease never gains the time that passes in between.
        let mut lease = self.writing();
        let now = self.clock.now();
        let status = feed.status();
        let loaded = feed.load_full();
        let given: &Given = &loaded.snapshot;
        if status.origin != Origin::Baseline {
            if let Some(seconds) = given.policy.lease_duration_seconds {
                lease.duration = Duration::from_secs(seconds);
            }
            // The age of a kept policy counts; what the control plane has just confirmed has none.
            let left = lease.duration.saturating_sub(status.staleness);
            lease.ends_at = Some(now + left);
            if lease.adopted != loaded.version || lease.overridden && status.consecutive_failures == 0 {
                lease.adopted = loaded.version;
                lease.overridden = false;
                self.rules.store(Arc::new(self.rules.load().with_policy(Arc::clone(&given.policy))));
            }
        }
        if let Some(fewer) = self.rules.load().without_idle_tags() {
            self.rules.store(Arc::new(fewer));
        }
        drop(lease);
        self.lease_moved.notify_one();
        self.state.send_modify(|state| {
            state.last_success = status.last_success.or(state.last_success);
            state.last_error = status.last_error;
        });
        self.settle_mode();
    }

    /// Goes over to the mode that the lease asks for.
    fn settle_mode(&self) {
        let now = self.clock.now();
        let lease = self.writing();
        let rules = self.rules.load();
        let mode = match lease.ends_at {
            None => GateMode::NeverSynced,
            Some(end) if now < end => GateMode::InForce,
            Some(_) => GateMode::SafeMode(self.config.safe_mode_strategy),
        };
        let before = self.state.borrow().mode;
        match mode {
            GateMode::SafeMode(strategy) if rules.safe_mode().is_none() => {
                let safe_mode = SafeMode::new(strategy, self.config.safe_mode_max_rps, now);
                self.rules.store(Arc::new(rules.with_safe_mode(Some(Arc::new(safe_mode)))));
            }
            GateMode::InForce if rules.safe_mode().is_some() => {
                self.rules.store(Arc::new(rules.with_safe_mode(None)));
            }
            _ => {}
        }
        drop(lease);
        if mode == before {
            return;
        }
        let since = self.clock.wall();
        self.state.send_modify(|state| {
            state.mode = mode;
            state.since = since;
        });
        match mode {
            GateMode::SafeMode(strategy) => {
                tracing::error!(%strategy, "the control plane has not confirmed the policy for as long as it holds");
            }
            GateMode::InForce => tracing::info!("the gate's policy is in force"),
            GateMode::NeverSynced => {}
        }
    }

    /// Looks at the end of the lease, however long a report takes.
    async fn watch_lease(&self) {
        loop {
            // One that has passed unnoticed so far is looked at now.
            let in_safe_mode = matches!(self.state.borrow().mode, GateMode::SafeMode(_));
            let end = self.writing().ends_at.filter(|_| !in_safe_mode);
            let moved = self.lease_moved.notified();
            match end {
                Some(end) => {
                    until(moved, self.clock.sleep_until(end)).await;
                }
                None => moved.await,
            }
            self.settle_mode();
        }
    }
}

/// Polls both; `None` once the first is ready.
async fn until<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> Option<B> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| match second.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => first.as_mut().poll(cx).map(|_| None),
    })
    .await
}
