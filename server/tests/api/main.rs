//! The server over HTTP.
#![allow(clippy::unwrap_used, reason = "what a test needs and does not get makes it fail")]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod audit;
mod frame;
mod generated;
mod limits;
mod logs;
mod namespaces;
mod openapi;
#[allow(dead_code, unreachable_pub, reason = "only its ports are used here")]
#[path = "../../../tests/support/real/process.rs"]
mod ports;
mod process;
mod routes;
mod tenants;
mod tokens;
