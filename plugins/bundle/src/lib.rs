//! Links every plug-in of this repository: `use leverframe_bundle as _;`.
//!
//! The linker leaves out a crate that nothing names, and its registrations with it. One line here a plug-in.

pub use transport_example;
