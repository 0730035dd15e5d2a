//! Real servers on loopback, started by the tests and ended with them.
#![allow(dead_code, reason = "every test binary uses its own part")]

pub mod certs;
pub mod process;
