//! Reads a directory into a tree, bounded in every direction.

use std::{
    ffi::OsStr,
    fs::{self, File, FileType, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::{
    Error, ErrorKind, Result,
    document::{Entry, Tree},
    manifest::{archive::limits, layout::needs_content},
};

/// How much of a directory is read.
///
/// # Examples
/// ```
/// use leverframe::sources::file::ReadLimits;
/// assert_eq!(ReadLimits::default().file_bytes, 1024 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadLimits {
    /// The folders that are read besides the root.
    pub folders: Vec<String>,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Entries listed in all.
    pub entries: usize,
    /// Bytes read in all.
    pub total_bytes: u64,
}

impl Default for ReadLimits {
    /// The limits of a namespace (M9), with room for files that do not belong to it.
    fn default() -> Self {
        Self {
            folders: ["flags", "segments"].map(str::to_owned).into(),
            file_bytes: limits::FILE as u64,
            entries: limits::ALL_FILES + 1_000,
            total_bytes: limits::UNCOMPRESSED as u64,
        }
    }
}

/// Reads the directory at `path`: its own files and those of the folders that `limits` names.
///
/// Content is read of `.toml` files, of `.exdignore` and of `leverframe.sig` only. Links are recorded and not followed, except that the
/// root itself may be one, and that a Kubernetes ConfigMap mount is read through its `..data` link, once, so that
/// one call sees one version of it. Names that begin with a dot are not recorded.
///
/// # Errors
/// When the root cannot be listed. What cannot be read inside it is recorded as such.
pub fn read_tree(path: &Path, limits: &ReadLimits) -> Result<Tree> {
    let root = resolve_root(path)?;
    let root = Held::open(root).map_err(|e| refuse(path, e))?;
    let mut reader = Reader { limits, tree: Tree::new(), entries: 0, bytes: 0 };
    let listing = fs::read_dir(root.path()).map_err(|e| refuse(path, e))?;
    let mut folders = Vec::new();
    reader.list("", listing, &mut |name, kind| {
        if kind.is_dir() && limits.folders.iter().any(|f| f == name) {
            folders.push(name.to_owned());
        }
    });
    for folder in folders {
        let held = Held::open(root.path().join(&folder));
        match held.and_then(|held| fs::read_dir(held.path()).map(|listing| (held, listing))) {
            Ok((_held, listing)) => reader.list(&folder, listing, &mut |_, _| {}),
            Err(error) => reader.tree.insert(folder, Entry::Unreadable(error.to_string())),
        }
    }
    Ok(reader.tree)
}

/// A directory that stays the same one while it is read, whatever is renamed to its place.
///
/// Linux lets an open directory be named by its descriptor; elsewhere, and without `/proc`, the name is all there is.
struct Held {
    _open: Option<File>,
    path: PathBuf,
}

impl Held {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn open(path: PathBuf) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let open = File::open(&path)?;
        let held = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        // A directory can be entered by it, or there is no `/proc`.
        if fs::metadata(&held).is_ok_and(|m| m.is_dir()) {
            return Ok(Self { _open: Some(open), path: held });
        }
        Ok(Self { _open: None, path })
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self { _open: None, path })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Follows the caller's path to the directory or file that it means now.
pub(super) fn resolve_root(path: &Path) -> Result<PathBuf> {
    let root = fs::canonicalize(path).map_err(|e| refuse(path, e))?;
    let data = root.join(CONFIG_MAP_LINK);
    if fs::symlink_metadata(&data).is_ok_and(|m| m.is_symlink()) {
        return fs::canonicalize(&data).map_err(|e| refuse(&data, e));
    }
    Ok(root)
}

/// What Kubernetes names the link that it turns to a new version of a mounted ConfigMap or Secret.
pub(super) const CONFIG_MAP_LINK: &str = "..data";

/// Reads a single file of at most `limit` bytes.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Bytes> {
    match read_bounded(path, limit) {
        Ok(Entry::File(content)) => Ok(content),
        Ok(Entry::TooLarge { bytes }) => Err(Error::new(ErrorKind::LimitExceeded, "read the file")
            .with("path", path.display())
            .with("bytes", bytes)
            .with("limit", limit)
            .hint("an archive of a namespace is at most 5,000,000 bytes")),
        Ok(_) => Err(Error::new(ErrorKind::Invalid, "read the file")
            .with("path", path.display())
            .hint("name a directory or a regular file")),
        Err(error) => Err(refuse(path, error)),
    }
}

