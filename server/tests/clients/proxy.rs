//! A way to the server that breaks off, refuses and alters what passes.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What happens to the next request for something.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The connection ends without an answer.
    Reset,
    /// This is the answer's body.
    Body(Vec<u8>),
    /// This is the answer's status.
    Status(u16),
    /// The server answers, and nobody hears it.
    Unheard,
    /// The request goes on to the server with this in place of that.
    Ask(&'static str, &'static str),
}

/// Passes requests on, one a connection.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    server: Mutex<SocketAddr>,
    faults: Mutex<Vec<(&'static str, Fault)>>,
    /// What is replaced in answers, once each; both have the same length, so that no framing changes.
    alterations: Mutex<Vec<(Vec<u8>, Vec<u8>)>>,
    asked: Mutex<Vec<String>>,
    is_down: AtomicBool,
    /// Whether answers wait.
    held: watch::Sender<bool>,
    /// Counts the times that all connections were broken.
    broken: watch::Sender<u32>,
}

impl Proxy {
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: Mutex::new(server),
            faults: Mutex::default(),
            alterations: Mutex::default(),
            asked: Mutex::default(),
            is_down: AtomicBool::new(false),
            held: watch::channel(false).0,
            broken: watch::channel(0).0,
        });
        let accepting = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass_on(client, Arc::clone(&shared)));
                }
            }
        });
        Self { address, shared, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Passes what comes from here on to another server.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.shared.server.lock().unwrap() = server;
    }

    /// Lets the next request whose path holds `what` go wrong.
    pub(crate) fn fail(&self, what: &'static str, fault: Fault) {
        self.shared.faults.lock().unwrap().push((what, fault));
    }

    /// Replaces a text of answers by one of the same length, the next time that it comes.
    pub(crate) fn alter(&self, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        self.shared.alterations.lock().unwrap().push((from.into(), to.into()));
    }

    /// Breaks every connection off.
    pub(crate) fn cut(&self) {
        self.shared.broken.send_modify(|count| *count += 1);
    }

    /// Takes no connection, or takes them again.
    pub(crate) fn set_down(&self, down: bool) {
        self.shared.is_down.store(down, Ordering::SeqCst);
        self.cut();
    }

    /// Takes nothing more of what the server says, or takes it again.
    pub(crate) fn hold(&self, held: bool) {
        self.shared.held.send_replace(held);
    }

    /// The heads of the requests so far whose first line holds `what`.
    pub(crate) fn asked(&self, what: &str) -> Vec<String> {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|head| head.lines().next().unwrap_or_default().contains(what)).cloned().collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn fault_of(&self, line: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(what, _)| line.contains(what))?;
        Some(faults.remove(at).1)
    }

    fn altered(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        self.alterations.lock().unwrap().retain(|(from, to)| {
            let found = bytes.windows(from.len()).position(|window| window == from);
            if let Some(at) = found {
                bytes[at..at + to.len()].copy_from_slice(to);
            }
            found.is_none()
        });
        bytes
    }
}

async fn pass_on(mut client: TcpStream, shared: Arc<Shared>) {
    let mut broken = shared.broken.subscribe();
    tokio::select! {
        // Either side may go at any time, which ends the connection and nothing else.
        _ = exchange(&mut client, &shared) => {}
        _ = broken.changed() => {}
    }
}

async fn exchange(client: &mut TcpStream, shared: &Shared) -> std::io::Result<()> {
    if shared.is_down.load(Ordering::SeqCst) {
        return Ok(());
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let mut head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap_or_default().to_owned();
    shared.asked.lock().unwrap().push(head.clone());
    let mut body = vec![0; length_of(&head)];
    client.read_exact(&mut body).await?;
    let mut is_heard = true;
    match shared.fault_of(&line) {
        Some(Fault::Reset) => return Ok(()),
        Some(Fault::Status(status)) => {
            let head = format!("HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return client.write_all(head.as_bytes()).await;
        }
        Some(Fault::Unheard) => is_heard = false,
        Some(Fault::Body(body)) => {
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            return client.write_all(&[head.into_bytes(), body].concat()).await;
        }
        Some(Fault::Ask(from, to)) => head = head.replacen(from, to, 1),
        None => {}
    }
    let server = *shared.server.lock().unwrap();
    // Little is under way when a reader stops reading.
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4_096)?;
    let mut server = socket.connect(server).await?;
    let mut held = shared.held.subscribe();
    server.write_all(head.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes()).await?;
    server.write_all(&body).await?;
    let mut buffer = vec![0; 65_536];
    loop {
        // The sender lives as long as what is shared.
        let _ = held.wait_for(|held| !held).await;
        let mut more = [0];
        tokio::select! {
            read = server.read(&mut buffer) => match read? {
                0 => return Ok(()),
                _ if !is_heard => {}
                read => client.write_all(&shared.altered(buffer[..read].to_vec())).await?,
            },
            // The client sends nothing more; it can only go.
            _ = client.read(&mut more) => return Ok(()),
        }
    }
}

/// How long the body is that follows a head.
fn length_of(head: &str) -> usize {
    let lengths = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().map_or(0, |(_, length)| length.trim().parse().unwrap())
}
