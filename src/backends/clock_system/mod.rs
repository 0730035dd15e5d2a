//! The operating system's time.
//!
//! Sleeping needs no async runtime: one thread, started by the first sleep of the process and shared by all clocks,
//! wakes the sleepers.

use std::{
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::Poll,
    time::{Instant, SystemTime},
};

use self::timer::Timer;
use crate::{
    Result, register_clock,
    registry::{BuildContext, Plugin},
    traits::{BoxFuture, Clock, Tick},
};

mod timer;

/// The name under which the clock is registered.
pub const NAME: &str = "system";

/// The operating system's monotonic and wall time.
///
/// All system clocks of a process share one origin, so their ticks compare.
///
/// # Examples
/// ```
/// use leverframe::{backends::clock_system::SystemClock, live::block_on, traits::Clock};
/// let clock = SystemClock::new();
/// let deadline = clock.now() + std::time::Duration::from_millis(2);
/// block_on(clock.sleep_until(deadline));
/// assert!(clock.now() >= deadline);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl SystemClock {
    /// Returns the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Tick {
        Tick::ORIGIN + instant().duration_since(*ORIGIN.get_or_init(instant))
    }

    fn wall(&self) -> SystemTime {
        wall()
    }

    fn sleep_until(&self, deadline: Tick) -> BoxFuture<'static, ()> {
        let clock = *self;
        let mut sleeper: Option<timer::Sleeper> = None;
        Box::pin(poll_fn(move |cx| {
            if clock.now() >= deadline {
                return Poll::Ready(());
            }
            // Registered again at each poll, because the waker may be another one.
            drop(sleeper.replace(Timer::shared().register(deadline, cx.waker().clone())));
            Poll::Pending
        }))
    }
}

static ORIGIN: OnceLock<Instant> = OnceLock::new();

#[expect(clippy::disallowed_methods, reason = "the one place that asks the operating system for the time")]
fn instant() -> Instant {
    // The origin is taken first, so that no tick lies before it.
    let origin = *ORIGIN.get_or_init(Instant::now);
    Instant::now().max(origin)
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the operating system for the time")]
fn wall() -> SystemTime {
    SystemTime::now()
}

fn build(_: &BuildContext<'_>) -> Result<Arc<dyn Clock>> {
    Ok(Arc::new(SystemClock::new()))
}

/// How the clock is registered.
pub const PLUGIN: Plugin<dyn Clock> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("The operating system's monotonic and wall time")
    .with_example("[clock]\nuse = \"system\"");
register_clock!(PLUGIN);
