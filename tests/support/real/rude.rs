//! A peer with bad manners: what a well-behaved server cannot be made to do.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What the peer does when a request for a path has come.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Writes these bytes, then closes the connection in an orderly way.
    Says(Vec<u8>),
    /// Writes these bytes, then nothing, and keeps the connection.
    SaysAndHangs(Vec<u8>),
    /// Writes these bytes, then sixteen kilobytes of zeros again and again until the client goes.
    SaysAndGoesOn(Vec<u8>),
    /// Writes these bytes, then resets the connection.
    SaysAndResets(Vec<u8>),
    /// Writes a header without end, a byte every few milliseconds.
    Drips,
    /// Writes header lines without end, as fast as they are read.
    Babbles,
}

impl Manner {
    /// A whole answer with the right length.
    pub fn whole(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut text =
            format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        Self::Says([text.as_bytes(), body].concat())
    }

    /// An answer that promises `promised` bytes and sends `body`.
    pub fn promising(promised: u64, body: &[u8]) -> Self {
        Self::Says(
            [format!("HTTP/1.1 200 OK\r\ncontent-length: {promised}\r\n\r\n").as_bytes(), body].concat(),
        )
    }

    /// A chunked answer that ends without its last chunk.
    pub fn cut_chunked(body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len());
        Self::Says([head.as_bytes(), body, b"\r\n"].concat())
    }

    /// An answer of which only the headers come.
    pub fn stalled() -> Self {
        Self::SaysAndHangs(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec())
    }

    /// An answer without end and without a promised length.
    pub fn endless() -> Self {
        Self::SaysAndGoesOn(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec())
    }

    /// No answer.
    pub fn silent() -> Self {
        Self::SaysAndHangs(Vec::new())
    }
}

/// A server thread whose answers a test arranges by path; unknown paths are hung on.
#[derive(Debug)]
pub struct Rude {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    manners: Mutex<BTreeMap<String, Manner>>,
    requests: Mutex<Vec<Vec<u8>>>,
    open: Mutex<BTreeMap<usize, TcpStream>>,
    arranged: AtomicUsize,
    accepted: AtomicUsize,
    gone: AtomicUsize,
    /// What connections that go on without end have taken.
    written: AtomicUsize,
    ended: AtomicBool,
}

impl Rude {
    /// Starts listening on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Arranges the answer of the next free path and returns its URI.
    pub fn arrange(&self, manner: Manner) -> String {
        let path = format!("/{}", self.shared.arranged.fetch_add(1, Ordering::AcqRel));
        self.arrange_at(&path, manner);
        self.uri(&path)
    }

    /// Arranges the answer of a path.
    pub fn arrange_at(&self, path: &str, manner: Manner) {
        self.shared.manners.lock().unwrap().insert(path.to_owned(), manner);
    }

    /// Where a path is.
    pub fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests that came so far: heads, and the bodies whose length the head gave.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.shared.requests.lock().unwrap();
        requests.iter().map(|r| String::from_utf8_lossy(r).into_owned()).collect()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::Acquire)
    }

    /// Waits until so many connections have been given up by the client; false where that takes too long.
    pub fn sees_clients_go(&self, connections: usize) -> bool {
        // Bounded by attempts, as a client that has not gone after 10 s never will.
        (0..1_000).any(|_| {
            thread::park_timeout(Duration::from_millis(10));
            self.shared.gone.load(Ordering::Acquire) >= connections
        })
    }
}

impl Rude {
    /// Waits until a body without end is taken no further, and returns how far it was; gives up after 20 s.
    pub fn written_when_stuck(&self) -> usize {
        let mut before = 0;
        for _ in 0..100 {
            thread::park_timeout(Duration::from_millis(200));
            let now = self.shared.written.load(Ordering::Acquire);
            if now == before && now > 0 {
                return now;
            }
            before = now;
        }
        before
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        for connection in self.shared.open.lock().unwrap().values() {
            // A connection that the client has closed already cannot be shut down again.
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
        let shared = Arc::clone(shared);
        let id = shared.accepted.fetch_add(1, Ordering::AcqRel);
        shared.open.lock().unwrap().insert(id, connection.try_clone().unwrap());
        thread::spawn(move || {
            // Errors are what the client is to see; there is nobody else to tell.
            let _ = serve(connection, id, &shared);
            shared.open.lock().unwrap().remove(&id);
            shared.gone.fetch_add(1, Ordering::AcqRel);
        });
    }
}

/// Serves one request; answers are not followed by another on the same connection.
fn serve(mut connection: TcpStream, id: usize, shared: &Shared) -> std::io::Result<()> {
    let Some(mut request) = read_head(&mut connection)? else { return Ok(()) };
    let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_owned();
    let plain_path = path.split('?').next().unwrap_or_default();
    let manner = shared.manners.lock().unwrap().get(plain_path).cloned().unwrap_or_else(Manner::silent);
    if let Manner::SaysAndResets(bytes) = manner {
        shared.requests.lock().unwrap().push(request);
        connection.write_all(&bytes)?;
        // Closing while something is left to read, here the head's last byte, resets the connection; the other
        // handle must go first, or this would not be the close.
        shared.open.lock().unwrap().remove(&id);
        return Ok(());
    }
    read_rest(&mut connection, &mut request)?;
    shared.requests.lock().unwrap().push(request);
    match manner {
        Manner::Says(bytes) => {
            connection.write_all(&bytes)?;
            connection.shutdown(Shutdown::Write)?;
            drain(&mut connection)
        }
        Manner::SaysAndHangs(bytes) => {
            connection.write_all(&bytes)?;
            drain(&mut connection)
        }
        Manner::SaysAndGoesOn(bytes) => {
            connection.write_all(&bytes)?;
            loop {
                connection.write_all(&[0; 16_384])?;
                shared.written.fetch_add(16_384, Ordering::AcqRel);
            }
        }
        Manner::Drips => {
            connection.write_all(b"HTTP/1.1 200 OK\r\nx-drip: ")?;
            loop {
                connection.write_all(b"x")?;
                thread::park_timeout(Duration::from_millis(5));
            }
        }
        Manner::Babbles => {
            connection.write_all(b"HTTP/1.1 200 OK\r\n")?;
            for n in 0_u64.. {
                connection.write_all(format!("x-{n}: {}\r\n", "y".repeat(1_000)).as_bytes())?;
            }
            Ok(())
        }
        Manner::SaysAndResets(_) => unreachable!("answered above"),
    }
}

/// Reads a head up to and without its last byte; `None` where the client goes before.
pub(super) fn read_head(connection: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r") {
        if connection.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(head))
}

/// Reads the head's last byte and the body that its `content-length` promises.
pub(super) fn read_rest(connection: &mut TcpStream, request: &mut Vec<u8>) -> std::io::Result<()> {
    let head = String::from_utf8_lossy(request).to_ascii_lowercase();
    let promised = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let mut rest = vec![0; promised + 1];
    connection.read_exact(&mut rest)?;
    request.extend_from_slice(&rest);
    Ok(())
}

/// Reads until the client goes.
fn drain(connection: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    while connection.read(&mut buffer)? > 0 {}
    Ok(())
}
