//! Built-in transports, clocks and caches; each in the folder that bears its name.

pub mod cache_file;
pub mod cache_memory;
pub mod clock_system;
mod deadline;
pub mod http_backend;
pub mod http_client;
pub mod layers;
#[cfg(feature = "source-ftps")]
pub(crate) mod tokio_thread;
#[cfg(feature = "http-in-process")]
pub mod transport_reqwest;
