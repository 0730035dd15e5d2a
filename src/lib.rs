//! Run-time control for Rust services: feature flags from files, checked like code and evaluated in nanoseconds.
//!
//! | start here | for |
//! |---|---|
//! | [`Namespace`] | flags without any async runtime |
//! | [`ExdClient`] | flags on Tokio, with defaults instead of errors |
//! | [`gate()`], [`gate::WaitState`] | traffic gated by a policy for a whole fleet |
//! | [`NexusClient`], [`settings`](mod@settings) | configs, secrets and flags of a settings service |
//! | [`Leverframe`] | everything that a configuration file names |
//! | [`lint_dir`] | what is wrong with a folder of flags |
//! | [`traits`], [`registry`] | sources, transports, caches, sinks and clocks of one's own |
//!
//! Data flows one way: a [source](traits::Source) loads, the [feed](live::Feed) has it checked
//! ([`manifest`]) and compiled ([`eval::Program`]) and swaps it in, evaluation reads the snapshot.

// So that the macros for plug-ins, which name this crate from outside, work inside it as well.
extern crate self as leverframe;

mod auth;
mod backoff;
mod calendar;
pub mod document;
pub mod durable;
pub mod encoding;
mod error;
mod frame;
mod secret;
mod text_table;
mod wiring;

pub mod backends;
pub mod config;
pub mod eval;
pub mod flags;
pub mod gate;
pub mod live;
pub mod manifest;
pub mod registry;
pub mod settings;
pub mod sources;
pub mod sse;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod traits;

#[cfg(feature = "async-tokio")]
pub use crate::flags::{
    ExdClient, ExdClientBuilder, ExdClientGroup, ExdClientGroupBuilder, ExdError, FlagHandle, IfVersion,
    ManifestClient, ManifestError, Pinned, ServerApi, VersionRef,
};
#[cfg(feature = "async-tokio")]
pub use crate::gate::{WaitState, WaitStateConfig};
pub use crate::{
    auth::UriAuth,
    backends::http_backend::HttpBackend,
    backoff::Backoff,
    calendar::{from_rfc3339, rfc3339},
    error::{Error, ErrorKind, Result, Retry},
    eval::{
        AttrValue, EvalContext, EvalContextBuilder, EvalError, EvalOptions, EvalResult, RuleMatched,
        VariantKey,
    },
    flags::{
        FlagData, FlagFilter, FlagSnapshot, FlagValue, LoadError, LoadOptions, Namespace, NamespaceBuilder,
        RefreshHandle, lint_dir,
    },
    frame::{Leverframe, LeverframeBuilder, Reloaded},
    gate::{GateReason, GateResult, Policy, SafeModeStrategy, gate},
    manifest::{LintDiagnostic, LintReport, Severity},
    secret::Secret,
    settings::{NexusClient, NexusConfig, NexusError, WifConfig},
};

/// The attribute that implementations of the traits carry, so that a plug-in depends on this crate alone.
pub use async_trait::async_trait;

/// The README's snippets, compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The guide's snippets.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide.md")]
pub struct Guide;
