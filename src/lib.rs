//! Run-time control for Rust services: feature flags, remote configs and secrets, and adaptive traffic gating.

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

pub use crate::{
    error::{Error, ErrorKind, Result, Retry},
    eval::{
        AttrValue, EvalContext, EvalContextBuilder, EvalError, EvalOptions, EvalResult, RuleMatched,
        VariantKey,
    },
    secret::Secret,
};
