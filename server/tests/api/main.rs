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
#[path = "../../../tests/support/ports.rs"]
mod ports;
mod process;
mod routes;
mod tenants;
mod tokens;
