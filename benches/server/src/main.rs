//! Measures the server.
//!
//! Each group of rows stands in a file of its own and is one line in [`GROUPS`]. Everything runs over loopback, streams
//! with servers in processes of their own, with the settings that a server is started with but for the limits on requests.

mod child;
mod evaluate;
mod load;
mod options;
#[path = "../../../server/tests/support/postgres.rs"]
mod postgres;
mod pulses;
mod report;
mod settings;
mod stage;
mod start;
mod streams;

use std::{env, process::ExitCode};

use crate::{options::Options, report::Report, stage::Stage};

/// What is measured, in the order of the table.
const GROUPS: [fn(&Stage, &Options, &mut Report); 5] =
    [evaluate::measure, start::measure, streams::measure, pulses::measure, settings::measure];

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some(child::TASK) => {
            child::serve(arguments);
            return ExitCode::SUCCESS;
        }
        Some(settings::TASK) => {
            settings::clients(arguments);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
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
