//! Settings of one process: what it has at hand, and who listens.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leverframe::{Error, ErrorKind, Result, traits::Clock};

use super::{
    Keyring,
    heads::{Seat, Seats},
    keys::Keys,
    listeners::{Events, Who},
    model::{Quarantine, SecretVersion, Service, ServiceId},
    parts::{Parts, Revisions},
    signers::Kept,
    view::View,
};
use crate::{
    events::Hub, limit::FirstFew, metrics::Metrics, model::PageRequest, problem::Problem, store::Store,
};

/// Streams of one key: as many machines may share one.
const STREAMS_OF_A_KEY: usize = 16_384;
/// Streams of one session, which is of one machine.
const STREAMS_OF_A_SESSION: usize = 16;
/// Between two looks at who has to be told something that nobody does.
const LOOK: Duration = Duration::from_secs(1);
/// Callers whose reading is remembered.
const MOST_READERS: usize = 10_000;

/// The settings of one process. What must be shared or survive is in the store.
pub struct Settings {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keyring: Option<Keyring>,
    pub(super) hub: Hub,
    pub(super) keys: Keys,
    pub(super) seats: Seats,
    pub(super) signers: Kept,
    /// Refusals to strangers that are recorded: of those who ask for a session, and of each key that may not write.
    pub(crate) refusals: FirstFew,
    metrics: Arc<Metrics>,
    readers: Readers,
    /// Whether somebody looks once a second who has to be told something.
    ticks: AtomicBool,
}

/// Which revisions each credential was handed secrets of.
#[derive(Default)]
struct Readers {
    known: Mutex<HashMap<Arc<str>, Revisions>>,
    turn: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("seats", &self.seats).finish_non_exhaustive()
    }
}

