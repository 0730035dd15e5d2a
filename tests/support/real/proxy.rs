//! A forward proxy, which nginx is not: `CONNECT`, requests with a whole URI, and SOCKS 5.

use std::{
    io::{Read, Write, copy},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::rude::{read_head, read_rest};

/// A proxy thread that remembers what it was asked for.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    heads: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
    /// What `proxy-authorization` must be; empty for nothing.
    wanted: String,
}

impl Proxy {
    /// Starts a proxy that serves everybody.
    pub fn start() -> Self {
        Self::start_for("")
    }

    /// Starts a proxy that answers 407 unless `proxy-authorization` has this value.
    pub fn start_for(authorization: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { wanted: authorization.to_owned(), ..Shared::default() });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of the requests so far, such as `CONNECT localhost:443 HTTP/1.1` with their header lines; for SOCKS
    /// `SOCKS5 127.0.0.1:443`.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        for connection in self.shared.open.lock().unwrap().iter() {
            // A connection that has been closed already cannot be shut down again.
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor, which then sees that it has ended.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for connection in listener.incoming() {
        if shared.ended.load(Ordering::Acquire) {
            return;
        }
        let Ok(connection) = connection else { continue };
        shared.open.lock().unwrap().push(connection.try_clone().unwrap());
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // Errors are what the client is to see; there is nobody else to tell.
            let _ = serve(connection, &shared);
        });
    }
}

/// Serves one request, then carries bytes both ways until both sides have ended.
fn serve(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut version = [0];
    client.peek(&mut version)?;
    let server = if version == [5] { socks(&mut client, shared)? } else { http(&mut client, shared)? };
    let Some(server) = server else { return client.shutdown(Shutdown::Both) };
    shared.open.lock().unwrap().push(server.try_clone()?);
    carry(client, server)
}

/// Serves a SOCKS 5 client (RFC 1928) without credentials that names an IPv4 address.
fn socks(client: &mut TcpStream, shared: &Shared) -> std::io::Result<Option<TcpStream>> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    client.read_exact(&mut vec![0; usize::from(greeting[1])])?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 10];
    client.read_exact(&mut request)?;
    let [5, 1, 0, 1, a, b, c, d, high, low] = request else { return Ok(None) };
    let target = SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])));
    shared.heads.lock().unwrap().push(format!("SOCKS5 {target}"));
    let server = TcpStream::connect(target)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok(Some(server))
}

/// Reads a request's head and connects to where it leads; `None` where it was refused.
fn http(client: &mut TcpStream, shared: &Shared) -> std::io::Result<Option<TcpStream>> {
    let Some(mut request) = read_head(client)? else { return Ok(None) };
    read_rest(client, &mut request)?;
    let text = String::from_utf8_lossy(&request).into_owned();
    shared.heads.lock().unwrap().push(text.clone());
    let authorization = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.trim().to_owned())
    });
    if !shared.wanted.is_empty() && authorization.as_deref() != Some(shared.wanted.as_str()) {
        client.write_all(
            b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=\"p\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        )?;
        return Ok(None);
    }
    let mut words = text.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut server;
    if method == "CONNECT" {
        server = TcpStream::connect(target)?;
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    } else {
        let rest = target.strip_prefix("http://").unwrap_or(target);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        server = TcpStream::connect(authority)?;
        // One exchange a connection, so that the carrying ends.
        let head =
            text.replacen(target, &format!("/{path}"), 1).replacen("\r\n", "\r\nconnection: close\r\n", 1);
        server.write_all(head.as_bytes())?;
    }
    Ok(Some(server))
}

fn carry(mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let upwards = thread::spawn(move || {
        // Either side may break off; the other is then told that nothing more comes.
        let _ = copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let downwards = copy(&mut server, &mut client);
    // As above.
    let _ = client.shutdown(Shutdown::Write);
    // The thread ends with its connection; a panic in it would have been printed.
    let _ = upwards.join();
    downwards.map(drop)
}
