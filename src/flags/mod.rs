//! Flags for applications: namespaces, clients, handles.
//!
//! [`Namespace`] is the synchronous surface and always there; [`ExdClient`] adds Tokio (feature `async-tokio`), and so
//! does [`ManifestClient`], the write path.
//! Both evaluate the same snapshot, kept current by one [`Feed`](crate::live::Feed).

#[cfg(feature = "async-tokio")]
mod client;
#[cfg(feature = "async-tokio")]
mod error;
pub mod events;
#[cfg(feature = "async-tokio")]
mod group;
#[cfg(feature = "async-tokio")]
mod handle;
mod lint;
mod load;
#[cfg(feature = "async-tokio")]
mod manifest_client;
mod namespace;
#[cfg(feature = "async-tokio")]
mod pinned;
mod product;
mod refresh;
pub(crate) mod remote;
mod typed;

#[cfg(feature = "async-tokio")]
pub use self::{
    client::{ExdClient, ExdClientBuilder},
    error::ExdError,
    group::{ExdClientGroup, ExdClientGroupBuilder},
    handle::FlagHandle,
    manifest_client::{
        IfVersion, ManifestClient, ManifestError, ManifestMetadata, ManifestVersion, PushedManifest,
        ServerApi, ServerFinding, ServerLint, VersionRef,
    },
    pinned::Pinned,
};
pub use self::{
    events::FlagFilter,
    lint::lint_dir,
    load::{LoadError, LoadOptions},
    namespace::{NamedFile, Namespace},
    product::{FlagSnapshot, NamespaceMeta},
    refresh::RefreshHandle,
    remote::NamespaceBuilder,
    typed::FlagData,
};
pub use crate::manifest::model::FlagValue;
