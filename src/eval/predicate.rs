//! The tests that predicates put to one attribute.

use std::cmp::Ordering;

use super::{context::AttrValue, semver::Semver};
use crate::text_table::same_text;

/// A compiled test. The attribute is present when it is asked; absence is decided before.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    IsSet,
    IsNotSet,
    /// A test that a hand-built model left without a usable operand.
    Never,
    Bool {
        when_true: bool,
        when_false: bool,
        /// A list of strings holds no boolean: true for `not_in` alone.
        when_list: bool,
    },
    Number {
        kind: NumberTest,
        operand: Number,
        float_allowed: bool,
    },
    NumberIn {
        values: Box<[Number]>,
        float_allowed: bool,
        negated: bool,
    },
    Semver {
        kind: NumberTest,
        operand: Box<Semver>,
    },
    Text {
        kind: TextTest,
        operand: Box<str>,
    },
    TextIn {
        values: Box<[Box<str>]>,
        sorted: bool,
        negated: bool,
    },
}

/// How two ordered values relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberTest {
    Eq,
    Neq,
    Gt,
    Gte,
    Lt,
    Lte,
}

impl NumberTest {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Neq => ordering.is_ne(),
            Self::Gt => ordering.is_gt(),
            Self::Gte => ordering.is_ge(),
            Self::Lt => ordering.is_lt(),
            Self::Lte => ordering.is_le(),
        }
    }
}

/// What is asked of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextTest {
    Equals,
    NotEquals,
    Contains,
    NotContains,
    StartsWith,
    EndsWith,
}

/// A number of either kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    /// Compares by exact mathematical value (M4); NaN compares with nothing.
    pub(crate) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Int(a), Self::Float(b)) => compare_int_float(a, b),
            (Self::Float(a), Self::Int(b)) => compare_int_float(b, a).map(Ordering::reverse),
        }
    }
}

/// A cast of either side would lose digits beyond 2⁵³, so the integral part and the fraction compare apart.
fn compare_int_float(int: i64, float: f64) -> Option<Ordering> {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= TWO_63 {
        return Some(Ordering::Less);
    }
    if float < -TWO_63 {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    // In range by the checks above, so the cast is exact.
    let by_whole = int.cmp(&(whole as i64));
    Some(by_whole.then_with(|| {
        if float > whole {
            Ordering::Less
        } else if float < whole {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }))
}

impl Test {
    /// Applies the test to a present value; `None` where the value's type is not the one the manifest infers.
    #[inline]
    pub(crate) fn apply(&self, value: &AttrValue) -> Option<bool> {
        match (self, value) {
            (Self::Text { kind, operand }, AttrValue::String(v)) => Some(text(*kind, operand, v)),
            (Self::TextIn { values, sorted, negated }, AttrValue::String(v)) => {
                Some(is_member(values, *sorted, v) != *negated)
            }
            (Self::Bool { when_true, when_false, .. }, AttrValue::Boolean(v)) => {
                Some(if *v { *when_true } else { *when_false })
            }
            (Self::Number { kind, operand, .. }, AttrValue::Int(v)) => {
                Some(number(*kind, Number::Int(*v), *operand))
            }
            (Self::Number { kind, operand, float_allowed: true }, AttrValue::Float(v)) => {
                Some(number(*kind, Number::Float(*v), *operand))
            }
            (Self::NumberIn { values, negated, .. }, AttrValue::Int(v)) => {
                number_in(values, Number::Int(*v), *negated)
            }
            (Self::NumberIn { values, negated, float_allowed: true }, AttrValue::Float(v)) => {
                number_in(values, Number::Float(*v), *negated)
            }
            (Self::Semver { kind, operand }, AttrValue::String(v)) => {
                Some(operand.cmp_text(v).is_some_and(|ordering| kind.holds(ordering)))
            }
            (Self::IsSet, _) => Some(true),
            (Self::IsNotSet | Self::Never, _) => Some(false),
            (_, AttrValue::StrList(list)) => Some(self.apply_list(list)),
            _ => None,
        }
    }

    /// Operators that do not apply to lists are false; a list is never a mismatch.
    fn apply_list(&self, list: &[String]) -> bool {
        match self {
            Self::Text { kind: TextTest::Contains, operand } => list.iter().any(|v| **v == **operand),
            Self::Text { kind: TextTest::NotContains, operand } => !list.iter().any(|v| **v == **operand),
            Self::TextIn { values, sorted, negated } => {
                list.iter().any(|v| is_member(values, *sorted, v)) != *negated
            }
            // Strings never equal numbers, so the sets do not overlap.
            Self::NumberIn { negated, .. } => *negated,
            Self::Bool { when_list, .. } => *when_list,
            _ => false,
        }
    }
}

#[inline]
fn text(kind: TextTest, operand: &str, value: &str) -> bool {
    match kind {
        TextTest::Equals => same_text(value, operand),
        TextTest::NotEquals => value != operand,
        TextTest::Contains => value.contains(operand),
        TextTest::NotContains => !value.contains(operand),
        TextTest::StartsWith => value.starts_with(operand),
        TextTest::EndsWith => value.ends_with(operand),
    }
}

#[inline]
fn is_member(values: &[Box<str>], sorted: bool, value: &str) -> bool {
    if sorted {
        values.binary_search_by(|v| (**v).cmp(value)).is_ok()
    } else {
        values.iter().any(|v| same_text(v, value))
    }
}

/// NaN compares false with everything, also under `neq`.
fn number(kind: NumberTest, value: Number, operand: Number) -> bool {
    value.compare(operand).is_some_and(|ordering| kind.holds(ordering))
}

fn number_in(values: &[Number], value: Number, negated: bool) -> Option<bool> {
    if matches!(value, Number::Float(v) if v.is_nan()) {
        return Some(false);
    }
    Some(values.iter().any(|v| value.compare(*v) == Some(Ordering::Equal)) != negated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int_and_float_compare_by_exact_value() {
        let big = (1_i64 << 53) + 1;

        assert_eq!(Number::Int(big).compare(Number::Float(9_007_199_254_740_992.0)), Some(Ordering::Greater));
        assert_eq!(
            Number::Int(i64::MAX).compare(Number::Float(9_223_372_036_854_775_808.0)),
            Some(Ordering::Less)
        );
        assert_eq!(
            Number::Int(i64::MIN).compare(Number::Float(-9_223_372_036_854_775_808.0)),
            Some(Ordering::Equal)
        );
        assert_eq!(Number::Int(-3).compare(Number::Float(-3.5)), Some(Ordering::Greater));
        assert_eq!(Number::Float(3.5).compare(Number::Int(3)), Some(Ordering::Greater));
        assert_eq!(Number::Int(0).compare(Number::Float(f64::NEG_INFINITY)), Some(Ordering::Greater));
    }

    #[test]
    fn nan_compares_false_with_everything() {
        for kind in [
            NumberTest::Eq,
            NumberTest::Neq,
            NumberTest::Gt,
            NumberTest::Gte,
            NumberTest::Lt,
            NumberTest::Lte,
        ] {
            assert!(!number(kind, Number::Float(f64::NAN), Number::Int(0)));
        }
        assert_eq!(number_in(&[Number::Int(1)], Number::Float(f64::NAN), true), Some(false));
    }
}
