//! What time it is, and how to wait.

use std::{
    fmt,
    future::Future,
    ops::{Add, Sub},
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A future that owns what it needs, as object-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A point on a clock's monotonic time line, counted from that clock's own origin.
///
/// Ticks of different clocks do not compare meaningfully. Differences saturate at zero, so that a tick taken on
/// another thread can never make a subtraction panic.
///
/// # Examples
/// ```
/// use leverframe::traits::Tick;
/// use std::time::Duration;
/// let t = Tick::ORIGIN + Duration::from_secs(3);
/// assert_eq!(t - Tick::ORIGIN, Duration::from_secs(3));
/// assert_eq!(Tick::ORIGIN - t, Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tick(Duration);

impl Tick {
    /// The clock's origin.
    pub const ORIGIN: Self = Self(Duration::ZERO);

    /// Returns the time since the clock's origin.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    /// Saturates at the far end of the time line.
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl Sub for Tick {
    type Output = Duration;

    /// Saturates at zero.
    fn sub(self, rhs: Self) -> Duration {
        self.0.saturating_sub(rhs.0)
    }
}

/// Tells the time and wakes a task at a given time.
///
/// Clauses:
/// - **K1** `now` never goes back, on any thread.
/// - **K2** `sleep_until` is ready no earlier than the tick it was given, and at once for a tick that has passed.
/// - **K3** a sleep that is dropped leaves nothing behind.
/// - **K4** clones of a handle to one clock share its time.
///
/// `wall` may jump either way; nothing that must be ordered uses it.
///
/// # Examples
/// ```
/// use leverframe::{backends::clock_system::SystemClock, traits::Clock};
/// let clock = SystemClock::new();
/// let before = clock.now();
/// assert!(clock.now() >= before);
/// ```
#[cfg_attr(any(test, feature = "testing"), mockall::automock)]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the monotonic time.
    fn now(&self) -> Tick;

    /// Returns the time of day, for stamps that people and other systems read.
    fn wall(&self) -> SystemTime;

    /// Returns a future that is ready at `deadline`. Works inside and outside any async runtime.
    fn sleep_until(&self, deadline: Tick) -> BoxFuture<'static, ()>;
}

#[deny(clippy::missing_trait_methods)]
impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> Tick {
        (**self).now()
    }

    fn wall(&self) -> SystemTime {
        (**self).wall()
    }

    fn sleep_until(&self, deadline: Tick) -> BoxFuture<'static, ()> {
        (**self).sleep_until(deadline)
    }
}
