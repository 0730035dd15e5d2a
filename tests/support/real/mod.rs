//! Real servers on loopback, started by the tests and ended with them.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part")]

pub mod certs;
pub mod githttp;
pub mod process;
pub mod repository;
pub mod sshd;
