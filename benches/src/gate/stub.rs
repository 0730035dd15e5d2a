//! A control plane on loopback that says one thing to everybody.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use super::POLICY;

const TOKEN: &str = r#"{"token":"t","expiresAt":32503680000000,"orgId":"benches"}"#;

/// Answers until the process ends; it waits for requests that do not come, and costs nothing then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stub(SocketAddr);

impl Stub {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a port left");
        let address = listener.local_addr().expect("it listens");
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                thread::spawn(move || answer(&connection));
            }
        });
        Self(address)
    }

    pub(super) fn url(self) -> String {
        format!("http://{}", self.0)
    }
}

/// Answers request after request until the client goes.
fn answer(connection: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    let mut writer = connection;
    loop {
        let (mut target, mut length) = (String::new(), 0);
        if reader.read_line(&mut target)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? <= 2 {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        let body = if target.contains("/v1/auth/token") { TOKEN } else { POLICY };
        write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    }
}
