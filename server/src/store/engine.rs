//! What the store asks of a database: run a piece of work on a connection, in a way that the engine knows how to
//! make durable and to try again.
//!
//! The statements are the same for every engine: parameters are `$1`, `$2` and so on, in ascending order of first use,
//! and types are those of [`Value`].

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use leverframe::{Error, ErrorKind, Result};

use super::migration::Migration;

/// How a piece of work touches the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Reads once, now or not at all.
    Probe,
    /// Reads; each statement sees what is committed when it begins.
    Read,
    /// Reads; all statements see one state.
    Snapshot,
    /// Writes; all of it or nothing, durable when it returns.
    Write,
}

/// A piece of work: statements, and what they depend on.
#[async_trait]
pub trait Work: Send + Sync + 'static {
    /// What comes of it.
    type Output: Send + 'static;

    /// Does it. `again` says that an earlier attempt may have been committed although its answer was lost: then what
    /// that attempt would have written must be recognised, and not written twice.
    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<Self::Output>;
}

/// A connection to a database while a piece of work has it.
#[async_trait]
pub trait Connection: Send {
    /// Returns the rows of a statement.
    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>>;
    /// Runs a statement; returns how many rows it touched. `Conflict` for a key that is taken, `NotFound` for a
    /// reference to nothing.
    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64>;
    /// Runs statements that ask nothing of each other, in their order; returns the rows of each. A database that is far
    /// away hears of all of them before it answers the first.
    async fn query_all(&mut self, statements: &[Statement]) -> Result<Vec<Vec<Row>>>;
    /// Runs statements without parameters.
    async fn batch(&mut self, script: &str) -> Result<()>;
    /// Keeps every other process from migrating until the work is done.
    async fn lock_schema(&mut self) -> Result<()>;
}

/// A database.
#[async_trait]
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Returns the steps to today's schema.
    fn migrations(&self) -> &'static [Migration];
    /// Returns the directory of a database that is not shared with other machines; what they would have to share can
    /// be a file there instead of a row.
    fn directory(&self) -> Option<&Path> {
        None
    }
    /// Runs a piece of work, again if need be.
    async fn run<W: Work>(&self, mode: Mode, work: Arc<W>) -> Result<W::Output>;
    /// Lets go of every connection.
    async fn close(&self);
}

/// A statement with the values of its parameters.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Statement {
    /// The statement.
    pub sql: String,
    /// The values.
    pub values: Vec<Value>,
}

impl Statement {
    fn is_impossible(&self) -> bool {
        self.values.iter().any(Value::is_impossible)
    }
}

/// A value of a column.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// Bytes.
    Blob(Bytes),
    /// A number.
    Int(i64),
    /// Nothing.
    Null,
    /// Text.
    Text(String),
}

