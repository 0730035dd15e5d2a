//! The servers that the library's tests are held against.
#![allow(dead_code, unreachable_pub, reason = "the tests use what is not used here")]

#[path = "../../../../tests/support/real/certs.rs"]
pub mod certs;
#[path = "../../../../tests/support/real/githttp.rs"]
pub mod githttp;
#[path = "../../../../tests/support/real/nginx.rs"]
pub mod nginx;
#[path = "../../../../tests/support/ports.rs"]
pub mod ports;
#[path = "../../../../tests/support/real/process.rs"]
pub mod process;
#[path = "../../../../tests/support/real/repository.rs"]
pub mod repository;
#[path = "../../../../tests/support/real/sshd.rs"]
pub mod sshd;
#[path = "../../../../tests/support/real/vsftpd.rs"]
pub mod vsftpd;
