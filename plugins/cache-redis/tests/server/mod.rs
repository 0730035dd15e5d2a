//! A Redis server of one test.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part")]

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use cache_redis::{RedisCache, RedisConfig};
use leverframe::Secret;
use redis::{Client, Connection};

#[path = "../../../../tests/support/ports.rs"]
mod ports;
#[path = "../../../../tests/support/real/process.rs"]
mod process;

/// A server on a socket of a temporary folder, and on a port too where the test wants one; ended with the test.
pub struct Server {
    dir: tempfile::TempDir,
    extra: Vec<String>,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts a server on a socket.
    pub fn start(extra: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let extra = extra.iter().map(|s| (*s).to_owned()).collect();
        let mut server = Self { dir, extra, port: 0, child: None };
        assert!(server.up(), "the server ended at once: {}", server.log());
        server
    }

    /// Starts a server on a port too; `{port}` in an argument becomes that port.
    pub fn listening(extra: &[&str]) -> Self {
        let mut server = Self { dir: tempfile::tempdir().unwrap(), extra: Vec::new(), port: 0, child: None };
        // Another process may take the port before the server does.
        for _ in 0..10 {
            server.port = ports::free_port();
            server.extra = extra.iter().map(|s| s.replace("{port}", &server.port.to_string())).collect();
            if server.up() {
                return server;
            }
        }
        panic!("the server does not start: {}", server.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the process, and waits until it listens.
    pub fn up(&mut self) -> bool {
        let plain_port = if self.extra.iter().any(|a| a == "--tls-port") { 0 } else { self.port };
        let mut command = Command::new(process::program("redis-server"));
        command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--loglevel", "warning"]);
        command.arg("--port").arg(plain_port.to_string()).arg("--unixsocket").arg(self.socket());
        command.arg("--dir").arg(self.dir.path()).arg("--logfile").arg(self.dir.path().join("log"));
        command.args(&self.extra).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Bounded by attempts: a server that does not come up in 20 s never will.
        for _ in 0..2_000 {
            if UnixStream::connect(self.socket()).is_ok() {
                self.child = Some(child);
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        // It is reaped here, as it is not kept.
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// Kills the process, as the system does when memory runs out.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Ended already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(self.socket());
    }

    /// Stops the process where it stands, or lets it go on: it is there, and does not answer.
    pub fn freeze(&self, frozen: bool) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let signal = if frozen { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub fn config(&self) -> RedisConfig {
        config(&self.url())
    }

    pub fn cache(&self) -> RedisCache {
        RedisCache::open(self.config()).unwrap()
    }

    /// A client of the protocol's library, for looking behind the cache's back.
    pub fn raw(&self) -> Connection {
        Client::open(self.url()).unwrap().get_connection().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

pub fn config(url: &str) -> RedisConfig {
    let mut config = RedisConfig::default();
    config.url = Secret::new(url);
    // What is to go well has time to.
    (config.connect_timeout_ms, config.timeout_ms) = (20_000, 20_000);
    config
}

/// The certificates of a TLS server.
pub fn pki(dir: &Path) -> certs::Pki {
    certs::Pki::new(dir)
}

#[path = "../../../../tests/support/real/certs.rs"]
pub mod certs;
