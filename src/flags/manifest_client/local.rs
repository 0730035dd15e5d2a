//! The directory that is pulled into and pushed from.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use super::ManifestError;
use crate::{
    Error, ErrorKind, Result,
    document::{Entry, Tree},
    durable::parent,
    manifest::{Layout, LintOptions, LintReport, archive, layout::SIGNATURE_FILE, lint_tree},
    sources::file::{ReadLimits, read_tree},
};

/// Packs the namespace in a directory, if lint has no objection.
pub(super) fn linted_archive(dir: &Path, slug: &str) -> Result<Vec<u8>, ManifestError> {
    let tree = read_tree(dir, &ReadLimits::default()).map_err(ManifestError::Io)?;
    let report = lint_tree(&tree, &LintOptions::new().with_slug(slug)).report;
    if report.has_errors() {
        return Err(ManifestError::LintFailed { message: errors(&report) });
    }
    pack(dir, &tree).map_err(ManifestError::Io)
}

/// Packs the namespace in a directory, whatever lint says of it.
pub(super) fn archive(dir: &Path) -> Result<Vec<u8>, ManifestError> {
    let tree = read_tree(dir, &ReadLimits::default()).map_err(ManifestError::Io)?;
    pack(dir, &tree).map_err(ManifestError::Io)
}

/// What a directory went through.
pub(super) struct Replaced {
    pub(super) flags: usize,
    pub(super) segments: usize,
    pub(super) written: usize,
    pub(super) removed: usize,
}

/// Makes a directory hold the namespace files of `version`, and leaves its other files alone.
pub(super) fn replace(dir: &Path, version: &Tree) -> Result<Replaced> {
    let wanted = files(version);
    let layout = Layout::of(version);
    let mut done =
        Replaced { flags: layout.flags.len(), segments: layout.segments.len(), written: 0, removed: 0 };
    match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            done.written = wanted.len();
            appear(dir, &wanted)?;
            return Ok(done);
        }
        Err(error) => return Err(failed("look at the directory", dir, error)),
        Ok(metadata) if !metadata.is_dir() => {
            return Err(Error::new(ErrorKind::Invalid, "write the pulled files")
                .with("path", dir.display())
                .with("reason", "it is no directory"));
        }
        Ok(_) => {}
    }
    let present = read_tree(dir, &ReadLimits::default())?;
    let ours = files_with_any_content(&present);
    let changed: Vec<(&str, &Bytes)> = wanted
        .iter()
        .map(|(p, c)| (*p, *c))
        .filter(|(path, content)| present.file(path) != Some(content))
        .collect();
    let gone: Vec<&str> = ours.iter().copied().filter(|path| !wanted.contains_key(path)).collect();
    check(dir, &present, &wanted, &changed, &ours, &gone)?;

    // Inside the directory, so that renaming works also where it is a mount point of its own.
    let stage = Stage::new(dir.join(unique(".leverframe-pull")))?;
    stage.write(&changed)?;
    for folder in FOLDERS {
        if changed.iter().any(|(path, _)| path.starts_with(folder)) {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).map_err(|error| failed("make the directory", &folder, error))?;
        }
    }
    for (number, (path, _)) in changed.iter().enumerate() {
        let target = dir.join(path);
        fs::rename(stage.file(number), &target)
            .map_err(|error| failed("put the file in place", &target, error))?;
    }
    for path in &gone {
        let target = dir.join(path);
        fs::remove_file(&target).map_err(|error| failed("remove the file", &target, error))?;
    }
    (done.written, done.removed) = (changed.len(), gone.len());
    Ok(done)
}

/// Refuses what would destroy something that is no file of the namespace, and what could not be pushed back.
fn check(
    dir: &Path,
    present: &Tree,
    wanted: &BTreeMap<&str, &Bytes>,
    changed: &[(&str, &Bytes)],
    ours: &[&str],
    gone: &[&str],
) -> Result<()> {
    let refuse = |path: &str, reason: &'static str, hint: &'static str| {
        Error::new(ErrorKind::Conflict, "write the pulled files")
            .with("path", dir.join(path).display())
            .with("reason", reason)
            .hint(hint)
    };
    if let Some(limit) = present.overflow() {
        return Err(Error::new(ErrorKind::LimitExceeded, "look at the directory")
            .with("path", dir.display())
            .with("reason", limit)
            .hint("pull into a directory of its own"));
    }
    for folder in FOLDERS.map(|folder| folder.trim_end_matches('/')) {
        if !matches!(present.get(folder), None | Some(Entry::Directory)) {
            return Err(refuse(folder, "something else than a folder stands there", "move it away"));
        }
    }
    for (path, _) in changed {
        if present.get(path).is_some() && !ours.contains(path) {
            return Err(refuse(
                path,
                "what stands there is no file of a namespace, or `.exdignore` leaves it out",
                "move it away, or pull into a new directory",
            ));
        }
    }
    let mut after = present.clone();
    for path in gone {
        after.remove(path);
    }
    for (path, content) in wanted {
        after.insert(*path, Entry::File((*content).clone()));
    }
    let after = files(&after).into_keys().collect::<Vec<_>>();
    if let Some(path) = wanted.keys().find(|path| after.binary_search(path).is_err()) {
        return Err(refuse(
            path,
            "`.exdignore` leaves out a file that the version has, so that pushing would lose it",
            "mend `.exdignore`, or pull into a new directory",
        ));
    }
    Ok(())
}

