//! Sessions: had once for all who ask, and renewed ahead of their end.
//!
//! They are had on a thread of their own. What they come from may block or panic; and whoever waits for one may stop at any
//! time, or not be driven for a while, which must keep nobody else from having it.

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

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, header};

use super::{
    Surroundings, WifProvider, Wishes,
    detect::Proof,
    exchanger::{Exchanger, Session, unproven},
};
use crate::{
    Backoff, Error, ErrorKind, Retry,
    error::chain,
    live::{Pulse, block_on},
    settings::{
        NexusError,
        credentials::{Credentials, wiped_header},
        standing::Standing,
    },
    traits::{Clock, Tick, Transport},
};

/// A session with less left is not sent any more.
const MARGIN: Duration = Duration::from_secs(60);
/// Longer than it takes where everything that is asked hangs until it is given up: only a source that is not ours does.
const PATIENCE: Duration = Duration::from_secs(45);

/// The sessions of a client.
pub(crate) struct Sessions {
    exchanger: Arc<Exchanger>,
    state: Arc<Mutex<State>>,
    /// Beats with each exchange that ended.
    settled: Arc<Pulse>,
}

struct State {
    held: Option<Held>,
    /// Whether an exchange is under way: there is one at a time.
    at_work: bool,
    /// How many exchanges ended, or were waited for long enough.
    ended: u64,
    /// Why the last of them brought nothing; `None` where it did.
    failed: Option<NexusError>,
    backoff: Backoff,
    /// Not tried again before this, unless somebody calls for it.
    again_at: Tick,
}

#[derive(Clone)]
struct Held {
    header: HeaderValue,
    renew_at: Tick,
    ends_at: Tick,
}

/// What there is to send.
enum Known {
    /// A session that is good, until it is time for another.
    Good(Held),
    /// A session that is good, and that it is time to replace.
    Ageing(Held),
    Nothing,
}

