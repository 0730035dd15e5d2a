//! A service with workers and a queue, callers that arrive at random, and a limiter between them; in events, on a
//! clock moved by hand. The same seed gives the same run.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

use leverframe::{
    gate::limiter::{AdaptiveLimiter, AdaptiveLimiterBuilder, Permit, Priority},
    testing::ManualClock,
    traits::{Clock, Tick},
};

/// What stands between the callers and the service.
pub(crate) trait Gate {
    type Pass;

    fn enter(&mut self, priority: Priority) -> Option<Self::Pass>;

    fn leave(&mut self, pass: Self::Pass, failed: bool);

    fn limit(&self) -> u32;
}

impl Gate for AdaptiveLimiter {
    type Pass = Permit;

    fn enter(&mut self, priority: Priority) -> Option<Permit> {
        self.acquire(None, Some(priority)).ok()
    }

    fn leave(&mut self, mut pass: Permit, failed: bool) {
        if failed {
            pass.failed();
        }
    }

    fn limit(&self) -> u32 {
        self.snapshot().limit
    }
}

/// The textbook's gradient, with nothing against its faults: every window counts, and the root is added whatever
/// happens.
pub(crate) struct Naive {
    clock: ManualClock,
    baseline: Baseline,
    limit: f64,
    in_flight: u32,
    usual: f64,
    sum: f64,
    samples: u32,
    opened: Tick,
}

/// What the naive gradient compares with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Baseline {
    /// The lowest latency that there ever was.
    Lowest,
    /// An average over a long time.
    Average,
}

impl Naive {
    fn new(clock: &ManualClock, baseline: Baseline, initial: u32) -> Self {
        Self {
            clock: clock.clone(),
            baseline,
            limit: f64::from(initial),
            in_flight: 0,
            usual: f64::INFINITY,
            sum: 0.0,
            samples: 0,
            opened: clock.now(),
        }
    }
}

impl Gate for Naive {
    type Pass = Tick;

    fn enter(&mut self, _: Priority) -> Option<Tick> {
        (self.in_flight < self.limit()).then(|| {
            self.in_flight += 1;
            self.clock.now()
        })
    }

    fn leave(&mut self, began: Tick, _: bool) {
        self.in_flight -= 1;
        let now = self.clock.now();
        let latency = (now - began).as_secs_f64();
        if self.usual.is_infinite() || self.baseline == Baseline::Lowest {
            self.usual = self.usual.min(latency);
        }
        self.sum += latency;
        self.samples += 1;
        if now - self.opened >= Duration::from_millis(100) {
            let recent = self.sum / f64::from(self.samples);
            if self.baseline == Baseline::Average {
                self.usual += 0.02 * (recent - self.usual);
            }
            let gradient = (self.usual / recent).clamp(0.5, 1.0);
            self.limit = (self.limit * gradient + self.limit.sqrt()).clamp(1.0, 1_000.0);
            (self.sum, self.samples, self.opened) = (0.0, 0, now);
        }
    }

    fn limit(&self) -> u32 {
        self.limit as u32
    }
}

/// How long the service works on a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Constant(f64),
    /// As different as calls that come from many places are.
    Exponential(f64),
    /// So many of a hundred are fast, the others slow.
    Mixed {
        fast: f64,
        slow: f64,
        percent_fast: u64,
    },
}

/// The service, and who calls it. Times in seconds, rates per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) workers: usize,
    pub(crate) work: Work,
    /// By priority, the lowest first, where it is something else.
    pub(crate) work_of: [Option<Work>; 4],
    /// One of so many calls is answered at once, from a cache; 0 for none.
    pub(crate) cached_of: u64,
    /// So many of a hundred calls are refused by the service at once.
    pub(crate) percent_refused: u64,
    /// Callers give up after this; the service works on regardless.
    pub(crate) timeout: f64,
    /// By priority, the lowest first.
    pub(crate) arrivals: [f64; 4],
}

