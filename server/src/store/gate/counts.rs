//! Counts as they are kept: exact to the last bit, small, and bounded whatever is reported.

use std::mem;

use bytes::Bytes;
use leverframe::{
    Error, ErrorKind, Result,
    gate::{
        reflex::{Aggregate, Window},
        types::{CustomMetricAggregate, LONGEST_TAG},
    },
};

/// Where what there is no room for is counted, as clients do it that run out of room.
pub(super) const OTHER: &str = "__other__";
/// So many tags are told apart within a second, and within a minute.
const MOST_TAGS: usize = 1_000;
/// So many tags are told apart within a window, whose seconds may each have other ones.
const MOST_TAGS_OF_WINDOW: usize = 10_000;
/// So many custom metrics of a tag are told apart.
const MOST_METRICS: usize = 32;
/// So many custom metrics of all tags are told apart within a second, and within a minute.
const MOST_METRICS_OF_ALL: usize = 2_000;
/// The name of a custom metric is no longer than this, in bytes.
const LONGEST_METRIC: usize = 64;
/// How the counts are written, for whatever comes later.
const FORM: u8 = 1;

/// What was counted within some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    window: Window,
    metrics: usize,
}

impl Cell {
    pub(super) fn is_empty(&self) -> bool {
        self.window.is_empty()
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// Adds what was counted. What is too long, too much, or no text that a database holds, is counted as `__other__`.
    pub(super) fn add(&mut self, window: &Window) {
        for (tag, counted) in window {
            if *counted == Aggregate::default() {
                continue;
            }
            let known = self.window.contains_key(tag);
            // What is known of a pulse as a whole, and the rest, have a place of their own.
            let reserved = tag.is_empty() || tag == OTHER;
            let room = known || reserved || self.window.len() < MOST_TAGS && is_text(tag, LONGEST_TAG);
            let tag = if room { tag } else { OTHER };
            let mut counted = counted.clone();
            let custom = mem::take(&mut counted.custom);
            let mine = self.window.entry(tag.to_owned()).or_default();
            mine.merge(&counted);
            for (name, values) in custom {
                self.add_metric(tag, &name, values);
            }
        }
    }

    fn add_metric(&mut self, tag: &str, name: &str, values: CustomMetricAggregate) {
        let mine = self.window.entry(tag.to_owned()).or_default();
        let tag =
            if mine.custom.contains_key(name) || self.metrics < MOST_METRICS_OF_ALL { tag } else { OTHER };
        let mine = self.window.entry(tag.to_owned()).or_default();
        let before = mine.custom.len();
        let name = if self.metrics < MOST_METRICS_OF_ALL { name } else { OTHER };
        add_metric(mine, name, values);
        self.metrics += mine.custom.len() - before;
    }

    /// Returns the counts as they are kept.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = vec![FORM];
        put_number(&mut out, self.window.len() as u64);
        for (tag, counted) in &self.window {
            put_text(&mut out, tag);
            put_aggregate(&mut out, counted);
        }
        out.into()
    }

    /// Reads counts that were kept.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut cell = Self::default();
        add_encoded(&mut cell.window, bytes)?;
        cell.metrics = cell.window.values().map(|counted| counted.custom.len()).sum();
        Ok(cell)
    }
}

/// Adds counts that were kept.
pub(super) fn add_encoded(window: &mut Window, bytes: &[u8]) -> Result<()> {
    let mut from = Reader::new(bytes)?;
    for _ in 0..from.number()? {
        let tag = from.text()?;
        let counted = from.aggregate()?;
        let tag = if window.len() < MOST_TAGS_OF_WINDOW || window.contains_key(tag) { tag } else { OTHER };
        match window.get_mut(tag) {
            Some(mine) => {
                mine.merge(&counted);
                mine.custom.values_mut().for_each(keep_finite);
            }
            None => drop(window.insert(tag.to_owned(), counted)),
        }
    }
    from.end()
}

/// Adds what was counted of a tag to what was counted of it before.
pub(super) fn add(mine: &mut Aggregate, counted: &Aggregate) {
    let mut counted = counted.clone();
    let custom = mem::take(&mut counted.custom);
    mine.merge(&counted);
    for (name, values) in custom {
        add_metric(mine, &name, values);
    }
}

