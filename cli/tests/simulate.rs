//! The real binary on traces: what rules decide, and what is said of bad input.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

const RULES: &str = r#"
[[rule]]
name = "shed-free"
tag = "free"
metric = "p95_latency"
operator = ">"
threshold = 500
window_secs = 10
action = { throttle_percent = 50 }
recover_below = 400
recover_after_secs = 20

[[rule]]
name = "stop"
tag = "*"
metric = "errors"
operator = ">="
threshold = 100
window_secs = 30
action = "block"
"#;

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new(rules: &str, lines: &[String]) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        bench.write("gate.toml", rules);
        bench.write("pulses.ndjson", &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        bench
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn run(&self, more: &[&str]) -> Output {
        simulate(self.dir.path(), &["--trace", "pulses.ndjson"], more, None)
    }
}

fn simulate(dir: &Path, trace: &[&str], more: &[&str], stdin: Option<&str>) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_leverframe"))
        .args(["gate", "simulate", "--rules", "gate.toml"])
        .args(trace)
        .args(more)
        .current_dir(dir)
        .env_remove("CLICOLOR_FORCE")
        .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if let Some(text) = stdin {
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    }
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn result(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["result"].take()
}

/// A pulse so many seconds after the beginning of 2026, whose ten calls of `free` took about so long.
fn pulse(second: u64, bucket: usize, errors: u64) -> String {
    let mut buckets = [0; 8];
    buckets[bucket] = 10;
    json!({
        "instanceId": "i", "usageDelta": 10, "bouncedUnits": 0, "ts": 1_767_225_600_000_u64 + second * 1_000,
        "metrics": {"latency": 100, "errors": errors},
        "tagMetrics": [{"tag": "free", "latency": 100, "count": 10, "latencyBuckets": buckets}],
    })
    .to_string()
}

#[test]
fn each_decision_is_told_with_its_time_its_reason_and_the_policy_that_follows() {
    let lines = [pulse(0, 0, 0), pulse(5, 4, 0), pulse(20, 0, 100), pulse(90, 0, 0)];
    let bench = Bench::new(RULES, &lines);

    let output = bench.run(&["--silence", "60"]);

    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "2026-01-01T00:00:05.000Z default tripped   shed-free: p95_latency was 950 over 10 s, above 500\n\
         \x20 policy: `free` loses 50 of 100 calls\n\
         2026-01-01T00:00:20.000Z default tripped   stop: errors was 100 over 30 s, at or above 100\n\
         \x20 policy: all traffic refused, `free` loses 50 of 100 calls\n\
         2026-01-01T00:00:35.000Z default recovered shed-free: p95_latency has been calm for 20 s: \
         no samples within 10 s\n\
         \x20 policy: all traffic refused\n\
         2026-01-01T00:01:20.000Z default recovered stop: errors has been calm for 30 s: no samples within 30 s\n\
         \x20 policy: as set\n\
         4 pulses of 1 site over 150 s: 4 decisions; in force at the end: no rule\n"
    );
}

#[test]
fn json_has_the_decisions_with_whole_policies_and_what_is_in_force_at_the_end() {
    let bench = Bench::new(RULES, &[pulse(0, 4, 0)]);
    bench.write(
        "policy.json",
        r#"{"globalMaxWeight":500,"tagMaxWeights":{"free":10},"throttle":{"free":20}}"#,
    );

    let result = result(&bench.run(&["--policy", "policy.json", "--format", "json"]));

    let why = "p95_latency was 975 over 10 s, above 500";
    let at = "2026-01-01T00:00:00.000Z";
    assert_eq!(
        result["in_force"],
        json!([{"site": "default", "rule": "shed-free", "since": at, "why": why}])
    );
    assert_eq!((&result["pulses"], &result["decision_count"]), (&json!(1), &json!(1)));
    let decision = &result["decisions"][0];
    assert_eq!(decision["policy"]["globalMaxWeight"], 500.0);
    assert_eq!(decision["policy"]["throttle"], json!({"free": 50}));
    let seen = [&decision["at"], &decision["rule"], &decision["change"], &decision["why"]];
    assert_eq!(seen, [at, "shed-free", "tripped", why]);
}

