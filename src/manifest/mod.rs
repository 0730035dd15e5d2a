//! The manifest of one namespace: layout, archive, parse, lint, typed model, closure, fingerprint.
//!
//! Pure: knows none of the traits, does no I/O, reads no clock.

pub mod archive;
mod closure;
mod diagnostic;
mod diff;
pub(crate) mod fingerprint;
mod ignored;
pub(crate) mod layout;
pub mod lint;
pub mod model;
pub(crate) mod names;
mod parse;
pub(crate) mod schema;
#[cfg(feature = "signed")]
pub mod signature;
mod tar;
mod workspace;

pub use self::{
    closure::closure,
    diagnostic::{LintDiagnostic, LintPath, LintReport, Severity},
    diff::{Case, Change, ChangeKind, Diff, Move, Moved, TooMany},
    fingerprint::Fingerprint,
    layout::{Found, Layout, SIGNATURE_FILE},
    lint::{LintOptions, Linted, lint_tree},
    model::Manifest,
    names::{is_environment, is_key, is_slug},
    schema::{AttributeSource, Schema, SchemaAttribute},
    workspace::Workspace,
};
pub(crate) use self::{
    layout::{GATE_FILE, NAMESPACE_FILE},
    lint::gate_file,
    workspace::Touched,
};
