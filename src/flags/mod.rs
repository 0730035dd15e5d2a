//! Flags for applications: namespaces, clients, handles.

pub use crate::manifest::model::FlagValue;
