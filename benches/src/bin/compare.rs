//! Prints how fast leverframe and its peers are. See `docs/performance.md`.

use std::{
    env,
    hint::black_box,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use leverframe::{
    EvalOptions,
    document::Tree,
    eval::Program,
    manifest::{LintOptions, Manifest, lint_tree},
};
use leverframe_benches::{
    changes,
    engine::{Engine, flags_in_turn, one_flag, users_in_turn, verified},
    load,
    measure::{Side, alone, alternate, whole},
    options::{Options, progress},
    ours::{Handle, Leverframe, runtime},
    peers::{Eppo, Flagd, Growthbook, LaunchDarkly, Yggdrasil},
    report::{ONE_THREAD, Report, Row, Target},
    threads::Gain,
    workload::{ENVIRONMENT, USERS, Workload},
};

const USAGE: &str = "usage: benches/run [--json] [--quick] [--rows PATTERN]

  --json          print {\"rows\": [...]} instead of a table
  --quick         fewer, shorter rounds: to see that it works, not to quote
  --rows PATTERN  only rows whose name or peer contains PATTERN";

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
        let workload = Workload::new();
        let ours: Leverframe = verified(&workload);
        let first =
            [Target { ns: Some(20.0), ratio: Some(0.7) }, Target { ns: Some(100.0), ratio: Some(0.6) }];
        self.against::<Yggdrasil>(&ours, &workload, first);
        self.against::<Eppo>(&ours, &workload, Default::default());
        self.against::<LaunchDarkly>(&ours, &workload, Default::default());
        self.against::<Growthbook>(&ours, &workload, Default::default());
        self.against::<Flagd>(&ours, &workload, Default::default());
        self.ways_to_ask(&ours, &workload);
        self.threads(&ours, &workload);
        self.whole_namespaces(&ours, &workload);
        self.loading();
        changes::measure(&self.options, &mut self.report);
        self.memory();
    }

    /// The two evaluations of the workload, by key, ours and the peer's in turn.
    fn against<P: Engine>(&mut self, ours: &Leverframe, workload: &Workload, targets: [Target; 2]) {
        const IN_TURN: [&str; 2] = ["static boolean, keys in turn", "targeted + rollout, keys in turn"];
        let [fixed, targeted] = targets;
        let names = [STATIC, TARGETED, IN_TURN[0], IN_TURN[1]];
        if !names.iter().any(|name| self.options.wants(name, P::NAME)) {
            return;
        }
        let peer: P = verified(workload);
        for (name, flag, target) in
            [(STATIC, workload.static_flag(), fixed), (TARGETED, workload.targeted_flag(), targeted)]
        {
            self.pair(
                name,
                P::NAME,
                target,
                &mut whole(|n| one_flag(ours, flag, n)),
                &mut whole(|n| one_flag(&peer, flag, n)),
            );
        }
        for (name, flags) in [(IN_TURN[0], &workload.static_flags), (IN_TURN[1], &workload.targeted_flags)] {
            self.pair(
                name,
                P::NAME,
                Target::default(),
                &mut whole(|n| flags_in_turn(ours, flags, n)),
                &mut whole(|n| flags_in_turn(&peer, flags, n)),
            );
        }
    }

    /// The same evaluations through the other ways to ask for them.
    fn ways_to_ask(&mut self, ours: &Leverframe, workload: &Workload) {
        let no_limit = Target::default();
        let handle = Handle::new(ours, workload.static_flag());
        self.time(
            "static boolean by handle",
            Target { ns: Some(12.0), ..no_limit },
            &mut whole(|n| users_in_turn(0..USERS, n, |user| handle.is_on(user))),
        );
        let handle = Handle::new(ours, workload.targeted_flag());
        self.time(
            "targeted + rollout by handle",
            no_limit,
            &mut whole(|n| users_in_turn(0..USERS, n, |user| handle.is_on(user))),
        );
        let pinned = ours.client.pin();
        for (name, flag) in [
            ("static boolean by key, pinned", workload.static_flag()),
            ("targeted + rollout by key, pinned", workload.targeted_flag()),
        ] {
            self.time(
                name,
                no_limit,
                &mut whole(|n| {
                    users_in_turn(0..USERS, n, |user| {
                        pinned.bool_flag(black_box(flag), &ours.contexts[user], false)
                    });
                }),
            );
        }
        let runtime = runtime();
        self.time(
            "static boolean by key, awaited",
            no_limit,
            &mut whole(|n| {
                runtime.block_on(async {
                    for at in 0..n as usize {
                        let flag = black_box(workload.static_flag());
                        black_box(ours.client.bool_flag(flag, &ours.contexts[at % USERS], false).await);
                    }
                });
            }),
        );
    }

    /// What a second thread brings: with twice the throughput an evaluation takes half as long.
    fn threads(&mut self, ours: &Leverframe, workload: &Workload) {
        let target = Target { ratio: Some(1.0 / 1.9), ns: None };
        for (name, flag) in [
            ("static boolean by key, two threads against one", workload.static_flag()),
            ("targeted + rollout by key, two threads against one", workload.targeted_flag()),
        ] {
            if self.options.wants(name, ONE_THREAD) {
                progress(name);
                // Each thread has users of its own.
                let gain = Gain::of(self.options.effort, &|thread, n| {
                    let users = thread * (USERS / 2)..(thread + 1) * (USERS / 2);
                    users_in_turn(users, n, |user| ours.is_on(black_box(flag), user));
                });
                self.report.rows.push(Row::gain(name, &gain, &[], target));
            }
        }
    }

    fn whole_namespaces(&mut self, ours: &Leverframe, workload: &Workload) {
        self.time(
            "eval_all of 100 flags",
            Target { ns: Some(10_000.0), ratio: None },
            &mut whole(|n| {
                users_in_turn(0..USERS, n, |user| ours.client.eval_all_sync(&ours.contexts[user]));
            }),
        );
        let snapshot = ours.namespace.snapshot();
        let program = &snapshot.snapshot.program;
        let flags: Vec<&str> =
            workload.static_flags.iter().chain(&workload.targeted_flags).map(String::as_str).collect();
        let options = EvalOptions::new();
        let trace = |at: usize, user: usize| {
            program
                .trace(flags[at % flags.len()], ENVIRONMENT, &ours.contexts[user], &options)
                .expect("the workload's flags exist")
        };
        self.time(
            "trace of a flag",
            Target { ns: Some(1_000.0), ratio: None },
            &mut whole(|n| {
                for at in 0..n as usize {
                    black_box(trace(at, at % USERS));
                }
            }),
        );
        self.time(
            "trace of a flag, printed",
            Target::default(),
            &mut whole(|n| {
                for at in 0..n as usize {
                    black_box(trace(at, at % USERS).to_string());
                }
            }),
        );
    }

    /// Lint and compilation of namespaces in memory, and whether their cost grows with their size alone.
    fn loading(&mut self) {
        const WHOLE: &str = "lint and compile 10,000 flags";
        const GROWTH: &str = "lint and compile a flag of 10,000 against one of 100";
        const SMALL: &str = "leverframe, 100 flags";
        if !self.options.wants(WHOLE, "") && !self.options.wants(GROWTH, SMALL) {
            return;
        }
        progress(WHOLE);
        let (large, small) = (load::tree(10_000), load::tree(100));
        let (large_ns, small_ns) =
            alternate(self.options.effort.in_long_turns(), &mut |n| compile(&large, n), &mut |n| {
                compile(&small, n)
            });
        if self.options.wants(WHOLE, "") {
            let target = Target { ns: Some(400e6), ratio: None };
            self.report.rows.push(Row::time(WHOLE, large_ns, target));
        }
        if self.options.wants(GROWTH, SMALL) {
            let target = Target { ratio: Some(1.5), ns: None };
            self.report.rows.push(Row::pair(GROWTH, large_ns / 10_000.0, (SMALL, small_ns / 100.0), target));
        }
    }

    /// Memory of a loaded flag, from a process of its own: only there can all allocations be counted.
    fn memory(&mut self) {
        const NAME: &str = "memory of a flag of 10,000";
        if !self.options.wants(NAME, "") {
            return;
        }
        progress(NAME);
        let program =
            env::current_exe().expect("the system knows this program's path").with_file_name("memory");
        let output = Command::new(&program)
            .output()
            .unwrap_or_else(|e| panic!("`{}` was built beside this program: {e}", program.display()));
        let bytes =
            String::from_utf8_lossy(&output.stdout).trim().parse().expect("`memory` prints one figure");
        self.report.rows.push(Row::bytes(NAME, bytes, 1.5 * 1024.0));
    }

    fn time(&mut self, name: &str, target: Target, side: Side<'_>) {
        if self.options.wants(name, "") {
            progress(name);
            self.report.rows.push(Row::time(name, alone(self.options.effort, side), target));
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

const STATIC: &str = "static boolean by key";
const TARGETED: &str = "targeted + rollout by key";

/// Times lint and compilation; what they made is dropped after the clock has stopped.
fn compile(tree: &Tree, times: u64) -> Duration {
    let options = LintOptions::new();
    let mut made: Vec<(Manifest, Program)> = Vec::with_capacity(times as usize);
    let start = Instant::now();
    for _ in 0..times {
        let manifest =
            lint_tree(black_box(tree), &options).manifest.expect("generated namespaces lint clean");
        let program = Program::compile(&manifest);
        made.push((manifest, program));
    }
    start.elapsed()
}
