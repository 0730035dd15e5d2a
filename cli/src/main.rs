//! The `leverframe` command: lint, evaluate, explain, compare and package flag namespaces.

mod args;
mod commands;
mod ctx;
mod duration;
mod failure;
mod generate;
mod output;
mod place;
mod reach;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use self::{args::Cli, output::Out};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Out::new(cli.color);
    match commands::run(&cli, &mut out) {
        Ok(code) => ExitCode::from(code),
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.code())
        }
    }
}
