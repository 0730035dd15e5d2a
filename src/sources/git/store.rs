//! Opens fetched objects, and reads the files of one folder out of them.

use std::{
    fs::{self, File},
    io,
};

use git2::{Indexer, ObjectType, Odb, Oid, Repository};

use super::{
    pack::{PackFile, damaged},
    place::Place,
    scratch::Scratch,
    wire::Deadline,
};
use crate::{
    Error, ErrorKind, Result,
    document::{Entry, Revision, Tree},
    manifest::layout::needs_content,
    sources::file::ReadLimits,
};

/// Makes a repository of what was fetched: objects only, no refs, no configuration.
pub(super) fn open_pack(scratch: &Scratch, pack: &PackFile, deadline: &Deadline) -> Result<Repository> {
    let objects = scratch.path().join("objects");
    let packs = objects.join("pack");
    fs::create_dir_all(&packs).map_err(|e| Error::from_io("keep what was fetched", e))?;
    let index = || -> io::Result<()> {
        let mut indexer = Indexer::new(None, &packs, 0o600, false).map_err(io::Error::other)?;
        indexer.progress(|_| !deadline.has_passed());
        io::copy(&mut File::open(pack.path())?, &mut indexer)?;
        indexer.commit().map_err(io::Error::other)?;
        Ok(())
    };
    index().map_err(|error| {
        if deadline.has_passed() {
            super::too_late()
        } else {
            damaged("the objects do not fit together").source(error)
        }
    })?;
    let path = objects.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Config, "keep what was fetched")
            .with("path", objects.display())
            .hint("set `source.git.work_dir` to a folder whose path is UTF-8")
    })?;
    let open = || {
        let odb = Odb::new()?;
        odb.add_disk_alternate(path)?;
        Repository::from_odb(odb)
    };
    open().map_err(damaged)
}

/// Returns the commit behind a commit or an annotated tag.
pub(super) fn commit_behind(repository: &Repository, id: Oid) -> Result<Oid> {
    let found = repository.find_object(id, None).and_then(|object| object.peel(ObjectType::Commit));
    found.map(|commit| commit.id()).map_err(|error| match error.code() {
        git2::ErrorCode::NotFound => Error::new(ErrorKind::NotFound, "find the commit").with("object", id),
        _ => Error::new(ErrorKind::Invalid, "find the commit")
            .with("object", id)
            .source(error)
            .hint("the ref must lead to a commit, not to a folder or a file"),
    })
}

/// Returns the one commit whose name begins with `abbreviation`.
pub(super) fn commit_named(repository: &Repository, abbreviation: &str) -> Result<Option<Oid>> {
    match repository.find_commit_by_prefix(abbreviation) {
        Ok(commit) => Ok(Some(commit.id())),
        Err(error) if error.code() == git2::ErrorCode::Ambiguous => {
            Err(Error::new(ErrorKind::Invalid, "find the commit")
                .with("abbreviation", abbreviation)
                .with("reason", "several commits begin so")
                .hint("write more digits of the commit's name"))
        }
        Err(_) => Ok(None),
    }
}

/// Reads the folder that `place` means, as of `commit`.
pub(super) fn read_commit(
    repository: &Repository,
    commit: Oid,
    place: &Place,
    limits: &ReadLimits,
) -> Result<(Revision, Tree)> {
    let read = || -> Result<Option<(Revision, Tree)>, git2::Error> {
        let mut tree = repository.find_commit(commit)?.tree()?;
        for part in place.subdir.split('/').filter(|part| !part.is_empty()) {
            let Some(id) = tree.get_name(part).filter(|e| e.kind() == Some(ObjectType::Tree)).map(|e| e.id())
            else {
                return Ok(None);
            };
            tree = repository.find_tree(id)?;
        }
        // Folders of one name have one content: a commit that touched others only is no change.
        let revision = Revision::new(format!("git:{}", tree.id()));
        Ok(Some((revision, read_tree(repository, &tree, limits)?)))
    };
    let found = read().map_err(|error| {
        Error::new(ErrorKind::Corrupt, "read the repository's files")
            .with("uri", place)
            .with("commit", commit)
            .source(error)
            .hint("run `git fsck` in the repository")
    })?;
    found.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "find the folder in the repository")
            .with("uri", place)
            .with("folder", &place.subdir)
            .with("commit", commit)
            .hint("the folder follows the ref and a colon in the URI, as in `#main:flags/payments`; check its spelling")
    })
}

/// Reads a folder as the `file` source reads a directory.
fn read_tree(
    repository: &Repository,
    root: &git2::Tree<'_>,
    limits: &ReadLimits,
) -> Result<Tree, git2::Error> {
    let odb = repository.odb()?;
    let mut reader = Reader { odb: &odb, limits, tree: Tree::new(), entries: 0, bytes: 0 };
    reader.list("", root)?;
    for folder in &limits.folders {
        let Some(entry) = root.get_name(folder).filter(|e| e.kind() == Some(ObjectType::Tree)) else {
            continue;
        };
        reader.list(folder, &repository.find_tree(entry.id())?)?;
    }
    Ok(reader.tree)
}

struct Reader<'r> {
    odb: &'r Odb<'r>,
    limits: &'r ReadLimits,
    tree: Tree,
    entries: usize,
    bytes: u64,
}

impl Reader<'_> {
    fn list(&mut self, folder: &str, from: &git2::Tree<'_>) -> Result<(), git2::Error> {
        for item in from {
            let Ok(name) = std::str::from_utf8(item.name_bytes()) else {
                let shown = join(folder, &String::from_utf8_lossy(item.name_bytes()));
                self.tree.insert(shown, Entry::Unreadable("the name is not UTF-8".to_owned()));
                continue;
            };
            if name.starts_with('.') && !(folder.is_empty() && needs_content(name)) {
                continue;
            }
            self.entries += 1;
            if self.entries > self.limits.entries {
                self.tree.set_overflow(format!("more than {} entries", self.limits.entries));
                return Ok(());
            }
            let entry = self.entry(name, item.filemode(), item.id())?;
            self.tree.insert(join(folder, name), entry);
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: i32, id: Oid) -> Result<Entry, git2::Error> {
        match mode & KIND {
            LINK => return Ok(Entry::Symlink),
            FOLDER => return Ok(Entry::Directory),
            FILE => {}
            // Another repository's commit stands here.
            _ => return Ok(Entry::Special),
        }
        if !needs_content(name) {
            return Ok(Entry::Skipped);
        }
        let left = self.limits.total_bytes.saturating_sub(self.bytes);
        if left == 0 {
            self.tree.set_overflow(format!("more than {} bytes", self.limits.total_bytes));
            return Ok(Entry::Skipped);
        }
        let (size, _) = self.odb.read_header(id)?;
        let size = size as u64;
        if size > self.limits.file_bytes.min(left) {
            if left < self.limits.file_bytes {
                self.tree.set_overflow(format!("more than {} bytes", self.limits.total_bytes));
            }
            return Ok(Entry::TooLarge { bytes: size });
        }
        let object = self.odb.read(id)?;
        self.bytes += size;
        Ok(Entry::File(object.data().to_vec().into()))
    }
}

/// What git's modes say of the kind of an entry.
const KIND: i32 = 0o170_000;
const LINK: i32 = 0o120_000;
const FOLDER: i32 = 0o040_000;
const FILE: i32 = 0o100_000;

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
