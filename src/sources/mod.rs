//! Built-in sources; each in the folder that bears its name.

pub mod file;
#[cfg(feature = "source-git")]
pub mod git;
