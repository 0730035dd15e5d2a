//! Built-in sources; each in the folder that bears its name.

pub mod file;
#[cfg(feature = "source-ftps")]
pub mod ftps;
#[cfg(feature = "source-git")]
pub mod git;
pub mod https;
pub mod server;
pub(crate) mod web;
