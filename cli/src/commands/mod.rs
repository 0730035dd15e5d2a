//! One file a command.

mod admin;
mod config;
mod demo;
mod diff;
mod eval;
mod explain;
mod fixtures;
mod gate;
mod generate;
mod init;
mod lint;
mod manifest;
mod plugins;
mod run;
mod schema;
mod serve;
mod settings;
mod sign;
mod watch;

use std::{fs, path::Path};

use clap::CommandFactory;
use leverframe::{Error, Secret};

use crate::{
    args::{Cli, Command},
    failure::{Failure, exit},
    output::Out,
};

/// Runs the command and returns the exit code.
pub(crate) fn run(cli: &Cli, out: &mut Out) -> Result<u8, Failure> {
    match &cli.command {
        Command::Lint(args) => lint::run(args, out),
        Command::Eval(args) => eval::run(args, out),
        Command::Explain(args) => explain::run(args, out),
        Command::Schema(args) => schema::run(args, out),
        Command::Fixtures(args) => fixtures::run(args, out),
        Command::Diff(args) => diff::run(args, out),
        Command::Manifest(command) => manifest::run(command, out),
        Command::Gate(command) => gate::run(command, out),
        Command::Settings(command) => settings::run(command, out),
        Command::Run(args) => run::run(args, out),
        Command::Admin(command) => admin::run(command, out),
        Command::Serve(args) => serve::run(args, out),
        Command::Watch(args) => watch::run(args, out),
        Command::Keygen(args) => sign::keygen(args, out),
        Command::Sign(args) => sign::sign(args, out),
        Command::Verify(args) => sign::verify(args, out),
        Command::Init(args) => init::run(args, out),
        Command::Gen(args) => generate::run(args, out),
        Command::Plugins(args) => plugins::run(args, out),
        Command::Config(command) => config::run(command, out),
        Command::Demo { once } => demo::run(*once, out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "leverframe", &mut script);
            out.bytes(&script)?;
            Ok(exit::OK)
        }
    }
}

/// Reads a file that holds a secret and nothing else.
pub(crate) fn secret_file(operation: &'static str, path: &Path) -> Result<Secret, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Error::from_io(operation, error).with("path", path.display()))?;
    Ok(Secret::new(text.trim()))
}
