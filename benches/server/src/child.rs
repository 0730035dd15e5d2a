//! A server in a process of its own: this program again, with another task.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::Path,
    process::{self, Stdio},
};

use leverframe::Secret;
use leverframe_server::{ServeOptions, Server, limit::Rate};

/// The first argument of such a process; a data directory and perhaps the URL of a database follow.
pub(crate) const TASK: &str = "serve";

/// A server that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    pub(crate) address: SocketAddr,
}

impl Child {
    pub(crate) fn start(data: &Path, database: Option<&Secret>) -> Self {
        let mut command = process::Command::new(env::current_exe().expect("this program"));
        command.arg(TASK).arg(data).args(database.map(Secret::expose));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let mut line = String::new();
        let output = process.stdout.take().expect("an output that was asked for");
        BufReader::new(output).read_line(&mut line).expect("a line");
        Self { process, address: line.trim().parse().expect("an address") }
    }

    /// Returns the bytes of memory that the process has.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a Linux");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Serves until the input ends.
pub(crate) fn serve(mut arguments: impl Iterator<Item = String>) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut options = ServeOptions::default();
    options.data = arguments.next().expect("a data directory").into();
    options.database = arguments.next().map(Secret::new);
    options.listen = "127.0.0.1:0".to_owned();
    options.limits.token = Rate::UNLIMITED;
    // All clients are at one address.
    options.limits.stranger = Rate::UNLIMITED;
    let running = runtime.block_on(Server::start(options)).expect("a server");
    println!("{}", running.address());
    std::io::stdout().flush().expect("an output");
    // Whatever comes, the end is what is waited for.
    let _ = std::io::stdin().read(&mut [0]);
}
