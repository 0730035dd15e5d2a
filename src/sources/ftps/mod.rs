//! Documents from a file server that speaks FTP over TLS.
//!
//! Choose it where an archive is dropped on a file server that speaks nothing better: `ftps://host/path/file` names
//! one file, and its bytes become the document. A poll asks for the file's modification time and size (`MDTM`,
//! `SIZE`) over a connection that is kept open, and transfers the file only when they say something new; a server
//! that knows no `MDTM` is read each time. The revision is the digest of the content, so a file that was only
//! touched is `Unchanged`.
//!
//! TLS is explicit (`AUTH TLS`, port 21) or implicit (port 990), versions 1.2 and 1.3, and covers commands and data;
//! a data connection resumes the session of its control connection, as many servers demand. Certificates are
//! checked against the platform's authorities and those of `ca_file`. The log-in is, in this order: that of
//! [`UriAuth::Basic`](crate::UriAuth), that of the URI, `anonymous`. The path is relative to the directory in which
//! the log-in ends; `ftps://host/%2Fsrv/file` names one from the root.
//!
//! **Two writes in one second.** `MDTM` counts whole seconds, so a second write within the second of the first, of
//! as many bytes, changes neither time nor size. Time and size are therefore believed only for a transfer that
//! began two seconds or more after they were first seen, or that read a file a day old; before that the next load
//! transfers again and compares digests. The two seconds are this process's own, so that a server's clock may be
//! wrong; a freshly written file costs one transfer more. A file that is written while it is read is noticed by
//! time, size and length, and read again.
//!
//! It cannot speak plain FTP, list directories, upload, use active mode or client certificates, go through a proxy,
//! or be told of changes; and it does not see a change that leaves size and a time of more than a day ago as they
//! were, as tools do that restore modification times.

mod config;
mod failure;
mod place;
mod session;
mod tls;

use std::{
    fmt,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

pub use self::config::FtpsConfig;
use self::{
    failure::Step,
    place::{Credentials, Place},
    session::{Bounds, Session, Stamp, too_large},
    tls::Trust,
};
use crate::{
    Error, ErrorKind, Result, Retry, UriAuth,
    backends::{clock_system::SystemClock, tokio_thread},
    document::{Content, Document, Revision},
    manifest::fingerprint::hex,
    register_source,
    registry::{BuildContext, Plugin},
    traits::{Clock, Load, Source, Tick},
};

/// The name under which the source is registered.
pub const NAME: &str = "ftps";

/// A source over one file of a server; see the [module](self).
///
/// # Examples
/// ```
/// use leverframe::{UriAuth, sources::ftps::{FtpsConfig, FtpsSource}};
/// let auth = UriAuth::Basic { user: "reader".into(), pass: "s3cret".into() };
/// // Nothing is sent before the first load.
/// let source = FtpsSource::open("ftps://files.example.com/m.tar.gz", Some(&auth), FtpsConfig::default())?;
/// assert!(!format!("{source:?}").contains("s3cret"));
/// # Ok::<(), leverframe::Error>(())
/// ```
pub struct FtpsSource {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    credentials: Credentials,
    trust: Trust,
    config: FtpsConfig,
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
    first: Tick,
    /// The content that this stamp can be believed to mean.
    confirmed: Option<Revision>,
}

impl FtpsSource {
    /// Opens the source on an `ftps://` URI; nothing is sent yet. `auth` outranks the URI's own user-info.
    ///
    /// # Errors
    /// `Invalid` for a URI that names no file of a server, `Config` for settings or credentials that cannot be used
    /// and for authorities that cannot be read.
    pub fn open(uri: &str, auth: Option<&UriAuth>, config: FtpsConfig) -> Result<Self> {
        Self::open_with_clock(uri, auth, config, Arc::new(SystemClock::new()))
    }

    /// Opens the source with another clock than the system's; nothing is sent yet.
    ///
    /// # Errors
    /// As [`FtpsSource::open`].
    pub fn open_with_clock(
        uri: &str,
        auth: Option<&UriAuth>,
        config: FtpsConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let (place, user_info) = Place::of_uri(uri, &config)?;
        let credentials = match auth {
            Some(auth) => Credentials::of_auth(auth)?,
            None => user_info.unwrap_or_else(Credentials::anonymous),
        };
        let trust = Trust::load(&config.ca_file)?;
        let (state, closed) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { shared: Arc::new(Shared { place, credentials, trust, config, clock, state, closed }) })
    }
}