impl Settings {
    /// Puts it together. Without master keys, no secret is written or handed out.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        hub: Hub,
        metrics: Arc<Metrics>,
        keyring: Option<Keyring>,
    ) -> Self {
        Self {
            store,
            clock,
            keyring,
            hub,
            keys: Keys::default(),
            seats: Seats::default(),
            signers: Kept::default(),
            refusals: FirstFew::default(),
            metrics,
            readers: Readers::default(),
            ticks: AtomicBool::new(false),
        }
    }

    /// Returns the master keys.
    ///
    /// # Errors
    /// `no_master_key`.
    pub(crate) fn keyring(&self) -> std::result::Result<&Keyring, Problem> {
        self.keyring.as_ref().ok_or_else(without_keys)
    }

    /// Opens a version of a secret of a service.
    ///
    /// # Errors
    /// `no_master_key`; `internal` for what does not open.
    pub(crate) fn open(
        &self,
        service: &Service,
        secret: &SecretVersion,
    ) -> std::result::Result<leverframe::Secret, Problem> {
        let data_key = self.keyring()?.open_data_key(&service.id, &service.data_key)?;
        Ok(data_key.open(&service.id, &secret.key, secret.version, &secret.sealed)?)
    }

    /// Takes note that a service, its keys or its entries may have changed, and tells those who listen.
    pub(crate) fn doubt(self: &Arc<Self>, id: &ServiceId) {
        self.keys.doubt(Some(id));
        for seat in self.seats.all() {
            let concerns = seat.id == *id
                // One that is being read for the first time may have read the other before.
                || seat.view.last().is_none_or(|view| view.service().inherits.as_ref() == Some(id));
            if concerns {
                seat.view.doubt();
                self.advance(seat);
            }
        }
    }

    /// Takes note that anything may have changed.
    pub(crate) fn doubt_all(self: &Arc<Self>) {
        self.keys.doubt(None);
        for seat in self.seats.all() {
            seat.view.doubt();
            self.advance(seat);
        }
    }

    /// Returns what a service is handed out now; `None` if there is no such service.
    ///
    /// # Errors
    /// When it has to be read and the store fails, unless it was read before and the store is only away; `Config` and
    /// `Corrupt` for secrets that cannot be opened.
    pub(crate) async fn view(&self, id: &ServiceId) -> Result<Option<Arc<View>>> {
        let seat = self.seats.get(id);
        let view = self.view_of(&seat).await;
        drop(seat);
        match view {
            Ok(view) => Ok(Some(view)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.seats.make_room();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn view_of(&self, seat: &Seat) -> Result<Arc<View>> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let good = || seat.view.fresh(now).filter(|view| view.is_good_at(wall));
        if let Some(view) = good() {
            return Ok(view);
        }
        let turn = seat.view.turn().await;
        if let Some(view) = good() {
            return Ok(view);
        }
        match turn.read(now, || self.read(&seat.id)).await {
            Ok(held) => {
                drop(turn);
                self.seats.make_room();
                Ok(Arc::clone(held.value()))
            }
            // What was handed out moments ago is handed out while the database restarts.
            Err(error) if error.kind() == ErrorKind::Unavailable => seat.view.last().ok_or(error),
            Err(error) => Err(error),
        }
    }

    async fn read(&self, id: &ServiceId) -> Result<View> {
        let own = self.store.settings_held(id).await?;
        let own = own.ok_or_else(|| Error::new(ErrorKind::NotFound, "find a settings service"))?;
        let umbrella = match &own.service.inherits {
            Some(umbrella) => self.store.settings_held(umbrella).await?,
            None => None,
        };
        let tagger = self.tagger().await?;
        let (keyring, now) = (self.keyring.clone(), self.clock.wall());
        // With thousands of entries it takes a while.
        let made = tokio::task::spawn_blocking(move || {
            Ok(View::of(Parts::of(keyring.as_ref(), own, umbrella)?, &tagger, now))
        });
        made.await.map_err(|error| Error::new(ErrorKind::Cancelled, "put settings together").source(error))?
    }

    /// Opens the stream of a service.
    ///
    /// # Errors
    /// `rate_limited` for too many streams; what reading the service fails with.
    pub(super) async fn listen(
        self: &Arc<Self>,
        id: &ServiceId,
        who: Who,
    ) -> std::result::Result<Events, Problem> {
        let most = if who.session.is_some() { STREAMS_OF_A_SESSION } else { STREAMS_OF_A_KEY };
        let expires_at = who.session.as_ref().map(|session| session.expires_at());
        let seat = self.seats.get(id);
        let lease = self.hub.admit_as(&who.id, expires_at, most)?;
        let turn = seat.listeners.take_turn().await;
        let view = self.view_of(&seat).await?;
        seat.listeners.join(lease.id(), who, &view, self.clock.wall());
        drop(turn);
        if !self.ticks.swap(true, Ordering::AcqRel) {
            tokio::spawn(tick(Arc::downgrade(self), Arc::clone(&self.clock)));
        }
        Ok(Events::of(seat, lease, Arc::clone(&self.metrics)))
    }

    /// Returns the services that inherit from an umbrella service.
    pub(super) async fn heirs(&self, umbrella: &ServiceId) -> Result<Vec<ServiceId>> {
        let (mut page, mut heirs) = (PageRequest::first(500), Vec::new());
        loop {
            let services = self.store.settings_services(Some(&umbrella.tenant), None, &page).await?;
            let of_it = services.items.into_iter().filter(|heir| heir.inherits.as_ref() == Some(umbrella));
            heirs.extend(of_it.map(|heir| heir.id));
            match services.next {
                Some(next) => page.after = Some(next),
                None => return Ok(heirs),
            }
        }
    }

    /// Returns the services that somebody listens to.
    fn heard(&self) -> Vec<Arc<Seat>> {
        self.seats.all().into_iter().filter(|seat| !seat.listeners.is_empty()).collect()
    }

    /// Tells those who listen to a service what is new: at once, or after whoever is at it. Of many calls while somebody is
    /// at it, one does it for all.
    fn advance(self: &Arc<Self>, seat: Arc<Seat>) {
        if seat.listeners.is_empty() || !seat.listeners.wait() {
            return;
        }
        let settings = Arc::clone(self);
        tokio::spawn(async move {
            let _turn = seat.listeners.take_turn().await;
            if let Err(error) = settings.tell(&seat).await {
                tracing::warn!(service = %seat.id, error = %error.chain(), "listeners wait for settings");
                seat.listeners.failed();
            }
        });
    }

    async fn tell(&self, seat: &Seat) -> Result<()> {
        // Whoever is told looks at once, and has to find what they were told of.
        let view = self.view_of(seat).await?;
        let is_refused = refusal(view.service(), self.clock.wall()).is_some();
        let revoked = self.revoked(seat).await?;
        for who in seat.listeners.who() {
            let is_believed = who.session.as_ref().is_none_or(|session| session.is_of(view.service()));
            if is_refused || !is_believed || revoked.iter().any(|id| **id == *who.id) {
                self.hub.end(&who.id);
            }
        }
        seat.listeners.tell(&view);
        Ok(())
    }

    /// Returns the revoked keys of a service.
    async fn revoked(&self, seat: &Seat) -> Result<Vec<String>> {
        let (mut page, mut revoked) = (PageRequest::first(500), Vec::new());
        loop {
            let keys = self.store.settings_keys(&seat.id, &page).await?;
            revoked.extend(keys.items.into_iter().filter(|key| key.revoked_at.is_some()).map(|key| key.id));
            match keys.next {
                Some(next) => page.after = Some(next),
                None => return Ok(revoked),
            }
        }
    }

    /// Has it recorded, once for each credential and revision, that secrets are handed out.
    ///
    /// # Errors
    /// Those of `record`: then nothing is remembered.
    pub(crate) async fn reading<F>(
        &self,
        id: &Arc<str>,
        revisions: Revisions,
        record: impl FnOnce() -> F + Send,
    ) -> std::result::Result<(), Problem>
    where
        F: Future<Output = std::result::Result<(), Problem>> + Send,
    {
        let is_known = || self.readers.lock().get(id) == Some(&revisions);
        if is_known() {
            return Ok(());
        }
        // Of many machines with one key, one records.
        let _turn = self.readers.turn.lock().await;
        if is_known() {
            return Ok(());
        }
        record().await?;
        let mut known = self.readers.lock();
        if known.len() >= MOST_READERS {
            // They are recorded once more.
            known.clear();
        }
        known.insert(Arc::clone(id), revisions);
        Ok(())
    }
}

impl Readers {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Revisions>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says why a service is not answered, if it is not.
pub(crate) fn refusal(service: &Service, now: std::time::SystemTime) -> Option<Problem> {
    /// Clients believe no longer ones.
    const LONGEST: Duration = Duration::from_secs(24 * 3_600);

    if let Some(Quarantine { reason, expires_at }) = &service.quarantine
        && let Ok(left) = expires_at.duration_since(now)
        && !left.is_zero()
    {
        let left = left.min(LONGEST);
        let message = "the service is quarantined; `expires_at` says until when";
        let problem = Problem::new(http::StatusCode::TOO_MANY_REQUESTS, "quarantined", message);
        let until = leverframe::rfc3339(now + left);
        return Some(problem.with("reason", &**reason).with("expires_at", until).retry_after(left));
    }
    service.billing_overdue.then(|| {
        let message = "the account of the service is behind with its payments";
        Problem::new(http::StatusCode::PAYMENT_REQUIRED, "billing_overdue", message)
    })
}

fn without_keys() -> Problem {
    tracing::error!("there is no master key to seal and to open secrets with");
    Problem::new(
        http::StatusCode::SERVICE_UNAVAILABLE,
        "no_master_key",
        "the server has no master key, without which it neither writes nor reads secrets, nor gives out sessions",
    )
}

/// Tells listeners of what nobody tells: flags that turn, sessions that end. Once a second for all streams, as long as
/// there are any.
async fn tick(settings: Weak<Settings>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now() + LOOK).await;
        let Some(settings) = settings.upgrade() else { return };
        let (now, heard) = (clock.wall(), settings.heard());
        if heard.is_empty() {
            settings.ticks.store(false, Ordering::Release);
            // Somebody who came just now may have seen that there is a look.
            if settings.heard().is_empty() || settings.ticks.swap(true, Ordering::AcqRel) {
                return;
            }
        }
        for seat in heard {
            seat.listeners.warn(now);
            if seat.listeners.is_due(now) {
                settings.advance(seat);
            }
        }
    }
}
