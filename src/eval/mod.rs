//! Evaluation: context, predicates, buckets, resolution, explanation. Pure.

mod context;

pub use self::context::{AttrValue, EvalContext, EvalContextBuilder};
