//! Sockets whose every read and write keeps a deadline.
//!
//! A time-out that is set once bounds each wait, not their sum: a server that sends a byte now and then would hold
//! a call for ever.

#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use crate::{deadline::Deadline, target::Place};

/// A connection's two directions.
pub(crate) trait Wire: Read + Write + Send {
    fn set_deadline(&mut self, deadline: Deadline);
}

/// A socket that can be told how long to wait.
pub(crate) trait Socket: Read + Write + Send {
    fn wait_at_most(&self, time: Duration) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn wait_at_most(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

#[cfg(unix)]
impl Socket for UnixStream {
    fn wait_at_most(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

/// A socket with the deadline of the call at hand.
pub(crate) struct Timed<S> {
    socket: S,
    deadline: Deadline,
}

impl<S: Socket> Timed<S> {
    pub(crate) fn set(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }
}

impl<S: Socket> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.wait_at_most(self.deadline.left()?)?;
        self.socket.read(buffer).map_err(plain)
    }
}

impl<S: Socket> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.wait_at_most(self.deadline.left()?)?;
        self.socket.write(bytes).map_err(plain)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl<S: Socket> Wire for Timed<S> {
    fn set_deadline(&mut self, deadline: Deadline) {
        self.set(deadline);
    }
}

/// Connects to the first address of the place that answers.
pub(crate) fn tcp(host: &str, port: u16, deadline: &Deadline) -> io::Result<Timed<TcpStream>> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, deadline.left()?) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(Timed { socket, deadline: deadline.clone() });
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

#[cfg(unix)]
fn local(path: &std::path::Path, deadline: &Deadline) -> io::Result<Box<dyn Wire>> {
    Ok(Box::new(Timed { socket: UnixStream::connect(path)?, deadline: deadline.clone() }))
}

#[cfg(not(unix))]
fn local(_: &std::path::Path, _: &Deadline) -> io::Result<Box<dyn Wire>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no such sockets"))
}

/// Connects to the place.
pub(crate) fn open(place: &Place, deadline: &Deadline) -> io::Result<Box<dyn Wire>> {
    match place {
        Place::Tcp { host, port, trust: None } => Ok(Box::new(tcp(host, *port, deadline)?)),
        Place::Tcp { host, port, trust: Some(trust) } => trust.secure(host, tcp(host, *port, deadline)?),
        Place::Unix(path) => local(path, deadline),
    }
}

/// One word for a time-out: systems report one of two.
fn plain(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}
