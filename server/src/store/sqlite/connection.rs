//! One connection to a database file.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind as ErrorKindOfIo,
    path::Path,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use leverframe::{Error, ErrorKind, Result, Retry};
use rusqlite::{
    Connection as Handle, ErrorCode, OpenFlags, ToSql,
    ffi::{SQLITE_CONSTRAINT_FOREIGNKEY, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE},
    types::{ToSqlOutput, ValueRef},
};

use super::restrict;
use crate::store::engine::{Connection, Row, Statement, Value};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Access {
    /// Writes the file of a server.
    Serve,
    /// Reads the file of a server.
    Look,
    /// Writes a backup, which is kept only once it is whole.
    BackUp,
    /// Reads a backup.
    Restore,
}

/// Marks the file of a server (`LFdb`).
const SERVED: i64 = 0x4c46_6462;
/// Marks a backup (`LFbk`).
const BACKUP: i64 = 0x4c46_626b;

/// How long a writer waits for those of other processes.
const BUSY: Duration = Duration::from_secs(10);

/// How many statements a connection keeps, so that what is asked all the time is planned once: more than there are.
const STATEMENTS: usize = 256;

/// Opens a connection.
pub(super) fn open(path: &Path, access: Access) -> Result<Handle> {
    // Going over to the write-ahead log fails at once where two do it at the same time, however long they may wait.
    let _alone = (access == Access::Serve).then(|| alone(path)).transpose()?;
    let flags = match access {
        Access::Serve => {
            make(path)?;
            OpenFlags::SQLITE_OPEN_READ_WRITE
        }
        Access::Look | Access::BackUp => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Restore => {
            // Says better than the engine why a file cannot be read.
            File::open(path)
                .map_err(|error| Error::from_io("read a backup", error).with("path", path.display()))?;
            OpenFlags::SQLITE_OPEN_READ_ONLY
        }
    };
    let at = |error: Error| error.with("path", path.display());
    let handle = Handle::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| at(failure("open the database", &error)))?;
    handle.busy_timeout(BUSY).map_err(|error| at(failure("open the database", &error)))?;
    handle.set_prepared_statement_cache_capacity(STATEMENTS);
    check_mark(&handle, access).map_err(at)?;
    script(&handle, settings(access)).map_err(at)?;
    Ok(handle)
}

fn settings(access: Access) -> &'static str {
    match access {
        // FULL: an accepted version is on the disk, log and all, before anybody is told so.
        Access::Serve => {
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA foreign_keys = ON; \
             PRAGMA trusted_schema = OFF; PRAGMA journal_size_limit = 67108864;"
        }
        Access::Look => "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;",
        // Made beside, flushed as a whole and only then given its name.
        Access::BackUp => {
            "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON; \
             PRAGMA trusted_schema = OFF;"
        }
        Access::Restore => {
            "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
        }
    }
}

/// Waits until nobody else opens a database in this folder, here or in another process.
fn alone(path: &Path) -> Result<Option<File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Where a folder cannot be opened like a file, as on Windows, whoever comes second at such a moment tries again.
    let Ok(handle) = File::open(folder) else { return Ok(None) };
    match handle.lock() {
        Ok(()) => Ok(Some(handle)),
        Err(error) if error.kind() == ErrorKindOfIo::Unsupported => Ok(None),
        Err(error) => Err(Error::from_io("open the database", error).with("path", path.display())),
    }
}

/// Makes the file where there is none: never, not for a moment, readable by others.
fn make(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        // A file that is there is not even opened: closing it would give up the locks that other connections of this
        // process have on it.
        Err(error) if error.kind() != ErrorKindOfIo::AlreadyExists => {
            Err(Error::from_io("make the database", error).with("path", path.display()))
        }
        _ => restrict(path),
    }
}

/// Refuses files that are something else, which is told by a number in their head.
fn check_mark(handle: &Handle, access: Access) -> Result<()> {
    let read = |sql| handle.query_row(sql, [], |row| row.get::<_, i64>(0));
    let found = read("PRAGMA application_id").map_err(|error| failure("open the database", &error))?;
    let wanted = if matches!(access, Access::Serve | Access::Look) { SERVED } else { BACKUP };
    if found == wanted {
        return Ok(());
    }
    let pages = read("PRAGMA page_count").map_err(|error| failure("open the database", &error))?;
    if pages == 0 && matches!(access, Access::Serve | Access::BackUp) {
        return script(handle, &format!("PRAGMA application_id = {wanted}"));
    }
    let hint = match found {
        BACKUP => "the file is a backup; restore it with `leverframe admin restore`",
        SERVED => "the file is the database of a server; make a backup of it with `leverframe admin backup`",
        _ => "name a file that Leverframe made",
    };
    Err(Error::new(ErrorKind::Corrupt, "open the database")
        .with("reason", "the file is of another kind")
        .hint(hint))
}

/// Returns the permissions that keep others out, if those of a file do not.
#[cfg(unix)]
pub(super) fn private(found: &fs::Metadata) -> Option<fs::Permissions> {
    use std::os::unix::fs::PermissionsExt;
    (found.permissions().mode() & 0o077 != 0).then(|| fs::Permissions::from_mode(0o600))
}

