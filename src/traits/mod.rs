//! The five contracts that every outside part fulfils: where data comes from, how it travels, where it is cached,
//! where telemetry goes, what time it is.
//!
//! No I/O and no third-party client type in here. All traits are object-safe, `Debug + Send + Sync + 'static`, and
//! their clauses are numbered: the conformance kit (`testing`) has one test for each.

mod clock;
mod source;

pub use self::{
    clock::{BoxFuture, Clock, Tick},
    source::{Load, Source},
};
