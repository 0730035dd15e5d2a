//! Links every plug-in of this repository: `use leverframe_bundle as _;`.
//!
//! The linker leaves out a crate that nothing names, and its registrations with it. One line and one feature here a
//! plug-in; `default-features = false` with some of the features links only those.

#[cfg(feature = "cache-redis")]
pub use cache_redis;
#[cfg(feature = "source-object-store")]
pub use source_object_store;
#[cfg(feature = "transport-example")]
pub use transport_example;
