//! Wrappers around a transport: what the framework does for every one of them, so that none does it itself.
//!
//! From the outside in:
//!
//! | layer | does | why there |
//! |---|---|---|
//! | [`Observe`] | counts, and tells `tracing` of each request | sees what the caller asked for and got, not the attempts |
//! | [`Retry`] | tries idempotent requests again | each attempt gets a bound of its own |
//! | [`Timeout`] | ends what hangs | works around a transport that does not keep its deadline |
//! | the transport | | |
//!
//! All of them measure time with the [`Clock`], hold no lock while they wait, and leave the transport's name as it is.

mod observe;
mod retry;
mod retry_after;
mod timeout;

use std::sync::Arc;

pub use self::{
    observe::{Counters, Observe, Traffic},
    retry::{Retry, RetryPolicy},
    timeout::Timeout,
};
use crate::traits::{Clock, Transport};

/// Wraps a transport in all layers, in the documented order.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use leverframe::{backends::{clock_system::SystemClock, layers}, live::block_on, traits::{Body, Request, Transport}};
/// use leverframe::testing::ScriptedTransport;
/// use leverframe::ErrorKind;
/// let peer = ScriptedTransport::new();
/// peer.answer("/flags", leverframe::testing::Answer::Whole(http::StatusCode::OK, http::HeaderMap::new(), "hello".into()));
/// peer.fail_next(ErrorKind::Unavailable);
/// let transport = layers::standard(Arc::new(peer.clone()), Arc::new(SystemClock::new()));
///
/// let answer = block_on(transport.send(Request::get("http://peer/flags".parse().unwrap())))?;
///
/// assert_eq!(block_on(answer.body.read_all(100))?, "hello");
/// assert_eq!(peer.requests().len(), 2);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[must_use]
pub fn standard(transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Arc<dyn Transport> {
    standard_with_counters(transport, clock).0
}

/// Like [`standard`], with a handle to what passes through.
#[must_use]
pub fn standard_with_counters(
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
) -> (Arc<dyn Transport>, Counters) {
    let timeout = Timeout::new(transport, Arc::clone(&clock));
    let retry = Retry::new(Arc::new(timeout), Arc::clone(&clock));
    let observe = Observe::new(Arc::new(retry), clock);
    let counters = observe.counters();
    (Arc::new(observe), counters)
}

#[cfg(test)]
mod tests;
