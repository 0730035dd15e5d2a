//! Settings: configs, secrets and flags of services, as the `Westyx Nexus` protocol hands them out.
//!
//! A *service* is an environment of a namespace. Its document is what it has itself, and what it inherits of an umbrella
//! service; secrets are sealed wherever they lie.

mod ab;
mod admin;
mod caller;
pub(crate) mod checked;
mod data_key;
mod envelope;
pub(crate) mod exchange;
mod flags;
mod heads;
pub(crate) mod host;
mod import;
mod issue;
pub mod keyring;
mod keys;
mod listeners;
pub mod model;
mod parts;
mod patch;
mod references;
mod rekey;
pub(crate) mod services;
pub(crate) mod session;
mod signers;
mod state;
mod store;
mod view;
mod wiped;
mod write;

pub use self::{
    admin::MadeSettingsKey,
    data_key::DataKey,
    exchange::Federation,
    flags::FlagWrite,
    issue::{IssuedSettingsKey, NewSettingsKey, issue_settings_key},
    keyring::Keyring,
    state::Settings,
    store::SettingsStore,
};
pub(crate) use self::{
    admin::key_word,
    caller::Caller,
    import::{Fate, Wanted},
    state::refusal,
    write::{ChangeRequest, Precondition},
};
