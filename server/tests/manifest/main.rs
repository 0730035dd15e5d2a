//! Manifests, evaluation and OFREP over HTTP.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod conditional;
mod cors;
mod document;
mod evaluate;
mod explain;
mod forms;
mod history;
mod ofrep;
mod ofrep_events;
mod stage;
mod upload;
