//! Measures the server.
//!
//! Each group of rows stands in a file of its own and is one line in [`GROUPS`]. Everything runs in this process, over
//! loopback, with the settings that a server is started with but for the limits on requests.

mod evaluate;
mod load;
mod options;
mod report;
mod stage;

use std::process::ExitCode;

use crate::{options::Options, report::Report, stage::Stage};

/// What is measured, in the order of the table.
const GROUPS: [fn(&Stage, &Options, &mut Report); 1] = [evaluate::measure];

fn main() -> ExitCode {
    let options = match Options::of_process() {
        Ok(options) => options,
        Err(code) => return code,
    };
    if options.logs {
        // As the program logs, but to nobody: what a terminal or a collector costs is not the server's.
        tracing_subscriber::fmt().json().with_env_filter("info").with_writer(std::io::sink).init();
    }
    let stage = Stage::start();
    let mut report = Report::default();
    for measure in GROUPS {
        measure(&stage, &options, &mut report);
    }
    options.print(&report);
    if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
