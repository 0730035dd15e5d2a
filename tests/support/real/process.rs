//! A server process that ends with the test.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Finds a server program in the places where distributions put them; fails the test loudly where it is missing.
pub fn program(name: &str) -> PathBuf {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/opt/proftpd/usr/sbin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("`{name}` is not installed; run `.ci/install`"))
}

/// A running server; killed and reaped on drop.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts a command that stays in the foreground, and waits until it accepts connections on `port`.
    pub fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut server = Self { child };
        server.wait_for(port);
        server
    }

    fn wait_for(&mut self, port: u16) {
        // Bounded by attempts: a server that does not come up in 20 s never will.
        for _ in 0..2_000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended at once: {status}");
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        panic!("the server does not listen on port {port}");
    }

    /// The process's id, for looking at its memory.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
