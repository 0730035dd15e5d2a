//! What a measuring program is asked for, and how it answers.

use std::{env, process::ExitCode};

use crate::{measure::Effort, report::Report};

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the answer is JSON instead of a table.
    pub json: bool,
    /// How much time is spent on a row.
    pub effort: Effort,
    /// What a row's name or peer must contain.
    pub pattern: Option<String>,
}

impl Options {
    /// Reads this process's command line.
    ///
    /// # Errors
    /// The exit code for a command line that cannot be read, once that and `usage` were printed.
    pub fn of_process(usage: &str) -> Result<Self, ExitCode> {
        Self::parse(env::args().skip(1)).map_err(|problem| {
            eprintln!("{problem}\n\n{usage}");
            ExitCode::from(2)
        })
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { json: false, effort: Effort::FULL, pattern: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.json = true,
                "--quick" => options.effort = Effort::QUICK,
                "--rows" => options.pattern = Some(arguments.next().ok_or("`--rows` needs a pattern")?),
                other => return Err(format!("unknown argument `{other}`")),
            }
        }
        Ok(options)
    }

    /// Returns whether a row is asked for.
    #[must_use]
    pub fn wants(&self, name: &str, peer: &str) -> bool {
        self.pattern.as_deref().is_none_or(|p| name.contains(p) || peer.contains(p))
    }

    /// Prints what was measured.
    ///
    /// # Panics
    /// Where a figure is not finite.
    pub fn print(&self, report: &Report) {
        if self.json {
            println!("{}", serde_json::to_string(report).expect("a report has only finite figures"));
        } else {
            print!("{report}");
        }
    }
}

/// Says on the side what is being measured.
pub fn progress(what: &str) {
    eprintln!("measuring {what}");
}
