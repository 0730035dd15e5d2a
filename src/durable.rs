//! Files that are whole at every moment: written beside, flushed, renamed into place.

use std::{
    collections::hash_map::RandomState,
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{BuildHasher, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Distinguishes the temporary files of one process.
static NUMBER: AtomicU64 = AtomicU64::new(0);
const TEMPORARY: &str = ".tmp";

/// Puts `bytes` at `path`, readable by the owner only. A reader, another process, or the next start after a crash
/// sees the old file or the new one; once this returns, the new one survives a power cut.
///
/// # Errors
/// What the file system refuses; the old file is still there then.
///
/// # Examples
/// ```
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("key");
/// leverframe::durable::replace(&path, b"secret")?;
/// assert_eq!(std::fs::read(&path)?, b"secret");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{number}.{}{TEMPORARY}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = write_private(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The error that counts is the first; the leftover is cleared at the next start in any case.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    // The rename is only safe from a power cut once the directory is on the disk.
    File::open(parent(path))?.sync_all()
}

/// Makes a directory, and those above it, that only the owner may enter; one that exists stays as it is.
///
/// # Errors
/// What the file system refuses.
///
/// # Examples
/// ```
/// let dir = tempfile::tempdir()?;
/// leverframe::durable::make_private(&dir.path().join("a/b"))?;
/// assert!(dir.path().join("a/b").is_dir());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Makes a directory below `parent` that only the owner may enter, under a name that nobody can guess.
pub(crate) fn make_temporary(parent: &Path, prefix: &str) -> io::Result<PathBuf> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    loop {
        // The standard hasher's keys are random; and making it fails where anything, a link too, has the name already.
        let number = RandomState::new().build_hasher().finish();
        let dir = parent.join(format!("{prefix}-{}-{number:016x}", std::process::id()));
        match builder.create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes a file that only the owner may read.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Removes what writers that crashed have left: temporary files of an hour ago, since a younger one may belong to a
/// writer that is at work.
pub(crate) fn clear_leftovers(dir: &Path) {
    let Ok(listing) = fs::read_dir(dir) else { return };
    for item in listing.flatten() {
        let name = item.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(TEMPORARY)
            && is_old(&item)
            && let Err(error) = fs::remove_file(item.path())
        {
            tracing::debug!(%error, file = %name, "a leftover of a crashed writer stays");
        }
    }
}

/// Returns the directory that holds `path`.
///
/// # Examples
/// ```
/// use std::path::Path;
/// assert_eq!(leverframe::durable::parent(Path::new("a/b")), Path::new("a"));
/// assert_eq!(leverframe::durable::parent(Path::new("b")), Path::new("."));
/// ```
#[must_use]
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn is_old(item: &fs::DirEntry) -> bool {
    const AN_HOUR: Duration = Duration::from_secs(3600);
    // File times against file times: the directory was touched when the newest file was made.
    let newest = item.path().parent().and_then(|dir| fs::metadata(dir).ok()?.modified().ok());
    let age = newest
        .zip(item.metadata().ok().and_then(|m| m.modified().ok()))
        .and_then(|(n, m)| n.duration_since(m).ok());
    age.is_some_and(|age| age > AN_HOUR)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
