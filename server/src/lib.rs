//! The Leverframe server: namespaces, versions, events and evaluation over HTTP.

pub mod app;
pub mod events;
pub mod heads;
pub mod model;
pub mod principal;
pub mod problem;
mod shelf;
pub mod store;
