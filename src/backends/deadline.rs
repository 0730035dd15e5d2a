//! Waiting no longer than allowed.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use crate::{Error, ErrorKind, Retry, traits::BoxFuture};

/// Waits for `future`; `None` once `due` is there.
///
/// The time goes first, so that a peer that never pauses cannot stretch it.
pub(super) async fn unless_due<T>(
    due: &mut BoxFuture<'static, ()>,
    future: impl Future<Output = T> + Send,
) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match due.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx).map(Some),
    })
    .await
}

/// The error of an exchange that took longer than allowed.
pub(super) fn late(operation: &'static str, uri: &str, allowed: Duration) -> Error {
    Error::new(ErrorKind::Timeout, operation)
        .with("uri", uri)
        .with("allowed_ms", allowed.as_millis())
        .retry(Retry::Now)
}
