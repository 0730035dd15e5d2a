//! The Leverframe server: namespaces, versions, events and evaluation over HTTP.

pub mod admin;
pub mod app;
pub mod audit;
mod checked;
mod console;
pub mod events;
pub mod extract;
mod finish;
mod frame;
pub mod gate;
pub mod heads;
pub mod limit;
pub mod metrics;
mod mint;
pub mod model;
pub mod principal;
mod private_file;
pub mod problem;
pub mod request;
mod routes;
mod serve;
pub mod settings;
mod shelf;
mod slot;
mod splits;
pub mod store;
mod tokens;
pub mod work;

pub use serve::{Running, ServeOptions, Server, TlsFiles};
