//! Ends what hangs.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::super::deadline::{late, unless_due};
use crate::{
    Result,
    traits::{Body, BoxFuture, Chunks, Clock, Request, Response, Transport, redacted},
};

/// Ends an exchange at its request's deadline, whether or not the transport does; the body's reading included.
///
/// A transport keeps the deadline by itself (T3). This is for one that does not, because a library beneath it hangs.
///
/// # Examples
/// ```
/// # #[cfg(feature = "testing")]
/// # fn main() -> leverframe::Result<()> {
/// use std::{sync::Arc, time::Duration};
/// use leverframe::{ErrorKind, backends::{clock_system::SystemClock, layers::Timeout}, live::block_on};
/// use leverframe::{testing::{Answer, ScriptedTransport}, traits::{Request, Transport}};
/// let peer = ScriptedTransport::new();
/// peer.answer("/", Answer::Silent);
/// let transport = Timeout::new(Arc::new(peer), Arc::new(SystemClock::new())).head_within(Duration::from_millis(5));
/// let error = block_on(transport.send(Request::get("http://peer/".parse().unwrap()))).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Timeout);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// ```
pub struct Timeout {
    inner: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    head: Option<Duration>,
}

impl Timeout {
    /// Wraps a transport.
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, head: None }
    }

    /// Bounds the time until the answer's headers are there, connecting included, below the deadline: for streams,
    /// whose deadline is far away.
    #[must_use]
    pub fn head_within(mut self, longest: Duration) -> Self {
        self.head = Some(longest);
        self
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for Timeout {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn send(&self, request: Request) -> Result<Response> {
        let now = self.clock.now();
        let uri = redacted(&request.uri);
        let allowed = request.deadline;
        let head = self.head.map_or(allowed, |head| head.min(allowed));
        let mut head_due = self.clock.sleep_until(now + head);
        let due = self.clock.sleep_until(now + allowed);
        let Some(outcome) = unless_due(&mut head_due, self.inner.send(request)).await else {
            return Err(late("wait for the answer", &uri, head));
        };
        let Response { status, headers, body } = outcome?;
        let bounded = Bounded { body: Some(body), due, allowed, uri };
        Ok(Response::new(status, headers, Body::from_chunks(bounded)))
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("inner", &self.inner)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

struct Bounded {
    /// Let go once the time is up, and with it the connection.
    body: Option<Body>,
    due: BoxFuture<'static, ()>,
    allowed: Duration,
    uri: String,
}

#[async_trait]
impl Chunks for Bounded {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(body) = &mut self.body {
            if let Some(outcome) = unless_due(&mut self.due, body.next()).await {
                return outcome;
            }
            self.body = None;
            // A future that was ready must not be polled again.
            self.due = Box::pin(std::future::pending());
        }
        Err(late("read the body", &self.uri, self.allowed))
    }
}
