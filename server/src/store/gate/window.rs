//! What a site counted within some time that ends now.

use leverframe::{Result, gate::reflex::Window};

use super::{counts::add_encoded, sites::key};
use crate::{
    gate::model::SiteId,
    store::engine::{Connection, Row, Value},
};

/// The cells of a second.
pub(super) const SECOND: i64 = 1;
/// The cells of a minute: with them, an hour is read as some hundred cells instead of 3,600.
pub(super) const MINUTE: i64 = 60;
/// No window is longer, in seconds.
pub(super) const LONGEST: i64 = 3_600;

/// Where a window has no whole minutes the second and third part are empty.
pub(super) const READ: &str = "SELECT counts FROM gate_cells WHERE org = $1 AND site = $2 AND span = 1 AND start >= $3 AND start < $4 \
     UNION ALL \
     SELECT counts FROM gate_cells WHERE org = $1 AND site = $2 AND span = 60 AND start >= $5 AND start < $6 \
     UNION ALL \
     SELECT counts FROM gate_cells WHERE org = $1 AND site = $2 AND span = 1 AND start >= $7 AND start < $8";

/// Returns when the cell of that length begins that a time, in microseconds, falls into; in seconds.
pub(super) const fn start(now: i64, span: i64) -> i64 {
    now.div_euclid(1_000_000 * span) * span
}

/// Reads a window.
pub(super) async fn read(on: &mut dyn Connection, site: &SiteId, seconds: u32, now: i64) -> Result<Window> {
    sum(on.find(READ, &values(site, seconds, now)).await?)
}

/// Returns the values that [`READ`] is asked with.
pub(super) fn values(site: &SiteId, seconds: u32, now: i64) -> Vec<Value> {
    key(site).into_iter().chain(parts(seconds, now).into_iter().flatten().map(Value::from)).collect()
}

/// Adds up the cells that [`READ`] found.
pub(super) fn sum(rows: Vec<Row>) -> Result<Window> {
    let mut window = Window::new();
    for mut row in rows {
        add_encoded(&mut window, &row.blob()?)?;
    }
    Ok(window)
}

/// Returns the seconds, the whole minutes and the seconds again that a window consists of, each from and to.
fn parts(seconds: u32, now: i64) -> [[i64; 2]; 3] {
    let to = start(now, SECOND).saturating_add(1);
    let from = to.saturating_sub(i64::from(seconds).min(LONGEST));
    // The next whole minute, and the one that the window ends in.
    let first = from.saturating_add(MINUTE - 1).div_euclid(MINUTE) * MINUTE;
    let last = to.div_euclid(MINUTE) * MINUTE;
    if first < last { [[from, first], [first, last], [last, to]] } else { [[from, to], [0, 0], [0, 0]] }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_of_a_window_are_each_of_its_seconds_once(seconds in 0_u32..4_000, now in -10_000_000_i64..10_000_000_000_000) {
            let parts = parts(seconds, now);

            let end = start(now, SECOND);
            let mut covered: Vec<i64> = parts.iter().flat_map(|[from, to]| *from..*to).collect();
            covered.sort_unstable();
            let expected: Vec<i64> = (end - i64::from(seconds).min(LONGEST) + 1..=end).collect();
            prop_assert_eq!(covered, expected);
            prop_assert!(parts[1].iter().all(|edge| edge % MINUTE == 0));
            let few = parts[0][1] - parts[0][0] + parts[2][1] - parts[2][0];
            prop_assert!(few < 3 * MINUTE);
        }
    }
}