/// The directory's protection is inherited there.
#[cfg(not(unix))]
pub(super) fn private(_found: &fs::Metadata) -> Option<fs::Permissions> {
    None
}

/// Runs statements that return nothing of interest.
pub(super) fn script(handle: &Handle, script: &str) -> Result<()> {
    handle.execute_batch(script).map_err(|error| failure("run a statement", &error))
}

/// Ends what was begun, if anything was.
pub(super) fn roll_back(handle: &Handle) {
    if !handle.is_autocommit()
        && let Err(error) = script(handle, "ROLLBACK")
    {
        tracing::warn!(error = %error.chain(), "a transaction was not rolled back");
    }
}

/// A connection while a piece of work has it.
pub(super) struct On<'h>(pub(super) &'h mut Handle);

impl On<'_> {
    fn rows(&mut self, sql: &str, values: &[Value]) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.0.prepare_cached(&dialect(sql))?;
        let columns = statement.column_count();
        let mut found = statement.query(rusqlite::params_from_iter(values))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let columns = (0..columns).map(|column| row.get_ref(column).map(value));
            rows.push(Row::new(columns.collect::<rusqlite::Result<_>>()?));
        }
        Ok(rows)
    }
}

#[async_trait]
impl Connection for On<'_> {
    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>> {
        self.rows(sql, values).map_err(|error| failure("run a statement", &error))
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64> {
        let done = self
            .0
            .prepare_cached(&dialect(sql))
            .and_then(|mut statement| statement.execute(rusqlite::params_from_iter(values)));
        done.map(|rows| rows as u64).map_err(|error| failure("run a statement", &error))
    }

    async fn query_all(&mut self, statements: &[Statement]) -> Result<Vec<Vec<Row>>> {
        let rows = |statement: &Statement| self.rows(&statement.sql, &statement.values);
        let found: rusqlite::Result<_> = statements.iter().map(rows).collect();
        found.map_err(|error| failure("run a statement", &error))
    }

    async fn batch(&mut self, statements: &str) -> Result<()> {
        script(self.0, statements)
    }

    /// Whoever writes has the whole file.
    async fn lock_schema(&mut self) -> Result<()> {
        Ok(())
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Blob(bytes) => ValueRef::Blob(bytes),
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Null => ValueRef::Null,
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Writes a statement as this engine has it: one writer at a time needs no locks on rows.
fn dialect(sql: &str) -> String {
    let sql = sql.replace('$', "?");
    match sql.find(" FOR UPDATE") {
        Some(end) => sql[..end].to_owned(),
        None => sql,
    }
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        // No column holds one; whoever reads it says so.
        ValueRef::Real(number) => Value::Text(number.to_string()),
        // What is not UTF-8 is damage; it is told by whatever the text is for.
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(Bytes::copy_from_slice(bytes)),
    }
}

/// Says what a failure means. The library's own text may quote values, and is left out.
fn failure(operation: &'static str, error: &rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(code, _) = error else {
        return Error::new(ErrorKind::Io, operation).with("engine", "SQLite").source(error.to_string());
    };
    let kind = match (code.code, code.extended_code) {
        (ErrorCode::ConstraintViolation, SQLITE_CONSTRAINT_FOREIGNKEY) => ErrorKind::NotFound,
        (ErrorCode::ConstraintViolation, SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_UNIQUE) => {
            ErrorKind::Conflict
        }
        (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => ErrorKind::Corrupt,
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => ErrorKind::Unavailable,
        (ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen, _) => {
            ErrorKind::PermissionDenied
        }
        (ErrorCode::TooBig, _) => ErrorKind::LimitExceeded,
        _ => ErrorKind::Io,
    };
    let error = Error::new(kind, operation)
        .with("engine", "SQLite")
        .with("code", code.extended_code)
        .source(rusqlite::ffi::code_to_str(code.extended_code).to_owned());
    match code.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => error.retry(Retry::Now),
        ErrorCode::DiskFull => error.hint("free space on the disk of the data directory"),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            error.hint("stop the server, move the file away and restore a backup")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(handle: &Handle, name: &str) -> rusqlite::types::Value {
        handle.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_server_writes_to_the_log_and_flushes_each_commit() {
        let dir = tempfile::tempdir().unwrap();

        let handle = open(&dir.path().join("db"), Access::Serve).unwrap();

        assert_eq!(setting(&handle, "journal_mode"), "wal".to_owned().into());
        assert_eq!(setting(&handle, "synchronous"), 2.into());
        assert_eq!(setting(&handle, "foreign_keys"), 1.into());
        assert_eq!(setting(&handle, "busy_timeout"), 10_000.into());
    }

    #[test]
    fn a_reader_cannot_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let _server = open(&path, Access::Serve).unwrap();

        let reader = open(&path, Access::Look).unwrap();

        assert!(script(&reader, "CREATE TABLE t (x)").is_err());
    }
}
