//! Sets of buckets, and exact shares of them.

use std::{cmp::Ordering, fmt};

use crate::manifest::model::Bucket;

/// A set of buckets as sorted, disjoint, inclusive ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<(u16, u16)>);

impl Ranges {
    /// All buckets.
    pub(crate) fn all() -> Self {
        Self(vec![(0, Bucket::COUNT - 1)])
    }

    /// The buckets of this set within `start..=end`.
    pub(crate) fn within(&self, start: u16, end: u16) -> Self {
        let cut = |&(a, b): &(u16, u16)| (a.max(start), b.min(end));
        Self(self.0.iter().map(cut).filter(|(a, b)| a <= b).collect())
    }

    /// The buckets of this set outside `start..=end`.
    pub(crate) fn without(&self, start: u16, end: u16) -> Self {
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        for &(a, b) in &self.0 {
            if a < start {
                rest.push((a, b.min(start - 1)));
            }
            if b > end {
                rest.push((a.max(end + 1), b));
            }
        }
        Self(rest)
    }

    pub(crate) fn contains(&self, bucket: u16) -> bool {
        self.0.iter().any(|(a, b)| (*a..=*b).contains(&bucket))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_all(&self) -> bool {
        self.len() == Bucket::COUNT
    }

    pub(crate) fn len(&self) -> u16 {
        self.0.iter().map(|(a, b)| b - a + 1).sum()
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (a, b)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" or ")?;
            }
            write!(f, "{a}..={b}")?;
        }
        Ok(())
    }
}

/// An exact share of buckets: so many of 10,000, or of 10,000² where two salts take part, and so on.
///
/// # Examples
/// ```
/// use leverframe::eval::Share;
/// let tenth = Share::of_buckets(1_000);
/// assert_eq!(tenth.to_string(), "1000 of 10000 (10%)");
/// assert!(tenth > Share::percent("5").unwrap());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Share {
    moved: u128,
    of: u128,
}

impl Share {
    /// Nothing.
    pub const NONE: Self = Self { moved: 0, of: Bucket::COUNT as u128 };
    /// Everything.
    pub const ALL: Self = Self { moved: Bucket::COUNT as u128, of: Bucket::COUNT as u128 };
    /// More assignment spaces than this do not fit the numbers.
    pub(crate) const MAX_SPACES: usize = 9;

    /// Makes the share of so many of the 10,000 buckets; more than all count as all.
    #[must_use]
    pub fn of_buckets(buckets: u16) -> Self {
        Self { moved: u128::from(buckets.min(Bucket::COUNT)), of: u128::from(Bucket::COUNT) }
    }

    /// Makes the share of `moved` cells of the grid that `spaces` salts span.
    pub(crate) fn of_grid(moved: u128, spaces: usize) -> Self {
        let side = u128::from(Bucket::COUNT);
        let mut share = Self { moved, of: side.pow(spaces.min(Self::MAX_SPACES) as u32) };
        while share.of > side && share.moved.is_multiple_of(side) {
            share.moved /= side;
            share.of /= side;
        }
        if share.of < side { Self { moved: share.moved * side, of: side } } else { share }
    }

    /// Reads a percentage such as `5`, `0.25` or `12.5%`, at most 100, with at most 14 decimals.
    #[must_use]
    pub fn percent(text: &str) -> Option<Self> {
        let digits = text.trim();
        let digits = digits.strip_suffix('%').unwrap_or(digits).trim_end();
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let fits = |t: &str| t.len() <= 14 && t.bytes().all(|b| b.is_ascii_digit());
        if !fits(whole) || !fits(decimals) || (whole.is_empty() && decimals.is_empty()) {
            return None;
        }
        let scale = 10_u128.pow(decimals.len() as u32);
        let number = format!("0{whole}{decimals}").parse::<u128>().ok()?;
        // Times ten thousand over ten thousand, so that plain percentages read as buckets.
        let share = Self { moved: number * 100, of: scale * u128::from(Bucket::COUNT) };
        (share <= Self::ALL).then_some(share)
    }

    /// Returns how many cells of the grid move.
    #[must_use]
    pub const fn moved(&self) -> u128 {
        self.moved
    }

    /// Returns how many cells the grid has: 10,000, or a power of it.
    #[must_use]
    pub const fn of(&self) -> u128 {
        self.of
    }

