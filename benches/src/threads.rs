//! Work shared out to threads, and what the machine's cores give two of them whatever the work.

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use crate::measure::{Effort, Side, alternate_all};

/// How two threads fare against one.
#[derive(Clone, Copy, Debug)]
pub struct Gain {
    /// Nanoseconds of an operation when two threads share the operations; with twice the throughput half as many.
    pub two: f64,
    /// Nanoseconds of an operation on one thread.
    pub one: f64,
    /// The throughput of two threads that only count in registers, as a multiple of one's, in the same rounds: two
    /// where each has a core for itself, less where the host gives away a core's other half or its time.
    pub cores: f64,
}

impl Gain {
    /// Measures work; it is told the number of its thread and how many operations to do.
    pub fn of(effort: Effort, work: &(dyn Fn(usize, u64) + Sync)) -> Self {
        let counting = &|_: usize, n: u64| count(n);
        let sides: [Side<'_>; 4] = [
            &mut |n| on_threads(work, 2, n),
            &mut |n| on_threads(work, 1, n),
            &mut |n| on_threads(counting, 2, n),
            &mut |n| on_threads(counting, 1, n),
        ];
        let [two, one, two_counting, one_counting] = alternate_all(effort.in_long_turns(), sides);
        Self { two, one, cores: one_counting / two_counting }
    }

    /// Returns the throughput of two threads as a multiple of one's.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.one / self.two
    }
}

/// Shares operations out to threads that start together, each on a core of its own.
fn on_threads(work: &(dyn Fn(usize, u64) + Sync), threads: usize, operations: u64) -> Duration {
    let start = Barrier::new(threads);
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let start = &start;
                scope.spawn(move || {
                    // Left to itself the system may keep two short-lived threads on one core for a while.
                    if let Some(core) =
                        core_affinity::get_core_ids().and_then(|cores| cores.get(thread).copied())
                    {
                        core_affinity::set_for_current(core);
                    }
                    // Settles what a thread's first operation does once.
                    work(thread, 1);
                    start.wait();
                    let began = Instant::now();
                    work(thread, operations / threads as u64);
                    (began, Instant::now())
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().expect("what is measured does not panic")).collect()
    });
    let began = spans.iter().map(|s| s.0).min().expect("there is a thread");
    let ended = spans.iter().map(|s| s.1).max().expect("there is a thread");
    ended - began
}

/// Keeps a core's arithmetic units busy and shares nothing with anybody.
#[inline(never)]
fn count(operations: u64) {
    let mut lanes = [1_u64, 2, 3, 4, 5, 6, 7, 8];
    for at in 0..operations {
        for lane in &mut lanes {
            *lane = lane.wrapping_add(at) ^ (*lane >> 3);
        }
    }
    black_box(lanes);
}
