//! Built-in sources; each in the folder that bears its name.

pub mod file;
pub mod https;
