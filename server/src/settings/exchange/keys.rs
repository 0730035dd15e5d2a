//! The keys of one issuer, at hand and up to date.

use std::{fs::File, io::Read, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::{HeaderValue, StatusCode, Uri, header};
use leverframe::{
    Error, ErrorKind, Result,
    traits::{Clock, Request, Tick, Transport, redacted},
};
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{
    algorithm::Algorithm,
    key::{self, Key},
};

/// Bytes of a set of keys.
const LARGEST: u64 = 1 << 20;
/// How long fetching may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long keys are believed that were fetched, before they are fetched again: an issuer may take one back.
const FRESH: Duration = Duration::from_secs(15 * 60);
/// How often they are fetched at most, whatever keys tokens name.
const PAUSE: Duration = Duration::from_secs(60);
/// The same while there are none.
const PAUSE_WITHOUT: Duration = Duration::from_secs(5);
/// How often a file is looked into at most.
const LOOK: Duration = Duration::from_secs(1);

/// The keys of one issuer. What was had once stays in use while the issuer or the file is away.
pub(super) struct Keys {
    origin: Origin,
    /// Of the algorithms that the issuer may use.
    algorithms: Vec<Algorithm>,
    clock: Arc<dyn Clock>,
    held: ArcSwapOption<Held>,
    /// One looks at a time; holds when the next one may.
    turn: Arc<Mutex<Tick>>,
}

/// Where keys come from.
pub(super) enum Origin {
    File(PathBuf),
    Url(Uri, Arc<dyn Transport>),
}

struct Held {
    keys: Vec<Arc<Key>>,
    until: Tick,
}

impl Keys {
    pub(super) fn new(origin: Origin, algorithms: Vec<Algorithm>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let turn = Arc::new(Mutex::new(Tick::ORIGIN));
        Arc::new(Self { origin, algorithms, clock, held: ArcSwapOption::empty(), turn })
    }

    /// Returns the key that a token names; `None` if the issuer has none such.
    ///
    /// # Errors
    /// What having keys fails with, as long as none could be had.
    pub(super) async fn find(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<Arc<Key>>> {
        if !self.algorithms.contains(&algorithm) {
            return Ok(None);
        }
        let found =
            |held: &Option<Arc<Held>>| held.as_ref().and_then(|held| key::find(&held.keys, id, algorithm));
        let held = self.held.load_full();
        let known = found(&held);
        let fresh = held.as_ref().is_some_and(|held| self.clock.now() < held.until);
        if fresh && known.is_some() {
            return Ok(known);
        }
        // In a task of its own: whoever asks may go away meanwhile, and must not keep the others from what it brings.
        let looking = tokio::spawn(Arc::clone(self).look(held.is_none()));
        if known.is_some() && matches!(self.origin, Origin::Url(..)) {
            // Nobody waits for the network to be told what is known.
            return Ok(known);
        }
        let looked = looking
            .await
            .map_err(|error| Error::new(ErrorKind::Unavailable, "read an issuer's keys").source(error))?;
        let held = self.held.load_full();
        if held.is_none() { looked.map(|()| None) } else { Ok(found(&held)) }
    }

    /// Looks for keys, unless somebody did a moment ago.
    async fn look(self: Arc<Self>, without: bool) -> Result<()> {
        let mut next = Arc::clone(&self.turn).lock_owned().await;
        // Whoever waited for their turn finds what the one before them brought.
        if self.clock.now() < *next || without && self.held.load().is_some() {
            return Err(Error::new(ErrorKind::Unavailable, "read an issuer's keys")
                .with("reason", "it was tried a moment ago"));
        }
        let read = match &self.origin {
            Origin::File(path) => of_file(path.clone()).await,
            Origin::Url(uri, transport) => of_url(uri, &**transport).await,
        };
        let now = self.clock.now();
        let (fresh, pause) = match &self.origin {
            Origin::File(_) => (LOOK, LOOK),
            Origin::Url(..) if read.is_err() && self.held.load().is_none() => (FRESH, PAUSE_WITHOUT),
            Origin::Url(..) => (FRESH, PAUSE),
        };
        *next = now + pause;
        match read {
            Ok(keys) => self.held.store(Some(Arc::new(Held { keys, until: now + fresh }))),
            Err(error) if self.held.load().is_some() => {
                tracing::warn!(error = %error.chain(), "an issuer's keys that are at hand stay in use");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

async fn of_file(path: PathBuf) -> Result<Vec<Arc<Key>>> {
    let shown = path.display().to_string();
    let failed = |error| Error::from_io("read an issuer's keys", error).with("file", &shown);
    let read = spawn_blocking(move || {
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let bytes = read.await.map_err(std::io::Error::other).flatten().map_err(failed)?;
    parsed(&bytes).map_err(|error| error.with("file", &shown))
}

async fn of_url(uri: &Uri, transport: &dyn Transport) -> Result<Vec<Arc<Key>>> {
    let request = Request::get(uri.clone())
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .deadline(DEADLINE)
        .body_limit(LARGEST)
        .attempts(1)
        .without_redirects();
    let response = transport.send(request).await?;
    if response.status != StatusCode::OK {
        return Err(Error::new(ErrorKind::Unavailable, "fetch an issuer's keys")
            .with("uri", redacted(uri))
            .with("status", response.status.as_u16()));
    }
    let bytes = response.body.read_all(LARGEST).await?;
    parsed(&bytes).map_err(|error| error.with("uri", redacted(uri)))
}

fn parsed(bytes: &[u8]) -> Result<Vec<Arc<Key>>> {
    let refused = |reason| Error::new(ErrorKind::Invalid, "read an issuer's keys").with("reason", reason);
    if bytes.len() as u64 > LARGEST {
        return Err(refused("it is larger than 1 MiB"));
    }
    key::keys_in(bytes).map_err(refused)
}
