//! The clauses of [`Clock`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use super::{poll_once, within};
use crate::traits::Clock;

/// A clock with a way to let its time pass.
pub struct Fixture<C> {
    clock: Arc<C>,
    twin: Arc<dyn Clock>,
    pass: Pass,
}

type Pass = Box<dyn Fn(Duration) + Send + Sync>;

impl<C: Clock> Fixture<C> {
    /// Takes the clock, another handle to it, and what lets time pass.
    #[must_use]
    pub fn new(clock: C, twin: impl Clock, pass: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self { clock: Arc::new(clock), twin: Arc::new(twin), pass: Box::new(pass) }
    }
}

/// What a clause works on.
pub struct Case {
    clock: Arc<dyn Clock>,
    twin: Arc<dyn Clock>,
    pass: Pass,
}

#[doc(hidden)]
pub fn on_the_type<C: Clock>(fixture: Fixture<C>) -> Case {
    Case { clock: fixture.clock, twin: fixture.twin, pass: fixture.pass }
}

#[doc(hidden)]
pub fn through_arc_dyn<C: Clock>(fixture: Fixture<C>) -> Case {
    let erased: Arc<dyn Clock> = fixture.clock;
    Case { clock: Arc::new(erased), twin: fixture.twin, pass: fixture.pass }
}

const STEP: Duration = Duration::from_millis(5);
/// No sleep of a clause takes longer.
const LONGEST: Duration = Duration::from_secs(10);

/// K1: `now` never goes back, on any thread.
pub async fn k1_never_goes_back(case: Case) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut last = case.clock.now();
                for _ in 0..2_000 {
                    let now = case.clock.now();
                    assert!(now >= last, "the clock went back from {last:?} to {now:?}");
                    last = now;
                }
            });
        }
    });
    let before = case.clock.now();
    (case.pass)(STEP);
    assert!(case.clock.now() >= before + STEP, "time that passed does not show");
}

/// K2: `sleep_until` is ready no earlier than its tick, and at once for one that has passed.
pub async fn k2_wakes_no_earlier(case: Case) {
    let deadline = case.clock.now() + STEP;
    let mut sleep = case.clock.sleep_until(deadline);
    if poll_once(sleep.as_mut()).is_ready() {
        assert!(case.clock.now() >= deadline, "ready before the deadline");
    }
    (case.pass)(STEP);
    within("waking", sleep).await;
    assert!(case.clock.now() >= deadline, "woken before the deadline");
    let mut past = case.clock.sleep_until(deadline);
    assert!(poll_once(past.as_mut()).is_ready(), "a tick that has passed is not ready at once");
}

/// K3: a sleep that is dropped leaves nothing behind.
pub async fn k3_forgets_dropped_sleeps(case: Case) {
    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let mut time = STEP * 40;
    let (count, deadline) = loop {
        let deadline = case.clock.now() + time;
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        for _ in 0..100 {
            let mut sleep = case.clock.sleep_until(deadline);
            let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
        }
        // Otherwise the machine stood still meanwhile, and one that was due before it was dropped has woken rightly.
        if case.clock.now() < deadline {
            break (count, deadline);
        }
        time *= 2;
        assert!(time < LONGEST, "a hundred sleeps were not made and dropped within {time:?}");
    };
    (case.pass)(time + STEP);
    within("waking", case.clock.sleep_until(deadline)).await;
    assert_eq!(count.0.load(Ordering::SeqCst), 0, "sleeps that were dropped still woke somebody");
}

/// K4: handles to one clock share its time.
pub async fn k4_handles_share_time(case: Case) {
    let first = case.clock.now();
    (case.pass)(STEP);
    let second = case.twin.now();
    let third = case.clock.now();
    assert!(first + STEP <= second && second <= third, "handles disagree: {first:?}, {second:?}, {third:?}");
}
