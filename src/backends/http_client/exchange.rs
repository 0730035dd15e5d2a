//! An exchange over a thread that does the talking: redirects, deadline, limit and decompression.

use std::{
    future::poll_fn,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use super::{
    failure::closed,
    gunzip::Gunzip,
    head::Head,
    hop::{Hop, MAX_REDIRECTS},
};
use crate::{
    Error, ErrorKind, Result, Retry,
    backends::bridge::{self, Ender, Receiver},
    traits::{Body, BoxFuture, Chunks, Clock, Request, Response, Tick, redacted},
};

/// What a thread reports of a request, or why there is nothing more to report.
pub(crate) type Report = Result<Event>;
/// A thread's end of an exchange.
pub(crate) type Reporter = bridge::Sender<Report>;
/// Our end of an exchange; dropping it ends the request.
pub(crate) type Reports = Receiver<Report>;

/// A step of a request.
pub(crate) enum Event {
    /// A head came; a later one takes its place.
    Head(Head),
    /// A part of the body came.
    Chunk(Bytes),
    /// The answer is whole.
    End,
}

/// How many parts of a body wait between the thread and the future.
pub(crate) const CAPACITY: usize = 16;

/// Sends single requests and follows no redirect.
pub(crate) trait Wire: Sync {
    /// Whether a head of 401 or 407 may be followed by another, because it logs in by itself.
    const LOGS_IN: bool;

    /// Starts a request that is over after `left`.
    ///
    /// # Errors
    /// Where it could not be started.
    fn start(&self, hop: &Hop, left: Duration) -> Result<Reports>;
}

/// What belongs to a transport's exchanges whoever does the talking: the clock, and what `close` must end.
pub(crate) struct Exchanges {
    clock: Arc<dyn Clock>,
    gzip: bool,
    /// `None` once closed.
    running: Mutex<Option<Vec<Running>>>,
}

struct Running {
    uri: Uri,
    ender: Ender<Report>,
}

impl Exchanges {
    pub(crate) fn new(clock: Arc<dyn Clock>, gzip: bool) -> Self {
        Self { clock, gzip, running: Mutex::new(Some(Vec::new())) }
    }

    /// Sends a request, follows its redirects, and returns the answer with a body that is read as it arrives.
    ///
    /// # Errors
    /// What kept an answer from coming.
    pub(crate) async fn send<W: Wire>(&self, wire: &W, request: Request) -> Result<Response> {
        if self.lock().is_none() {
            return Err(closed(&request.uri));
        }
        let (allowed, limit) = (request.deadline, request.body_limit);
        let deadline = self.clock.now() + allowed;
        let mut hop = Hop::first(request)?;
        let unzip = self.gzip && asks_for_gzip(&mut hop);
        for _ in 0..=MAX_REDIRECTS {
            let left = deadline - self.clock.now();
            if left.is_zero() {
                return Err(late(&hop.uri, allowed));
            }
            let reports = wire.start(&hop, left)?;
            self.enter(&reports, &hop.uri)?;
            let mut arriving = Arriving {
                reports,
                clock: Arc::clone(&self.clock),
                limit: self.clock.sleep_until(deadline),
                deadline,
                allowed,
                logs_in: W::LOGS_IN,
                uri: hop.uri.clone(),
                early: None,
                ended: false,
            };
            let head = arriving.head().await?;
            match hop.redirected(&head)? {
                Some(next) => hop = next,
                None => return Ok(answer(head, arriving, limit, unzip, &hop)),
            }
        }
        Err(hop.led_astray())
    }

    /// Ends what is running, and lets nothing more begin.
    pub(crate) fn close(&self) {
        let running = self.lock().take();
        for Running { uri, ender } in running.into_iter().flatten() {
            ender.end(Err(closed(&uri)));
        }
    }

    fn enter(&self, reports: &Reports, uri: &Uri) -> Result<()> {
        let mut running = self.lock();
        let running = running.as_mut().ok_or_else(|| closed(uri))?;
        running.retain(|running| !running.ender.is_over());
        running.push(Running { uri: uri.clone(), ender: reports.ender() });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Running>>> {
        // Only whole values are put in and taken out.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for compression unless the request says itself what it takes; then it gets what it asked for.
fn asks_for_gzip(hop: &mut Hop) -> bool {
    // A part of compressed content cannot be decompressed.
    if hop.headers.contains_key(header::ACCEPT_ENCODING) || hop.headers.contains_key(header::RANGE) {
        return false;
    }
    hop.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    true
}

fn answer(head: Head, arriving: Arriving, limit: u64, unzip: bool, hop: &Hop) -> Response {
    let Head { status, mut headers } = head;
    let empty =
        hop.method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let gunzip = (unzip && !empty && is_gzip(&headers)).then(Gunzip::new);
    if gunzip.is_some() {
        // They are about the bytes on the wire, which the caller does not get.
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
    }
    let uri = hop.uri.clone();
    Response::new(
        status,
        headers,
        Body::from_chunks(Content { arriving: Some(arriving), gunzip, left: limit, limit, uri }),
    )
}

fn is_gzip(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let only = codings.next().filter(|_| codings.next().is_none());
    only.and_then(|value| value.to_str().ok())
        .is_some_and(|coding| ["gzip", "x-gzip"].iter().any(|gzip| coding.trim().eq_ignore_ascii_case(gzip)))
}

/// What comes from the thread, with the deadline held against it.
struct Arriving {
    reports: Reports,
    clock: Arc<dyn Clock>,
    limit: BoxFuture<'static, ()>,
    deadline: Tick,
    allowed: Duration,
    logs_in: bool,
    uri: Uri,
    /// The part of the body that told which head is the last.
    early: Option<Bytes>,
    ended: bool,
}

impl Arriving {
    /// Returns the head of the answer.
    async fn head(&mut self) -> Result<Head> {
        let mut head: Option<Head> = None;
        loop {
            match self.event().await? {
                Event::Head(next) => {
                    let asks = next.asks_for_log_in();
                    head = Some(next);
                    // The answer to the log-in is the one that counts, and parts of a body only come for that.
                    if !(asks && self.logs_in) {
                        break;
                    }
                }
                Event::Chunk(chunk) => {
                    self.early = Some(chunk);
                    break;
                }
                Event::End => {
                    self.ended = true;
                    break;
                }
            }
        }
        let head = head.ok_or_else(|| self.broken("the answer has no head"))?;
        // Who sends two lengths wants two readers to see two bodies.
        let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
        let first = lengths.next();
        if lengths.any(|length| Some(length) != first) {
            return Err(self.broken("the answer has two lengths"));
        }
        Ok(head)
    }

    /// Returns the next part of the body, `None` at the end.
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        if let Some(chunk) = self.early.take() {
            return Ok(Some(chunk));
        }
        while !self.ended {
            match self.event().await? {
                Event::Chunk(chunk) => return Ok(Some(chunk)),
                Event::End => self.ended = true,
                Event::Head(_) => {}
            }
        }
        Ok(None)
    }

    async fn event(&mut self) -> Result<Event> {
        // Asked each time: a peer that always has something ready would never let the sleep be looked at.
        if self.clock.now() >= self.deadline {
            return Err(late(&self.uri, self.allowed));
        }
        let Self { reports, limit, .. } = self;
        let report = poll_fn(|cx| match reports.poll_next(cx) {
            Poll::Ready(report) => Poll::Ready(Some(report)),
            Poll::Pending => limit.as_mut().poll(cx).map(|()| None),
        })
        .await;
        match report {
            Some(Some(report)) => report,
            Some(None) => Err(self.broken("the thread that talked to the peer has ended")),
            None => Err(late(&self.uri, self.allowed)),
        }
    }

    fn broken(&self, reason: &'static str) -> Error {
        Error::new(ErrorKind::Unavailable, "read the answer")
            .with("uri", redacted(&self.uri))
            .with("reason", reason)
            .retry(Retry::Now)
    }
}

fn late(uri: &Uri, allowed: Duration) -> Error {
    Error::new(ErrorKind::Timeout, "wait for the answer")
        .with("uri", redacted(uri))
        .with("deadline_ms", allowed.as_millis())
        .retry(Retry::Now)
}

/// The body of an answer.
struct Content {
    /// Dropped, which ends the request, once nothing more is wanted of it.
    arriving: Option<Arriving>,
    gunzip: Option<Gunzip>,
    left: u64,
    limit: u64,
    uri: Uri,
}

#[async_trait]
impl Chunks for Content {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let outcome = self.read().await;
        if outcome.is_err() {
            // What follows an error is an error: half a body must not end like a whole one.
            self.arriving = None;
            self.gunzip = None;
        }
        outcome
    }
}

impl Content {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        let chunk = loop {
            let plain = match &mut self.gunzip {
                Some(gunzip) => gunzip.next().map_err(|e| damaged(&self.uri, e))?,
                None => None,
            };
            if plain.is_some() {
                break plain;
            }
            let Some(arriving) = &mut self.arriving else {
                return Err(Error::new(ErrorKind::Cancelled, "read on after an error")
                    .with("uri", redacted(&self.uri)));
            };
            match (arriving.chunk().await?, &mut self.gunzip) {
                (Some(chunk), Some(gunzip)) => gunzip.feed(chunk),
                (None, Some(gunzip)) => {
                    gunzip.finish().map_err(|e| damaged(&self.uri, e))?;
                    self.gunzip = None;
                    break None;
                }
                (chunk, None) => break chunk,
            }
        };
        if let Some(chunk) = &chunk {
            self.left = self.left.checked_sub(chunk.len() as u64).ok_or_else(|| {
                Error::new(ErrorKind::LimitExceeded, "read the body")
                    .with("uri", redacted(&self.uri))
                    .with("limit", self.limit)
                    .hint("raise the limit, or ask for less")
            })?;
        }
        Ok(chunk)
    }
}

fn damaged(uri: &Uri, error: io::Error) -> Error {
    Error::new(ErrorKind::Corrupt, "decompress the body")
        .with("uri", redacted(uri))
        .retry(Retry::Now)
        .source(error)
}
