//! Tables for people.

use anstyle::Style;

use super::{BOLD, styled};

/// Rows under heads, as wide as they need to be.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A column: what it is called, and on which side its cells stand.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    name: &'static str,
    right: bool,
}

/// A text, perhaps with a style.
pub(crate) struct Cell {
    text: String,
    style: Option<Style>,
}

/// A column of words.
pub(crate) const fn words(name: &'static str) -> Column {
    Column { name, right: false }
}

/// A column of numbers.
pub(crate) const fn numbers(name: &'static str) -> Column {
    Column { name, right: true }
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: None }
    }

    /// Makes it stand out.
    pub(crate) fn when(self, stands_out: bool, style: Style) -> Self {
        Self { style: stands_out.then_some(style).or(self.style), ..self }
    }

    fn padded(&self, width: usize, right: bool) -> String {
        let gap = " ".repeat(width.saturating_sub(self.text.chars().count()));
        // The gap has no style, so that nothing is underlined or inverted but the text.
        let text = self.style.map_or_else(|| self.text.clone(), |style| styled(style, &self.text));
        if right { gap + &text } else { text + &gap }
    }
}

impl Table {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the lines, the head first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let width = |(at, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| row[at].text.chars().count());
            cells.chain([column.name.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = self.columns.iter().enumerate().map(width).collect();
        let line = |cells: &[Cell]| {
            let padded = cells.iter().zip(&self.columns).zip(&widths);
            let padded: Vec<String> =
                padded.map(|((cell, column), width)| cell.padded(*width, column.right)).collect();
            padded.join("  ").trim_end().to_owned()
        };
        let head: Vec<Cell> = self.columns.iter().map(|column| Cell::new(column.name)).collect();
        let head = styled(BOLD, line(&head));
        [head].into_iter().chain(self.rows.iter().map(|row| line(row))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::RED;

    #[test]
    fn styles_do_not_count_as_width() {
        let mut table = Table::new(&[words("tag"), numbers("calls")]);
        table.row(vec![Cell::new("free").when(true, RED), Cell::new("7")]);
        table.row(vec![Cell::new("enterprise"), Cell::new("12345").when(false, RED)]);

        let lines = table.lines();

        assert_eq!(lines[0], styled(BOLD, "tag         calls"));
        assert_eq!(lines[1], format!("{}            7", styled(RED, "free")));
        assert_eq!(lines[2], "enterprise  12345");
    }
}
