//! Settings: configs, secrets and flags of one service, read in nanoseconds and kept current.
//!
//! [`NexusClient`] asks a settings service for everything at once, under the condition that something changed, and serves
//! it from memory; [`AsyncNexusClient`] is its twin for async programs. Secrets are [`Secret`](crate::Secret)s from the
//! moment they are read. What a client last had is kept in a cache only under a key that its caller gives.

mod ab;
#[cfg(feature = "async-tokio")]
mod async_client;
mod bind;
mod client;
mod config;
mod credentials;
mod decode;
mod error;
mod files;
mod folder;
mod identity;
mod layers;
mod model;
mod patches;
mod product;
#[cfg_attr(not(feature = "signed"), path = "unsealed.rs")]
mod sealed;
mod service;
mod snapshot;
mod source;
mod standing;
mod stream;
mod told;
mod watch;
mod wif;
mod writes;

/// What travels between a client and its service.
pub mod sync_types {
    pub use super::model::{ConfigEntry, FlagEntry, SecretEntry, SyncResponse, SyncSnapshot};
}

#[cfg(feature = "async-tokio")]
pub use self::async_client::AsyncNexusClient;
pub use self::{
    bind::Bound,
    client::NexusClient,
    config::{NexusClientBuilder, NexusConfig, SERVICE_ENDPOINT_ENV},
    error::NexusError,
    layers::ConfigSource,
    watch::{Change, Subscription},
    wif::{CredentialSource, TokenSource, WifConfig, WifProvider},
    writes::{FlagWrite, WriteOptions},
};
