//! A peer that answers as a test says: the double for faults that a real store cannot be made to have.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// What the peer does with one request.
pub enum Answer {
    /// Sends these bytes, and hangs up.
    Bytes(Vec<u8>),
    /// Sends these bytes, and then nothing until the other side hangs up.
    Hang(Vec<u8>),
    /// Sends these bytes, and then more without end until the other side hangs up.
    Flood(Vec<u8>),
}

/// A request's head, in lower case but for the values.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub target: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

type Wrap = Box<dyn Fn(TcpStream) -> Box<dyn Stream> + Send>;

/// Both directions of a connection.
pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A peer on a port of loopback; ended with the test.
pub struct Peer {
    port: u16,
    heads: Arc<Mutex<Vec<Head>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Starts a peer; `answer` is given the number of the request, from 0, and its head.
    pub fn start(answer: impl Fn(usize, &Head) -> Answer + Send + 'static) -> Self {
        Self::wrapped(Box::new(|stream| Box::new(stream)), answer)
    }

    /// Starts a peer whose connections are wrapped, as in TLS.
    pub fn wrapped(wrap: Wrap, answer: impl Fn(usize, &Head) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (noted, stop) = (Arc::clone(&heads), Arc::clone(&stopped));
        let thread = thread::spawn(move || {
            for connection in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                // A handshake that fails is what some tests are about.
                serve(wrap(connection.unwrap()), &noted, &answer);
            }
        });
        Self { port, heads, stopped, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far.
    pub fn heads(&self) -> Vec<Head> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the thread; if it is gone, so much the better.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(stream: Box<dyn Stream>, heads: &Mutex<Vec<Head>>, answer: &dyn Fn(usize, &Head) -> Answer) {
    let mut stream = BufReader::new(stream);
    let Some(head) = read_head(&mut stream) else { return };
    let number = {
        let mut heads = heads.lock().unwrap();
        heads.push(head.clone());
        heads.len() - 1
    };
    let answer = answer(number, &head);
    let (Answer::Bytes(bytes) | Answer::Hang(bytes) | Answer::Flood(bytes)) = &answer;
    if stream.get_mut().write_all(bytes).and_then(|()| stream.get_mut().flush()).is_err() {
        return;
    }
    match answer {
        Answer::Bytes(_) => {}
        Answer::Hang(_) => while stream.get_mut().read(&mut [0; 1024]).is_ok_and(|read| read > 0) {},
        Answer::Flood(_) => while stream.get_mut().write_all(&[b'x'; 64 * 1024]).is_ok() {},
    }
}

fn read_head(stream: &mut impl BufRead) -> Option<Head> {
    let mut lines = stream.lines();
    let first = lines.next()?.ok()?;
    let mut head = Head { target: first.split(' ').nth(1)?.to_owned(), headers: Vec::new() };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { return Some(head) };
        head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    None
}

/// The head of an answer with an object in it, and the object.
pub fn object(tag: &str, length: usize, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nETag: {tag}\r\nLast-Modified: Sat, 21 Nov 2026 07:28:00 GMT\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), content].concat()
}

/// An answer without an object.
pub fn status(line: &str, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}
