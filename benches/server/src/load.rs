//! A client that costs little: fixed requests over connections that stay open, answers read and not looked at.

use std::{
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    task::JoinSet,
};

/// Connections at a time, each with one request under way.
const CONNECTIONS: usize = 16;

/// Room for an answer; longer ones make it grow.
const BUFFER: usize = 4 * 1024;

/// A server under load: address and request.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) request: Vec<u8>,
}

/// Puts both under load by turns, each for so long, and returns their requests a second, a pair for each round.
pub(crate) fn by_turns(ours: &Target, peer: &Target, rounds: usize, each: Duration) -> Vec<(f64, f64)> {
    let (send, receive) = mpsc::channel();
    let (ours, peer) = (ours.clone(), peer.clone());
    // A thread of its own with a runtime of its own, so that the servers' runtime has nothing to do but serve.
    let client = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(async {
            let mut ours = Connections::open(&ours).await;
            let mut peer = Connections::open(&peer).await;
            // Not counted: caches and tokens are filled.
            ours.run(each).await;
            peer.run(each).await;
            for round in 0..rounds {
                // Whoever comes first changes, in case it matters.
                let pair = if round % 2 == 0 {
                    let first = ours.run(each).await;
                    (first, peer.run(each).await)
                } else {
                    let first = peer.run(each).await;
                    (ours.run(each).await, first)
                };
                send.send(pair).expect("somebody listens");
            }
        });
    });
    let pairs = receive.iter().collect();
    client.join().expect("the client ends");
    pairs
}

/// Sends one request and returns the body of its answer.
pub(crate) async fn once(target: &Target) -> Vec<u8> {
    let mut connection = Connection::open(target).await;
    let length = connection.exchange().await;
    connection.buffer.split_off(connection.buffer.len() - length)
}

struct Connections {
    open: Vec<Connection>,
}

impl Connections {
    async fn open(target: &Target) -> Self {
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            open.push(Connection::open(target).await);
        }
        Self { open }
    }

    /// Keeps all connections busy for so long; returns requests a second.
    async fn run(&mut self, each: Duration) -> f64 {
        let started = Instant::now();
        let mut running = JoinSet::new();
        for mut connection in self.open.drain(..) {
            running.spawn(async move {
                let mut count = 0_u64;
                while started.elapsed() < each {
                    connection.exchange().await;
                    count += 1;
                }
                (connection, count)
            });
        }
        let mut total = 0;
        while let Some(done) = running.join_next().await {
            let (connection, count) = done.expect("the server answers");
            self.open.push(connection);
            total += count;
        }
        total as f64 / started.elapsed().as_secs_f64()
    }
}

/// A connection that stays open.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    /// The last answer.
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> Self {
        let stream = TcpStream::connect(target.address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        Self { stream, request: target.request.clone(), buffer: Vec::with_capacity(BUFFER) }
    }

    /// Sends this from now on.
    pub(crate) fn ask(&mut self, request: Vec<u8>) {
        self.request = request;
    }

    /// Sends the request and reads the answer; returns the length of its body, which stands last in the buffer.
    pub(crate) async fn exchange(&mut self) -> usize {
        self.stream.write_all(&self.request).await.expect("the server reads");
        self.buffer.clear();
        let mut whole = None;
        while whole.is_none_or(|(head, body)| self.buffer.len() < head + body) {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            whole = whole.or_else(|| lengths(&self.buffer));
        }
        whole.map_or(0, |(_, body)| body)
    }
}

/// Returns the lengths of head and body, once the head is there.
fn lengths(answer: &[u8]) -> Option<(usize, usize)> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer));
    let text = std::str::from_utf8(&answer[..head]).expect("headers are ASCII");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().expect("a length"))
    });
    Some((head, length.expect("the answer tells its length")))
}
