//! What commands write, and where: results to standard output, everything else to standard error.

mod diagnostics;
mod envelope;
mod table;

use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

pub(crate) use self::{
    diagnostics::{Sources, diagnostics_json, draw, note_problems, plural, refuse},
    envelope::Envelope,
    table::{Cell, Column, Table, numbers, words},
};
use crate::{args::Color, failure::Failure};

/// The two streams of the process; styles are taken out where they do not belong.
pub(crate) struct Out {
    stdout: AutoStream<io::Stdout>,
    stderr: AutoStream<io::Stderr>,
}

pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default().bold();
pub(crate) const CYAN: Style = AnsiColor::Cyan.on_default().bold();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

impl Out {
    pub(crate) fn new(color: Color) -> Self {
        let choice = match color {
            // Looks at the terminal, NO_COLOR and CLICOLOR.
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self { stdout: AutoStream::new(io::stdout(), choice), stderr: AutoStream::new(io::stderr(), choice) }
    }

    /// Writes a line of the result.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        Ok(writeln!(self.stdout, "{}", text.as_ref())?)
    }

    /// Returns true if the result goes to a terminal that takes styles and movements.
    pub(crate) fn draws(&self) -> bool {
        self.stdout.is_terminal() && self.stdout.current_choice() != ColorChoice::Never
    }

    /// Writes part of the result as it is.
    pub(crate) fn text(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        Ok(write!(self.stdout, "{}", text.as_ref())?)
    }

    /// Writes bytes of the result, such as a script.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stdout.write_all(bytes)?)
    }

    /// Writes bytes to the letter, whatever they mean to a terminal: other people's values are not ours to change.
    pub(crate) fn verbatim(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = self.stdout.as_inner();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// Returns true if a person looks at the result.
    pub(crate) fn is_terminal(&self) -> bool {
        self.stdout.is_terminal()
    }

    /// Returns true if a person looks at what is not part of the result.
    pub(crate) fn notes_are_seen(&self) -> bool {
        self.stderr.is_terminal()
    }

    /// Writes a line that is not part of the result.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        // Nobody is left to tell that standard error is closed.
        let _ = writeln!(self.stderr, "{}", text.as_ref());
    }

    pub(crate) fn failure(&mut self, failure: &Failure) {
        self.note(format!("{RED}error{RED:#}: {}", failure.message()));
        if let Some(hint) = failure.hint() {
            self.note(format!("{CYAN}hint{CYAN:#}: {hint}"));
        }
    }
}

/// Wraps text in a style.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}
