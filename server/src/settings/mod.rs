//! Settings: configs, secrets and flags of services, as the `Westyx Nexus` protocol hands them out.
//!
//! A *service* is an environment of a namespace. Its document is what it has itself, and what it inherits of an umbrella
//! service; secrets are sealed wherever they lie.

mod data_key;
mod envelope;
pub mod keyring;
pub mod model;
pub mod rekey;
mod store;

pub use self::{data_key::DataKey, keyring::Keyring, store::SettingsStore};
