//! Backups: a database file of one portable form, whichever store it was made from.

use std::{fs::File, io, path::Path, sync::Arc};

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result, durable};
use tempfile::NamedTempFile;

use super::{
    Notice,
    changes::log,
    engine::{Connection, Engine, Mode, Row, Value, Work},
    migration::{Migrate, Pending},
    sqlite::{Sqlite, blocking as off},
    tables::{ARCHIVES, SETTINGS_ENTRIES, SETTINGS_SECRET_VERSIONS, SETTINGS_SERVICES, TABLES, Table},
    versions::checked,
};

/// How many rows are carried at once.
const ROWS: i64 = 500;
/// How many are of which each may be a megabyte.
const LARGE_ROWS: i64 = 32;
/// How many archives are, which may be of some megabytes each.
const LARGEST_ROWS: i64 = 4;

/// Writes everything that a database holds at one moment to a file that does not exist yet.
pub(super) async fn backup<E: Engine>(from: &E, to: &Path) -> Result<()> {
    let path = to.to_owned();
    let refuse = |error: std::io::Error| Error::from_io("write a backup", error).with("path", to.display());
    if to.try_exists().map_err(refuse)? {
        return Err(exists(to));
    }
    let (file, copy) = off(move || begin(&path)).await?;
    copy.run(Mode::Write, Arc::new(Migrate(copy.migrations()))).await?;
    let copy = Arc::new(copy);
    from.run(Mode::Snapshot, Arc::new(Out { to: Arc::clone(&copy) })).await?;
    copy.close().await;
    let path = to.to_owned();
    off(move || keep(file, &path)).await
}

/// Takes everything over from a backup.
pub(super) async fn restore<E: Engine>(to: &E, from: &Path) -> Result<()> {
    let path = from.to_owned();
    let mut copy = off(move || Sqlite::read_backup(path)).await?;
    let at = |error: Error| error.with("path", from.display());
    copy.run(Mode::Snapshot, Arc::new(Examine)).await.map_err(at)?;
    let mut _older = None;
    if copy.run(Mode::Read, Arc::new(Pending(copy.migrations()))).await.map_err(at)? > 0 {
        // Of an older program. The backup stays what it is: a copy of it is brought up to date.
        let path = from.to_owned();
        let (file, newer) = off(move || duplicate(&path)).await?;
        newer.run(Mode::Write, Arc::new(Migrate(newer.migrations()))).await.map_err(at)?;
        (_older, copy) = (Some(file), newer);
    }
    let copy = Arc::new(copy);
    let restored = to.run(Mode::Write, Arc::new(In { from: Arc::clone(&copy) })).await;
    copy.close().await;
    restored
}

/// Carries everything to a backup.
#[derive(Debug)]
struct Out {
    to: Arc<Sqlite>,
}

#[async_trait]
impl Work for Out {
    type Output = ();

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<()> {
        // Of an attempt that was given up half-way.
        self.to.run(Mode::Write, Arc::new(Clear)).await?;
        for table in TABLES {
            let mut after = Vec::new();
            loop {
                let batch = Batch { table, after };
                let rows = batch.run(on, false).await?;
                let Some(last) = rows.last() else { break };
                after = last[..batch.key()].to_vec();
                self.to.run(Mode::Write, Arc::new(Add { table, rows })).await?;
            }
        }
        Ok(())
    }
}

/// Takes everything from a backup, if nothing is there.
#[derive(Debug)]
struct In {
    from: Arc<Sqlite>,
}

#[async_trait]
impl Work for In {
    type Output = ();

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<()> {
        for table in TABLES {
            if !on.query(&format!("SELECT 1 FROM {} LIMIT 1", table.name), &[]).await?.is_empty() {
                return Err(Error::new(ErrorKind::Conflict, "restore a backup")
                    .with("reason", "the store is not empty")
                    .hint("restore into a new data directory or database"));
            }
        }
        for table in TABLES {
            let mut after = Vec::new();
            loop {
                let batch = Arc::new(Batch { table, after });
                let rows = self.from.run(Mode::Read, Arc::clone(&batch)).await?;
                let Some(last) = rows.last() else { break };
                after = last[..batch.key()].to_vec();
                Add { table, rows }.run(on, false).await?;
            }
        }
        log(on, &Notice::Everything).await
    }
}

/// Reads the rows of a table that follow a key.
#[derive(Debug)]
struct Batch {
    table: &'static Table,
    after: Vec<Value>,
}

impl Batch {
    /// How many of a row's columns are its key.
    fn key(&self) -> usize {
        self.table.key.max(self.table.numbered_by.iter().count())
    }

