//! Hostile files, archives and places: a running namespace refuses each with a clear error, keeps serving, recovers.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{fs::File, path::Path, process::Command};

mod archives;
mod cache;
mod files;
mod places;
#[path = "../support/running.rs"]
mod running;

/// Makes a file of a gibibyte that takes no room.
fn sparse(path: &Path) {
    File::create(path).unwrap().set_len(1 << 30).unwrap();
}

/// Puts a pipe at `path`, which nobody will ever write to.
fn fifo(path: &Path) {
    running::clear(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}
