//! Carries git's protocol over ssh: one connection, on which `git-upload-pack` runs on the other side.
//!
//! libssh2 waits for the network, so it works on a thread of its own. The load waits without blocking; dropping it
//! shuts the socket, and with that the thread ends, wherever it waits. What cannot be hurried, the name look-up and
//! the ssh agent, is counted: a source whose threads hang there starts no more of them.

use std::{
    io::Read,
    net::{Shutdown, TcpStream, ToSocketAddrs},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    config::GitConfig,
    mailbox::{Mailbox, Putter},
    place::SshPlace,
    ssh_session::{Connection, failed},
    wire::{Deadline, Wire},
};
use crate::{Error, ErrorKind, Result, Retry};

/// A git server behind ssh.
pub(super) struct SshWire {
    asks: Sender<Ask>,
    answers: Arc<Mailbox<Answer>>,
    line: Arc<LifeLine>,
}

/// What the load wants of the thread; each is answered once.
enum Ask {
    Greet,
    Send(Vec<u8>),
    Receive,
}

type Answer = Result<Option<Bytes>>;

/// By which a load ends its thread.
#[derive(Debug, Default)]
struct LifeLine {
    cut: AtomicBool,
    socket: Mutex<Option<TcpStream>>,
}

/// How many threads of a source run.
#[derive(Clone, Debug, Default)]
pub(super) struct Running(Arc<AtomicUsize>);

impl SshWire {
    /// Starts the thread; it does nothing yet.
    pub(super) fn start(
        place: &SshPlace,
        config: &GitConfig,
        running: &Running,
        deadline: Deadline,
    ) -> Result<Self> {
        let one = running.enter()?;
        let (asks, asked) = mpsc::channel();
        let answers = Arc::new(Mailbox::default());
        let line = Arc::new(LifeLine::default());
        let worker = Worker {
            place: place.clone(),
            config: config.clone(),
            deadline,
            line: Arc::clone(&line),
            connection: None,
            chunk: vec![0; CHUNK].into(),
            _one: one,
        };
        let putter = Putter::new(&answers);
        thread::Builder::new()
            .name("leverframe-git".to_owned())
            .spawn(move || worker.run(&asked, &putter))
            .map_err(|e| Error::from_io("start a thread for ssh", e).retry(Retry::Now))?;
        Ok(Self { asks, answers, line })
    }

    async fn ask(&mut self, ask: Ask) -> Answer {
        let gone = || Error::new(ErrorKind::Unavailable, "ask the ssh thread").retry(Retry::Now);
        self.asks.send(ask).map_err(|_| gone())?;
        self.answers.take().await.unwrap_or_else(|| Err(gone()))
    }
}

#[async_trait]
impl Wire for SshWire {
    async fn greet(&mut self) -> Result<()> {
        self.ask(Ask::Greet).await.map(drop)
    }

    async fn send(&mut self, request: Vec<u8>) -> Result<()> {
        self.ask(Ask::Send(request)).await.map(drop)
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        self.ask(Ask::Receive).await
    }

    fn may_skip_greeting(&self) -> bool {
        false
    }
}

impl Drop for SshWire {
    fn drop(&mut self) {
        self.line.cut.store(true, Ordering::Release);
        if let Some(socket) = self.line.socket().take() {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl LifeLine {
    fn socket(&self) -> std::sync::MutexGuard<'_, Option<TcpStream>> {
        // Only whole values are put there.
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a drop of the load reach the socket; false where the drop came first.
    fn tie(&self, socket: TcpStream) -> bool {
        let mut tied = self.socket();
        if self.cut.load(Ordering::Acquire) {
            return false;
        }
        *tied = Some(socket);
        true
    }
}

impl Running {
    fn enter(&self) -> Result<One> {
        let one = One(Arc::clone(&self.0));
        if self.0.fetch_add(1, Ordering::AcqRel) >= MOST_THREADS {
            return Err(Error::new(ErrorKind::Unavailable, "start a thread for ssh")
                .with("running", MOST_THREADS)
                .retry(Retry::Now)
                .hint(
                    "earlier loads still wait for the name look-up or for the ssh agent; see why these hang",
                ));
        }
        Ok(one)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// Counts as one as long as it lives.
struct One(Arc<AtomicUsize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

const MOST_THREADS: usize = 4;
/// How much is read at a time.
const CHUNK: usize = 32 * 1024;

struct Worker {
    place: SshPlace,
    config: GitConfig,
    deadline: Deadline,
    line: Arc<LifeLine>,
    connection: Option<Connection>,
    /// Where answers are read into: most are short, and one buffer for all of them is less than one for each.
    chunk: Box<[u8]>,
    _one: One,
}

impl Worker {
    fn run(mut self, asked: &Receiver<Ask>, answers: &Putter<Answer>) {
        // Ends when the wire is dropped, and with it the sender.
        while let Ok(ask) = asked.recv() {
            let answer = match ask {
                Ask::Greet => self.connect().map(|()| None),
                Ask::Send(request) => self.connected().and_then(|c| c.send(&request)).map(|()| None),
                Ask::Receive => self.receive(),
            };
            answers.put(answer);
        }
    }

    fn connect(&mut self) -> Result<()> {
        let socket = self.dial()?;
        let tied = socket.try_clone().map_err(|e| self.cannot_reach(e))?;
        if !self.line.tie(tied) {
            return Err(Error::new(ErrorKind::Cancelled, "connect to the ssh server"));
        }
        let left = u32::try_from(self.deadline.left().as_millis()).unwrap_or(u32::MAX).max(1);
        self.connection = Some(Connection::open(socket, &self.place, &self.config, left)?);
        Ok(())
    }

    fn dial(&self) -> Result<TcpStream> {
        let SshPlace { host, port, .. } = &self.place;
        let addresses = (host.as_str(), *port).to_socket_addrs().map_err(|e| self.cannot_reach(e))?;
        let mut last = None;
        for address in addresses {
            if self.line.cut.load(Ordering::Acquire) {
                break;
            }
            match TcpStream::connect_timeout(&address, self.config.connect_timeout()) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = Some(error),
            }
        }
        Err(self.cannot_reach(last.unwrap_or_else(|| std::io::Error::other("the name has no address"))))
    }

    fn cannot_reach(&self, error: std::io::Error) -> Error {
        Error::new(ErrorKind::Unavailable, "connect to the ssh server")
            .with("host", &self.place.host)
            .with("port", self.place.port)
            .source(error)
            .retry(Retry::Now)
            .hint("check host and port, and that a firewall lets the connection through")
    }

    fn connected(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(never_connected)
    }

    fn receive(&mut self) -> Answer {
        let Self { connection, chunk, .. } = self;
        let connection = connection.as_mut().ok_or_else(never_connected)?;
        let length = connection.channel.read(chunk).map_err(|e| failed("read from the ssh server", e))?;
        if length == 0 {
            return connection.end().map(|()| None);
        }
        connection.has_spoken = true;
        Ok(Some(Bytes::copy_from_slice(&chunk[..length])))
    }
}

fn never_connected() -> Error {
    Error::new(ErrorKind::Unavailable, "use a connection that never was")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_hang_are_counted_and_no_more_are_started() {
        let running = Running::default();

        let hanging: Vec<One> = (0..MOST_THREADS).map(|_| running.enter().unwrap()).collect();
        assert_eq!(running.enter().err().map(|e| e.kind()), Some(ErrorKind::Unavailable));
        drop(hanging);

        assert_eq!(running.count(), 0);
        running.enter().unwrap();
    }
}
