//! The real binary as a server, and the commands that work on it and with it.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod admin;
mod child;
mod crash;
mod demo;
mod gate;
mod manifest;
#[path = "../../../tests/support/ports.rs"]
mod ports;
mod run;
mod serve;
mod settings;
#[path = "../../../server/examples/team.rs"]
#[expect(dead_code, reason = "its `main` is for whoever runs it by itself")]
mod team;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_an_embedded_server_runs_to_its_end() {
    tokio::time::timeout(std::time::Duration::from_secs(60), team::run()).await.unwrap().unwrap();
}