impl Value {
    /// Returns the text, or nothing.
    pub(super) fn maybe(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::from)
    }

    /// Returns the time in microseconds, or nothing.
    pub(super) fn maybe_time(time: Option<SystemTime>) -> Self {
        time.map_or(Self::Null, Self::from)
    }

    /// Whether it is text that one of the engines cannot hold, and which therefore none holds.
    fn is_impossible(&self) -> bool {
        matches!(self, Self::Text(text) if text.contains('\0'))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Archives are large, and digests of secrets are nobody's business.
            Self::Blob(bytes) => write!(f, "Blob({} bytes)", bytes.len()),
            Self::Int(number) => write!(f, "{number}"),
            Self::Null => f.write_str("Null"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// Saturates: no column holds so much.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<SystemTime> for Value {
    fn from(time: SystemTime) -> Self {
        Self::Int(micros(time))
    }
}

/// A row, read column by column from the left.
#[derive(Debug)]
pub struct Row {
    columns: std::vec::IntoIter<Value>,
}

impl Row {
    /// Makes a row of its columns.
    #[must_use]
    pub fn new(columns: Vec<Value>) -> Self {
        Self { columns: columns.into_iter() }
    }

    /// Returns what was not read yet.
    pub(super) fn rest(self) -> Vec<Value> {
        self.columns.collect()
    }

    pub(super) fn text(&mut self) -> Result<String> {
        match self.columns.next() {
            Some(Value::Text(text)) => Ok(text),
            other => Err(unexpected("text", other)),
        }
    }

    pub(super) fn maybe_text(&mut self) -> Result<Option<String>> {
        match self.columns.next() {
            Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            other => Err(unexpected("text or nothing", other)),
        }
    }

    pub(super) fn int(&mut self) -> Result<i64> {
        match self.columns.next() {
            Some(Value::Int(number)) => Ok(number),
            other => Err(unexpected("a number", other)),
        }
    }

    pub(super) fn maybe_int(&mut self) -> Result<Option<i64>> {
        match self.columns.next() {
            Some(Value::Null) => Ok(None),
            Some(Value::Int(number)) => Ok(Some(number)),
            other => Err(unexpected("a number or nothing", other)),
        }
    }

    pub(super) fn count(&mut self) -> Result<u64> {
        let number = self.int()?;
        u64::try_from(number).map_err(|_| unexpected("a count", Some(Value::Int(number))))
    }

    pub(super) fn blob(&mut self) -> Result<Bytes> {
        match self.columns.next() {
            Some(Value::Blob(bytes)) => Ok(bytes),
            other => Err(unexpected("bytes", other)),
        }
    }

    pub(super) fn time(&mut self) -> Result<SystemTime> {
        Ok(time(self.int()?))
    }

    pub(super) fn maybe_time(&mut self) -> Result<Option<SystemTime>> {
        match self.columns.next() {
            Some(Value::Null) => Ok(None),
            Some(Value::Int(number)) => Ok(Some(time(number))),
            other => Err(unexpected("a time or nothing", other)),
        }
    }
}

/// Statements that look for one thing, or are refused as a whole.
impl dyn Connection + '_ {
    /// Returns the rows that match: none if a value is one that nothing stored can have.
    pub(super) async fn find(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>> {
        if values.iter().any(Value::is_impossible) {
            return Ok(Vec::new());
        }
        self.query(sql, values).await
    }

    /// Returns the first row that matches.
    pub(super) async fn first(&mut self, sql: &str, values: &[Value]) -> Result<Option<Row>> {
        Ok(self.find(sql, values).await?.into_iter().next())
    }

    /// Runs a statement that writes; `Invalid` if a value is one that cannot be stored.
    pub(super) async fn put(&mut self, sql: &str, values: &[Value]) -> Result<u64> {
        if values.iter().any(Value::is_impossible) {
            return Err(impossible());
        }
        self.execute(sql, values).await
    }

    /// Returns the rows that match any of the statements: none if a value is one that nothing stored can have.
    pub(super) async fn find_all(&mut self, statements: &[Statement]) -> Result<Vec<Row>> {
        if statements.iter().any(Statement::is_impossible) {
            return Ok(Vec::new());
        }
        Ok(self.query_all(statements).await?.into_iter().flatten().collect())
    }

    /// Runs statements that write, and ask nothing of each other.
    pub(super) async fn put_all(&mut self, statements: &[Statement]) -> Result<()> {
        if statements.iter().any(Statement::is_impossible) {
            return Err(impossible());
        }
        self.query_all(statements).await.map(drop)
    }
}

/// Returns the time as it is stored: in microseconds since 1970, saturating.
pub(super) fn micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

/// Returns the time that was stored.
pub(super) fn time(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let time = if micros < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

fn impossible() -> Error {
    Error::new(ErrorKind::Invalid, "store a text").with("reason", "it holds a NUL character")
}

fn unexpected(wanted: &str, found: Option<Value>) -> Error {
    let found = match found {
        Some(Value::Blob(_)) => "bytes",
        Some(Value::Int(_)) => "a number",
        Some(Value::Null) => "nothing",
        Some(Value::Text(_)) => "text",
        None => "the end of the row",
    };
    Error::new(ErrorKind::Corrupt, "read a stored row").with("expected", wanted).with("found", found)
}