    /// Returns true if nothing moves.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.moved == 0
    }

    /// Returns the share as a percentage, for display; compare shares, not their percentages.
    #[must_use]
    pub fn as_percent(&self) -> f64 {
        self.moved as f64 * 100.0 / self.of as f64
    }

    /// Writes the percentage: exactly up to six decimals, else rounded down with `≈` in front.
    fn percent_text(&self) -> String {
        const DIGITS: u32 = 6;
        // Long division, digit by digit: scaling the numerator by 10⁸ could overflow at nine salts.
        let (mut rest, mut number) = (self.moved, 0_u128);
        for step in 0..2 + DIGITS {
            if step == 0 {
                number = rest / self.of;
                rest %= self.of;
            }
            rest *= 10;
            number = number * 10 + rest / self.of;
            rest %= self.of;
        }
        let scale = 10_u128.pow(DIGITS);
        let decimals = format!("{:06}", number % scale);
        let decimals = decimals.trim_end_matches('0');
        let about = if rest == 0 { "" } else { "≈" };
        let point = if decimals.is_empty() { "" } else { "." };
        format!("{about}{}{point}{decimals}%", number / scale)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({})", self.moved, self.of, self.percent_text())
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Share {}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Share {
    /// Compares exactly, by continued fractions: cross products would overflow at nine salts.
    fn cmp(&self, other: &Self) -> Ordering {
        let (mut a, mut b) = ((self.moved, self.of), (other.moved, other.of));
        let mut flipped = false;
        loop {
            let whole = (a.0 / a.1).cmp(&(b.0 / b.1));
            let (rest_a, rest_b) = (a.0 % a.1, b.0 % b.1);
            let ordering = match (whole, rest_a, rest_b) {
                (Ordering::Equal, 0, 0) => return Ordering::Equal,
                (Ordering::Equal, 0, _) => Ordering::Less,
                (Ordering::Equal, _, 0) => Ordering::Greater,
                (Ordering::Equal, _, _) => {
                    (a, b) = ((a.1, rest_a), (b.1, rest_b));
                    flipped = !flipped;
                    continue;
                }
                (other, _, _) => other,
            };
            return if flipped { ordering.reverse() } else { ordering };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_inside_and_outside_partitions_a_set() {
        let some = Ranges::all().without(100, 199).without(0, 9);

        let (inside, outside) = (some.within(50, 149), some.without(50, 149));

        assert_eq!(some.len(), 9_890);
        assert_eq!(inside.len() + outside.len(), some.len());
        assert_eq!(inside.to_string(), "50..=99");
        assert_eq!(outside.to_string(), "10..=49 or 200..=9999");
        assert!(Ranges::all().without(0, 9_999).is_empty());
    }

    #[test]
    fn shares_compare_exactly_at_nine_salts() {
        let third = Share::of_grid(333_333_333_333_333_333_333_333_333_333_333_333, 9);
        let more = Share::of_grid(333_333_333_333_333_333_333_333_333_333_333_334, 9);

        assert!(third < more);
        assert!(third > Share::of_buckets(3_333));
        assert!(more < Share::of_buckets(3_334));
        assert_eq!(Share::of_grid(100 * 10_000, 2), Share::of_buckets(100));
    }

    #[test]
    fn percentages_print_exactly_where_six_decimals_suffice() {
        assert_eq!(Share::of_buckets(333).to_string(), "333 of 10000 (3.33%)");
        assert_eq!(Share::of_grid(1, 2).to_string(), "1 of 100000000 (0.000001%)");
        assert_eq!(Share::of_grid(1, 3).to_string(), "1 of 1000000000000 (≈0%)");
        assert_eq!(Share::of_grid(1, 0).to_string(), "10000 of 10000 (100%)");
    }

    #[test]
    fn percentages_are_read_exactly_and_nonsense_is_refused() {
        assert_eq!(Share::percent("5%"), Some(Share::of_buckets(500)));
        assert_eq!(Share::percent(" 0.01 "), Some(Share::of_buckets(1)));
        assert_eq!(Share::percent("100"), Some(Share::ALL));
        for bad in ["", "%", ".", "-1", "101", "1e3", "5 %%", "1.000000000000000000000000000000"] {
            assert_eq!(Share::percent(bad), None, "{bad:?}");
        }
    }
}
