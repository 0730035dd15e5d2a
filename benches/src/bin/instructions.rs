//! Counts the instructions of evaluations and gates under callgrind and compares them with the recorded counts.
//!
//! Instructions do not depend on what else the machine does, so a few per cent more are a finding and not noise.
//! `instructions` runs itself under `valgrind` once for each path; see `docs/performance.md`.

use std::{
    collections::BTreeMap,
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use leverframe_benches::{
    engine::{Engine, verified},
    gate::{self, Gate, Measured, TAGS, pure_policy},
    ours::{Handle, Leverframe},
    workload::{USERS, Workload},
};
use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: benches/callgrind [--record]

  without arguments  compares with benches/callgrind.json, exits with 1 beyond its slack
  --record           rewrites benches/callgrind.json";

/// Each user sixteen times: enough that what the first evaluation does once disappears in the average.
const EVALUATIONS: usize = 16 * USERS;

/// What is counted.
const PATHS: [&str; 7] = [
    "static_by_key",
    "static_by_handle",
    "targeted_by_key",
    "targeted_by_handle",
    "gate_client",
    "gate_pure",
    "gate_report_latency",
];

/// The recorded counts.
#[derive(Deserialize, Serialize)]
struct Record {
    /// The compiler that they are of: another one may count differently without any fault of ours.
    rustc: String,
    /// How much more, as a share, passes.
    slack: f64,
    /// Instructions a call, by path.
    instructions: BTreeMap<String, f64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match *arguments {
        ["--evaluate", path] => evaluate(path),
        ["--record"] => record(),
        [] => compare(),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn record() -> Result<(), String> {
    let slack = read_record().map_or(0.05, |r| r.slack);
    let record = Record { rustc: rustc(), slack, instructions: count_all()? };
    for (path, count) in &record.instructions {
        println!("{path:20} {count:8.1} instructions a call");
    }
    let json = serde_json::to_string_pretty(&record).map_err(|e| e.to_string())?;
    fs::write(record_path(), json + "\n")
        .map_err(|e| format!("failed to write {}: {e}", record_path().display()))
}

fn compare() -> Result<(), String> {
    let recorded = read_record()?;
    let mut beyond = Vec::new();
    for (path, count) in count_all()? {
        let Some(&before) = recorded.instructions.get(&path) else {
            return Err(format!("`{path}` is not recorded\nhint: run `benches/callgrind --record`"));
        };
        let change = count / before - 1.0;
        println!(
            "{path:20} {count:8.1} instructions a call, recorded {before:8.1}, {:+.1} %",
            change * 100.0
        );
        if change > recorded.slack {
            beyond.push(path);
        }
    }
    if beyond.is_empty() {
        return Ok(());
    }
    let mut problem =
        format!("more than {:.0} % above the record: {}", recorded.slack * 100.0, beyond.join(", "));
    problem +=
        "\nhint: if the work is worth it, say why in the commit that runs `benches/callgrind --record`";
    if recorded.rustc != rustc() {
        problem += &format!("\nnote: recorded with `{}`, this is `{}`", recorded.rustc, rustc());
    }
    Err(problem)
}

fn count_all() -> Result<BTreeMap<String, f64>, String> {
    PATHS.iter().map(|path| Ok(((*path).to_owned(), count(path)?))).collect()
}

/// Runs one path under callgrind, which counts only inside `counted`.
fn count(path: &str) -> Result<f64, String> {
    let this = env::current_exe().map_err(|e| e.to_string())?;
    let out = env::temp_dir().join(format!("leverframe-callgrind-{}-{path}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(&this)
        .args(["--evaluate", path])
        .output()
        .map_err(|e| format!("failed to start `valgrind`: {e}\nhint: apt-get install valgrind"))?;
    if !output.status.success() {
        return Err(format!("valgrind failed on `{path}`: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let profile = fs::read_to_string(&out).map_err(|e| format!("failed to read {}: {e}", out.display()))?;
    // Best effort: the file is in the temporary directory, and its name is this process's own.
    let _ = fs::remove_file(&out);
    let total: u64 = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")))
        .and_then(|n| n.trim().parse().ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("callgrind counted nothing for `{path}`"))?;
    // Tenths: what the first evaluation does once is in the further digits.
    Ok((total as f64 * 10.0 / EVALUATIONS as f64).round() / 10.0)
}

/// What runs under valgrind.
fn evaluate(path: &str) -> Result<(), String> {
    if path.starts_with("gate") {
        return gates(path);
    }
    let workload = Workload::new();
    let ours: Leverframe = verified(&workload);
    let flag = if path.starts_with("static") { workload.static_flag() } else { workload.targeted_flag() };
    if path.ends_with("by_handle") {
        let handle = Handle::new(&ours, flag);
        counted(|user| handle.is_on(user));
    } else if PATHS.contains(&path) {
        counted(|user| ours.is_on(black_box(flag), user));
    } else {
        return Err(format!("unknown path `{path}`"));
    }
    Ok(())
}

/// Calls of three tags in turn.
fn gates(path: &str) -> Result<(), String> {
    let tag = |at: usize| black_box(TAGS[at % TAGS.len()]);
    match path {
        "gate_client" => {
            let gate = gate::verified(gate::Leverframe::synced());
            counted(|at| gate.passes(tag(at), black_box(1.0)));
        }
        "gate_pure" => {
            let policy = pure_policy();
            counted(|at| leverframe::gate::gate(&policy, Some(tag(at)), black_box(Some(1.0))).allowed);
        }
        "gate_report_latency" => {
            let gate = gate::verified(gate::Leverframe::synced());
            counted(|at| {
                gate.took(tag(at), black_box(12.5));
                true
            });
        }
        _ => return Err(format!("unknown path `{path}`")),
    }
    Ok(())
}

/// Its name is what callgrind is told to look for.
#[inline(never)]
fn counted(evaluate: impl Fn(usize) -> bool) {
    for at in 0..EVALUATIONS {
        black_box(evaluate(at % USERS));
    }
}

fn read_record() -> Result<Record, String> {
    let path = record_path();
    let text = fs::read_to_string(&path).map_err(|e| {
        format!("failed to read {}: {e}\nhint: run `benches/callgrind --record`", path.display())
    })?;
    serde_json::from_str(&text).map_err(|e| format!("failed to parse {}: {e}", path.display()))
}

fn record_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("callgrind.json")
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}
