//! Statements about many rows at once: a database that is far away is asked seldom.

use leverframe::Result;

use crate::store::engine::{Connection, Row, Value};

/// How many rows a statement is about at most.
const AT_ONCE: usize = 64;

/// A statement with a list of rows in it.
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
    /// Returns what is found for any of these keys. None of them may hold what cannot be stored.
    pub(super) async fn find<const N: usize>(
        &self,
        on: &mut dyn Connection,
        keys: &[[Value; N]],
    ) -> Result<Vec<Row>> {
        let mut found = Vec::new();
        for part in keys.chunks(AT_ONCE) {
            // Filled up with what is asked for anyway, so that there are few statements to plan.
            let size = part.len().next_power_of_two();
            let last = part.last().into_iter().cycle();
            let values: Vec<_> = part.iter().chain(last).take(size).flatten().cloned().collect();
            found.append(&mut on.find(&self.statement(size), &values).await?);
        }
        Ok(found)
    }

    /// Writes rows, no two of which are of the same key.
    pub(super) async fn put<const N: usize>(
        &self,
        on: &mut dyn Connection,
        rows: &[[Value; N]],
    ) -> Result<()> {
        let mut rest = rows;
        while !rest.is_empty() {
            // The largest power of two: few statements to plan, here as well.
            let size = (1 << rest.len().ilog2()).min(AT_ONCE);
            let (part, others) = rest.split_at(size);
            let values: Vec<_> = part.iter().flatten().cloned().collect();
            on.put(&self.statement(size), &values).await?;
            rest = others;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_through_all_rows() {
        let rows = Rows { before: "VALUES ", row: "?, CAST(? AS BIGINT)", after: " END" };

        assert_eq!(rows.statement(1), "VALUES ($1, CAST($2 AS BIGINT)) END");
        assert_eq!(rows.statement(2), "VALUES ($1, CAST($2 AS BIGINT)), ($3, CAST($4 AS BIGINT)) END");
    }
}
