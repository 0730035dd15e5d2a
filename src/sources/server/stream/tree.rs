//! The working tree: a closure on disk, file by file, for starts that find no server.
//!
//! ```text
//! <root>/lock         held by the process that writes
//! <root>/state.json   which closure of what, and in which folder
//! <root>/change.json  the last change, until it stands in the files
//! <root>/files-<n>/   the closure: namespace.toml, flags/, segments/
//! ```
//!
//! A snapshot goes into a folder of its own, and counts once the state names it. A change is written down first, then
//! carried out file by file, then noted in the state: after a crash at any point the next start carries it out again.
//! Whatever happened to the files, a tree whose digest is not that of its state is not used.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::is_path_of_closure;
use crate::{
    Error, ErrorKind, Result,
    document::{Content, Delta, Document, Entry, Revision, Tree},
    durable,
    encoding::hex,
    manifest::{Fingerprint, archive::limits},
};

/// The form of the state; another one is not read.
const FORMAT: u32 = 1;
const STATE: &str = "state.json";
const CHANGE: &str = "change.json";
const LOCK: &str = "lock";
const FILES: &str = "files-";
/// More than either file has: a change is an event of 64 KiB, or of what an event may hold at most.
const NOTE_LIMIT: u64 = 8 * 1024 * 1024;

/// A closure on disk, for one server, namespace, environment and subscription.
#[derive(Debug)]
pub(crate) struct WorkingTree {
    root: PathBuf,
    key: String,
    /// What the files are; `None` where they are of no use.
    state: Option<State>,
    /// Counts folders.
    next: u64,
    /// Whether the folder is this process's own and goes with it.
    own: bool,
    /// Held while the tree is open.
    _lock: File,
}

/// Which closure a tree holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrored {
    pub(crate) version: u64,
    pub(crate) hash: String,
    /// When the server last said that it is current.
    pub(crate) confirmed_at: SystemTime,
}

/// What a tree held when it was opened.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) document: Document,
    pub(crate) confirmed_at: SystemTime,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: u32,
    key: String,
    version: u64,
    closure_hash: String,
    confirmed_at: u64,
    folder: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    state: State,
    files: Vec<(String, String)>,
    removed: Vec<String>,
}

impl WorkingTree {
    /// Opens the tree at `root`, making it where there is none, and returns what it holds of `parts`: server,
    /// namespace, environment and subscription.
    ///
    /// # Errors
    /// `Io` and the like where the folder cannot be made, `Conflict` where another process has it.
    pub(crate) fn open(root: impl Into<PathBuf>, parts: &[&str]) -> Result<(Self, Option<Mirror>)> {
        Self::open_at(root.into(), parts, false)
    }

