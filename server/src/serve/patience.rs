//! hyper's timer for one connection.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;

/// Limits how long a connection waits for the head of its next request.
///
/// hyper begins such a wait with each request and drops it a moment later, and each would go in and out of the runtime's
/// wheel, which all threads share under one lock. So the connection keeps one alarm: a wait that lasts longer than the
/// alarm sets it anew when it rings, and one that ends earlier leaves it as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    alarm: Arc<Mutex<Option<Alarm>>>,
}

struct Alarm {
    rings_at: Instant,
    sleep: Pin<Box<dyn Sleep>>,
}

impl Alarm {
    fn at(rings_at: Instant) -> Self {
        Self { rings_at, sleep: TokioTimer::new().sleep_until(rings_at) }
    }
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarm").field("rings_at", &self.rings_at).finish_non_exhaustive()
    }
}

impl Timer for Patience {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait { alarm: Arc::clone(&self.alarm), deadline })
    }

    fn now(&self) -> Instant {
        TokioTimer::new().now()
    }
}

/// One wait; a connection has one at a time.
#[derive(Debug)]
struct Wait {
    alarm: Arc<Mutex<Option<Alarm>>>,
    deadline: Instant,
}

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut held = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let alarm = match &mut *held {
                Some(alarm) if alarm.rings_at <= self.deadline => alarm,
                none_or_later => none_or_later.insert(Alarm::at(self.deadline)),
            };
            ready!(alarm.sleep.as_mut().poll(cx));
            let rang_for_this = alarm.rings_at == self.deadline;
            *held = None;
            if rang_for_this {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_wait_that_ends_early_leaves_its_alarm_to_the_next_one() {
        let patience = Patience::default();
        let rings_at = || patience.alarm.lock().unwrap().as_ref().map(|alarm| alarm.rings_at);
        let first = patience.now() + FAR;

        assert!(futures_util::poll!(patience.sleep_until(first)).is_pending());
        assert!(futures_util::poll!(patience.sleep_until(first + FAR)).is_pending());

        assert_eq!(rings_at(), Some(first));
    }

    #[tokio::test]
    async fn an_alarm_that_rings_early_is_set_anew_and_one_that_would_ring_late_is_replaced() {
        let patience = Patience::default();
        let now = patience.now();
        assert!(futures_util::poll!(patience.sleep_until(now + FAR)).is_pending());

        patience.sleep_until(now).await;
        let mut early = Duration::from_millis(2);
        let rings_at = loop {
            let rings_at = patience.now() + early;
            if futures_util::poll!(patience.sleep_until(rings_at)).is_pending() {
                break rings_at;
            }
            // Whoever was held up for so long gets more time.
            early *= 2;
        };
        patience.sleep_until(rings_at + early).await;

        assert!(patience.now() >= rings_at + early);
        assert!(patience.alarm.lock().unwrap().is_none());
    }
}
