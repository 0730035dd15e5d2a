//! What the metadata of the files says, to tell cheaply whether they may have changed.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{FileConfig, read::resolve_root};

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
    bytes: u64,
    identity: u64,
}

impl Signature {
    /// Looks at the files; whatever cannot be looked at is simply not part of it.
    pub(super) fn of(config: &FileConfig) -> Self {
        let Ok(root) = resolve_root(&config.path) else { return Self::default() };
        let mut files = BTreeMap::new();
        stamp(&root, &mut files);
        if root.is_dir() {
            let folders = config.folders.iter().map(|folder| root.join(folder));
            for folder in [root.clone()].into_iter().chain(folders) {
                stamp(&folder, &mut files);
                for item in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    stamp(&item.path(), &mut files);
                }
            }
        }
        Self { root: Some(root), files }
    }
}

fn stamp(path: &Path, files: &mut BTreeMap<PathBuf, Stamp>) {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        let stamp = Stamp {
            modified: metadata.modified().ok(),
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
