//! What the metadata of the files says, to tell cheaply whether they may have changed.
//!
//! Besides size, time of modification and identity it holds the time of the last change of the inode, which nobody
//! can set: a copy that keeps sizes and times does not pass for what it replaced.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    FileConfig,
    read::{is_read, resolve_root},
    signature_beside,
};

/// The identity, size and times of everything that a load reads.
///
/// Two equal signatures do not prove equal content; the digest that a load computes does. They are what is looked
/// at between loads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Signature {
    root: Option<PathBuf>,
    files: BTreeMap<PathBuf, Stamp>,
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    changed: Option<SystemTime>,
    bytes: u64,
    identity: u64,
}

impl Signature {
    /// Looks at the files; whatever cannot be looked at is simply not part of it.
    pub(super) fn of(config: &FileConfig) -> Self {
        let Ok(root) = resolve_root(&config.path) else { return Self::default() };
        let mut files = BTreeMap::new();
        stamp(&root, &mut files);
        stamp(&signature_beside(&root), &mut files);
        if root.is_dir() {
            let folders = config.folders.iter().map(|folder| root.join(folder));
            for folder in [root.clone()].into_iter().chain(folders) {
                stamp(&folder, &mut files);
                for item in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    // Of other files only the names count, and those change the directory. A log that is written
                    // beside the flags is no change of them.
                    if is_read(&item.file_name()) {
                        stamp(&item.path(), &mut files);
                    }
                }
            }
        }
        Self { root: Some(root), files }
    }

    /// Returns true if files changed so shortly before `now` that a further change could have left the same times:
    /// file systems stamp with the time of the last tick of the kernel's clock.
    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        let age = |time: SystemTime| now.duration_since(time).unwrap_or_else(|ahead| ahead.duration());
        self.files.values().filter_map(|stamp| stamp.changed.or(stamp.modified)).any(|time| age(time) < TICK)
    }
}

/// The longest tick of a kernel's clock is 10 ms; twice that leaves room for reading the two clocks.
const TICK: Duration = Duration::from_millis(20);

fn stamp(path: &Path, files: &mut BTreeMap<PathBuf, Stamp>) {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        let stamp = Stamp {
            modified: metadata.modified().ok(),
            changed: changed(&metadata),
            bytes: metadata.len(),
            identity: identity(&metadata),
        };
        files.insert(path.to_owned(), stamp);
    }
}

/// Tells a replaced file from one written in place.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> u64 {
    0
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let seconds = Duration::from_secs(u64::try_from(metadata.ctime()).ok()?);
    let nanoseconds = Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).ok()?);
    UNIX_EPOCH.checked_add(seconds + nanoseconds)
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<SystemTime> {
    None
}
