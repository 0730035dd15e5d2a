//! The event stream: says when to look, and is driven by whoever waits for that.
//!
//! Events are only counted; what changed is what the next look brings, which is a sync unless the stream told the values
//! as well. Any number of events that come close together
//! are one reason to look: the first is followed at once, the rest together once a pause has passed, which grows while
//! they keep coming.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use super::told::Pending;
use crate::{
    document::{Delta, Revision},
    sse::{Event, Happening, Link, StreamState, StreamStatus},
    traits::{BoxFuture, Clock, Tick},
};

/// More happenings than this at once are looked at in turns.
const AT_ONCE: usize = 256;
/// The pause after a look that the stream asked for; doubled while there is more in it.
const SHORTEST_GAP: Duration = Duration::from_millis(40);
const LONGEST_GAP: Duration = Duration::from_secs(1);
/// How long an opened stream may take to say that it is there, before that is taken for granted.
const GREETING: Duration = Duration::from_millis(500);
/// A connection that lived for so long was no failure.
const HEALTHY: Duration = Duration::from_secs(60);

/// What the stream's waiter is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Look what changed.
    Changed,
    /// Tell the credentials that they end soon.
    Expiring,
}

/// The stream of one client.
pub(super) struct Stream {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_on: bool,
    /// How often it was switched on, off, or begun anew.
    run: u64,
    /// `None` while it is off, and while it is polled.
    link: Option<Link>,
    /// The waiter, to be woken when the stream is switched on or off.
    waiter: Option<Waker>,
    /// How many reasons to look there were, and how many of them are dealt with.
    told: u64,
    looked: u64,
    takes_patches: bool,
    pending: Pending,
    expiring: bool,
    /// Runs from the opening of the stream to its first event.
    greeting: Option<BoxFuture<'static, ()>>,
    gap: Duration,
    last_look: Option<Tick>,
    /// Runs to a time before which nothing is looked at.
    rest: Option<(Tick, BoxFuture<'static, ()>)>,
    connected_at: Option<Tick>,
    connected_since: Option<SystemTime>,
    connections: u64,
    events: u64,
    last_event_id: Option<String>,
    last_error: Option<String>,
}

impl Stream {
    /// Makes a stream that is off. `takes_patches` says whether what is told with its values is taken over.
    pub(super) fn new(clock: Arc<dyn Clock>, takes_patches: bool) -> Self {
        let state = State { takes_patches, ..State::default() };
        Self { clock, state: Mutex::new(state) }
    }

    /// Switches the stream on; false if it was on already.
    pub(super) fn start(&self, link: impl FnOnce() -> Link) -> bool {
        let mut state = self.lock();
        if state.is_on {
            return false;
        }
        state.begin(link());
        let waiter = state.waiter.take();
        drop(state);
        waiter.into_iter().for_each(Waker::wake);
        true
    }

    /// Switches the stream off.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.is_on = false;
        state.run += 1;
        let link = state.link.take();
        let waiter = state.waiter.take();
        (state.greeting, state.connected_at, state.connected_since) = (None, None, None);
        drop(state);
        // Outside the lock: what it holds are a transport's futures, which may do anything when they are dropped.
        drop(link);
        waiter.into_iter().for_each(Waker::wake);
    }

    /// Goes on after a panic of whoever waited: with another connection if it was this one's, which must not be polled
    /// again, and with a look, because what was told may be lost.
    pub(super) fn recover(&self, link: impl FnOnce() -> Link) {
        let mut state = self.lock();
        let clocks = (state.greeting.take(), state.rest.take());
        if state.is_on {
            if state.link.is_none() {
                state.begin(link());
                state.lost("what reads the stream panicked; its message went to standard error".to_owned());
            }
            state.pending.unclear();
            state.told += 1;
        }
        drop(state);
        drop(clocks);
    }

