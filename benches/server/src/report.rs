//! What was measured, as a table for people and as JSON for programs.

use std::fmt;

use serde::Serialize;

/// One measured row. What it is held against is of the same run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What is done.
    pub(crate) name: String,
    /// What `ours` and `peer` count: `requests/s`, `ms`, `bytes`.
    pub(crate) unit: &'static str,
    /// Our figure.
    pub(crate) ours: f64,
    /// What we are compared with, if anything.
    pub(crate) peer: Option<&'static str>,
    /// The peer's figure.
    pub(crate) peer_figure: Option<f64>,
    /// The median over the rounds of ours divided by the peer's.
    pub(crate) ratio: Option<f64>,
    /// The least that `ratio` may be.
    pub(crate) least_ratio: Option<f64>,
    /// The most that `ours` may be.
    pub(crate) most: Option<f64>,
    /// Whether all targets of the row are met; `None` where it has none.
    pub(crate) ok: Option<bool>,
}

impl Row {
    /// Makes a row of a figure that may be so much at most.
    pub(crate) fn limited(name: &str, unit: &'static str, ours: f64, most: f64) -> Self {
        let ok = Some(ours <= most);
        Self { name: name.to_owned(), unit, ours, peer: None, peer_figure: None, ratio: None, least_ratio: None, most: Some(most), ok }
    }

    /// Makes a row of a figure that is only told.
    pub(crate) fn unlimited(name: &str, unit: &'static str, ours: f64) -> Self {
        Self { most: None, ok: None, ..Self::limited(name, unit, ours, f64::MAX) }
    }

    /// Makes a row of pairs, each of one round: ours and the peer's.
    pub(crate) fn paired(
        name: &str,
        unit: &'static str,
        peer: &'static str,
        pairs: &[(f64, f64)],
        least_ratio: f64,
    ) -> Self {
        let ratio = median(pairs.iter().map(|(ours, peer)| ours / peer));
        Self {
            name: name.to_owned(),
            unit,
            ours: median(pairs.iter().map(|(ours, _)| *ours)),
            peer: Some(peer),
            peer_figure: Some(median(pairs.iter().map(|(_, peer)| *peer))),
            ratio: Some(ratio),
            least_ratio: Some(least_ratio),
            most: None,
            ok: Some(ratio >= least_ratio),
        }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a row.
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Returns whether every target is met.
    pub(crate) fn ok(&self) -> bool {
        self.rows.iter().all(|row| row.ok != Some(false))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<34} {:>12} {:>12} {:>7}  {:<10} against", "row", "ours", "peer", "ratio", "unit")?;
        for row in &self.rows {
            let number = |figure: Option<f64>, places: usize| {
                figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.places$}"))
            };
            let target = match (row.least_ratio, row.most) {
                (Some(least), _) => format!("at least {least}"),
                (_, Some(most)) => format!("at most {most} {}", row.unit),
                _ => String::new(),
            };
            let verdict = match row.ok {
                Some(true) => "ok",
                Some(false) => "MISSED",
                None => "",
            };
            writeln!(
                f,
                "{:<34} {:>12} {:>12} {:>7}  {:<10} {} {target} {verdict}",
                row.name,
                number(Some(row.ours), 0),
                number(row.peer_figure, 0),
                number(row.ratio, 3),
                row.unit,
                row.peer.unwrap_or_default(),
            )?;
        }
        Ok(())
    }
}

/// Returns the figure in the middle.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
