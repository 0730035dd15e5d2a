//! What must hold for any bytes: one function for each parser of bytes from outside.
//!
//! A fuzz target calls one of them with what the fuzzer made up; `tests/fuzz_seeds.rs` calls all of them with the
//! seeds. A function returns if the invariant holds and panics if it does not.

mod archive;
mod cache;
mod config;
mod context;
mod exdignore;
mod file_uri;
mod fixtures;
mod manifest;
mod semver;
mod sse;
mod tree;

pub use self::{
    archive::archive,
    cache::cache_entry,
    config::{config_environment, config_file},
    context::context,
    exdignore::exdignore,
    file_uri::file_uri,
    fixtures::fixtures,
    manifest::manifest,
    semver::semver,
    sse::sse,
};

/// An invariant.
pub type Invariant = fn(&[u8]);

/// The invariants by name: that of the fuzz target and of the folder of its seeds.
pub const ALL: [(&str, Invariant); 11] = [
    ("archive", archive),
    ("cache_entry", cache_entry),
    ("config_environment", config_environment),
    ("config_file", config_file),
    ("context", context),
    ("exdignore", exdignore),
    ("file_uri", file_uri),
    ("fixtures", fixtures),
    ("manifest", manifest),
    ("semver", semver),
    ("sse", sse),
];
