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
pub(crate) mod retry_after;
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
/// # #[cfg(feature = "testing")]
/// # fn main() -> leverframe::Result<()> {
/// use std::sync::Arc;
/// use http::{HeaderMap, StatusCode};
/// use leverframe::{ErrorKind, backends::{clock_system::SystemClock, layers}, live::block_on};
/// use leverframe::{testing::{Answer, ScriptedTransport}, traits::{Request, Transport}};
/// let peer = ScriptedTransport::new();
/// peer.answer("/flags", Answer::Whole(StatusCode::OK, HeaderMap::new(), "hello".into()));
/// peer.fail_next(ErrorKind::Unavailable);
/// let transport = layers::standard(Arc::new(peer.clone()), Arc::new(SystemClock::new()));
///
/// let answer = block_on(transport.send(Request::get("http://peer/flags".parse().unwrap())))?;
///
/// assert_eq!(block_on(answer.body.read_all(100))?, "hello");
/// assert_eq!(peer.requests().len(), 2);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
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
