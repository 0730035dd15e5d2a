//! Prints how fast gates are, ours and others. See `docs/performance.md`, "Gate".

use std::{
    env,
    hint::black_box,
    process::{Command, ExitCode},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use leverframe_benches::{
    gate::{
        Gate, Governor, Leverframe, POLICY, TAGS, WaitState, decisions, in_turn, latencies, one_tag,
        pure_policy, verified,
    },
    measure::{Side, alternate, whole},
    options::{Options, progress},
    report::{Report, Row, Target},
};

const USAGE: &str = "usage: benches/gate [--json] [--quick] [--rows PATTERN]

  --json          print {\"rows\": [...]} instead of a table
  --quick         fewer, shorter rounds: to see that it works, not to quote
  --rows PATTERN  only rows whose name or peer contains PATTERN";

const CLIENT: &str = "client gate, three tags in turn";

fn main() -> ExitCode {
    let options = match Options::of_process(USAGE) {
        Ok(options) => options,
        Err(refused) => return refused,
    };
    let mut suite = Suite { options, report: Report::default() };
    suite.run();
    suite.options.print(&suite.report);
    ExitCode::SUCCESS
}

/// Measures rows and collects them.
struct Suite {
    options: Options,
    report: Report,
}

impl Suite {
    fn run(&mut self) {
        let ours = verified(Leverframe::synced());
        let theirs = verified(WaitState::synced());
        let governor = verified(Governor::unlimited());

        let limits = Target { ns: Some(30.0), ratio: Some(0.4) };
        self.pair(
            CLIENT,
            WaitState::NAME,
            limits,
            &mut whole(|n| in_turn(&ours, n)),
            &mut whole(|n| in_turn(&theirs, n)),
        );
        let no_limit = Target::default();
        self.pair(
            CLIENT,
            Governor::NAME,
            no_limit,
            &mut whole(|n| in_turn(&ours, n)),
            &mut whole(|n| in_turn(&governor, n)),
        );
        self.pure();
        self.pair(
            "report_latency, three tags in turn",
            WaitState::NAME,
            Target { ns: Some(25.0), ratio: None },
            &mut whole(|n| latencies(&ours, n)),
            &mut whole(|n| latencies(&theirs, n)),
        );
        self.two_threads(&ours, &theirs, &governor);
        self.allocations();
    }

    fn pure(&mut self) {
        let (ours, theirs) = (pure_policy(), published_policy());
        self.pair(
            "pure gate, three tags in turn",
            WaitState::NAME,
            Target { ns: Some(12.0), ratio: None },
            &mut whole(|n| decisions(&ours, n)),
            &mut whole(|n| published_decisions(&theirs, n)),
        );
    }

    /// What a second thread brings on one tag: with twice the throughput a call takes half as long.
    fn two_threads(&mut self, ours: &Leverframe, theirs: &WaitState, governor: &Governor) {
        const NAME: &str = "client gate of one tag, two threads against one";
        const ONE: &str = "leverframe, one thread";
        if !self.options.wants(NAME, ONE) {
            return;
        }
        progress(NAME);
        let effort = self.options.effort.in_long_turns();
        let (two, one) = alternate(effort, &mut |n| on_threads(ours, 2, n), &mut |n| on_threads(ours, 1, n));
        let gain = |(two, one): (f64, f64)| one / two;
        let of_theirs =
            gain(alternate(effort, &mut |n| on_threads(theirs, 2, n), &mut |n| on_threads(theirs, 1, n)));
        let of_governor =
            gain(alternate(effort, &mut |n| on_threads(governor, 2, n), &mut |n| on_threads(governor, 1, n)));
        let note = format!(
            "throughput of two threads: {:.2} × that of one; {}: {of_theirs:.2} ×, {}: {of_governor:.2} ×",
            gain((two, one)),
            WaitState::NAME,
            Governor::NAME,
        );
        let target = Target { ratio: Some(1.0 / 1.8), ns: None };
        self.report.rows.push(Row::pair(NAME, two, (ONE, one), target).noting(note));
    }

    /// Allocations, from a process of its own: an allocator that counts would slow down whoever allocates.
    fn allocations(&mut self) {
        const PREFIX: &str = "allocations in 1,000 calls: ";
        if !self.options.wants(PREFIX, "") {
            return;
        }
        progress(PREFIX);
        let program = env::current_exe()
            .expect("the system knows this program's path")
            .with_file_name("gate_allocations");
        let output = Command::new(&program)
            .output()
            .unwrap_or_else(|e| panic!("`{}` was built beside this program: {e}", program.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let (name, count) = line.split_once('\t').expect("a name, a tab, a count");
            let count = count.parse().expect("`gate_allocations` prints counts");
            // What others allocate is told, and nothing is asked of it.
            let target = name.starts_with(Leverframe::NAME).then_some(0);
            self.report.rows.push(Row::count(&format!("{PREFIX}{name}"), count, target));
        }
    }

    fn pair(&mut self, name: &str, peer: &'static str, target: Target, ours: Side<'_>, theirs: Side<'_>) {
        if self.options.wants(name, peer) {
            progress(&format!("{name}: {peer}"));
            let (ours_ns, peer_ns) = alternate(self.options.effort, ours, theirs);
            self.report.rows.push(Row::pair(name, ours_ns, (peer, peer_ns), target));
        }
    }
}

fn published_policy() -> waitstate::Policy {
    serde_json::from_str(POLICY).expect("the policy is one")
}

/// As `decisions`, by the other crate.
#[inline(never)]
fn published_decisions(policy: &waitstate::Policy, calls: u64) {
    for tag in TAGS.iter().cycle().take(calls as usize) {
        black_box(waitstate::gate::gate(black_box(policy), black_box(Some(tag)), black_box(Some(1.0))));
    }
}

/// Shares calls of one tag out to threads that start together.
fn on_threads<G: Gate>(gate: &G, threads: usize, calls: u64) -> Duration {
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
                    // Settles what a thread's first call does once.
                    one_tag(gate, 1);
                    start.wait();
                    let began = Instant::now();
                    one_tag(gate, calls / threads as u64);
                    (began, Instant::now())
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().expect("gates do not panic")).collect()
    });
    let began = spans.iter().map(|s| s.0).min().expect("there is a thread");
    let ended = spans.iter().map(|s| s.1).max().expect("there is a thread");
    ended - began
}
