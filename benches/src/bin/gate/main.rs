//! Prints how fast gates are, ours and others. See `docs/performance.md`, "Gate".

use std::{
    env,
    hint::black_box,
    process::{Command, ExitCode},
    sync::Arc,
};

use leverframe::gate::limiter::AdaptiveLimiter;
use leverframe_benches::{
    gate::{
        Gate, Governor, Leverframe, POLICY, TAGS, WaitState, decisions, in_turn, latencies, one_tag,
        pure_policy, verified,
    },
    measure::{Side, alternate, whole},
    options::{Options, progress},
    report::{ONE_THREAD, Report, Row, Target},
    threads::Gain,
};
use tokio::sync::Semaphore;

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
        self.limiter();
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

    /// A call that is let in and ends, against the limit of so many at a time that is never learned.
    fn limiter(&mut self) {
        let ours = AdaptiveLimiter::builder().build().expect("the defaults are sound");
        let theirs = Arc::new(Semaphore::new(20));
        self.pair(
            "adaptive limiter, a call in and out",
            "tokio::sync::Semaphore",
            Target::default(),
            &mut whole(|n| in_and_out(&ours, n)),
            &mut whole(|n| with_permit(&theirs, n)),
        );
    }

    /// What a second thread brings on one tag: with twice the throughput a call takes half as long.
    fn two_threads(&mut self, ours: &Leverframe, theirs: &WaitState, governor: &Governor) {
        const NAME: &str = "client gate of one tag, two threads against one";
        if !self.options.wants(NAME, ONE_THREAD) {
            return;
        }
        progress(NAME);
        let effort = self.options.effort;
        let gain = Gain::of(effort, &|_, n| one_tag(ours, n));
        let of_theirs = Gain::of(effort, &|_, n| one_tag(theirs, n));
        let of_governor = Gain::of(effort, &|_, n| one_tag(governor, n));
        let others = [(WaitState::NAME, of_theirs), (Governor::NAME, of_governor)];
        let target = Target { ratio: Some(1.0 / 1.8), ns: None };
        self.report.rows.push(Row::gain(NAME, &gain, &others, target));
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

/// Lets calls of three tags in and out again.
#[inline(never)]
fn in_and_out(limiter: &AdaptiveLimiter, calls: u64) {
    for tag in TAGS.iter().cycle().take(calls as usize) {
        black_box(limiter.acquire(black_box(Some(tag)), None).is_ok());
    }
}

/// Takes and gives back permits as often.
#[inline(never)]
fn with_permit(semaphore: &Arc<Semaphore>, calls: u64) {
    for _ in 0..calls {
        black_box(Arc::clone(semaphore).try_acquire_owned().is_ok());
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
