//! Keeps everything in one file of the data directory: nothing to install, one server.
//!
//! One connection writes, a few read beside it (WAL), all on threads that may block. Other processes may open the same
//! file: writers wait for each other, and what another process changed is noticed within a second.

mod connection;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result, traits::Clock};
use rusqlite::Connection as Handle;
use tokio::{runtime, sync::Semaphore, task::spawn_blocking};

use self::connection::{Access, On};
use super::{
    changes::Signal,
    engine::{Engine, Mode, Work},
    migration::Migration,
    records::Records,
};

/// The store in a file.
pub type SqliteStore = Records<Sqlite>;

/// The name of the file in the data directory.
pub const FILE: &str = "leverframe.db";
/// How many read at once: they wait for the disk, not for each other.
const READERS: u32 = 4;
/// How often to look for what other processes changed: one read of a row that is in memory.
const LOOK: Duration = Duration::from_secs(1);

const MIGRATIONS: [Migration; 4] = [
    Migration { number: 1, name: "records", script: include_str!("migrations/0001_records.sql") },
    Migration { number: 2, name: "changes", script: include_str!("migrations/0002_changes.sql") },
    Migration { number: 3, name: "gate", script: include_str!("migrations/0003_gate.sql") },
    Migration { number: 4, name: "settings", script: include_str!("migrations/0004_settings.sql") },
];

impl SqliteStore {
    /// Opens the database in a data directory; makes both where they do not exist, and migrates.
    ///
    /// # Errors
    /// What the file system refuses; `Corrupt` for a file that is not a database; `Unsupported` for one of a newer
    /// program.
    pub async fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let dir = dir.to_owned();
        let engine = blocking(move || {
            leverframe::durable::make_private(&dir).map_err(|error| {
                Error::from_io("make the data directory", error).with("path", dir.display())
            })?;
            Sqlite::open(dir.join(FILE), Access::Serve, READERS)
        })
        .await?;
        Self::start(engine, clock, Arc::new(Signal::default()), LOOK).await
    }
}

/// A database file with one connection that writes and some that read.
pub struct Sqlite {
    path: PathBuf,
    writers: Lane,
    readers: Lane,
}

/// Connections of one sort, each with one user at a time.
struct Lane {
    access: Access,
    idle: Arc<Mutex<Vec<Handle>>>,
    permits: Arc<Semaphore>,
    count: u32,
}

impl Sqlite {
    /// Opens a file; `readers` may be none, where the connection that writes also reads.
    fn open(path: PathBuf, access: Access, readers: u32) -> Result<Self> {
        // Opened first, and alone: it makes the file and says how it is written.
        let writer = connection::open(&path, access)?;
        Ok(Self {
            path,
            writers: Lane::new(access, 1, Some(writer)),
            readers: Lane::new(Access::Look, readers, None),
        })
    }

    /// Makes a backup of an empty file, or writes to one.
    pub(super) fn write_backup(path: PathBuf) -> Result<Self> {
        Self::open(path, Access::BackUp, 0)
    }

    /// Reads a backup.
    pub(super) fn read_backup(path: PathBuf) -> Result<Self> {
        Self::open(path, Access::Restore, 0)
    }

    fn lane(&self, mode: Mode) -> &Lane {
        if mode == Mode::Write || self.writers.access != Access::Serve {
            &self.writers
        } else {
            &self.readers
        }
    }
}

impl Lane {
    fn new(access: Access, count: u32, first: Option<Handle>) -> Self {
        let idle = Arc::new(Mutex::new(first.into_iter().collect()));
        Self { access, idle, permits: Arc::new(Semaphore::new(count as usize)), count }
    }
}

#[async_trait]
impl Engine for Sqlite {
    fn migrations(&self) -> &'static [Migration] {
        &MIGRATIONS
    }

    fn directory(&self) -> Option<&Path> {
        Some(self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }

    async fn run<W: Work>(&self, mode: Mode, work: Arc<W>) -> Result<W::Output> {
        let lane = self.lane(mode);
        let permit = Arc::clone(&lane.permits).acquire_owned().await.map_err(|_| closed())?;
        let (idle, access, path) = (Arc::clone(&lane.idle), lane.access, self.path.clone());
        let runtime = runtime::Handle::current();
        // To its end, even if whoever asked is gone: what is half-way through a transaction keeps others out.
        blocking(move || {
            let _permit = permit;
            let held = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut handle = match held {
                Some(handle) => handle,
                None => connection::open(&path, access)?,
            };
            let done = runtime.block_on(transact(&mut handle, mode, &*work));
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
            done
        })
        .await
    }

    async fn close(&self) {
        for lane in [&self.readers, &self.writers] {
            // Who is at work now puts its connection back first; whoever comes after is refused.
            let all = lane.permits.acquire_many(lane.count).await;
            lane.permits.close();
            drop(all);
        }
        let idle = [&self.readers, &self.writers].map(|lane| Arc::clone(&lane.idle));
        let closed = blocking(move || {
            // The last connection to go puts what is in the log into the file.
            idle.into_iter().for_each(|idle| idle.lock().unwrap_or_else(PoisonError::into_inner).clear());
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::warn!(error = %error.chain(), "the database was not closed in good order");
        }
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

async fn transact<W: Work>(handle: &mut Handle, mode: Mode, work: &W) -> Result<W::Output> {
    let begin = match mode {
        Mode::Write => "BEGIN IMMEDIATE",
        Mode::Snapshot => "BEGIN DEFERRED",
        Mode::Probe | Mode::Read => return work.run(&mut On(handle), false).await,
    };
    // Left over if a piece of work panicked.
    connection::roll_back(handle);
    connection::script(handle, begin)?;
    let done = work.run(&mut On(handle), false).await;
    let done = match done {
        Ok(done) => connection::script(handle, "COMMIT").map(|()| done),
        Err(error) => Err(error),
    };
    if done.is_err() {
        connection::roll_back(handle);
    }
    done
}

/// Runs what blocks where that holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::new(ErrorKind::Cancelled, "use the database").source(error)),
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "use the database").with("reason", "the store was closed")
}

/// Restricts a file to its owner.
fn restrict(path: &Path) -> Result<()> {
    let refuse = |error| Error::from_io("restrict a file to its owner", error).with("path", path.display());
    let found = fs::metadata(path).map_err(refuse)?;
    let Some(private) = connection::private(&found) else { return Ok(()) };
    fs::set_permissions(path, private).map_err(refuse)
}
