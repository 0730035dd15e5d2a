//! Built-in transports, clocks and caches; each in the folder that bears its name.

pub mod cache_entry;
pub mod cache_file;
pub mod cache_memory;
pub mod clock_system;
pub mod http_client;
