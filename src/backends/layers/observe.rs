//! Counts, and tells `tracing`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode};
use tracing::{Instrument, Span};

use crate::{
    Error, Result,
    traits::{Body, Chunks, Clock, Request, Response, Tick, Transport, redacted},
};

/// Counts requests, and tells `tracing` of each: a span while it is sent, and one event at its end with method, URI
/// (without user-info and query), status, bytes and duration, at level `DEBUG`.
///
/// A request ends when its body was read to the end, failed, or was dropped.
///
/// # Examples
/// ```
/// # #[cfg(feature = "testing")]
/// # fn main() -> leverframe::Result<()> {
/// use std::sync::Arc;
/// use leverframe::{backends::{clock_system::SystemClock, layers::Observe}, live::block_on};
/// use leverframe::{testing::ScriptedTransport, traits::{Request, Transport}};
/// let transport = Observe::new(Arc::new(ScriptedTransport::new()), Arc::new(SystemClock::new()));
/// let counters = transport.counters();
/// block_on(transport.send(Request::get("http://peer/".parse().unwrap()))).unwrap_err();
/// assert_eq!((counters.read().requests, counters.read().failed), (1, 1));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// ```
pub struct Observe {
    inner: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    counters: Counters,
}

impl Observe {
    /// Wraps a transport.
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, counters: Counters::default() }
    }

    /// Returns a handle to what passes through.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for Observe {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn send(&self, request: Request) -> Result<Response> {
        let span = tracing::debug_span!("http_request", transport = self.inner.name());
        self.counters.shared.requests.fetch_add(1, Ordering::Relaxed);
        // Reports when it is dropped, so that a caller that goes away in the middle is seen as well.
        let mut exchange = Exchange {
            method: request.method.clone(),
            uri: redacted(&request.uri),
            began: self.clock.now(),
            clock: Arc::clone(&self.clock),
            counters: self.counters.clone(),
            span: span.clone(),
            status: None,
            bytes: 0,
            end: End::Abandoned,
        };
        match self.inner.send(request).instrument(span).await {
            Ok(Response { status, headers, body }) => {
                exchange.status = Some(status);
                // Nobody reads a body that cannot be there.
                if exchange.method == Method::HEAD || matches!(status.as_u16(), 204 | 304) {
                    exchange.end = End::Whole;
                }
                Ok(Response::new(status, headers, Body::from_chunks(Counted { body, exchange })))
            }
            Err(error) => {
                exchange.end = End::failed(&error);
                Err(error)
            }
        }
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Observe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observe")
            .field("inner", &self.inner)
            .field("traffic", &self.counters.read())
            .finish_non_exhaustive()
    }
}

/// A handle to the counters of an [`Observe`]; clones are one handle.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    abandoned: AtomicU64,
    bytes: AtomicU64,
    time_ns: AtomicU64,
}

impl Counters {
    /// Returns what passed through so far.
    #[must_use]
    pub fn read(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &*self.shared;
        Traffic {
            requests: read(&shared.requests),
            answered: read(&shared.answered),
            refused: read(&shared.refused),
            failed: read(&shared.failed),
            abandoned: read(&shared.abandoned),
            bytes: read(&shared.bytes),
            time: Duration::from_nanos(read(&shared.time_ns)),
        }
    }
}

/// What passed through an [`Observe`]. Requests that are neither answered, refused, failed nor abandoned are running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Requests that were begun.
    pub requests: u64,
    /// Those whose answer was read to the end, or had nothing to read, with a status below 400.
    pub answered: u64,
    /// Those whose answer has a status of 400 or above, read or not.
    pub refused: u64,
    /// Those that ended in an error, before the headers or in the body.
    pub failed: u64,
    /// Those that the caller dropped before their end, with a status below 400 or none.
    pub abandoned: u64,
    /// Bytes of bodies that were read.
    pub bytes: u64,
    /// How long all of them together took, reading included.
    pub time: Duration,
}

/// One exchange; its end is told when it is dropped.
struct Exchange {
    method: Method,
    uri: String,
    began: Tick,
    clock: Arc<dyn Clock>,
    counters: Counters,
    span: Span,
    status: Option<StatusCode>,
    bytes: u64,
    end: End,
}

enum End {
    Abandoned,
    Failed(String),
    Whole,
}

impl End {
    fn failed(error: &Error) -> Self {
        Self::Failed(error.chain())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.clock.now() - self.began;
        let shared = &*self.counters.shared;
        let refused = self.status.is_some_and(|status| status.as_u16() >= 400);
        let (counter, outcome, error) = match &self.end {
            End::Failed(error) => (&shared.failed, "failed", Some(error.as_str())),
            // The status says it all, so that few read what comes with it.
            End::Abandoned | End::Whole if refused => (&shared.refused, "refused", None),
            End::Abandoned => (&shared.abandoned, "abandoned", None),
            End::Whole => (&shared.answered, "answered", None),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        shared.bytes.fetch_add(self.bytes, Ordering::Relaxed);
        shared.time_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        tracing::debug!(
            parent: &self.span,
            method = self.method.as_str(),
            uri = self.uri,
            status = self.status.map(|status| status.as_u16()),
            bytes = self.bytes,
            duration_ms = took.as_millis() as u64,
            error,
            "request {outcome}"
        );
    }
}

struct Counted {
    body: Body,
    exchange: Exchange,
}

#[async_trait]
impl Chunks for Counted {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let outcome = self.body.next().await;
        match &outcome {
            Ok(Some(chunk)) => self.exchange.bytes += chunk.len() as u64,
            Ok(None) => self.exchange.end = End::Whole,
            Err(error) => self.exchange.end = End::failed(error),
        }
        outcome
    }
}