impl World {
    /// Ten workers, 10 ms a call: a thousand calls a second.
    pub(crate) fn ten_workers() -> Self {
        Self {
            workers: 10,
            work: Work::Exponential(0.010),
            work_of: [None; 4],
            cached_of: 0,
            percent_refused: 0,
            timeout: 10.0,
            arrivals: [0.0; 4],
        }
    }

    pub(crate) fn calls(mut self, per_second: f64) -> Self {
        self.arrivals = [0.0, per_second, 0.0, 0.0];
        self
    }
}

/// What happened in a stretch of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stretch {
    pub(crate) seconds: f64,
    /// Answered in time, by priority.
    pub(crate) good: [u64; 4],
    pub(crate) failed: u64,
    pub(crate) denied: [u64; 4],
    /// In seconds, of the calls that were answered in time.
    pub(crate) latencies: Vec<f64>,
    /// Every 50 ms.
    pub(crate) limits: Vec<u32>,
    pub(crate) most_in_flight: u32,
}

impl Stretch {
    pub(crate) fn goodput(&self) -> f64 {
        self.good.iter().sum::<u64>() as f64 / self.seconds
    }

    pub(crate) fn mean_latency(&self) -> f64 {
        self.latencies.iter().sum::<f64>() / self.latencies.len() as f64
    }

    pub(crate) fn highest_limit(&self) -> u32 {
        self.limits.iter().copied().max().unwrap()
    }

    pub(crate) fn lowest_limit(&self) -> u32 {
        self.limits.iter().copied().min().unwrap()
    }

    pub(crate) fn mean_limit(&self) -> f64 {
        self.limits.iter().map(|limit| f64::from(*limit)).sum::<f64>() / self.limits.len() as f64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(usize),
    /// A worker is done with a call.
    Worked(u64),
    Answered(u64),
    Fails(u64),
    Look,
}

struct Call<P> {
    id: u64,
    pass: P,
    began: f64,
    priority: usize,
}

pub(crate) struct Sim<G: Gate> {
    pub(crate) gate: G,
    pub(crate) world: World,
    clock: ManualClock,
    random: Random,
    now: f64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    next: u64,
    calls: Vec<Call<G::Pass>>,
    waiting: VecDeque<(u64, usize)>,
    working: usize,
    in_flight: u32,
    stretch: Stretch,
}

/// Makes a simulation with an adaptive limiter.
pub(crate) fn adaptive(
    seed: u64,
    world: World,
    set_up: impl FnOnce(AdaptiveLimiterBuilder) -> AdaptiveLimiterBuilder,
) -> Sim<AdaptiveLimiter> {
    let clock = ManualClock::new();
    let builder = AdaptiveLimiter::builder().clock(Arc::new(clock.clone()));
    Sim::new(seed, world, clock, set_up(builder).build().unwrap())
}

/// Makes the same with the textbook's gradient.
pub(crate) fn naive(seed: u64, world: World, baseline: Baseline, initial: u32) -> Sim<Naive> {
    let clock = ManualClock::new();
    let gate = Naive::new(&clock, baseline, initial);
    Sim::new(seed, world, clock, gate)
}

impl<G: Gate> Sim<G> {
    pub(crate) fn new(seed: u64, world: World, clock: ManualClock, gate: G) -> Self {
        Self {
            gate,
            world,
            clock,
            random: Random(seed),
            now: 0.0,
            events: BinaryHeap::new(),
            next: 0,
            calls: Vec::new(),
            waiting: VecDeque::new(),
            working: 0,
            in_flight: 0,
            stretch: Stretch::default(),
        }
    }

    /// Goes on for so many seconds.
    pub(crate) fn run(&mut self, seconds: f64) -> Stretch {
        self.stretch = Stretch { seconds, ..Stretch::default() };
        // Rates may have changed: the arrivals that were to come are drawn anew.
        self.events.retain(|Reverse((_, _, event))| !matches!(event, Event::Arrives(_) | Event::Look));
        (0..4).for_each(|priority| self.schedule_arrival(priority));
        self.schedule(self.now, Event::Look);
        let end = self.now + seconds;
        while let Some(Reverse((at, _, event))) = self.events.pop_if_before(end) {
            self.advance_to(at as f64 / 1e9);
            self.happen(event);
        }
        self.advance_to(end);
        std::mem::take(&mut self.stretch)
    }

