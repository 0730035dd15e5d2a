//! Settings: configs, secrets and flags of services, as the `Westyx Nexus` protocol hands them out.
//!
//! A *service* is an environment of a namespace. Its document is what it has itself, and what it inherits of an umbrella
//! service; secrets are sealed wherever they lie.

mod admin;
pub(crate) mod checked;
mod data_key;
mod envelope;
pub mod exchange;
mod issue;
pub mod keyring;
pub mod model;
mod rekey;
pub(crate) mod services;
#[allow(dead_code, reason = "for the routes, which come with the exchange")]
pub(crate) mod session;
mod store;

pub use self::{
    admin::MadeSettingsKey,
    data_key::DataKey,
    exchange::Federation,
    issue::{IssuedSettingsKey, NewSettingsKey, issue_settings_key},
    keyring::Keyring,
    store::SettingsStore,
};
