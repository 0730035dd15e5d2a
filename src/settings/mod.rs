//! Settings: configs, secrets and flags of one service, read in nanoseconds and kept current.
//!
//! [`NexusError`] says what can go wrong.

// Until the client that uses them is here.
#[allow(dead_code)]
mod credentials;
#[allow(dead_code)]
mod decode;
#[allow(dead_code)]
mod error;
#[allow(dead_code)]
mod model;
#[allow(dead_code)]
mod snapshot;
mod wif;

/// What travels between a client and its service.
pub mod sync_types {
    pub use super::model::{ConfigEntry, FlagEntry, SecretEntry, SyncResponse, SyncSnapshot};
}

pub use self::{
    error::NexusError,
    wif::{TokenSource, WifConfig},
};
