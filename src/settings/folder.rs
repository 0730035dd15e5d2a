//! The folder of one client's files: only its user may enter it, and the next start removes it where its process died.
//!
//! It stands where others may write, as in the temporary folder. What bears its name there is believed to be of this user
//! only where the system says so, and to be the very folder that was made only where it has that one's number.

use std::{
    cell::LazyCell,
    fs::{self, DirBuilder, File, Metadata, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{durable, rfc3339, sources::file::open_without_waiting};

/// What the name of every folder begins with.
const PREFIX: &str = "leverframe-settings";
/// The file that its process holds locked.
const OWNER: &str = "owner";
/// A folder without an owner may be one that is just being made, if it is younger.
const OWNERLESS: Duration = Duration::from_secs(3_600);

/// A folder that this process has made.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    id: Id,
    /// Held open, so that its number is given to nothing else.
    _itself: File,
    /// Held for as long as the process lives; the system lets go of it, however the process ends.
    _owner: File,
}

/// What tells one file from any other that exists at the same time: the device and the number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u64, u64);

impl Folder {
    /// Makes a folder below `base` under a name that nobody can guess; `None` where it was taken for a leftover
    /// meanwhile.
    pub(super) fn make(base: &Path, now: SystemTime) -> io::Result<Option<Self>> {
        let made = durable::make_temporary(base, PREFIX).map_err(|error| {
            io::Error::new(error.kind(), format!("no folder can be made in `{}`: {error}", base.display()))
        })?;
        Self::claim(made, now)
    }

    /// Makes a folder at a place, which has to be free.
    pub(super) fn make_at(path: PathBuf, now: SystemTime) -> io::Result<Option<Self>> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Self::claim(path, now)
    }

    /// Marks a folder as that of this process.
    fn claim(path: PathBuf, now: SystemTime) -> io::Result<Option<Self>> {
        let claimed = open_without_waiting(&path).and_then(|itself| {
            let owner = durable::create_private(&path.join(OWNER)).and_then(|file| lock(file, now))?;
            Ok(owner.map(|owner| (itself, owner)))
        });
        let claimed = match claimed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            claimed => claimed?,
        };
        let Some((itself, owner)) = claimed.filter(|_| path.join(OWNER).exists()) else { return Ok(None) };
        let found = itself.metadata()?;
        let id = Id::of(&found);
        if user(&found) != user(&owner.metadata()?) || !id.is_at(&path) {
            return Err(io::Error::other("somebody else has put another folder in its place"));
        }
        Ok(Some(Self { path, id, _itself: itself, _owner: owner }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }

    /// Returns true if what is at its place is this folder, and not another one that somebody has made there since.
    pub(super) fn is_there(&self) -> bool {
        self.id.is_at(&self.path)
    }

    /// Removes it with all that is in it; nothing else that may be at its place.
    pub(super) fn remove(self) {
        if self.is_there() {
            remove(&self.path);
        }
    }
}

impl Id {
    #[cfg(unix)]
    pub(super) fn of(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(found.dev(), found.ino())
    }

    #[cfg(not(unix))]
    pub(super) fn of(_: &Metadata) -> Self {
        Self(0, 0)
    }

    /// Returns true if this is at `path`, and no link to it.
    pub(super) fn is_at(self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| !found.is_symlink() && Self::of(&found) == self)
    }
}

/// Locks the mark of a folder; `None` where somebody has taken the folder for a leftover.
fn lock(mut owner: File, now: SystemTime) -> io::Result<Option<File>> {
    // For people; what counts is the lock.
    writeln!(owner, "pid {}\nstarted {}", std::process::id(), rfc3339(now))?;
    match owner.try_lock() {
        Ok(()) => Ok(Some(owner)),
        Err(TryLockError::WouldBlock) => Ok(None),
        // Where the file system has no locks, nobody can take this for a leftover either.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Some(owner)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes the folders of this user's processes that ended without doing so. Anybody may make folders of such names: what
/// others have made, or may change, is neither opened nor removed.
pub(super) fn clear_leftovers(base: &Path, now: SystemTime) {
    let Ok(listing) = fs::read_dir(base) else { return };
    let own_user = LazyCell::new(|| user_below(base));
    for item in listing.flatten() {
        if !item.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // Of the item itself: a link is followed nowhere.
        let Ok(found) = item.metadata() else { continue };
        if !found.is_dir() || !is_private(&found) || *own_user != Some(user(&found)) {
            continue;
        }
        if let Some(_held) = leftover(&item.path(), &found, now) {
            remove(&item.path());
        }
    }
}

/// A folder whose process is gone. Held until the folder is, so that a process that is just about to make it its own
/// learns that it may not.
#[derive(Debug)]
struct Leftover {
    _owner: Option<File>,
}

fn leftover(folder: &Path, found: &Metadata, now: SystemTime) -> Option<Leftover> {
    let owner = folder.join(OWNER);
    match fs::symlink_metadata(&owner) {
        // Whatever else it may be, no process of ours has made it.
        Ok(found) if !found.is_file() => None,
        Ok(_) => {
            let owner = open_without_waiting(&owner).ok()?;
            let is_free = owner.metadata().is_ok_and(|opened| opened.is_file()) && owner.try_lock().is_ok();
            is_free.then_some(Leftover { _owner: Some(owner) })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let age = found.modified().ok().and_then(|made| now.duration_since(made).ok())?;
            (age > OWNERLESS).then_some(Leftover { _owner: None })
        }
        Err(_) => None,
    }
}

fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, folder = %path.display(), "a folder of file secrets stays behind");
        }
        _ => {}
    }
}

/// Returns whom things belong to that this process makes below `base`; `None` where it can make nothing there.
fn user_below(base: &Path) -> Option<u32> {
    let probe = durable::make_temporary(base, PREFIX).ok()?;
    let made = fs::symlink_metadata(&probe).map(|made| user(&made));
    if let Err(error) = fs::remove_dir(&probe) {
        // Like any folder without an owner, it goes with a start in an hour.
        tracing::debug!(%error, folder = %probe.display(), "an empty folder stays behind");
    }
    made.ok()
}

#[cfg(unix)]
fn user(found: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(found)
}

#[cfg(not(unix))]
fn user(_: &Metadata) -> u32 {
    0
}

/// Returns true for what nobody but its user can look into or change.
#[cfg(unix)]
fn is_private(found: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(found) & 0o077 == 0
}

#[cfg(not(unix))]
fn is_private(_: &Metadata) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn a_leftover_is_held_until_it_is_removed() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::make(base.path(), NOW).unwrap().unwrap();
        let path = folder.path.clone();
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(leftover(&path, &found, NOW).is_none(), "its process lives");
        drop(folder);

        let held = leftover(&path, &found, NOW).unwrap();

        // What a process does that has just made the folder: it is told to make another one.
        let starting = File::options().write(true).open(path.join(OWNER)).unwrap();
        assert!(lock(starting, NOW).unwrap().is_none());
        drop(held);
    }

    #[test]
    fn another_folder_at_the_same_place_is_another_one() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::make(base.path(), NOW).unwrap().unwrap();
        let path = folder.path.clone();
        assert!(folder.is_there());

        fs::remove_dir_all(&path).unwrap();
        fs::create_dir(&path).unwrap();

        assert!(!folder.is_there());
        folder.remove();
        assert!(path.exists(), "somebody else's folder was removed");
    }
}
