//! A trace: one pulse a line, brought into the order of their times as far as they are nearly so.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{self, BufRead, BufReader},
};

use leverframe::{Error, gate::types::PulsePayload};

use crate::failure::{Failure, exit};

/// Bytes of a pulse, as a server takes them.
const LONGEST_LINE: usize = 256 * 1024;

/// Pulses that are held back to be put into order: those of a fleet that arrive within the same few seconds.
const HELD: usize = 4_096;

/// Bytes that are held back.
const HELD_BYTES: usize = 16 * 1024 * 1024;

/// The last millisecond that has a date.
const LAST_TIME: u64 = 253_402_300_799_999;

/// Reads the pulses of a trace.
pub(super) struct Trace {
    pub(super) name: String,
    input: Box<dyn BufRead>,
    line: u64,
    held: BinaryHeap<Reverse<Held>>,
    held_bytes: usize,
    is_done: bool,
}

/// A pulse with its place in the trace; those of one time stay in order.
struct Held {
    ts: u64,
    line: u64,
    bytes: usize,
    pulse: PulsePayload,
}

impl Trace {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &str) -> Result<Self, Failure> {
        let (name, input): (_, Box<dyn BufRead>) = match path {
            "-" => ("standard input".to_owned(), Box::new(BufReader::new(io::stdin()))),
            path => {
                let file = File::open(path)
                    .map_err(|error| Error::from_io("open the trace", error).with("path", path))?;
                (path.to_owned(), Box::new(BufReader::new(file)))
            }
        };
        let held = BinaryHeap::new();
        Ok(Self { name, input, line: 0, held, held_bytes: 0, is_done: false })
    }

    /// Returns the next pulse with its line; `None` at the end.
    pub(super) fn advance(&mut self) -> Result<Option<(u64, PulsePayload)>, Failure> {
        while !self.is_done && self.held.len() < HELD && self.held_bytes < HELD_BYTES {
            match self.read()? {
                Some(held) => {
                    self.held_bytes += held.bytes;
                    self.held.push(Reverse(held));
                }
                None => self.is_done = true,
            }
        }
        let Some(Reverse(next)) = self.held.pop() else { return Ok(None) };
        self.held_bytes -= next.bytes;
        Ok(Some((next.line, next.pulse)))
    }

    /// Says what is wrong with a line.
    pub(super) fn bad(&self, line: u64, what: impl std::fmt::Display) -> Failure {
        Failure::new(exit::BAD, format!("line {line} of {}: {what}", self.name))
    }

    fn read(&mut self) -> Result<Option<Held>, Failure> {
        let mut text = Vec::new();
        loop {
            text.clear();
            let mut limited = io::Read::take(&mut self.input, LONGEST_LINE as u64 + 2);
            let bytes = limited
                .read_until(b'\n', &mut text)
                .map_err(|error| Error::from_io("read the trace", error).with("path", &self.name))?;
            if bytes == 0 {
                return Ok(None);
            }
            self.line += 1;
            if !text.trim_ascii().is_empty() {
                break;
            }
        }
        let line = self.line;
        let content = text.trim_ascii();
        if content.len() > LONGEST_LINE || text.len() > LONGEST_LINE + 1 {
            let failure = self.bad(line, format_args!("longer than {LONGEST_LINE} bytes"));
            return Err(failure.with_hint("a trace has one pulse a line, and no server takes a longer one"));
        }
        let pulse: PulsePayload = serde_json::from_slice(content).map_err(|error| {
            self.bad(line, format_args!("no pulse: {error}")).with_hint(
                "a line is the body of a `POST /v1/pulse`: a JSON object with instanceId, usageDelta, bouncedUnits, \
                 metrics, tagMetrics and ts",
            )
        })?;
        if pulse.ts > LAST_TIME {
            let failure = self.bad(line, format_args!("`ts` is {}, which is no time", pulse.ts));
            return Err(failure.with_hint("`ts` is in milliseconds since 1970"));
        }
        Ok(Some(Held { ts: pulse.ts, line, bytes: content.len(), pulse }))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ts, self.line).cmp(&(other.ts, other.line))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Held {}
