//! Timing: two sides in turn, so that whatever else the machine does slows both, and the median of many rounds.

use std::time::{Duration, Instant};

/// How much time is spent on a row.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often each side has its turn.
    pub rounds: usize,
    /// How long one turn takes, about.
    pub turn: Duration,
}

impl Effort {
    /// Enough for figures to quote: about a second a row.
    pub const FULL: Self = Self { rounds: 31, turn: Duration::from_millis(15) };
    /// Enough to see that everything works.
    pub const QUICK: Self = Self { rounds: 5, turn: Duration::from_millis(4) };

    /// Fewer, longer turns, for sides whose single operation is long or that start threads: the system takes some
    /// milliseconds to move a new thread to the idle core.
    #[must_use]
    pub fn in_long_turns(self) -> Self {
        Self { rounds: self.rounds.div_ceil(3), turn: self.turn * 10 }
    }
}

/// Times the given number of operations; what it does beside them it leaves out of the result.
pub type Side<'a> = &'a mut dyn FnMut(u64) -> Duration;

/// Returns the nanoseconds an operation takes on each of two sides.
pub fn alternate(effort: Effort, a: Side<'_>, b: Side<'_>) -> (f64, f64) {
    let [a, b] = alternate_all(effort, [a, b]);
    (a, b)
}

/// Returns the nanoseconds an operation takes on each side.
pub fn alternate_all<const N: usize>(effort: Effort, mut sides: [Side<'_>; N]) -> [f64; N] {
    let turns = sides.each_mut().map(|side| calibrate(effort, side));
    let mut taken = [const { Vec::new() }; N];
    for _ in 0..effort.rounds {
        for ((side, turn), taken) in sides.iter_mut().zip(turns).zip(&mut taken) {
            taken.push(per_operation(side, turn));
        }
    }
    taken.map(median)
}

/// Returns the nanoseconds an operation takes.
pub fn alone(effort: Effort, side: Side<'_>) -> f64 {
    let operations = calibrate(effort, side);
    median((0..effort.rounds).map(|_| per_operation(side, operations)).collect())
}

/// Returns the nanoseconds that each side takes, for sides whose single turn is long enough to be timed.
pub fn in_turns<const N: usize>(rounds: usize, mut sides: [&mut dyn FnMut() -> Duration; N]) -> [f64; N] {
    let mut taken = [const { Vec::new() }; N];
    // The first two rounds warm up.
    for round in 0..rounds + 2 {
        for (side, taken) in sides.iter_mut().zip(&mut taken) {
            let took = side();
            if round >= 2 {
                taken.push(took.as_nanos() as f64);
            }
        }
    }
    taken.map(median)
}

/// Makes a side of work that is nothing but the operations.
pub fn whole(mut work: impl FnMut(u64)) -> impl FnMut(u64) -> Duration {
    move |operations| {
        let start = Instant::now();
        work(operations);
        start.elapsed()
    }
}

/// Finds how many operations fill a turn; warms the side up on the way.
fn calibrate(effort: Effort, side: Side<'_>) -> u64 {
    let mut operations = 1;
    loop {
        let took = side(operations);
        if took * 2 >= effort.turn {
            let fill = effort.turn.as_nanos() as f64 / took.as_nanos() as f64;
            return ((operations as f64 * fill) as u64).max(1);
        }
        operations *= 2;
    }
}

fn per_operation(side: Side<'_>, operations: u64) -> f64 {
    side(operations).as_nanos() as f64 / operations as f64
}

/// Returns the middle one of the values.
///
/// # Panics
/// Without values.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