/// Makes a directory appear with its files in one step.
fn appear(dir: &Path, wanted: &BTreeMap<&str, &Bytes>) -> Result<()> {
    let above = parent(dir);
    fs::create_dir_all(above).map_err(|error| failed("make the directory", above, error))?;
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stage = Stage::new(above.join(unique(&format!(".{name}.pull"))))?;
    for folder in FOLDERS {
        let folder = stage.dir.join(folder);
        fs::create_dir(&folder).map_err(|error| failed("make the directory", &folder, error))?;
    }
    for (path, content) in wanted {
        let target = stage.dir.join(path);
        fs::write(&target, content).map_err(|error| failed("write the file", &target, error))?;
    }
    fs::rename(&stage.dir, dir).map_err(|error| failed("put the directory in place", dir, error))
}

/// A directory for files on their way, gone when it is dropped.
struct Stage {
    dir: PathBuf,
}

impl Stage {
    fn new(dir: PathBuf) -> Result<Self> {
        fs::create_dir(&dir).map_err(|error| failed("make the directory", &dir, error))?;
        Ok(Self { dir })
    }

    fn write(&self, files: &[(&str, &Bytes)]) -> Result<()> {
        for (number, (_, content)) in files.iter().enumerate() {
            let target = self.file(number);
            fs::write(&target, content).map_err(|error| failed("write the file", &target, error))?;
        }
        Ok(())
    }

    fn file(&self, number: usize) -> PathBuf {
        self.dir.join(number.to_string())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.dir) {
            Ok(()) => {}
            // It was renamed into place.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::debug!(%error, dir = %self.dir.display(), "files on their way stay"),
        }
    }
}

const FOLDERS: [&str; 2] = ["flags/", "segments/"];

fn unique(prefix: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The files that an archive of this tree holds, its signature among them.
fn files(tree: &Tree) -> BTreeMap<&str, &Bytes> {
    files_with_any_content(tree).into_iter().filter_map(|path| Some((path, tree.file(path)?))).collect()
}

/// The paths at which a tree has files of a namespace, readable or not.
fn files_with_any_content(tree: &Tree) -> Vec<&str> {
    let layout = Layout::of(tree);
    let found = layout.flags.iter().chain(&layout.segments).map(|found| found.path);
    let root = layout.root_files().map(|(path, _)| path);
    let signature = tree.get(SIGNATURE_FILE).map(|_| SIGNATURE_FILE);
    let is_file = |path: &&str| {
        matches!(tree.get(path), Some(Entry::File(_) | Entry::TooLarge { .. } | Entry::Unreadable(_)))
    };
    root.chain(signature).chain(found).filter(is_file).collect()
}

fn pack(dir: &Path, tree: &Tree) -> Result<Vec<u8>> {
    let refuse = |reason: String| {
        Error::new(ErrorKind::Invalid, "pack the namespace")
            .with("path", dir.display())
            .with("reason", reason)
    };
    if let Some(limit) = tree.overflow() {
        return Err(refuse(limit.to_owned()));
    }
    // An archive leaves these out without a word; what is left out would be deleted on the server.
    let layout = Layout::of(tree);
    let entries = layout.flags.iter().chain(&layout.segments).map(|found| (found.path, found.entry));
    let root = layout.root_files().map(|(path, entry)| (path as &str, entry));
    for (path, entry) in entries.chain(root) {
        match entry {
            Entry::File(_) => {}
            Entry::TooLarge { bytes } => {
                return Err(refuse(format!(
                    "`{path}` has {bytes} bytes, more than {}",
                    archive::limits::FILE
                )));
            }
            Entry::Unreadable(reason) => return Err(refuse(format!("`{path}` cannot be read: {reason}"))),
            _ => return Err(refuse(format!("`{path}` is no regular file"))),
        }
    }
    if let Some((path, reason)) = layout.unreadable.first() {
        return Err(refuse(format!("`{path}` cannot be read: {reason}")));
    }
    archive::pack(tree).map_err(|error| error.with("path", dir.display()))
}

fn errors(report: &LintReport) -> String {
    let mut errors = report.errors();
    let first = errors.next().map(ToString::to_string).unwrap_or_default();
    match errors.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}

fn failed(operation: &'static str, path: &Path, error: io::Error) -> Error {
    Error::from_io(operation, error).with("path", path.display())
}