    /// Makes a tree of this process's own below the system's folder for temporary files; it goes with the value.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub(crate) fn temporary(slug: &str, parts: &[&str]) -> Result<Self> {
        let below = std::env::temp_dir();
        let root = durable::make_temporary(&below, &format!("leverframe-{slug}"))
            .map_err(|error| failed("make a working tree", &below, error))?;
        Self::open_at(root, parts, true).map(|(tree, _)| tree)
    }

    fn open_at(root: PathBuf, parts: &[&str], own: bool) -> Result<(Self, Option<Mirror>)> {
        let make = || {
            durable::make_private(&root)?;
            File::options().create(true).truncate(false).write(true).open(root.join(LOCK))
        };
        let lock = make().map_err(|error| failed("open the working tree", &root, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(Error::new(ErrorKind::Conflict, "open the working tree")
                    .with("path", root.display())
                    .with("reason", "another client has it open")
                    .hint("give each client a working tree of its own"));
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed("lock the working tree", &root, error)),
        }
        durable::clear_leftovers(&root);
        let mut tree = Self { root, key: key_of(parts), state: None, next: 0, own, _lock: lock };
        let mirror = match tree.read() {
            Ok(mirror) => mirror,
            Err(reason) => {
                tracing::warn!(path = %tree.root.display(), reason, "the working tree is not used");
                None
            }
        };
        tree.clear_folders();
        Ok((tree, mirror))
    }

    /// Returns which closure the files are.
    pub(crate) fn mirrored(&self) -> Option<Mirrored> {
        let state = self.state.as_ref()?;
        Some(Mirrored {
            version: state.version,
            hash: state.closure_hash.clone(),
            confirmed_at: from_seconds(state.confirmed_at),
        })
    }

    /// Writes a closure in place of the present one.
    pub(crate) fn replace(&mut self, mirrored: &Mirrored, files: &Tree) -> Result<()> {
        let folder = format!("{FILES}{}", self.next);
        self.next += 1;
        let state = self.state_of(mirrored, &folder);
        let into = self.root.join(&folder);
        let write = || {
            for (path, entry) in files.iter() {
                if let Entry::File(content) = entry
                    && is_path_of_closure(path)
                {
                    write_file(&into.join(path), content)?;
                }
            }
            // Names without files would be a closure with nothing in it.
            durable::make_private(&into)?;
            self.note(STATE, &state)
        };
        write().map_err(|error| failed("write the working tree", &self.root, error))?;
        self.state = Some(state);
        self.forget(CHANGE);
        self.clear_folders();
        Ok(())
    }

    /// Carries out a change of the present closure; work and writing are those of the change.
    pub(crate) fn apply(&mut self, mirrored: &Mirrored, delta: &Delta) -> Result<()> {
        let fits = self.state.as_ref().filter(|state| state.closure_hash == delta.base().as_str());
        let Some(folder) = fits.map(|state| state.folder.clone()) else {
            // What is on disk is not what the change starts from, and the next snapshot mends that.
            return Ok(());
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let change = Change {
            state: self.state_of(mirrored, &folder),
            files: delta.changed().iter().map(|(path, content)| (path.clone(), text(content))).collect(),
            removed: delta.removed().map(str::to_owned).collect(),
        };
        let written = self.note(CHANGE, &change).and_then(|()| self.carry_out(&change));
        // Half of it may stand in the files; the next start finds that out.
        self.state = written.is_ok().then_some(change.state);
        written.map_err(|error| failed("write the working tree", &self.root, error))
    }

    /// Notes that the server confirmed the closure, now and then: its age at a start counts from there.
    pub(crate) fn confirm(&mut self, hash: &str, now: SystemTime) -> Result<()> {
        /// Often enough for ages that are counted in days, seldom enough for a disk.
        const CONFIRM_EVERY: Duration = Duration::from_secs(3_600);
        let Some(state) = self.state.as_mut().filter(|state| state.closure_hash == hash) else {
            return Ok(());
        };
        if now.duration_since(from_seconds(state.confirmed_at)).is_ok_and(|age| age < CONFIRM_EVERY) {
            return Ok(());
        }
        state.confirmed_at = to_seconds(now);
        let state = state.clone();
        self.note(STATE, &state).map_err(|error| failed("write the working tree", &self.root, error))
    }

    fn carry_out(&self, change: &Change) -> io::Result<()> {
        let folder = self.root.join(&change.state.folder);
        for (path, content) in change.files.iter().filter(|(path, _)| is_path_of_closure(path)) {
            let path = folder.join(path);
            // The first segment of a namespace has no folder yet.
            durable::make_private(durable::parent(&path))?;
            durable::replace(&path, content.as_bytes())?;
        }
        for path in change.removed.iter().filter(|path| is_path_of_closure(path)) {
            match fs::remove_file(folder.join(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.note(STATE, &change.state)?;
        self.forget(CHANGE);
        Ok(())
    }

    /// Reads what the tree holds, if it is of this key and whole.
    fn read(&mut self) -> Result<Option<Mirror>, &'static str> {
        let Some(state) = self.read_note::<State>(STATE)? else { return Ok(None) };
        // A tree of something else is replaced by the first snapshot.
        if state.format != FORMAT || state.key != self.key {
            return Err("it belongs to another server, namespace, environment or subscription");
        }
        if !is_folder(&state.folder) {
            return Err("its state names no folder of its own");
        }
        let state = match self.read_note::<Change>(CHANGE)? {
            Some(change) if change.state.key == self.key && change.state.folder == state.folder => {
                self.carry_out(&change).map_err(|_| "a change that was cut short cannot be carried out")?;
                change.state
            }
            _ => state,
        };
        let files = read_files(&self.root.join(&state.folder)).ok_or("its files cannot be read")?;
        if Fingerprint::of(&files).as_str() != state.closure_hash {
            return Err("its files are not those of its state");
        }
        let document = Document::new(Revision::new(&state.closure_hash), Content::Tree(files));
        let mirror = Mirror { document, confirmed_at: from_seconds(state.confirmed_at) };
        self.state = Some(state);
        Ok(Some(mirror))
    }

    fn state_of(&self, mirrored: &Mirrored, folder: &str) -> State {
        State {
            format: FORMAT,
            key: self.key.clone(),
            version: mirrored.version,
            closure_hash: mirrored.hash.clone(),
            confirmed_at: to_seconds(mirrored.confirmed_at),
            folder: folder.to_owned(),
        }
    }

    fn note(&self, name: &str, note: &impl Serialize) -> io::Result<()> {
        durable::replace(&self.root.join(name), &serde_json::to_vec(note)?)
    }

    fn read_note<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>, &'static str> {
        match read_bounded(&self.root.join(name), NOTE_LIMIT) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| "its state makes no sense"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err("its state cannot be read"),
        }
    }

    fn forget(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.root.join(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, name, "a note of the working tree stays");
        }
    }

    /// Removes the folders that no state names, and sees to it that the next one is new.
    fn clear_folders(&mut self) {
        let Ok(listing) = fs::read_dir(&self.root) else { return };
        let kept = self.state.as_ref().map(|state| state.folder.as_str());
        for name in listing.flatten().filter_map(|item| item.file_name().into_string().ok()) {
            if !is_folder(&name) {
                continue;
            }
            let number: u64 = name[FILES.len()..].parse().unwrap_or_default();
            self.next = self.next.max(number.saturating_add(1));
            if Some(name.as_str()) != kept
                && let Err(error) = fs::remove_dir_all(self.root.join(&name))
            {
                tracing::debug!(%error, name, "a folder of the working tree stays");
            }
        }
    }
}