/// Whether the content of a file of this name is read.
pub(super) fn is_read(name: &OsStr) -> bool {
    name.to_str().is_some_and(needs_content)
}

struct Reader<'l> {
    limits: &'l ReadLimits,
    tree: Tree,
    entries: usize,
    bytes: u64,
}

impl Reader<'_> {
    fn list(&mut self, folder: &str, listing: fs::ReadDir, seen: &mut dyn FnMut(&str, FileType)) {
        for item in listing {
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    self.tree.insert(
                        if folder.is_empty() { "." } else { folder },
                        Entry::Unreadable(error.to_string()),
                    );
                    return;
                }
            };
            let name = item.file_name();
            let Some(name) = name.to_str() else {
                let shown = join(folder, &name.to_string_lossy());
                self.tree.insert(shown, Entry::Unreadable("the name is not UTF-8".to_owned()));
                continue;
            };
            if name.starts_with('.') && !(folder.is_empty() && name == ".exdignore") {
                continue;
            }
            self.entries += 1;
            if self.entries > self.limits.entries {
                self.tree.set_overflow(format!("more than {} entries", self.limits.entries));
                return;
            }
            match item.file_type() {
                Ok(kind) => {
                    seen(name, kind);
                    let entry = self.entry(&item.path(), name, kind);
                    self.tree.insert(join(folder, name), entry);
                }
                // Gone between listing and looking: as if it had gone before.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.tree.insert(join(folder, name), Entry::Unreadable(error.to_string())),
            }
        }
    }

    fn entry(&mut self, path: &Path, name: &str, kind: FileType) -> Entry {
        if kind.is_symlink() {
            return Entry::Symlink;
        }
        if kind.is_dir() {
            return Entry::Directory;
        }
        if !kind.is_file() {
            return Entry::Special;
        }
        if !needs_content(name) {
            return Entry::Skipped;
        }
        let left = self.limits.total_bytes.saturating_sub(self.bytes);
        if left == 0 {
            self.tree.set_overflow(format!("more than {} bytes", self.limits.total_bytes));
            return Entry::Skipped;
        }
        match read_bounded(path, self.limits.file_bytes.min(left)) {
            Ok(entry) => {
                if let Entry::File(content) = &entry {
                    self.bytes += content.len() as u64;
                } else if left < self.limits.file_bytes {
                    self.tree.set_overflow(format!("more than {} bytes", self.limits.total_bytes));
                }
                entry
            }
            Err(error) => Entry::Unreadable(error.to_string()),
        }
    }
}

/// Reads at most `limit` bytes of a regular file, whatever it turns into meanwhile.
fn read_bounded(path: &Path, limit: u64) -> io::Result<Entry> {
    let file = open_without_waiting(path)?;
    // Asked of the open file: the name may mean something else by now.
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Entry::Special);
    }
    if metadata.len() > limit {
        return Ok(Entry::TooLarge { bytes: metadata.len() });
    }
    let mut content = Vec::with_capacity(metadata.len() as usize + 1);
    if !still_means(path, &metadata)? {
        return Err(io::Error::other("it was replaced while it was read"));
    }
    // One byte more than allowed tells a file that grew while it was read.
    (&file).take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Ok(Entry::TooLarge { bytes: file.metadata().map_or(limit + 1, |m: Metadata| m.len()) });
    }
    Ok(Entry::File(content.into()))
}

/// Whether `path` still names the file that was opened: a link that took its place was followed by opening.
#[cfg(unix)]
fn still_means(path: &Path, opened: &Metadata) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let named = fs::symlink_metadata(path)?;
    Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino()))
}

#[cfg(not(unix))]
fn still_means(path: &Path, _: &Metadata) -> io::Result<bool> {
    fs::symlink_metadata(path).map(|named| !named.is_symlink())
}

/// Opens for reading; a pipe that took the file's place does not block.
#[cfg(unix)]
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).custom_flags(O_NONBLOCK).open(path)
}

#[cfg(not(unix))]
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// The flag's value is part of each system's binary interface.
#[cfg(any(target_os = "linux", target_os = "android"))]
const O_NONBLOCK: i32 = 0o4000;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const O_NONBLOCK: i32 = 0x4;

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn refuse(path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            "check the path; a namespace is a directory with a `flags` folder, or an archive of one"
        }
        io::ErrorKind::PermissionDenied => "give the process read access to it",
        _ => "see the cause",
    };
    Error::from_io("read the namespace's files", error).with("path", path.display()).hint(hint)
}
