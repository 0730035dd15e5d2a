//! What the program is asked for, and how it answers.

use std::{env, process::ExitCode};

use crate::report::Report;

const USAGE: &str = "usage: benches/server/run [--json] [--quick] [--logs] [--rows PATTERN]";

/// What the command line says.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    json: bool,
    quick: bool,
    /// Whether requests are logged, as the program does it.
    pub(crate) logs: bool,
    pattern: Option<String>,
}

impl Options {
    /// Reads this process's command line.
    ///
    /// # Errors
    /// The exit code for a command line that cannot be read, once that was printed.
    pub(crate) fn of_process() -> Result<Self, ExitCode> {
        Self::parse(env::args().skip(1)).map_err(|problem| {
            eprintln!("{problem}\n\n{USAGE}");
            ExitCode::from(2)
        })
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { json: false, quick: false, logs: false, pattern: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.json = true,
                "--quick" => options.quick = true,
                "--logs" => options.logs = true,
                "--rows" => options.pattern = Some(arguments.next().ok_or("`--rows` needs a pattern")?),
                other => return Err(format!("unknown argument `{other}`")),
            }
        }
        Ok(options)
    }

    /// Returns how often both sides take turns. Odd, so that there is one in the middle.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 7 } else { 31 }
    }

    /// Returns how many uploads streams are told of.
    pub(crate) fn uploads(&self) -> usize {
        if self.quick { 25 } else { 205 }
    }

    /// Returns how often each instance of the gate reports; the first time is not counted.
    pub(crate) fn pulse_rounds(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }

    /// Returns whether a row is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.pattern.as_deref().is_none_or(|pattern| name.contains(pattern))
    }

    /// Prints what was measured.
    pub(crate) fn print(&self, report: &Report) {
        if self.json {
            println!("{}", serde_json::to_string(report).expect("a report has only finite figures"));
        } else {
            print!("{report}");
        }
    }
}