#[test]
fn pulses_are_put_into_the_order_of_their_times_and_sites_are_apart() {
    let eu = |line: String| line.replacen('{', r#"{"siteId":"eu","#, 1);
    // Ten seconds apart, the two would not be in one window.
    let lines = [pulse(12, 0, 60), eu(pulse(3, 0, 99)), pulse(7, 0, 60), String::new(), eu(pulse(1, 0, 0))];
    let bench = Bench::new(&RULES.replace("window_secs = 30", "window_secs = 6"), &lines);

    let result = result(&bench.run(&["--format", "json"]));

    assert_eq!(result["sites"], json!(["default", "eu"]));
    let decisions = result["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), 1, "{decisions:#?}");
    assert_eq!((&decisions[0]["site"], &decisions[0]["value"]), (&json!("default"), &json!(120.0)));
}

#[test]
fn a_trace_comes_from_standard_input_as_well() {
    let bench = Bench::new(RULES, &[]);

    let text = format!("{}\r\n{}", pulse(0, 0, 0), pulse(1, 0, 100));
    let output = simulate(bench.dir.path(), &["--trace", "-"], &[], Some(&text));

    assert!(stdout(&output).contains("tripped   stop"), "{}{}", stdout(&output), stderr(&output));
    let twice = simulate(bench.dir.path(), &["--trace", "-"], &["--policy", "-"], Some(""));
    assert_eq!(twice.status.code(), Some(2), "{}", stderr(&twice));
}

#[test]
fn a_bad_line_is_told_with_its_number_and_the_next_step() {
    let late = [pulse(9_000, 0, 0)].into_iter().chain((0..5_000).map(|_| pulse(8_000, 0, 0)));
    let cases: [(Vec<String>, &str, &str); 5] = [
        (
            vec![pulse(0, 0, 0), "{\"instanceId\":".to_owned()],
            "line 2 of pulses.ndjson: no pulse",
            "tagMetrics and ts",
        ),
        (vec![String::new(), "[]".to_owned()], "line 2 of pulses.ndjson: no pulse", "hint"),
        (vec!["x".repeat(300_000)], "line 1 of pulses.ndjson: longer than 262144 bytes", "one pulse a line"),
        (
            vec![pulse(0, 0, 0).replace("1767225600000", "1767225600000000")],
            "`ts` is 1767225600000000, which is no time",
            "milliseconds",
        ),
        // Held back are some thousand lines, and this one comes behind them.
        (
            late.chain([pulse(0, 0, 0)]).collect(),
            "line 5002 of pulses.ndjson: its `ts` lies far before",
            "sort_by",
        ),
    ];
    for (lines, message, hint) in cases {
        let output = Bench::new(RULES, &lines).run(&[]);

        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(message) && said.contains(hint), "{said}");
    }
}

#[test]
fn bad_rules_are_drawn_like_lint_draws_them_and_missing_files_are_another_exit_code() {
    let bench = Bench::new(&RULES.replace("p95_latency", "p95-latency"), &[]);
    let bad = bench.run(&[]);
    assert_eq!(bad.status.code(), Some(1));
    let said = stderr(&bad);
    assert!(
        said.contains("E040")
            && said.contains("gate.toml:5:10")
            && said.contains("did you mean `p95_latency`?"),
        "{said}"
    );

    let missing = simulate(bench.dir.path(), &["--trace", "none.ndjson"], &["--rules", "none.toml"], None);
    assert_eq!(missing.status.code(), Some(2), "an argument that stands twice: {}", stderr(&missing));
    bench.write("gate.toml", "");
    let missing = simulate(bench.dir.path(), &["--trace", "none.ndjson"], &[], None);
    assert_eq!(missing.status.code(), Some(3), "{}", stderr(&missing));
    bench.write("policy.json", "{\"globalMaxWeight\":\"much\"}");
    let bad = bench.run(&["--policy", "policy.json"]);
    assert_eq!(bad.status.code(), Some(1), "{}", stderr(&bad));
}

#[test]
fn a_namespace_with_bad_reflex_rules_does_not_pass_lint() {
    let bench = Bench::new("[[rule]]\ntag = \"free\"\n", &[]);
    let lint = || {
        Command::new(env!("CARGO_BIN_EXE_leverframe"))
            .args(["lint", "."])
            .current_dir(bench.dir.path())
            .output()
            .unwrap()
    };

    let bad = lint();
    assert_eq!(bad.status.code(), Some(1));
    assert!(stdout(&bad).contains("E030") && stdout(&bad).contains("gate.toml:1:1"), "{}", stdout(&bad));
    bench.write("gate.toml", RULES);
    assert_eq!(lint().status.code(), Some(0));
}
