//! Statements about many rows at once: a database that is far away is asked seldom.

use std::iter;

use crate::store::engine::{Statement, Value};

/// How many rows a statement is about at most.
const AT_ONCE: usize = 64;

/// A statement with a list of rows in it.
///
/// What is looked for stands on the left of a `CROSS JOIN`: with that one engine goes through the list and looks each up
/// by the table's key, where it would read the whole table for `IN`; the other one sees no difference. Columns of a list
/// are named `column1` and so on by both.
#[derive(Debug)]
pub(super) struct Rows {
    /// What stands before the list.
    pub(super) before: &'static str,
    /// A row, with `?` for each of its values.
    pub(super) row: &'static str,
    /// What stands behind the list.
    pub(super) after: &'static str,
}

impl Rows {
    /// Returns the statements about these keys or rows, no two of which are the same.
    pub(super) fn about<const N: usize>(&self, rows: &[[Value; N]]) -> Vec<Statement> {
        parts(rows).map(|part| Statement { sql: self.statement(part.len()), values: part.concat() }).collect()
    }

    fn statement(&self, size: usize) -> String {
        let mut sql =
            String::with_capacity(self.before.len() + self.after.len() + size * (self.row.len() + 16));
        sql.push_str(self.before);
        let mut place = 0;
        for row in 0..size {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            for part in self.row.split_inclusive('?') {
                match part.strip_suffix('?') {
                    None => sql.push_str(part),
                    Some(text) => {
                        place += 1;
                        sql.push_str(text);
                        sql.push('$');
                        sql.push_str(&place.to_string());
                    }
                }
            }
            sql.push(')');
        }
        sql.push_str(self.after);
        sql
    }
}

/// Cuts a list into parts whose lengths are powers of two, so that there are few statements to plan.
fn parts<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    iter::from_fn(move || {
        let size = 1 << rest.len().checked_ilog2()?;
        let (part, others) = rest.split_at(size.min(AT_ONCE));
        rest = others;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_everything_in_order_and_of_few_lengths() {
        for length in 0..200 {
            let list: Vec<_> = (0..length).collect();
            assert_eq!(parts(&list).collect::<Vec<_>>().concat(), list);
            assert!(parts(&list).all(|part| part.len().is_power_of_two() && part.len() <= AT_ONCE));
        }
    }

    #[test]
    fn places_are_numbered_through_all_rows() {
        let rows = Rows { before: "VALUES ", row: "?, CAST(? AS BIGINT)", after: " END" };

        assert_eq!(rows.statement(1), "VALUES ($1, CAST($2 AS BIGINT)) END");
        assert_eq!(rows.statement(2), "VALUES ($1, CAST($2 AS BIGINT)), ($3, CAST($4 AS BIGINT)) END");
    }
}
