//! Tries again what may be tried again.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Method, header};

use super::retry_after::asked_pause;
use crate::{
    Error, Result,
    backoff::Backoff,
    traits::{Clock, Request, Response, Tick, Transport, redacted},
};

/// How often, and how far apart, a request is tried.
///
/// # Examples
/// ```
/// use leverframe::backends::layers::RetryPolicy;
/// let policy = RetryPolicy::default();
/// assert_eq!(policy.attempts, 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The most attempts, the first one included. Default: 4.
    pub attempts: u32,
    /// The pause after the first failure, which doubles with each; up to a half of each is taken off at random.
    /// Default: 200 ms.
    pub first_pause: Duration,
    /// The longest pause, also where the peer asks for a longer one. Default: 60 s.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 4, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(60) }
    }
}

/// Tries idempotent requests again, within the request's own deadline.
///
/// `GET` and `HEAD` are; anything else passes through untouched. Tried again are errors whose retry state allows it,
/// and the statuses 408, 429, 500, 502, 503 and 504. Pauses grow with jitter; `Retry-After`, in seconds or as a date,
/// makes them longer. Where the next pause would not fit into what is left of the deadline, or the attempts are used
/// up, the last answer is the answer, and the last error is returned as [`Exhausted`](crate::Retry::Exhausted).
///
/// A request's own [`attempts`](Request::attempts) bound it further.
///
/// A body that breaks off later is not asked for again: its beginning is in the caller's hands.
///
/// # Examples
/// ```
/// # #[cfg(feature = "testing")]
/// # fn main() -> leverframe::Result<()> {
/// use std::sync::Arc;
/// use leverframe::{ErrorKind, backends::{clock_system::SystemClock, layers}, live::block_on};
/// use leverframe::{testing::ScriptedTransport, traits::{Request, Transport}};
/// let peer = ScriptedTransport::new(); // has no answer to anything
/// let transport = layers::Retry::new(Arc::new(peer.clone()), Arc::new(SystemClock::new()));
/// let error = block_on(transport.send(Request::get("http://peer/".parse().unwrap()))).unwrap_err();
/// assert_eq!((error.retry_state(), peer.requests().len()), (leverframe::Retry::Exhausted, 4));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// ```
pub struct Retry {
    inner: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    policy: RetryPolicy,
}

impl Retry {
    /// Wraps a transport, with the default policy.
    #[must_use]
    pub fn new(inner: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, policy: RetryPolicy::default() }
    }

    /// Sets how often and how far apart a request is tried.
    #[must_use]
    pub fn policy(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Returns how long to wait before trying again; `None` where the outcome is to be taken as it is.
    fn pause(&self, outcome: &Result<Response>, backoff: &Backoff) -> Option<Duration> {
        let asked = match outcome {
            Ok(response) if is_passing(response) => {
                let asked = response.headers.get(header::RETRY_AFTER);
                asked.and_then(|value| asked_pause(value, self.clock.wall())).unwrap_or_default()
            }
            Ok(_) => return None,
            Err(error) => match error.retry_state() {
                crate::Retry::Now => Duration::ZERO,
                crate::Retry::After(pause) => pause,
                _ => return None,
            },
        };
        // Never shorter than our own pause: `Retry-After: 0` from a peer in trouble must not make us a burden.
        Some(asked.max(backoff.pause()?).min(self.policy.longest_pause))
    }

    /// Tries until the outcome is final, and returns it with the number of attempts.
    async fn attempts(&self, request: &Request, until: Tick) -> (Result<Response>, u32) {
        let mut backoff = Backoff::new(self.policy.first_pause, self.policy.longest_pause);
        let mut attempt = 1;
        loop {
            let mut this = request.clone();
            this.deadline = until - self.clock.now();
            let outcome = self.inner.send(this).await;
            backoff.fail();
            let Some(pause) = self.pause(&outcome, &backoff) else { return (outcome, attempt) };
            let next = self.clock.now() + pause;
            if attempt >= self.policy.attempts.min(request.attempts) || next >= until {
                return (outcome, attempt);
            }
            tracing::debug!(
                uri = redacted(&request.uri),
                attempt,
                pause_ms = pause.as_millis() as u64,
                reason = reason(&outcome),
                "trying again"
            );
            // The answer holds a connection, which it must not while nothing happens.
            drop(outcome);
            self.clock.sleep_until(next).await;
            attempt += 1;
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for Retry {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn send(&self, request: Request) -> Result<Response> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return self.inner.send(request).await;
        }
        let until = self.clock.now() + request.deadline;
        let (outcome, attempts) = self.attempts(&request, until).await;
        // An error after one attempt was not tried again here, so that somebody else still may.
        outcome.map_err(|error| match error.retry_state() {
            state if attempts > 1 && state.may_retry() => exhausted(error, attempts),
            _ => error,
        })
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Returns true for answers that say that another one may come later.
fn is_passing(response: &Response) -> bool {
    matches!(response.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn exhausted(error: Error, attempts: u32) -> Error {
    error.with("attempts", attempts).retry(crate::Retry::Exhausted)
}

fn reason(outcome: &Result<Response>) -> String {
    match outcome {
        Ok(response) => response.status.to_string(),
        Err(error) => error.chain(),
    }
}
