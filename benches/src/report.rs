//! What was measured, as a table for people and as JSON for programs.

use std::fmt::{self, Write as _};

use serde::Serialize;

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
    /// Bytes, for the row that is about memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ours_bytes: Option<f64>,
    /// The most that `ours_bytes` may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_bytes: Option<f64>,
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
        Self::new(name, Some(ours_ns), None, target, None)
    }

    /// Makes the row of a time and a peer's.
    #[must_use]
    pub fn pair(name: &str, ours_ns: f64, peer: (&'static str, f64), target: Target) -> Self {
        Self::new(name, Some(ours_ns), Some(peer), target, None)
    }

    /// Makes the row of a size and its limit.
    #[must_use]
    pub fn bytes(name: &str, bytes: f64, target: f64) -> Self {
        Self::new(name, None, None, Target::default(), Some((bytes, target)))
    }

    fn new(
        name: &str,
        ours_ns: Option<f64>,
        peer: Option<(&'static str, f64)>,
        target: Target,
        bytes: Option<(f64, f64)>,
    ) -> Self {
        let ratio = ours_ns.zip(peer).map(|(ours, (_, peer))| ours / peer);
        let limits = [ours_ns.zip(target.ns), ratio.zip(target.ratio), bytes];
        let ok = limits.iter().flatten().map(|(is, limit)| is <= limit).reduce(|a, b| a && b);
        Self {
            name: name.to_owned(),
            ours_ns,
            peer: peer.map(|(name, _)| name),
            peer_ns: peer.map(|(_, ns)| ns),
            ratio,
            target_ratio: target.ratio,
            target_ns: target.ns,
            ours_bytes: bytes.map(|(is, _)| is),
            target_bytes: bytes.map(|(_, limit)| limit),
            ok,
        }
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
        let heads = ["row", "ours", "at most", "peer", "peer's", "ratio", "at most", ""];
        let cells: Vec<[String; 8]> = self.rows.iter().map(Row::cells).collect();
        let mut widths = heads.map(|h| h.chars().count());
        for row in &cells {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut line = |row: [&str; 8]| {
            let mut text = String::new();
            for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
                // Names stand left, figures right.
                if matches!(at, 0 | 3 | 7) {
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
    fn cells(&self) -> [String; 8] {
        let time = |ns: Option<f64>| ns.map(duration).unwrap_or_default();
        let ratio = |r: Option<f64>| r.map(|r| format!("{r:.3} ×")).unwrap_or_default();
        let bytes = |b: f64| format!("{b:.0} B");
        let verdict = match self.ok {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        [
            self.name.clone(),
            self.ours_bytes.map_or_else(|| time(self.ours_ns), bytes),
            self.target_bytes.map_or_else(|| time(self.target_ns), bytes),
            self.peer.unwrap_or_default().to_owned(),
            time(self.peer_ns),
            ratio(self.ratio),
            ratio(self.target_ratio),
            verdict.to_owned(),
        ]
    }
}

fn duration(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}