impl Drop for WorkingTree {
    fn drop(&mut self) {
        if self.own
            && let Err(error) = fs::remove_dir_all(&self.root)
        {
            tracing::warn!(%error, path = %self.root.display(), "a temporary folder stays");
        }
    }
}

/// One digest for all that a tree must agree in.
fn key_of(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        // With its length, so that no two lists of parts run together to one text.
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    }
    hex(&digest.finalize())
}

fn is_folder(name: &str) -> bool {
    name.strip_prefix(FILES)
        .is_some_and(|n| (1..=20).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
}

fn to_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |at| at.as_secs())
}

fn from_seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    durable::make_private(durable::parent(path))?;
    // Not flushed one by one, which takes minutes for thousands of files: a power cut soon afterwards is found out by
    // the digest, and costs a transfer.
    durable::create_private(path)?.write_all(content)
}

fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::other("it is too large"));
    }
    Ok(content)
}

/// Reads a closure; `None` where something is in it that no closure has.
fn read_files(folder: &Path) -> Option<Tree> {
    let mut tree = Tree::new();
    let mut left = limits::UNCOMPRESSED;
    let mut read = |path: String| {
        let content = read_bounded(&folder.join(&path), limits::FILE as u64).ok()?;
        left = left.checked_sub(content.len())?;
        tree.insert(path, Entry::File(content.into()));
        Some(())
    };
    if folder.join("namespace.toml").exists() {
        read("namespace.toml".to_owned())?;
    }
    for name in ["flags", "segments"] {
        let listing = match fs::read_dir(folder.join(name)) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => return None,
        };
        for (count, item) in listing.enumerate() {
            let path = format!("{name}/{}", item.ok()?.file_name().to_str()?);
            // A crash leaves files behind that were being written.
            if !is_path_of_closure(&path) {
                continue;
            }
            if count >= 2 * limits::FILES {
                return None;
            }
            read(path)?;
        }
    }
    Some(tree)
}

fn failed(operation: &'static str, root: &Path, error: io::Error) -> Error {
    Error::from_io(operation, error)
        .with("path", root.display())
        .hint("check the folder's permissions and free space; what is served is not affected")
}