    /// Goes on until there is something to do. Before `held_until` nothing is asked of the service.
    pub(super) fn poll(&self, cx: &mut Context<'_>, held_until: Option<Tick>) -> Poll<Told> {
        let (link, run) = {
            let mut state = self.lock();
            match &mut state.waiter {
                Some(waiter) => waiter.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            (state.link.take(), state.run)
        };
        if let Some(link) = link {
            self.poll_link(link, run, cx);
        }
        let mut state = self.lock();
        if let Some(greeting) = &mut state.greeting
            && greeting.as_mut().poll(cx).is_ready()
        {
            state.greeting = None;
            state.pending.unclear();
            state.told += 1;
        }
        if state.expiring {
            return Poll::Ready(Told::Expiring);
        }
        state.poll_changed(cx, &*self.clock, held_until)
    }

    /// Polls the connection while no lock is held: what it drives, a transport and a source of credentials, may block, and
    /// may do anything with the client that it belongs to.
    fn poll_link(&self, mut link: Link, run: u64, cx: &mut Context<'_>) {
        let mut happened = 0;
        while happened < AT_ONCE
            && let Poll::Ready(happening) = link.poll(cx, || None)
        {
            happened += 1;
            log(&happening);
            let mut state = self.lock();
            if state.run != run {
                break;
            }
            state.take(happening, &mut link, &*self.clock);
        }
        if happened == AT_ONCE {
            // Cut short, so that a peer that never pauses keeps nobody.
            cx.waker().wake_by_ref();
        }
        let mut state = self.lock();
        let over = if state.run == run { state.link.replace(link) } else { Some(link) };
        drop(state);
        drop(over);
    }

    /// Notes that the credentials know that they end soon.
    pub(super) fn told_of_expiry(&self) {
        self.lock().expiring = false;
    }

    /// Takes what was told, if it was told whole and leads on from that state: it is looked at by that. What is not stays
    /// to be looked at.
    pub(super) fn told_whole(&self, since: Option<&Revision>) -> Option<Delta> {
        let mut state = self.lock();
        let whole = state.pending.take(since)?;
        state.looked = state.told;
        Some(whole)
    }

    /// Notes that whatever was told so far is about to be looked at.
    pub(super) fn looking(&self) {
        let mut state = self.lock();
        state.looked = state.told;
        state.pending.looked_at();
    }

    /// Has the next look be at the service, whatever it told.
    pub(super) fn look_anew(&self) {
        self.lock().pending.unclear();
    }

    /// Returns how the stream stands; `None` while it is off.
    pub(super) fn status(&self) -> Option<StreamStatus> {
        let state = self.lock();
        if !state.is_on {
            return None;
        }
        Some(StreamStatus {
            state: match (state.connected_at.is_some(), state.told > state.looked) {
                (false, _) => StreamState::Connecting,
                (true, true) => StreamState::SnapshotFetching,
                (true, false) => StreamState::Steady,
            },
            last_event_id: state.last_event_id.clone(),
            connected_since: state.connected_since,
            connections: state.connections,
            events: state.events,
            last_error: state.last_error.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change under the lock is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, link: Link) {
        self.is_on = true;
        self.run += 1;
        self.link = Some(link);
    }

    fn take(&mut self, happening: Happening, link: &mut Link, clock: &dyn Clock) {
        match happening {
            Happening::Opened => {
                self.connections += 1;
                self.connected_at = Some(clock.now());
                self.connected_since = Some(clock.wall());
                self.last_error = None;
                // The service says itself when it is ready to tell of changes: to look before would be one look more.
                self.greeting = Some(clock.sleep_until(clock.now() + GREETING));
            }
            Happening::Told(events) => {
                events.iter().for_each(|event| self.read(event));
                let age = self.connected_at.map(|at| clock.now() - at);
                if age.is_some_and(|age| age >= HEALTHY) {
                    link.works();
                }
            }
            Happening::Dropped(error) | Happening::NotOpened(error) => self.lost(error.chain()),
        }
    }

    fn lost(&mut self, why: String) {
        (self.greeting, self.connected_at, self.connected_since) = (None, None, None);
        self.last_error = Some(why);
        // Of the next connection nothing is known yet.
        self.pending.unclear();
    }

    fn read(&mut self, event: &Event) {
        self.events += 1;
        if !event.id.is_empty() {
            self.last_event_id = Some(event.id.clone());
        }
        match event.name.as_str() {
            "auth_expiring" => self.expiring = true,
            "settings.patch" if self.takes_patches && self.pending.read(&event.data) => {
                self.greeting = None;
                self.told += 1;
            }
            "resync" => {
                self.greeting = None;
                self.pending.unclear();
                self.told += 1;
            }
            name if is_change(name) => {
                self.greeting = None;
                self.told += u64::from(self.pending.event());
            }
            // Later services may tell more.
            _ => {}
        }
    }

    fn poll_changed(
        &mut self,
        cx: &mut Context<'_>,
        clock: &dyn Clock,
        held_until: Option<Tick>,
    ) -> Poll<Told> {
        if self.told == self.looked {
            self.rest = None;
            return Poll::Pending;
        }
        if self.pending.is_whole() {
            // To take it over asks nothing of the service.
            self.rest = None;
            return Poll::Ready(Told::Changed);
        }
        let now = clock.now();
        let quiet_until = self.last_look.map_or(now, |at| at + self.gap).max(held_until.unwrap_or(now));
        if now < quiet_until {
            let rest = self.rest.take().filter(|(end, _)| *end == quiet_until);
            let (end, mut rest) = rest.unwrap_or_else(|| (quiet_until, clock.sleep_until(quiet_until)));
            if rest.as_mut().poll(cx).is_pending() {
                self.rest = Some((end, rest));
                return Poll::Pending;
            }
        }
        self.rest = None;
        let goes_on = self.last_look.is_some_and(|at| now - at <= self.gap * 2);
        self.gap = if goes_on { (self.gap * 2).min(LONGEST_GAP) } else { SHORTEST_GAP };
        self.last_look = Some(now);
        Poll::Ready(Told::Changed)
    }
}

/// Tells of a connection, where that is of use to an operator.
fn log(happening: &Happening) {
    match happening {
        Happening::Opened => tracing::debug!("the event stream is open"),
        Happening::Told(_) => {}
        Happening::Dropped(error) => {
            tracing::info!(error = %error.chain(), "the event stream was lost, opening another");
        }
        Happening::NotOpened(error) => {
            tracing::warn!(error = %error.chain(), "the event stream cannot be opened, polling meanwhile");
        }
    }
}

/// Returns true for the events of either generation that tell of a change.
fn is_change(name: &str) -> bool {
    if name == "resync" {
        return true;
    }
    match name.split_once('.') {
        Some(("config" | "secret", what)) => matches!(what, "created" | "updated" | "deleted"),
        Some(("flag", what)) => matches!(what, "created" | "updated" | "toggled" | "deleted"),
        _ => false,
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("status", &self.status()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_of_either_generation_is_known_and_no_other() {
        for name in [
            "resync",
            "config.created",
            "config.updated",
            "config.deleted",
            "flag.created",
            "flag.updated",
            "flag.toggled",
            "flag.deleted",
            "secret.created",
            "secret.updated",
            "secret.deleted",
        ] {
            assert!(is_change(name), "{name}");
        }
        for name in
            ["", "message", "auth_expiring", "config", "config.toggled", "secret.read", "flag.toggled.x"]
        {
            assert!(!is_change(name), "{name}");
        }
    }
}
