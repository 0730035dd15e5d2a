//! The service as a source: one conditional request brings everything, and the event stream says when.

use std::{
    fmt,
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode, header};

use super::{
    NexusError,
    service::{BODY_LIMIT, Service, odd_answer, read_wiped},
    stream::{Stream, Told},
};
use crate::{
    Error, ErrorKind, Result, Retry,
    document::{Content, Document, Revision},
    sse::{Link, are_of_events, asking_for_events},
    traits::{Body, BoxFuture, Clock, Load, Source, redacted},
};

/// The name of the source.
pub(super) const NAME: &str = "settings";
/// The service says every 30 s that it is there; a connection is dead after three times that.
const SILENCE: Duration = Duration::from_secs(90);
const SYNC: &str = "/v1/sync";
const STREAM: &str = "/v1/stream";
/// Longer names of states are not sent back.
const LONGEST_ETAG: usize = 512;

/// Brings what a service holds.
pub(super) struct SettingsSource {
    service: Arc<Service>,
    stream: Stream,
    clock: Arc<dyn Clock>,
    digests: RandomState,
    /// How many call for an answer now.
    calls: AtomicUsize,
    closed: AtomicBool,
}

/// Somebody who calls for an answer of the service, until it is dropped.
#[must_use = "what is held back goes out only as long as it is there"]
pub(super) struct Call<'s>(&'s AtomicUsize);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl SettingsSource {
    pub(super) fn new(service: Arc<Service>, clock: Arc<dyn Clock>, takes_patches: bool) -> Self {
        Self {
            service,
            stream: Stream::new(Arc::clone(&clock), takes_patches),
            clock,
            digests: RandomState::new(),
            calls: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Opens the event stream as soon as somebody waits for changes, and keeps it open.
    pub(super) fn start_stream(&self) -> bool {
        self.stream.start(|| self.link())
    }

    /// Goes on after a panic of whoever waited for changes.
    pub(super) fn recover(&self) {
        self.stream.recover(|| self.link());
    }

    fn link(&self) -> Link {
        let service = Arc::clone(&self.service);
        let place = format!("{}{STREAM}", service.base());
        let open = move |_: Option<HeaderValue>| {
            let service = Arc::clone(&service);
            Box::pin(async move { connect(&service).await }) as BoxFuture<'static, Result<Body>>
        };
        Link::new(Box::new(open), place, SILENCE, Arc::clone(&self.clock))
    }

    /// Has the service answer what is loaded meanwhile, whatever it told before, and whatever it said of being left alone.
    pub(super) fn call(&self) -> Call<'_> {
        self.calls.fetch_add(1, Ordering::AcqRel);
        Call(&self.calls)
    }

    async fn sync(&self, since: Option<&Revision>) -> Result<Load, NexusError> {
        if self.calls.load(Ordering::Acquire) == 0 {
            // What the stream told already needs not be asked for, and so there is nothing to hold back.
            if let Some(delta) = self.stream.told_whole(since) {
                return Ok(Load::Delta(delta));
            }
            if let Some(held) = self.service.standing().held() {
                return Err(held);
            }
        }
        self.stream.looking();
        // Whoever calls wants no pause, and the feed keeps pauses of its own.
        self.service.credentials().called_for();
        let mut request = self.service.request(Method::GET, SYNC)?;
        // Of states without a name of the service's there is only a digest, which it does not know.
        let etag = since.and_then(|since| since.as_str().strip_prefix(ETAG));
        if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let uri = request.uri.clone();
        let response = self.service.send("sync", request).await?;
        match response.status {
            StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(Load::Unchanged),
            StatusCode::OK => {}
            _ => return Err(odd_answer(&uri, "the answer is no document").into()),
        }
        let named = response.headers.get(header::ETAG).and_then(revision_of);
        let content = read_wiped(response, BODY_LIMIT).await?;
        // Keyed, because names of states are kept in clear and a digest would let secrets be guessed.
        let digest = || Revision::new(format!("digest:{:016x}", self.digests.hash_one(&content)));
        let revision = named.unwrap_or_else(digest);
        // Caches on the way may answer in full although nothing changed.
        if since == Some(&revision) {
            return Ok(Load::Unchanged);
        }
        Ok(Load::Snapshot(Document::new(revision, Content::Bytes(content))))
    }
}

/// Returns the revision of a state that the service names so.
pub(super) fn revision_of(etag: &HeaderValue) -> Option<Revision> {
    let etag = etag.to_str().ok().filter(|etag| etag.len() <= LONGEST_ETAG)?;
    Some(Revision::new(format!("{ETAG}{etag}")))
}

/// What a revision begins with that the service has named itself.
const ETAG: &str = "etag:";

async fn connect(service: &Service) -> Result<Body> {
    // As long as the service is left alone, the connection rests.
    let refused = |error: NexusError| match service.standing().held_for() {
        Some(left) => Error::from(error).retry(Retry::After(left)),
        None => Error::from(error),
    };
    if let Some(held) = service.standing().held() {
        return Err(refused(held));
    }
    let request = asking_for_events(service.request(Method::GET, STREAM)?);
    let uri = request.uri.clone();
    let response = service.send("stream", request).await.map_err(refused)?;
    if response.status != StatusCode::OK || !are_of_events(&response.headers) {
        return Err(odd_answer(&uri, "the answer is no event stream"));
    }
    Ok(response.body)
}

#[async_trait]
impl Source for SettingsSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "load from a closed source"));
        }
        Ok(self.sync(since).await?)
    }

    async fn changed(&self) -> Result<()> {
        loop {
            match poll_fn(|cx| self.stream.poll(cx, self.service.standing().held_until())).await {
                Told::Changed => return Ok(()),
                Told::Expiring => {
                    self.service.credentials().expiring();
                    self.stream.told_of_expiry();
                }
            }
        }
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.stream.stop();
        Ok(())
    }
}

impl fmt::Debug for SettingsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.service.base().parse().map(|uri| redacted(&uri)).unwrap_or_default();
        f.debug_struct("SettingsSource").field("endpoint", &uri).finish_non_exhaustive()
    }
}
