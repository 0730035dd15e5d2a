//! The server over HTTP.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod audit;
mod frame;
mod limits;
mod logs;
mod namespaces;
mod openapi;
mod process;
mod routes;
mod tenants;
mod tokens;