#[async_trait]
impl Source for FtpsSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        self.shared.check_open()?;
        let (shared, since) = (Arc::clone(&self.shared), since.cloned());
        tokio_thread::run(async move { shared.load(since.as_ref()).await }).await?
    }

    async fn changed(&self) -> Result<()> {
        pending().await
    }

    async fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Ordering::Release);
        // A load under way holds the lock; it ends the session itself when it sees that the source is closed.
        let session = self.shared.state.try_lock().ok().and_then(|mut state| state.session.take());
        if let Some(session) = session {
            let shared = Arc::clone(&self.shared);
            // Best effort: the server ends a session as well when the connection is gone.
            let _ = tokio_thread::run(async move { session.quit(shared.bounds(GOODBYE)).await }).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for FtpsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FtpsSource")
            .field("uri", &self.shared.place.locator)
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

impl Shared {
    async fn load(&self, since: Option<&Revision>) -> Result<Load> {
        let bounds = self.bounds(Duration::from_millis(self.config.timeout_ms));
        let mut state = bounds.within(Step::Connect, self.state.lock()).await?;
        if let Some(mut session) = state.session.take() {
            let loaded = self.load_over(&mut session, &mut state.seen, since, bounds, true).await;
            match loaded {
                Err(error) if may_be_lost(&error) && self.clock.now() < bounds.deadline => {
                    tracing::debug!(uri = self.place.locator, error = %error.chain(), "connecting again");
                }
                loaded => return self.keep(session, &mut state, loaded),
            }
        }
        let connecting = Duration::from_millis(self.config.connect_timeout_ms);
        let connect = bounds.until(self.clock.now() + connecting);
        let mut session = Session::open(connect, &self.trust, &self.credentials).await?;
        let loaded = self.load_over(&mut session, &mut state.seen, since, bounds, false).await;
        self.keep(session, &mut state, loaded)
    }

    async fn load_over(
        &self,
        session: &mut Session,
        seen: &mut Option<Seen>,
        since: Option<&Revision>,
        bounds: Bounds<'_>,
        kept: bool,
    ) -> Result<Load> {
        // A connection whose peer is gone without a word answers never; that must not cost the whole load.
        let patience = Duration::from_millis(self.config.connect_timeout_ms);
        let first = if kept { bounds.until(self.clock.now() + patience) } else { bounds };
        let mut stamp = session.stamp(first).await?;
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
            let content = session.retrieve(bounds, stamp.bytes, limit).await?;
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

    /// Keeps a session for the next load if it can still be used.
    fn keep(&self, session: Session, state: &mut State, loaded: Result<Load>) -> Result<Load> {
        let sound = match &loaded {
            Ok(_) => true,
            Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::LimitExceeded),
        };
        if sound && session.in_step() && !self.closed.load(Ordering::Acquire) {
            state.session = Some(session);
        }
        loaded
    }

    fn bounds(&self, time: Duration) -> Bounds<'_> {
        Bounds { clock: &self.clock, place: &self.place, deadline: self.clock.now() + time }
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "load from a closed source")
                .with("uri", &self.place.locator));
        }
        Ok(())
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

/// Whether an error on a connection that was kept open says nothing about the file or the log-in.
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

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Source>> {
    let uri = context.uri().ok_or_else(|| {
        Error::new(ErrorKind::Config, "open the ftps source")
            .with("reason", "it needs a URI")
            .hint("set the namespace's `uri`, such as `ftps://host/path/manifest.tar.gz`")
    })?;
    let clock = Arc::clone(context.clock());
    Ok(Arc::new(FtpsSource::open_with_clock(uri, context.auth(), context.settings()?, clock)?))
}

/// How the source is registered.
pub const PLUGIN: Plugin<dyn Source> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("An archive on a server that speaks FTP over TLS, explicit or implicit")
    .with_example(include_str!("example.toml"))
    .with_fields(FtpsConfig::FIELDS);
register_source!(PLUGIN);
