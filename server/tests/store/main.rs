//! What the store promises, kept by both of its engines.

#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;
mod lists;
mod place;
mod sqlite;
