//! The space of contexts, cut into the cells that a flag's rules can tell apart.
//!
//! A manifest asks finitely many questions of a context, so for each flag the contexts fall into finitely many
//! cells in which it resolves alike. Everything that claims to be exact stands on this: differences between
//! manifests, why-not answers, fixtures and schemas.
//!
//! | module | part |
//! |---|---|
//! | `plan` | what the shape of a flag's blocks decides: rules in force, default |
//! | `case` | flags compiled to questions about numbered attributes, tests and salts |
//! | `solve`, `candidates`, `versions` | can an attribute have a value that answers so, and which |
//! | `ask` | resolution as a series of questions |
//! | `walk` | answers them in every possible way, lazily, each way once |
//! | `ranges` | sets of buckets, exact shares |
//! | `witness` | a concrete context for a cell, entity ids by search |
//! | `words` | conditions and reasons for people |
//! | `paths` | the public view: every way through one flag |
//!
//! The contexts considered are well-typed: each attribute has its inferred type, or is absent, or is a list of
//! strings where that type is string; numbers are finite. An entity id that no test names is taken to
//! fall into each bucket equally often, independently for different salts. Where an attribute is both compared as
//! a version and matched as text, cells may be missed, and results say that they are not exact.

pub(crate) mod ask;
mod candidates;
pub(crate) mod case;
mod paths;
pub(crate) mod plan;
pub(crate) mod ranges;
pub(crate) mod solve;
mod versions;
pub(crate) mod walk;
pub(crate) mod witness;
pub(crate) mod words;

pub use self::{
    paths::{Outcome, Path, Paths, paths},
    ranges::Share,
    walk::Limits,
    words::Reason,
};
