//! Secrets that are handed over as files.
//!
//! Each client has a folder of its own that only its user may enter, below the user's runtime folder or else the
//! temporary one, under a name that nobody can guess; the files in it are named by a keyed hash, so that a listing tells
//! nothing. What did not change is not written again. The folder goes with the client; one whose process died is removed
//! at the next start of any client of the same user: it is known by a lock that the system gave up. Where it was taken away
//! and something else is in its place, that is left alone and another one is made. A process that was forked off takes
//! nothing of its parent's away: it makes a folder of its own when it needs one.

use std::{
    collections::BTreeMap,
    fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::{
    NexusError,
    error::shown,
    folder::{self, Folder, Id},
    model::{Form, SecretEntry},
};
use crate::{config::ambient_environment, durable, text_table::TextTable, traits::Clock};

/// The file secrets of one client.
#[derive(Debug)]
pub(super) struct Files {
    base: PathBuf,
    clock: Arc<dyn Clock>,
    names: RandomState,
    state: Mutex<State>,
    /// What getters look into: they never wait for a disk.
    places: ArcSwap<BTreeMap<String, Place>>,
    /// Says which process this is, and which one all this belongs to.
    process: fn() -> u32,
    owner: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    folder: Option<Folder>,
    written: BTreeMap<String, Written>,
    closed: bool,
}

/// What is on the disk.
#[derive(Debug)]
struct Written {
    path: PathBuf,
    id: Id,
    version: u32,
    digest: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A file, and the folder that it was put in.
    At(PathBuf, Id),
    Failed(io::ErrorKind, String),
}

impl Place {
    /// Returns true if somebody took the file, or the whole folder, even if there is another one in its place.
    fn is_disturbed(&self) -> bool {
        let Self::At(path, folder) = self else { return false };
        !folder.is_at(durable::parent(path)) || fs::symlink_metadata(path).is_err()
    }
}

impl Files {
    /// Prepares for files below `base`, and removes the folders of processes that have died. Nothing is made before
    /// there is something to write.
    pub(super) fn new(base: Option<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self::of_process(base.unwrap_or_else(default_base), clock, process::id)
    }

    fn of_process(base: PathBuf, clock: Arc<dyn Clock>, process: fn() -> u32) -> Self {
        folder::clear_leftovers(&base, clock.wall());
        Self {
            base,
            clock,
            names: RandomState::new(),
            state: Mutex::default(),
            places: ArcSwap::default(),
            process,
            owner: AtomicU32::new(process()),
        }
    }

    /// Returns the file of a secret; `None` where there is none.
    pub(super) fn path(
        &self,
        key: &str,
        secrets: &TextTable<SecretEntry>,
    ) -> Option<Result<PathBuf, NexusError>> {
        let look = || self.places.load().get(key).cloned();
        if self.owner.load(Ordering::Acquire) != (self.process)() {
            self.settle(secrets);
        }
        let place = match look()? {
            place if place.is_disturbed() => {
                self.settle(secrets);
                look()?
            }
            place => place,
        };
        Some(match place {
            Place::At(path, _) => Ok(path),
            Place::Failed(kind, reason) => Err(NexusError::Io(io::Error::new(kind, reason))),
        })
    }

    /// Makes the disk hold what the secrets are: no more, no less, and nothing anew that it holds already.
    pub(super) fn settle(&self, secrets: &TextTable<SecretEntry>) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let wanted: BTreeMap<&str, &SecretEntry> =
            secrets.iter().filter(|(_, secret)| secret.is_file()).collect();
        if wanted.is_empty() && state.folder.is_none() {
            return;
        }
        if state.folder.as_ref().is_some_and(|folder| !folder.is_there()) {
            // What stands in its place is not looked into.
            state.written.clear();
        }
        let gone: Vec<String> =
            state.written.keys().filter(|key| !wanted.contains_key(key.as_str())).cloned().collect();
        for written in gone.iter().filter_map(|key| state.written.remove(key)) {
            remove(&written.path);
        }
        let places: BTreeMap<String, Place> = wanted
            .into_iter()
            .map(|(key, secret)| {
                let place = match self.put(&mut state, key, secret) {
                    Ok(place) => place,
                    Err(error) => {
                        tracing::warn!(key = shown(key), %error, "a secret could not be written to its file");
                        Place::Failed(error.kind(), format!("the secret `{}`: {error}", shown(key)))
                    }
                };
                (key.to_owned(), place)
            })
            .collect();
        if **self.places.load() != places {
            self.places.store(Arc::new(places));
        }
    }

    /// Removes everything, for good.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.written.clear();
        self.places.store(Arc::default());
        if let Some(folder) = state.folder.take() {
            folder.remove();
        }
    }

    fn put(&self, state: &mut State, key: &str, secret: &SecretEntry) -> io::Result<Place> {
        let digest = self.names.hash_one((key, secret.value.expose(), secret.form == Form::FileInBase64));
        if let Some(written) = state.written.get(key)
            && let Some(folder) = &state.folder
            && (written.version, written.digest) == (secret.version, digest)
            && written.id.is_at(&written.path)
        {
            return Ok(Place::At(written.path.clone(), folder.id()));
        }
        let content = secret.decoded()?;
        let (folder, folder_id) = self.folder(state)?;
        let name = |salt: u8| self.names.hash_one((key, salt));
        let path = folder.join(format!("{:016x}{:016x}", name(0), name(1)));
        durable::replace(&path, &content)?;
        let id = Id::of(&fs::symlink_metadata(&path)?);
        let written = Written { path: path.clone(), id, version: secret.version, digest };
        state.written.insert(key.to_owned(), written);
        Ok(Place::At(path, folder_id))
    }

    /// Returns the folder, which is made where there is none; where it is gone, at the place where it was if that is free.
    fn folder(&self, state: &mut State) -> io::Result<(PathBuf, Id)> {
        if let Some(taken) = state.folder.take_if(|folder| !folder.is_there()) {
            let path = taken.path().to_owned();
            tracing::warn!(folder = %path.display(), "the folder of file secrets was taken away");
            state.written.clear();
            // A name that is known by now may have been taken by somebody else; then another one is made.
            state.folder = Folder::make_at(path, self.clock.wall()).unwrap_or_default();
        }
        // Whoever clears leftovers may take a folder for one in the moment before it is locked.
        const ATTEMPTS: usize = 3;
        for _ in 0..ATTEMPTS {
            if let Some(folder) = &state.folder {
                return Ok((folder.path().to_owned(), folder.id()));
            }
            state.folder = Folder::make(&self.base, self.clock.wall())?;
        }
        Err(io::Error::other("the folder is taken away as soon as it is made"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Files and what is known of them may differ after a panic; the next settling looks at the disk.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let process = (self.process)();
        if self.owner.swap(process, Ordering::AcqRel) != process {
            // What was written is the parent's, which goes on to use it.
            *state = State { closed: state.closed, ..State::default() };
            self.places.store(Arc::default());
        }
        state
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.close();
    }
}

/// Returns the user's runtime folder, which is in memory and goes with the session, or else the temporary one.
fn default_base() -> PathBuf {
    let runtime = ambient_environment(&["XDG_RUNTIME_DIR"]).into_iter().next();
    let runtime = runtime.map(|(_, dir)| PathBuf::from(dir.expose()));
    runtime.filter(|dir| dir.is_absolute() && dir.is_dir()).unwrap_or_else(std::env::temp_dir)
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, file = %path.display(), "the file of a secret that is gone stays behind");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Secret, testing::ManualClock};

    #[test]
    fn a_forked_process_has_files_of_its_own_and_takes_none_of_its_parents_away() {
        static PROCESS: AtomicU32 = AtomicU32::new(1);
        let process = || PROCESS.load(Ordering::Relaxed);
        let base = tempfile::tempdir().unwrap();
        let mut secrets = TextTable::default();
        let mut secret = SecretEntry::text(Secret::new("content"), 1);
        secret.form = Form::File;
        secrets.insert("cert", secret);
        let place = |files: &Files| files.path("cert", &secrets).unwrap().unwrap();
        let make = || Files::of_process(base.path().to_owned(), Arc::new(ManualClock::new()), process);
        let (used, idle) = (make(), make());
        used.settle(&secrets);
        idle.settle(&secrets);
        let of_parent = [place(&used), place(&idle)];

        PROCESS.store(2, Ordering::Relaxed);
        let of_child = place(&used);

        assert_ne!(of_child.parent(), of_parent[0].parent());
        assert_eq!(fs::read_to_string(&of_child).unwrap(), "content");
        drop((used, idle));
        assert!(!of_child.exists() && of_parent.iter().all(|path| path.exists()));
    }
}