    fn advance_to(&mut self, time: f64) {
        self.clock.advance(Duration::from_secs_f64((time - self.now).max(0.0)));
        self.now = self.now.max(time);
    }

    fn schedule(&mut self, at: f64, event: Event) {
        self.next += 1;
        self.events.push(Reverse(((at * 1e9) as u64, self.next, event)));
    }

    fn schedule_arrival(&mut self, priority: usize) {
        let rate = self.world.arrivals[priority];
        if rate > 0.0 {
            let gap = self.random.exponential(1.0 / rate);
            self.schedule(self.now + gap, Event::Arrives(priority));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(priority) => {
                self.schedule_arrival(priority);
                self.arrive(priority);
            }
            Event::Worked(id) => {
                self.end(id, false);
                self.working -= 1;
                self.begin_work();
            }
            Event::Answered(id) => self.end(id, false),
            Event::Fails(id) => self.end(id, true),
            Event::Look => {
                self.stretch.limits.push(self.gate.limit());
                self.schedule(self.now + 0.05, Event::Look);
            }
        }
    }

    fn arrive(&mut self, priority: usize) {
        let Some(pass) = self.gate.enter(Priority::ALL[priority]) else {
            self.stretch.denied[priority] += 1;
            return;
        };
        self.next += 1;
        let id = self.next;
        self.calls.push(Call { id, pass, began: self.now, priority });
        self.in_flight += 1;
        self.stretch.most_in_flight = self.stretch.most_in_flight.max(self.in_flight);
        if self.random.one_of(self.world.cached_of) {
            return self.schedule(self.now + 20e-6, Event::Answered(id));
        }
        if self.random.below(100) < self.world.percent_refused {
            return self.schedule(self.now + 50e-6, Event::Fails(id));
        }
        self.schedule(self.now + self.world.timeout, Event::Fails(id));
        self.waiting.push_back((id, priority));
        self.begin_work();
    }

    fn begin_work(&mut self) {
        while self.working < self.world.workers
            && let Some((id, priority)) = self.waiting.pop_front()
        {
            let time = match self.world.work_of[priority].unwrap_or(self.world.work) {
                Work::Constant(time) => time,
                Work::Exponential(mean) => self.random.exponential(mean),
                Work::Mixed { fast, slow, percent_fast } => {
                    if self.random.below(100) < percent_fast {
                        fast
                    } else {
                        slow
                    }
                }
            };
            self.working += 1;
            self.schedule(self.now + time, Event::Worked(id));
        }
    }

    fn end(&mut self, id: u64, failed: bool) {
        // In the order they came. The service works on for callers that gave up, whose calls are gone.
        let Ok(place) = self.calls.binary_search_by_key(&id, |call| call.id) else { return };
        let call = self.calls.remove(place);
        self.gate.leave(call.pass, failed);
        self.in_flight -= 1;
        if failed {
            self.stretch.failed += 1;
        } else {
            self.stretch.good[call.priority] += 1;
            self.stretch.latencies.push(self.now - call.began);
        }
    }
}

trait PopIfBefore {
    fn pop_if_before(&mut self, end: f64) -> Option<Reverse<(u64, u64, Event)>>;
}

impl PopIfBefore for BinaryHeap<Reverse<(u64, u64, Event)>> {
    fn pop_if_before(&mut self, end: f64) -> Option<Reverse<(u64, u64, Event)>> {
        let Reverse((at, _, _)) = self.peek()?;
        if (*at as f64) < end * 1e9 { self.pop() } else { None }
    }
}

/// A generator that is the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_of(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        // From (0, 1], so that the logarithm is finite.
        let uniform = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -mean * uniform.ln()
    }
}
