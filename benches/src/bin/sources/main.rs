//! Prints what sources cost against real servers on loopback. See `docs/performance.md`, "Sources".

mod changes;
mod crates;
mod memory;
mod places;
mod polls;
mod real;

use std::{env, process::ExitCode};

use leverframe_benches::{
    options::{Options, progress},
    report::{Report, Row},
};
use leverframe_counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "usage: benches/sources [--json] [--quick] [--rows PATTERN]

  --json          print {\"rows\": [...]} instead of a table
  --quick         fewer rounds: to see that it works, not to quote
  --rows PATTERN  only groups of rows whose name contains PATTERN: poll, https, git, ftps, change, memory, crates";

fn main() -> ExitCode {
    // What the rows about memory start: this program, in a process of its own.
    if let Some(refreshes) = env::args().nth(1).and_then(|first| memory::asked_for(&first)) {
        memory::print(refreshes);
        return ExitCode::SUCCESS;
    }
    let options = match Options::of_process(USAGE) {
        Ok(options) => options,
        Err(refused) => return refused,
    };
    let quick = options.effort.rounds < leverframe_benches::measure::Effort::FULL.rounds;
    let groups: [(&str, &dyn Fn(bool) -> Vec<Row>); 8] = [
        ("poll https", &polls::https),
        ("poll git+https", &polls::git_https),
        ("poll git+ssh", &polls::git_ssh),
        ("poll ftps", &polls::ftps),
        ("change https", &changes::https),
        ("change git", &changes::git),
        ("memory git", &memory::git),
        ("crates", &|_| crates::count()),
    ];
    let mut report = Report::default();
    for (name, measure) in groups {
        if options.wants(name, "") {
            progress(name);
            report.rows.extend(measure(quick));
        }
    }
    options.print(&report);
    ExitCode::SUCCESS
}
