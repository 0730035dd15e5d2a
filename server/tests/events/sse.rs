//! A reader of server-sent events over a TCP connection, that shows every line.

use std::net::SocketAddr;

use leverframe::flags::events::{ResyncEvent, VersionEvent};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::stage::soon;

/// What is asked for.
pub(crate) struct Request {
    path: String,
    headers: String,
    receive_buffer: Option<u32>,
}

impl Request {
    /// An empty token is none.
    pub(crate) fn new(path: &str, token: &str) -> Self {
        let headers =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        Self { path: path.to_owned(), headers, receive_buffer: None }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// Lets the system keep little of what was not read.
    pub(crate) fn with_receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    pub(crate) async fn open(self, address: SocketAddr) -> Reader {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let mut stream = socket.connect(address).await.unwrap();
        let Self { path, headers, .. } = self;
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader =
            Reader { stream, raw: Vec::new(), text: Vec::new(), searched: 0, status: 0, head: String::new() };
        soon(reader.read_head()).await;
        reader
    }
}

/// A connection that has been answered.
pub(crate) struct Reader {
    stream: TcpStream,
    /// As it came, in chunks.
    raw: Vec<u8>,
    /// Out of its chunks.
    text: Vec<u8>,
    /// As far as `text` was searched.
    searched: usize,
    pub(crate) status: u16,
    pub(crate) head: String,
}

/// One block of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) comment: bool,
}

impl Block {
    pub(crate) fn version(&self) -> VersionEvent {
        assert_eq!(self.event.as_deref(), Some("version"), "{self:?}");
        serde_json::from_str(self.data.as_deref().unwrap()).unwrap()
    }

    pub(crate) fn resync(&self) -> ResyncEvent {
        assert_eq!(self.event.as_deref(), Some("resync"), "{self:?}");
        serde_json::from_str(self.data.as_deref().unwrap()).unwrap()
    }
}

impl Reader {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| *key == name)
            .map(|(_, v)| v)
    }

    /// The whole body of an answer that is not a stream.
    pub(crate) async fn body(&mut self) -> String {
        let length: usize = self.header("content-length").unwrap().parse().unwrap();
        while self.raw.len() < length {
            assert!(self.more().await, "the answer broke off");
        }
        String::from_utf8(self.raw[..length].to_vec()).unwrap()
    }

    /// The next block, whatever it is; `None` at the end.
    pub(crate) async fn block(&mut self) -> Option<Block> {
        soon(async {
            loop {
                let from = self.searched.saturating_sub(1);
                if let Some(end) = find(&self.text[from..], b"\n\n").map(|end| from + end) {
                    self.searched = 0;
                    let lines = String::from_utf8(self.text.drain(..end + 2).collect()).unwrap();
                    return Some(parse(&lines));
                }
                self.searched = self.text.len();
                if !self.chunk().await {
                    return None;
                }
            }
        })
        .await
    }

    /// The next event; neither a comment nor a lone `retry`.
    pub(crate) async fn event(&mut self) -> Block {
        loop {
            let block = self.block().await.expect("the stream has ended");
            if block.event.is_some() {
                return block;
            }
        }
    }

    /// Reads to the end; returns how many events came before it.
    pub(crate) async fn end(&mut self) -> usize {
        let mut events = 0;
        while let Some(block) = self.block().await {
            events += usize::from(block.event.is_some());
        }
        events
    }

    async fn read_head(&mut self) {
        let end = loop {
            if let Some(end) = find(&self.raw, b"\r\n\r\n") {
                break end;
            }
            assert!(self.more().await, "closed instead of answered");
        };
        let head: Vec<u8> = self.raw.drain(..end + 4).collect();
        self.head = String::from_utf8(head).unwrap();
        self.status = self.head.split(' ').nth(1).unwrap().parse().unwrap();
    }

    /// Takes a chunk out of what came; false at the end.
    async fn chunk(&mut self) -> bool {
        loop {
            if let Some(line) = find(&self.raw, b"\r\n") {
                let size = std::str::from_utf8(&self.raw[..line]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                if self.raw.len() >= line + 2 + size + 2 {
                    let chunk: Vec<u8> = self.raw.drain(..line + 2 + size + 2).collect();
                    self.text.extend_from_slice(&chunk[line + 2..line + 2 + size]);
                    return size > 0;
                }
            }
            if !self.more().await {
                return false;
            }
        }
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.raw.extend_from_slice(&buffer[..read]);
        read > 0
    }
}

fn parse(lines: &str) -> Block {
    let mut block = Block::default();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(':').unwrap();
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        let place = match field {
            "" => {
                block.comment = true;
                continue;
            }
            "id" => &mut block.id,
            "event" => &mut block.event,
            "data" => &mut block.data,
            "retry" => &mut block.retry,
            other => panic!("a field that nobody knows: {other}"),
        };
        assert_eq!(place.replace(value), None, "a field twice in {lines:?}");
    }
    block
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == what[0]) {
        if bytes[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