/// Returns the counts of one tag as they are kept.
pub(super) fn encode(counted: &Aggregate) -> Bytes {
    let mut out = vec![FORM];
    put_aggregate(&mut out, counted);
    out.into()
}

/// Reads the counts of one tag.
pub(super) fn decode(bytes: &[u8]) -> Result<Aggregate> {
    let mut from = Reader::new(bytes)?;
    let counted = from.aggregate()?;
    from.end()?;
    Ok(counted)
}

fn add_metric(mine: &mut Aggregate, name: &str, values: CustomMetricAggregate) {
    // What is no number measures nothing, and would make all that is added to it none.
    if ![values.min, values.max, values.sum].into_iter().all(f64::is_finite) {
        return;
    }
    let known = mine.custom.contains_key(name);
    let room = known || mine.custom.len() < MOST_METRICS && is_text(name, LONGEST_METRIC);
    let name = if room { name } else { OTHER };
    let mut one = Aggregate::default();
    one.custom.insert(name.to_owned(), values);
    mine.merge(&one);
    if let Some(merged) = mine.custom.get_mut(name) {
        keep_finite(merged);
    }
}

/// A sum that is too large is the largest there is: an infinite one could not be added to, nor be written as JSON.
const fn keep_finite(values: &mut CustomMetricAggregate) {
    values.sum = values.sum.clamp(f64::MIN, f64::MAX);
}

fn is_text(text: &str, longest: usize) -> bool {
    text.len() <= longest && !text.contains('\0')
}

fn put_aggregate(out: &mut Vec<u8>, counted: &Aggregate) {
    for number in [counted.calls, counted.denied, counted.errors, counted.latency_micros] {
        put_number(out, number);
    }
    for number in counted.buckets {
        put_number(out, number);
    }
    put_number(out, counted.custom.len() as u64);
    for (name, values) in &counted.custom {
        put_text(out, name);
        for number in [values.min, values.max, values.sum] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        put_number(out, values.count);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads what was written, and believes nothing of it.
struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn new(bytes: &'b [u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((&FORM, rest)) => Ok(Self { rest }),
            _ => Err(damaged("they are of another form")),
        }
    }

    fn bytes(&mut self, count: usize) -> Result<&'b [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| damaged("they end too early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(damaged("a number is too large"))
    }

    fn text(&mut self) -> Result<&'b str> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        std::str::from_utf8(self.bytes(length)?).map_err(|_| damaged("a name is no text"))
    }

    fn float(&mut self) -> Result<f64> {
        let bytes = self.bytes(8)?.try_into().map_err(|_| damaged("they end too early"))?;
        Ok(f64::from_le_bytes(bytes))
    }

    fn aggregate(&mut self) -> Result<Aggregate> {
        let mut counted = Aggregate::default();
        let plain =
            [&mut counted.calls, &mut counted.denied, &mut counted.errors, &mut counted.latency_micros];
        for number in plain {
            *number = self.number()?;
        }
        for number in &mut counted.buckets {
            *number = self.number()?;
        }
        for _ in 0..self.number()? {
            let name = self.text()?.to_owned();
            let mut values = CustomMetricAggregate::default();
            (values.min, values.max, values.sum) = (self.float()?, self.float()?, self.float()?);
            values.count = self.number()?;
            counted.custom.insert(name, values);
        }
        Ok(counted)
    }

    fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(damaged("something follows them")) }
    }
}

