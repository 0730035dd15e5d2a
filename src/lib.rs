//! Run-time control for Rust services: feature flags, remote configs and secrets, and adaptive traffic gating.

// So that the macros for plug-ins, which name this crate from outside, work inside it as well.
extern crate self as leverframe;

pub mod document;
mod error;
mod secret;

pub mod backends;
pub mod config;
pub mod eval;
pub mod flags;
pub mod live;
pub mod manifest;
pub mod registry;
pub mod sources;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod traits;

#[cfg(feature = "async-tokio")]
pub use crate::flags::{ExdClient, ExdClientBuilder, ExdError, FlagHandle, Pinned};
pub use crate::{
    error::{Error, ErrorKind, Result, Retry},
    eval::{
        AttrValue, EvalContext, EvalContextBuilder, EvalError, EvalOptions, EvalResult, RuleMatched,
        VariantKey,
    },
    flags::{FlagData, FlagSnapshot, FlagValue, LoadError, LoadOptions, Namespace, RefreshHandle, lint_dir},
    manifest::{LintDiagnostic, LintReport, Severity},
    secret::Secret,
};
