//! TOML files to typed models, one file at a time, with the place of everything that can be wrong.
//!
//! A file that has errors gives no model, only findings; what spans files is left to lint's cross-file passes,
//! which get the references and attribute uses recorded here. A file can so be parsed again alone.

mod fields;
mod flag;
mod gate;
mod namespace;
mod nesting;
mod predicate;
mod segment;

use std::ops::Range;

pub(crate) use self::{
    fields::{File, Root, open, open_any_version, shown},
    flag::{FlagFile, parse_flag},
    gate::{RuleAt, parse_gate},
    namespace::{NamespaceFile, parse_namespace},
    predicate::{DEEPEST, unify},
    segment::{SegmentFile, parse_segment},
};
use crate::manifest::model::AttrType;

/// A byte range of a file.
pub(crate) type Span = Range<usize>;

/// What the predicates of one file refer to.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Segments that are named.
    pub(crate) segments: Vec<SegmentUse>,
    /// Attributes whose type is implied.
    pub(crate) attributes: Vec<AttributeUse>,
}

/// A place that names a segment.
#[derive(Debug)]
pub(crate) struct SegmentUse {
    pub(crate) key: String,
    pub(crate) span: Span,
    /// `flag 'k' rule[0]`, for messages.
    pub(crate) subject: String,
}

/// A place that implies the type of an attribute.
#[derive(Debug)]
pub(crate) struct AttributeUse {
    pub(crate) attribute: String,
    pub(crate) implied: AttrType,
    pub(crate) span: Span,
}