impl Sessions {
    /// Has no session yet; `proof` stands in for a provider.
    ///
    /// # Errors
    /// `Config` for an endpoint that is none.
    pub(crate) fn new(
        provider: WifProvider,
        proof: Option<Proof>,
        wishes: Wishes,
        around: Surroundings,
        transport: Arc<dyn Transport>,
        standing: Arc<Standing>,
    ) -> crate::Result<Self> {
        let exchanger = Exchanger::new(provider, proof, wishes, around, transport, standing)?;
        let state = State {
            held: None,
            at_work: false,
            ended: 0,
            failed: None,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            again_at: Tick::ORIGIN,
        };
        Ok(Self {
            exchanger: Arc::new(exchanger),
            state: Arc::new(Mutex::new(state)),
            settled: Arc::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn now(&self) -> Tick {
        self.exchanger.clock().now()
    }

    /// Returns a session that is good for a while. Whoever has one waits for nobody; whoever waits for an exchange learns
    /// how that one ends, and makes no other.
    async fn session(&self) -> Result<Held, NexusError> {
        let ended = self.state().ended;
        let mut due = None;
        loop {
            // Before the look, so that what ends after it is not missed.
            let seen = self.settled.count();
            match self.known(ended)? {
                Known::Good(held) => return Ok(held),
                Known::Ageing(held) => {
                    self.exchange();
                    return Ok(held);
                }
                Known::Nothing => self.exchange(),
            }
            let due = due.get_or_insert_with(|| self.exchanger.clock().sleep_until(self.now() + PATIENCE));
            let mut settled = pin!(self.settled.beyond(seen));
            let is_late = poll_fn(|cx| match settled.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(false),
                Poll::Pending => due.as_mut().poll(cx).map(|()| true),
            });
            if is_late.await {
                self.give_up_waiting(ended);
            }
        }
    }

    /// Says what there is to send.
    ///
    /// # Errors
    /// Where there is nothing, and it is too early to try again, or that was found out since so many exchanges had ended.
    fn known(&self, ended: u64) -> Result<Known, NexusError> {
        let (state, now) = (self.state(), self.now());
        let is_early = now < state.again_at;
        if let Some(held) = state.held.as_ref().filter(|held| now < held.ends_at) {
            let is_due = now >= held.renew_at && !is_early;
            return Ok(if is_due { Known::Ageing(held.clone()) } else { Known::Good(held.clone()) });
        }
        match &state.failed {
            Some(failed) if is_early || state.ended > ended => {
                Err(once_more(failed, self.exchanger.standing().held_for()))
            }
            _ => Ok(Known::Nothing),
        }
    }

    /// Begins an exchange, unless one is under way.
    fn exchange(&self) {
        let begun = std::mem::replace(&mut self.state().at_work, true);
        if begun {
            return;
        }
        let (exchanger, state, settled) =
            (Arc::clone(&self.exchanger), Arc::clone(&self.state), Arc::clone(&self.settled));
        let started = thread::Builder::new().name("leverframe-session".to_owned()).spawn(move || {
            let had = catch_unwind(AssertUnwindSafe(|| block_on(exchanger.session())));
            let had = had.unwrap_or_else(|_| Err(panicked()));
            {
                let mut state = lock(&state);
                state.at_work = false;
                state.settle(had, &exchanger);
            }
            // Not after the beat: who is told may want nothing of it to be left.
            drop((state, exchanger));
            settled.beat();
        });
        if let Err(error) = started {
            let error = Error::from_io("start the thread that has sessions", error);
            {
                let mut state = self.state();
                state.at_work = false;
                state.settle(Err(unproven(&error)), &self.exchanger);
            }
            self.settled.beat();
        }
    }

    /// Waits until so many exchanges ended.
    #[cfg(test)]
    pub(super) fn ends(&self, number: u64) {
        block_on(self.settled.beyond(number - 1));
    }

    /// Counts an exchange that does not end as one that failed. It goes on, and may bring something yet.
    fn give_up_waiting(&self, ended: u64) {
        {
            let mut state = self.state();
            if state.ended > ended {
                return;
            }
            state.settle(Err(late()), &self.exchanger);
        }
        self.settled.beat();
    }

    /// Gives the session up that was refused. Of many who were refused with the same one, the first does; the others find
    /// what the first had in its place.
    fn give_up(&self, sent: &HeaderValue) {
        let mut state = self.state();
        if state.held.as_ref().is_some_and(|held| held.header == *sent) {
            (state.held, state.again_at, state.failed) = (None, Tick::ORIGIN, None);
        }
    }
}

impl State {
    /// Takes over how an exchange ended.
    fn settle(&mut self, had: Result<Session, NexusError>, exchanger: &Exchanger) {
        let now = exchanger.clock().now();
        self.ended += 1;
        let error = match had.and_then(|session| self.hold(&session, now)) {
            Ok(()) => return,
            Err(error) => error,
        };
        let held_for = exchanger.standing().held_for();
        self.backoff.fail();
        let mut pause = self.backoff.pause().unwrap_or_default();
        if !matches!(error, NexusError::WifTokenExchangeFailed(_)) {
            // It was the service that refused, and it may have said for how long.
            pause = pause.max(held_for.unwrap_or_default());
        }
        self.again_at = now + pause;
        if self.held.as_ref().is_some_and(|held| now < held.ends_at) {
            tracing::warn!(error = chain(&error), "no new session could be had; the one before goes on");
        }
        self.failed = Some(error);
    }

    fn hold(&mut self, session: &Session, now: Tick) -> Result<(), NexusError> {
        let header = wiped_header("Bearer ", &session.token).ok_or_else(|| {
            let error = Error::new(ErrorKind::Invalid, "read the session");
            unproven(&error.with("reason", "no header holds it"))
        })?;
        self.backoff.reset();
        (self.again_at, self.failed) = (Tick::ORIGIN, None);
        // A short one keeps half of its time for the exchange of the next.
        let margin = MARGIN.min(session.lasts / 2);
        // Between two thirds and three quarters of its time, not all of a fleet at once.
        let ahead = self.backoff.jittered(session.lasts * 3 / 4).min(session.lasts - margin);
        self.held = Some(Held { header, renew_at: now + ahead, ends_at: now + (session.lasts - margin) });
        Ok(())
    }
}

#[async_trait]
impl Credentials for Sessions {
    async fn header(&self) -> Result<(HeaderName, HeaderValue), NexusError> {
        let held = self.session().await?;
        Ok((header::AUTHORIZATION, held.header))
    }

    async fn refused(&self, sent: &HeaderValue) -> Result<bool, NexusError> {
        self.give_up(sent);
        self.session().await?;
        Ok(true)
    }

    fn called_for(&self) {
        let (mut state, now) = (self.state(), self.now());
        if state.held.as_ref().is_none_or(|held| now >= held.ends_at) {
            state.again_at = Tick::ORIGIN;
        }
    }

    fn expiring(&self) {
        {
            let (mut state, now) = (self.state(), self.now());
            if let Some(held) = &mut state.held {
                held.renew_at = now;
            }
            state.again_at = Tick::ORIGIN;
        }
        // Whoever asks next is told why it failed, if it does.
        self.exchange();
    }
}

/// Says again why there is no session; `held_for` is how long the service is left alone.
fn once_more(failed: &NexusError, held_for: Option<Duration>) -> NexusError {
    match failed {
        NexusError::Billing => NexusError::Billing,
        NexusError::Quarantined { reason, expires_at } => {
            NexusError::Quarantined { reason: reason.clone(), expires_at: expires_at.clone() }
        }
        NexusError::RateLimited => NexusError::RateLimited,
        NexusError::Unavailable { status, .. } => {
            NexusError::Unavailable { status: *status, retry_after: held_for }
        }
        NexusError::WifTokenExchangeFailed(why) => NexusError::WifTokenExchangeFailed(why.clone()),
        other => NexusError::WifTokenExchangeFailed(chain(other)),
    }
}

fn panicked() -> NexusError {
    let error = Error::new(ErrorKind::Unauthenticated, "have a session");
    unproven(&error.with("reason", "what it comes from panicked; the message went to standard error"))
}

fn late() -> NexusError {
    let error = Error::new(ErrorKind::Timeout, "have a session").with("allowed_seconds", PATIENCE.as_secs());
    unproven(&error.retry(Retry::Now))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Under the lock there are plain assignments.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("exchanger", &self.exchanger).finish_non_exhaustive()
    }
}
