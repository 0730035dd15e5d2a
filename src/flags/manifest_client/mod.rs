//! The write path: pull, push, list, compare and roll back the manifests of a server.
//!
//! Requests travel over the same transports as everything else. The futures need no particular runtime; inside Tokio,
//! files and archives are handled where blocking is allowed.

mod answer;
mod api;
mod client;
mod error;
mod local;
mod request;
mod version;

pub use self::{
    answer::{ManifestMetadata, ManifestVersion, PushedManifest, ServerFinding, ServerLint},
    api::ServerApi,
    client::ManifestClient,
    error::ManifestError,
    version::{IfVersion, VersionRef},
};