    fn statement(&self) -> String {
        let columns: Vec<_> = self.table.numbered_by.iter().chain(self.table.columns).copied().collect();
        let key = columns[..self.key()].join(", ");
        let places: Vec<_> = (1..=self.after.len()).map(|place| format!("${place}")).collect();
        let behind = if places.is_empty() {
            String::new()
        } else {
            format!("WHERE ({key}) > ({})", places.join(", "))
        };
        let rows = rows_of(self.table);
        format!("SELECT {} FROM {} {behind} ORDER BY {key} LIMIT {rows}", columns.join(", "), self.table.name)
    }
}

fn rows_of(table: &Table) -> i64 {
    let large = [&SETTINGS_ENTRIES, &SETTINGS_SECRET_VERSIONS, &SETTINGS_SERVICES].map(|table| table.name);
    match table.name {
        name if name == ARCHIVES.name => LARGEST_ROWS,
        name if large.contains(&name) => LARGE_ROWS,
        _ => ROWS,
    }
}

#[async_trait]
impl Work for Batch {
    type Output = Vec<Vec<Value>>;

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<Self::Output> {
        let rows: Vec<_> =
            on.query(&self.statement(), &self.after).await?.into_iter().map(Row::rest).collect();
        if self.table.name == ARCHIVES.name {
            for row in &rows {
                let [Value::Text(address), Value::Blob(content)] = &row[..] else { continue };
                checked(address, content.clone())?;
            }
        }
        Ok(rows)
    }
}

/// Adds rows to a table that has none of them.
#[derive(Debug)]
struct Add {
    table: &'static Table,
    rows: Vec<Vec<Value>>,
}

#[async_trait]
impl Work for Add {
    type Output = ();

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<()> {
        let (insert, numbers) = (self.table.insert(), self.table.numbered_by.iter().count());
        for row in &self.rows {
            if on.put(&insert, &row[numbers..]).await? != 1 {
                return Err(Error::new(ErrorKind::Corrupt, "copy a row")
                    .with("table", self.table.name)
                    .with("reason", "another of the same key is there"));
            }
        }
        Ok(())
    }
}

/// Empties a backup.
#[derive(Debug)]
struct Clear;

#[async_trait]
impl Work for Clear {
    type Output = ();

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<()> {
        for table in TABLES.iter().rev() {
            on.execute(&format!("DELETE FROM {}", table.name), &[]).await?;
        }
        Ok(())
    }
}

/// Finds out whether a backup is whole.
#[derive(Debug)]
struct Examine;

#[async_trait]
impl Work for Examine {
    type Output = ();

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<()> {
        let damaged = |reason: &str| {
            Error::new(ErrorKind::Corrupt, "read a backup")
                .with("reason", reason)
                .hint("take another backup; nothing was restored of this one")
        };
        let found = on.first("PRAGMA integrity_check(1)", &[]).await?;
        if found.map(|mut row| row.text()).transpose()?.as_deref() != Some("ok") {
            return Err(damaged("its pages are damaged"));
        }
        if !on.query("PRAGMA foreign_key_check", &[]).await?.is_empty() {
            return Err(damaged("rows are missing that others refer to"));
        }
        Ok(())
    }
}

fn begin(to: &Path) -> Result<(NamedTempFile, Sqlite)> {
    // Made with mode 0600, beside the place it will have.
    let file = NamedTempFile::new_in(durable::parent(to))
        .map_err(|error| Error::from_io("write a backup", error).with("path", to.display()))?;
    let copy = Sqlite::write_backup(file.path().to_owned())?;
    Ok((file, copy))
}

fn keep(file: NamedTempFile, to: &Path) -> Result<()> {
    let refuse = |error| Error::from_io("write a backup", error).with("path", to.display());
    file.as_file().sync_all().map_err(refuse)?;
    file.persist_noclobber(to).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => exists(to),
        _ => refuse(error.error),
    })?;
    // The name is only safe from a power cut once the directory is on the disk.
    File::open(durable::parent(to)).and_then(|dir| dir.sync_all()).map_err(refuse)
}

fn duplicate(from: &Path) -> Result<(NamedTempFile, Sqlite)> {
    let refuse = |error| Error::from_io("read a backup", error).with("path", from.display());
    let mut file = NamedTempFile::new().map_err(refuse)?;
    File::open(from).and_then(|mut source| io::copy(&mut source, &mut file)).map_err(refuse)?;
    let copy = Sqlite::write_backup(file.path().to_owned())?;
    Ok((file, copy))
}

fn exists(to: &Path) -> Error {
    Error::new(ErrorKind::Conflict, "write a backup")
        .with("path", to.display())
        .with("reason", "the file exists")
        .hint("name a file that does not exist; none is overwritten")
}
