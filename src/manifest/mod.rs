//! The manifest of one namespace: layout, archive, parse, lint, typed model, closure, fingerprint.
//!
//! Pure: knows none of the traits, does no I/O, reads no clock.

mod diagnostic;
pub mod model;
pub(crate) mod names;

pub use self::{
    diagnostic::{LintDiagnostic, LintReport, Severity},
    model::Manifest,
};
