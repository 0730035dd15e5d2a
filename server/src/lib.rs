//! The Leverframe server: namespaces, versions, events and evaluation over HTTP.

pub mod app;
pub mod heads;
pub mod model;
pub mod principal;
pub mod problem;
pub mod store;