fn damaged(reason: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "read stored counts").with("reason", reason).hint("restore a backup")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calls(count: u64) -> Aggregate {
        let mut counted = Aggregate::default();
        counted.calls = count;
        counted
    }

    fn metric(sum: f64) -> CustomMetricAggregate {
        let mut values = CustomMetricAggregate::default();
        (values.min, values.max, values.sum, values.count) = (sum, sum, sum, 1);
        values
    }

    fn aggregate() -> impl Strategy<Value = Aggregate> {
        let number = || prop_oneof![0_u64..200, any::<u64>()];
        let finite = || any::<f64>().prop_filter("a number", |number| number.is_finite());
        let values = (finite(), finite(), finite(), number()).prop_map(|(min, max, sum, count)| {
            let mut values = CustomMetricAggregate::default();
            (values.min, values.max, values.sum, values.count) = (min, max, sum, count);
            values
        });
        let custom = proptest::collection::btree_map("[a-z_]{1,9}", values, 0..4);
        (proptest::array::uniform12(number()), custom).prop_map(|(numbers, custom)| {
            let mut counted = Aggregate::default();
            (counted.calls, counted.denied) = (numbers[0], numbers[1]);
            (counted.errors, counted.latency_micros) = (numbers[2], numbers[3]);
            counted.buckets.copy_from_slice(&numbers[4..]);
            counted.custom = custom;
            counted
        })
    }

    proptest! {
        #[test]
        fn what_was_kept_comes_back_to_the_last_bit(counted in aggregate()) {
            prop_assert_eq!(decode(&encode(&counted)).unwrap(), counted);
        }

        #[test]
        fn cells_come_back_and_add_up(window in proptest::collection::btree_map(".{0,9}", aggregate(), 0..9)) {
            let mut cell = Cell::default();
            cell.add(&window);

            let kept = Cell::decode(&cell.encode()).unwrap();
            let mut sum = Window::new();
            add_encoded(&mut sum, &cell.encode()).unwrap();

            prop_assert_eq!(&kept, &cell);
            prop_assert_eq!(&sum, cell.window());
        }

        #[test]
        fn damage_is_an_error_and_never_a_panic(mut bytes: Vec<u8>, known: bool) {
            if let Some(first) = bytes.first_mut().filter(|_| known) {
                *first = FORM;
            }
            if let Ok(cell) = Cell::decode(&bytes) {
                prop_assert_eq!(Cell::decode(&cell.encode()).unwrap(), cell);
            }
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_million_tags_are_a_thousand_and_the_rest() {
        let mut cell = Cell::default();
        for part in 0..1_000 {
            let window: Window = (0..1_000).map(|tag| (format!("tag {part} {tag}"), calls(1))).collect();
            cell.add(&window);
        }

        assert_eq!(cell.window().len(), 1_001);
        assert_eq!(cell.window()[OTHER].calls, 999_000);
        assert!(cell.encode().len() < 300_000);
    }

    #[test]
    fn what_no_database_holds_is_counted_as_the_rest() {
        let mut cell = Cell::default();
        let long = "x".repeat(LONGEST_TAG + 1);
        let window = [(long, calls(1)), ("a\0b".to_owned(), calls(2)), (String::new(), calls(4))];

        cell.add(&window.into_iter().collect());
        cell.add(&[("nothing".to_owned(), calls(0))].into_iter().collect());

        let counted: Vec<_> =
            cell.window().iter().map(|(tag, counted)| (tag.as_str(), counted.calls)).collect();
        assert_eq!(counted, [("", 4), (OTHER, 3)]);
    }

    #[test]
    fn metrics_beyond_the_bounds_are_one_and_none_is_lost() {
        let mut cell = Cell::default();
        for tag in 0..200 {
            let mut counted = calls(1);
            counted.custom = (0..100).map(|name| (format!("metric_{name}"), metric(1.0))).collect();
            counted.custom.insert("x".repeat(LONGEST_METRIC + 1), metric(1.0));
            cell.add(&[(format!("{tag}"), counted)].into_iter().collect());
        }

        let all = || cell.window().values().flat_map(|counted| counted.custom.values());
        assert!(all().count() <= MOST_METRICS_OF_ALL + 2, "{}", all().count());
        assert_eq!(all().map(|values| values.count).sum::<u64>(), 200 * 101);
        assert!((all().map(|values| values.sum).sum::<f64>() - 20_200.0).abs() < 0.5);
        assert!(cell.window().values().all(|counted| counted.custom.len() <= MOST_METRICS + 1));
    }

    #[test]
    fn what_is_no_number_is_left_out_and_sums_stay_numbers() {
        let mut mine = Aggregate::default();
        for sum in [f64::NAN, f64::INFINITY, f64::MAX, f64::MAX] {
            add_metric(&mut mine, "m", metric(sum));
        }
        add_metric(&mut mine, "n", metric(f64::NEG_INFINITY));

        assert_eq!(mine.custom.len(), 1);
        assert_eq!((mine.custom["m"].sum, mine.custom["m"].count), (f64::MAX, 2));
    }
}
