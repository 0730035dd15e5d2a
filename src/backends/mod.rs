//! Built-in transports, clocks and caches; each in the folder that bears its name.

#[cfg_attr(
    not(feature = "transport-curl"),
    allow(dead_code, reason = "libcurl's thread must not wait, others may")
)]
pub(crate) mod bridge;
pub mod cache_entry;
pub mod cache_file;
pub mod cache_memory;
pub mod clock_system;
mod deadline;
pub mod http_backend;
pub mod http_client;
pub mod layers;
#[cfg(feature = "source-ftps")]
pub(crate) mod tokio_thread;
#[cfg(feature = "transport-curl")]
pub mod transport_curl;
pub mod transport_curl_cli;
#[cfg(feature = "http-in-process")]
pub mod transport_reqwest;
