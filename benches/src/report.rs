//! What was measured, as a table for people and as JSON for programs.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::threads::Gain;

/// What two threads are held against.
pub const ONE_THREAD: &str = "leverframe, one thread";

/// One measured row.
///
/// `ratio` is always ours divided by the peer's, so less is better and `target_ratio` is the most it may be. Where
/// the peer is leverframe itself (one thread, 100 flags), the name says what is held against what.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What an operation is.
    pub name: String,
    /// Nanoseconds an operation takes us; `None` where the row is not about time.
    pub ours_ns: Option<f64>,
    /// What we are compared with, if anything.
    pub peer: Option<&'static str>,
    /// Nanoseconds an operation takes the peer.
    pub peer_ns: Option<f64>,
    /// Ours divided by the peer's.
    pub ratio: Option<f64>,
    /// The most that `ratio` may be, where the project has set itself a limit.
    pub target_ratio: Option<f64>,
    /// The most that `ours_ns` may be, likewise.
    pub target_ns: Option<f64>,
    /// Bytes, for rows that are about memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ours_bytes: Option<f64>,
    /// Bytes of what we are compared with, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_bytes: Option<f64>,
    /// The most that `ours_bytes` may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_bytes: Option<f64>,
    /// A number of things, for rows that count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ours_count: Option<u64>,
    /// The most that `ours_count` may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_count: Option<u64>,
    /// What else there is to say of the figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether all targets of the row are met; `None` where it has none.
    pub ok: Option<bool>,
}

/// What the project has set itself as limits for a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Target {
    /// The most nanoseconds an operation may take.
    pub ns: Option<f64>,
    /// The most that ours divided by the peer's may be.
    pub ratio: Option<f64>,
}

impl Row {
    /// Makes the row of a time.
    #[must_use]
    pub fn time(name: &str, ours_ns: f64, target: Target) -> Self {
        Self { ours_ns: Some(ours_ns), target_ns: target.ns, ..Self::named(name) }.judged()
    }

    /// Makes the row of a time and a peer's.
    #[must_use]
    pub fn pair(name: &str, ours_ns: f64, peer: (&'static str, f64), target: Target) -> Self {
        Self {
            ours_ns: Some(ours_ns),
            peer: Some(peer.0),
            peer_ns: Some(peer.1),
            ratio: Some(ours_ns / peer.1),
            target_ratio: target.ratio,
            target_ns: target.ns,
            ..Self::named(name)
        }
        .judged()
    }

    /// Makes the row of two threads against one; `others` are peers, and how they fare.
    #[must_use]
    pub fn gain(name: &str, gain: &Gain, others: &[(&str, Gain)], target: Target) -> Self {
        let mut note = format!(
            "throughput of two threads: {:.2} × that of one; of plain counting, in the same rounds: {:.2} ×",
            gain.throughput(),
            gain.cores
        );
        for (peer, gain) in others {
            // Writing to a string does not fail.
            let _ = write!(note, "; {peer}: {:.2} ×", gain.throughput());
        }
        Self::pair(name, gain.two, (ONE_THREAD, gain.one), target).noting(note)
    }

    /// Makes the row of a size and its limit.
    #[must_use]
    pub fn bytes(name: &str, bytes: f64, target: f64) -> Self {
        Self { ours_bytes: Some(bytes), target_bytes: Some(target), ..Self::named(name) }.judged()
    }

    /// Makes the row of a size and a peer's.
    #[must_use]
    pub fn pair_of_bytes(name: &str, bytes: f64, peer: (&'static str, f64), target_ratio: f64) -> Self {
        Self {
            ours_bytes: Some(bytes),
            peer: Some(peer.0),
            peer_bytes: Some(peer.1),
            ratio: Some(bytes / peer.1),
            target_ratio: Some(target_ratio),
            ..Self::named(name)
        }
        .judged()
    }

    /// Makes the row of a number and its limit, if it has one.
    #[must_use]
    pub fn count(name: &str, count: u64, target: Option<u64>) -> Self {
        Self { ours_count: Some(count), target_count: target, ..Self::named(name) }.judged()
    }

    /// Adds a remark.
    #[must_use]
    pub fn noting(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ours_ns: None,
            peer: None,
            peer_ns: None,
            ratio: None,
            target_ratio: None,
            target_ns: None,
            ours_bytes: None,
            peer_bytes: None,
            target_bytes: None,
            ours_count: None,
            target_count: None,
            note: None,
            ok: None,
        }
    }

    /// Says whether the targets are met.
    fn judged(self) -> Self {
        let counts = self.ours_count.zip(self.target_count).map(|(is, limit)| is <= limit);
        let limits = [
            self.ours_ns.zip(self.target_ns),
            self.ratio.zip(self.target_ratio),
            self.ours_bytes.zip(self.target_bytes),
        ];
        let figures = limits.into_iter().map(|pair| pair.map(|(is, limit)| is <= limit));
        Self { ok: figures.chain([counts]).flatten().reduce(|a, b| a && b), ..self }
    }
}

/// All rows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In the order in which they were measured.
    pub rows: Vec<Row>,
}

impl fmt::Display for Report {
    /// Draws a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["row", "ours", "at most", "peer", "peer's", "ratio", "at most", "", ""];
        let cells: Vec<[String; 9]> = self.rows.iter().map(Row::cells).collect();
        let mut widths = heads.map(|h| h.chars().count());
        for row in &cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut line = |row: [&str; 9]| {
            let mut text = String::new();
            for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
                // Names stand left, figures right.
                if matches!(at, 0 | 3 | 7 | 8) {
                    write!(text, "{cell:<width$}  ")?;
                } else {
                    write!(text, "{cell:>width$}  ")?;
                }
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(heads)?;
        for row in &cells {
            line(std::array::from_fn(|at| row[at].as_str()))?;
        }
        Ok(())
    }
}

impl Row {
    fn cells(&self) -> [String; 9] {
        let ratio = |r: Option<f64>| r.map(|r| format!("{r:.3} ×")).unwrap_or_default();
        let verdict = match self.ok {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        [
            self.name.clone(),
            figure(self.ours_ns, self.ours_bytes, self.ours_count),
            figure(self.target_ns, self.target_bytes, self.target_count),
            self.peer.unwrap_or_default().to_owned(),
            figure(self.peer_ns, self.peer_bytes, None),
            ratio(self.ratio),
            ratio(self.target_ratio),
            verdict.to_owned(),
            self.note.clone().unwrap_or_default(),
        ]
    }
}

/// Prints whichever of them there is.
fn figure(ns: Option<f64>, bytes: Option<f64>, count: Option<u64>) -> String {
    let time = ns.map(duration);
    time.or_else(|| bytes.map(size)).or_else(|| count.map(|c| c.to_string())).unwrap_or_default()
}

fn size(bytes: f64) -> String {
    if bytes < 1e6 { format!("{bytes:.0} B") } else { format!("{:.2} MB", bytes / 1e6) }
}

fn duration(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}
