//! Prints what a change of one flag costs, by the size of the namespace around it, without building the peers.

use std::process::ExitCode;

use leverframe_benches::{changes, options::Options, report::Report};

const USAGE: &str = "usage: cargo run --release --no-default-features --bin changes -- [--json] [--quick]";

fn main() -> ExitCode {
    let options = match Options::of_process(USAGE) {
        Ok(options) => options,
        Err(refused) => return refused,
    };
    let mut report = Report::default();
    changes::measure(&options, &mut report);
    options.print(&report);
    ExitCode::SUCCESS
}
