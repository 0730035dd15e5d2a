//! Manifests, evaluation and OFREP over HTTP.

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod conditional;
mod cors;
mod evaluate;
mod explain;
mod forms;
mod history;
mod ofrep;
mod stage;
mod upload;
