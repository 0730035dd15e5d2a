//! Prints how often gates allocate.
//!
//! A program of its own, because it counts every allocation of its process.

use leverframe_benches::gate::{
    Gate, Governor, Leverframe, WaitState, decisions, in_turn, latencies, pure_policy, verified,
};
use leverframe_counting::{Count, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLS: u64 = 1_000;

fn main() {
    let ours = verified(Leverframe::synced());
    let theirs = verified(WaitState::synced());
    let governor = verified(Governor::unlimited());
    let policy = pure_policy();

    print(Leverframe::NAME, "client gate", || in_turn(&ours, CALLS));
    print(Leverframe::NAME, "report_latency", || latencies(&ours, CALLS));
    print(Leverframe::NAME, "pure gate", || decisions(&policy, CALLS));
    print(WaitState::NAME, "client gate", || in_turn(&theirs, CALLS));
    print(WaitState::NAME, "report_latency", || latencies(&theirs, CALLS));
    print(Governor::NAME, "check", || in_turn(&governor, CALLS));
}

fn print(name: &str, what: &str, calls: impl Fn()) {
    // What the first calls do once is not counted.
    calls();
    let before = Count::now();
    calls();
    println!("{name}, {what}\t{}", Count::now().since(before).all);
}
