//! Real servers on loopback, started by the tests and ended with them.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part")]

pub mod certs;
pub mod githttp;
pub mod nginx;
#[path = "../ports.rs"]
pub mod ports;
pub mod process;
pub mod proftpd;
pub mod proxy;
pub mod repository;
pub mod rude;
#[cfg(feature = "source-ftps")]
pub mod sham_ftp;
pub mod sshd;
pub mod vsftpd;
