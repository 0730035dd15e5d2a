//! One load: what is asked, what is transferred, and what is believed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{
    FtpsConfig,
    failure::Step,
    place::{Credentials, Place},
    session::{Bounds, Session, Stamp, too_large},
    tls::Trust,
};
use crate::{
    Error, ErrorKind, Result, Retry,
    document::{Content, Document, Revision},
    encoding::hex,
    traits::{Clock, Load, Tick},
};

/// A file on a server, with the connection to it and what is known of it.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) place: Place,
    pub(super) config: FtpsConfig,
    credentials: Credentials,
    trust: Trust,
    clock: Arc<dyn Clock>,
    /// Held for a whole load: a control connection does one thing at a time.
    state: Mutex<State>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    seen: Option<Seen>,
}

/// What the server said of the file when it was last asked.
#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    /// When it first said so.
    first: Tick,
    /// The content that this stamp can be believed to mean.
    confirmed: Option<Revision>,
}

impl Remote {
    pub(super) fn new(
        place: Place,
        credentials: Credentials,
        trust: Trust,
        config: FtpsConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (state, closed) = (Mutex::default(), AtomicBool::new(false));
        Self { place, config, credentials, trust, clock, state, closed }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "load from a closed source")
                .with("uri", &self.place.locator));
        }
        Ok(())
    }

    /// Refuses further loads, and returns the session that must say goodbye, if there is one.
    pub(super) fn close(&self) -> Option<Session> {
        self.closed.store(true, Ordering::Release);
        // A load under way holds the lock; it drops the session when it sees that the source is closed.
        self.state.try_lock().ok().and_then(|mut state| state.session.take())
    }

    /// Says goodbye for a session that [`Remote::close`] returned.
    pub(super) async fn quit(&self, session: Session) -> Result<()> {
        session.quit(self.bounds(GOODBYE)).await
    }

    /// Loads over the connection that was kept, or over a new one where that no longer works.
    pub(super) async fn load(&self, since: Option<&Revision>) -> Result<Load> {
        let bounds = self.bounds(Duration::from_millis(self.config.timeout_ms));
        let mut state = bounds.within(Step::Connect, self.state.lock()).await?;
        let State { session: kept, seen } = &mut *state;
        if let Some(mut session) = kept.take() {
            match self.load_over(&mut session, seen, since, bounds, true).await {
                Err(error) if may_be_lost(&error) && self.clock.now() < bounds.deadline => {
                    tracing::debug!(uri = self.place.locator, error = %error.chain(), "connecting again");
                }
                loaded => {
                    *kept = self.worth_keeping(session);
                    return loaded;
                }
            }
        }
        let connecting = bounds.until(self.clock.now() + self.connect_timeout());
        // Boxed, as is the transfer: a poll needs neither, and would pay for their state each time.
        let mut session = Box::pin(Session::open(connecting, &self.trust, &self.credentials)).await?;
        let loaded = self.load_over(&mut session, seen, since, bounds, false).await;
        *kept = self.worth_keeping(session);
        loaded
    }

    async fn load_over(
        &self,
        session: &mut Session,
        seen: &mut Option<Seen>,
        since: Option<&Revision>,
        bounds: Bounds<'_>,
        kept: bool,
    ) -> Result<Load> {
        // A peer that is gone without a word never answers; on a kept connection that must not cost the whole load.
        let patience = if kept { bounds.until(self.clock.now() + self.connect_timeout()) } else { bounds };
        let mut stamp = session.stamp(patience).await?;
        for _ in 0..READS {
            let seen = observe(seen, stamp, self.clock.now());
            if since.is_some() && seen.confirmed.as_ref() == since {
                return Ok(Load::Unchanged);
            }
            let limit = self.config.max_file_bytes;
            if let Some(bytes) = stamp.bytes.filter(|b| *b > limit) {
                return Err(too_large(&self.place, Some(bytes), limit));
            }
            let settled = self.is_settled(seen);
            let content = Box::pin(session.retrieve(bounds, stamp.bytes, limit)).await?;
            let after = if stamp.modified.is_some() { session.stamp(bounds).await? } else { stamp };
            if after != stamp || stamp.bytes.is_some_and(|bytes| bytes != content.len() as u64) {
                stamp = after;
                continue;
            }
            let revision = Revision::new(format!("sha256:{}", hex(&Sha256::digest(&content))));
            seen.confirmed = settled.then(|| revision.clone());
            if since == Some(&revision) {
                return Ok(Load::Unchanged);
            }
            let document = Document::new(revision, Content::Bytes(content.into()));
            return Ok(Load::Snapshot(document.named(self.place.file_name())));
        }
        Err(Step::Read
            .error(ErrorKind::Unavailable, &self.place)
            .with("reason", format!("it changed, or ended early, {READS} times in a row while it was read"))
            .retry(Retry::Now)
            .hint("upload beside it and rename, so that no reader meets half a file"))
    }

    /// Whether a write that comes after now would show in the stamp.
    fn is_settled(&self, seen: &Seen) -> bool {
        let Some(modified) = seen.stamp.modified else { return false };
        let now = self.clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let age = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_sub(modified);
        self.clock.now() - seen.first >= SETTLED || age >= OLD
    }

    fn worth_keeping(&self, session: Session) -> Option<Session> {
        (session.in_step() && !self.closed.load(Ordering::Acquire)).then_some(session)
    }

    fn bounds(&self, time: Duration) -> Bounds<'_> {
        Bounds { clock: &self.clock, place: &self.place, deadline: self.clock.now() + time }
    }

    fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.config.connect_timeout_ms)
    }
}

/// How often a file that changes while it is read is read again within one load.
const READS: usize = 3;

/// From then on no further write can fall into a second that was seen before: one second for the stamp's own
/// resolution, one for rounding and for clocks that are nudged.
const SETTLED: Duration = Duration::from_secs(2);

/// An age, in seconds, that no difference of clocks or time zones explains.
const OLD: i64 = 24 * 60 * 60;

/// How long a server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Whether an error over a kept connection may be that connection's fault.
fn may_be_lost(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::LimitExceeded)
}

/// Records what the server says, with the time at which it first said so.
fn observe(seen: &mut Option<Seen>, stamp: Stamp, now: Tick) -> &mut Seen {
    if seen.as_ref().is_none_or(|seen| seen.stamp != stamp) {
        *seen = None;
    }
    seen.get_or_insert(Seen { stamp, first: now, confirmed: None })
}
