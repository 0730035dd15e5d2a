//! Conditions on the context.

use std::fmt;

use super::AttrType;

/// A condition on the context.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the manifest format fixes the node kinds")]
pub enum Predicate {
    /// All of them; at least one.
    And(Vec<Self>),
    /// Any of them; at least one.
    Or(Vec<Self>),
    /// Not that.
    Not(Box<Self>),
    /// Membership in the segment of that key.
    Segment(String),
    /// A test of one attribute.
    Atom(Atom),
}

/// A test of one attribute.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the manifest format fixes the fields")]
pub struct Atom {
    /// The attribute's literal key.
    pub attribute: String,
    /// The test.
    pub op: Operator,
    /// What it is tested against: none for `is_set` and `is_not_set`, one for most, several for `in` and `not_in`.
    pub operands: Vec<Scalar>,
}

/// A literal in a predicate.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the manifest format fixes the scalar types")]
pub enum Scalar {
    /// Text.
    String(String),
    /// An integer.
    Int(i64),
    /// A finite double.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

impl Scalar {
    /// Returns the attribute type that the literal implies.
    #[must_use]
    pub const fn attr_type(&self) -> AttrType {
        match self {
            Self::String(_) => AttrType::String,
            Self::Int(_) => AttrType::Int,
            Self::Float(_) => AttrType::Float,
            Self::Bool(_) => AttrType::Boolean,
        }
    }
}

impl fmt::Display for Scalar {
    /// Prints the literal as TOML: text in double quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(v) => write!(f, "{v:?}"),
            Self::Int(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v:?}"),
            Self::Bool(v) => write!(f, "{v}"),
        }
    }
}

macro_rules! operators {
    ($($variant:ident $text:literal $doc:literal),+ $(,)?) => {
        /// The nineteen operators of predicates.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(clippy::exhaustive_enums, reason = "the manifest format fixes the set")]
        pub enum Operator {
            $(#[doc = $doc] $variant,)+
        }

        impl Operator {
            /// All operators, in the order of the format's reference.
            pub const ALL: [Self; 19] = [$(Self::$variant,)+];

            /// Returns the spelling of manifests.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Returns the operator of that spelling.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

operators! {
    Eq "eq" "equal",
    Neq "neq" "present and not equal",
    Gt "gt" "greater, numeric",
    Gte "gte" "greater or equal, numeric",
    Lt "lt" "less, numeric",
    Lte "lte" "less or equal, numeric",
    In "in" "equals one of them; a list overlaps them",
    NotIn "not_in" "present and equals none of them; a list does not overlap them",
    Contains "contains" "substring, case-sensitive; a list has the element",
    NotContains "not_contains" "present and without the substring; a list lacks the element",
    StartsWith "starts_with" "prefix, case-sensitive",
    EndsWith "ends_with" "suffix, case-sensitive",
    SemverEq "semver_eq" "equal precedence",
    SemverGt "semver_gt" "higher precedence",
    SemverGte "semver_gte" "higher or equal precedence",
    SemverLt "semver_lt" "lower precedence",
    SemverLte "semver_lte" "lower or equal precedence",
    IsSet "is_set" "the key is in the context",
    IsNotSet "is_not_set" "the key is not in the context",
}

impl Operator {
    /// Returns whether it looks into lists of strings.
    pub(crate) const fn takes_lists(self) -> bool {
        matches!(self, Self::Contains | Self::NotContains | Self::In | Self::NotIn)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
