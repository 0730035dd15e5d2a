//! One connection at a time: made when needed, used until it breaks.

use std::{
    fmt,
    io::{self, Read, Write},
};

use redis::{Cmd, Parser, Value, cmd};

use crate::{Limits, deadline::Deadline, failure::Failure, stream, stream::Wire, target::Target};

/// A server with the connection to it, where there is one.
pub(crate) struct Session {
    target: Target,
    connection: Option<Connection>,
}

impl Session {
    pub(crate) fn new(target: Target) -> Self {
        Self { target, connection: None }
    }

    /// Sends a command and returns the answer. Every command that this crate sends may be sent twice, so one that
    /// finds a connection of earlier broken tries once more on a new one.
    pub(crate) fn call(&mut self, command: &Cmd, limits: &Limits) -> Result<Value, Failure> {
        // The caller has long gone: a queue of such calls must not keep the server from the next.
        limits.whole.left().map_err(Failure::io)?;
        if let Some(mut earlier) = self.connection.take() {
            match earlier.call(command, limits.whole.after(limits.exchange), limits.answer_bytes) {
                Err(failure) if failure.is_broken() => {}
                outcome => return self.keep(earlier, outcome),
            }
        }
        let mut fresh = Connection::open(&self.target, &limits.whole.after(limits.connect))?;
        let outcome = fresh.call(command, limits.whole.after(limits.exchange), limits.answer_bytes);
        self.keep(fresh, outcome)
    }

    /// Keeps a connection on which question and answer still alternate.
    fn keep(&mut self, connection: Connection, outcome: Result<Value, Failure>) -> Result<Value, Failure> {
        let value = outcome?;
        match value {
            // A replica that was a primary, or a server about to go: the next call looks at the name again.
            Value::ServerError(error) => Err(Failure::server(error.code())),
            value => {
                self.connection = Some(connection);
                Ok(value)
            }
        }
    }
}

struct Connection {
    wire: Box<dyn Wire>,
    /// Keeps what it has read beyond an answer.
    parser: Parser,
}

impl Connection {
    /// Connects, logs in, and chooses the database.
    fn open(target: &Target, deadline: &Deadline) -> Result<Self, Failure> {
        let wire = stream::open(&target.place, deadline).map_err(Failure::io)?;
        let mut connection = Self { wire, parser: Parser::new() };
        if let Some(password) = &target.password {
            let mut log_in = cmd("AUTH");
            if let Some(user) = &target.user {
                log_in.arg(user);
            }
            log_in.arg(password.expose());
            connection.prepare(&log_in, deadline, Failure::log_in)?;
        }
        if target.database != 0 {
            connection.prepare(cmd("SELECT").arg(target.database), deadline, Failure::server)?;
        }
        Ok(connection)
    }

    fn prepare(
        &mut self,
        command: &Cmd,
        deadline: &Deadline,
        refused: fn(&str) -> Failure,
    ) -> Result<(), Failure> {
        match self.call(command, deadline.clone(), SMALL)? {
            Value::Okay => Ok(()),
            Value::ServerError(error) => Err(refused(error.code())),
            _ => Err(Failure::unexpected()),
        }
    }

    fn call(&mut self, command: &Cmd, deadline: Deadline, answer_bytes: u64) -> Result<Value, Failure> {
        self.wire.set_deadline(deadline);
        self.wire
            .write_all(&command.get_packed_command())
            .and_then(|()| self.wire.flush())
            .map_err(Failure::io)?;
        let mut answer =
            Bounded { wire: &mut *self.wire, left: answer_bytes.saturating_add(SMALL), failed: None };
        let value = self.parser.parse_value(&mut answer);
        let (left, failed) = (answer.left, answer.failed);
        match value {
            Ok(value) => Ok(value),
            // The parser's own error tells neither of these apart from an answer that is malformed.
            Err(_) if failed.is_some() => Err(Failure::io(failed.unwrap_or(io::ErrorKind::Other.into()))),
            Err(_) if left == 0 => Err(Failure::too_large()),
            Err(_) => Err(Failure::unexpected()),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection(…)")
    }
}

/// What the protocol adds to a value, and any answer without one.
const SMALL: u64 = 1_024;

/// Ends an answer that is longer than it may be, and keeps what ended it early.
struct Bounded<'w> {
    wire: &'w mut dyn Wire,
    left: u64,
    failed: Option<io::Error>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.wire.read(&mut buffer[..most]) {
            Ok(0) => {
                self.failed = Some(io::ErrorKind::UnexpectedEof.into());
                Ok(0)
            }
            Ok(read) => {
                self.left -= read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}
