//! Built-in clocks, caches and transports; each in the folder that bears its name.

pub mod clock_system;
