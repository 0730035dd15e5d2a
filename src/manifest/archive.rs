//! Archives: gzip tar, bounded while read, deterministic when written (M9).
//!
//! Reading refuses rather than skips: an archive with a link, a device, an absolute path, a `..`, a duplicate or
//! anything else that a namespace cannot hold is refused whole, before a byte of it is used. Nothing is ever
//! written to disk here.

use std::{
    collections::{BTreeSet, HashSet},
    io::{self, Read},
};

use bytes::Bytes;
use flate2::{Compression, GzBuilder, read::MultiGzDecoder};

use super::{
    layout::{Layout, SIGNATURE_FILE},
    tar::{self, Entries, Header, Kind},
};
use crate::{
    Error, ErrorKind, Result,
    document::{Entry, Tree},
};

/// The limits of M9, and those that follow from them.
///
/// # Examples
/// ```
/// assert_eq!(leverframe::manifest::archive::limits::FILES, 10_000);
/// ```
pub mod limits {
    /// Bytes of a compressed archive.
    pub const COMPRESSED: usize = 5_000_000;
    /// Bytes of its content, tar framing left aside.
    pub const UNCOMPRESSED: usize = 50_000_000;
    /// Files in each of the two folders: 10,000 flags with segments beside them are one namespace.
    pub const FILES: usize = 10_000;
    /// Files in all: both folders full, `namespace.toml`, `gate.toml`, and a signature.
    pub const ALL_FILES: usize = 2 * FILES + 3;
    /// Bytes of one file.
    pub const FILE: usize = 1024 * 1024;
    /// Environments of a namespace, declared or named by flags.
    pub const ENVIRONMENTS: usize = 1_000;
    /// Bytes of a path in an archive; names that a namespace uses stay far below.
    pub const PATH: usize = 255;
}

/// What an archive held.
///
/// # Examples
/// ```
/// use leverframe::{document::Tree, manifest::archive};
/// let tree: Tree = [("flags/a.toml", "x = 1")].into_iter().collect();
/// let unpacked = archive::unpack(&archive::pack(&tree)?)?;
/// assert_eq!(unpacked.tree, tree);
/// assert!(!unpacked.wrapped);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpacked {
    /// The files, relative to the namespace's root.
    pub tree: Tree,
    /// Whether all of them stood in one top-level directory, which was taken off.
    pub wrapped: bool,
}

/// Reads an archive.
///
/// # Errors
/// `Invalid` for what is no archive, or holds what a namespace cannot hold; `LimitExceeded` beyond the limits. The
/// error names the entry and the next step.
pub fn unpack(bytes: &[u8]) -> Result<Unpacked> {
    if bytes.len() > limits::COMPRESSED {
        return Err(over("archive bytes", limits::COMPRESSED));
    }
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(Error::new(ErrorKind::Invalid, "read the archive")
            .with("found", if bytes.is_empty() { "an empty file" } else { "no gzip header" })
            .hint("a namespace archive is a gzip-compressed tar; make one with `leverframe manifest pack`"));
    }
    let mut reader = Reader::default();
    // Framing costs two blocks a file at most, so this stops a bomb soon after the content limit would.
    let framed = limits::UNCOMPRESSED + (limits::ALL_FILES + 2) * 2 * 1024;
    let mut entries = Entries::new(Budget { inner: MultiGzDecoder::new(bytes), left: framed });
    while let Some(header) = entries.advance().map_err(broken)? {
        if matches!(header.kind, Kind::GlobalHeader | Kind::Header | Kind::LongName) {
            reader.extension(&header, &mut entries)?;
            continue;
        }
        let path = reader.admit(&header)?;
        if header.kind == Kind::Directory {
            reader.directory(path);
        } else {
            let content = reader.content(&header, &mut entries, &path)?;
            reader.file(path, content)?;
        }
    }
    entries.finish().map_err(broken)?;
    reader.finish()
}

/// Writes the files of a namespace and their signature, left-out ones left out, so that equal trees give equal bytes.
///
/// # Errors
/// `LimitExceeded` where an archive of the tree could not be read again.
pub fn pack(tree: &Tree) -> Result<Vec<u8>> {
    let mut packaged = Layout::of(tree).packaged();
    if let Some(signature @ Entry::File(_)) = tree.get(SIGNATURE_FILE) {
        packaged.insert(SIGNATURE_FILE, signature.clone());
    }
    let mut total = 0;
    if packaged.iter().count() > limits::ALL_FILES {
        return Err(over("files", limits::ALL_FILES));
    }
    let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    let broken = |error| Error::from_io("write the archive", error);
    for (path, entry) in packaged.iter() {
        let Entry::File(content) = entry else { continue };
        total += content.len();
        if content.len() > limits::FILE {
            return Err(over("bytes in a file", limits::FILE).with("file", path));
        }
        if total > limits::UNCOMPRESSED {
            return Err(over("bytes in all", limits::UNCOMPRESSED));
        }
        tar::write_file(&mut gzip, path, content).map_err(broken)?;
    }
    tar::write_end(&mut gzip).map_err(broken)?;
    let packed = gzip.finish().map_err(broken)?;
    if packed.len() > limits::COMPRESSED {
        return Err(over("archive bytes", limits::COMPRESSED));
    }
    Ok(packed)
}

/// Returns the slug that an archive's file name suggests: without `.tar.gz` and `-v<N>` (M13).
///
/// # Examples
/// ```
/// assert_eq!(leverframe::manifest::archive::slug_of_file("billing-v8.tar.gz"), "billing");
/// ```
#[must_use]
pub fn slug_of_file(name: &str) -> String {
    let stem = [".tar.gz", ".tgz"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    match stem.rsplit_once("-v") {
        Some((slug, version)) if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) => {
            slug.to_owned()
        }
        _ => stem.to_owned(),
    }
}

#[derive(Default)]
struct Reader {
    tree: Tree,
    directories: BTreeSet<String>,
    files: usize,
    entries: usize,
    total: usize,
    /// What headers of their own said of the entry that follows.
    header: bool,
    long_name: Option<Vec<u8>>,
}

impl Reader {
    fn count(&mut self) -> Result<()> {
        self.entries += 1;
        if self.entries > limits::ALL_FILES * 2 {
            return Err(over("archive entries", limits::ALL_FILES * 2));
        }
        Ok(())
    }

    /// Reads what stands before an entry to say more of it, or before all of them, as `git archive` writes it.
    fn extension<R: Read>(&mut self, header: &Header, entries: &mut Entries<R>) -> Result<()> {
        self.count()?;
        let refuse = |reason: &str| {
            Error::new(ErrorKind::Invalid, "read the archive").with("reason", reason).hint(
                "make the archive with `leverframe manifest pack`, which needs no extensions of the format",
            )
        };
        if header.size > EXTENSION {
            return Err(refuse("an extension header is too large"));
        }
        let mut content = entries.content().map_err(broken)?;
        let mut name = None;
        match header.kind {
            Kind::LongName => {
                content.pop_if(|last| *last == 0);
                name = Some(content);
            }
            Kind::Header => {
                // Programs do not agree on which of two holds.
                if std::mem::replace(&mut self.header, true) {
                    return Err(refuse("an entry has two extension headers"));
                }
                for (key, value) in tar::records(&content).map_err(broken)? {
                    match key {
                        b"path" if name.is_some() => return Err(refuse("an entry has two names")),
                        b"path" => name = Some(value.to_vec()),
                        b"size" => return Err(refuse("an extension header sets a size")),
                        key if key.starts_with(b"GNU.sparse.") => return Err(refuse("a file has holes")),
                        _ => {}
                    }
                }
            }
            _ if self.header || self.long_name.is_some() => {
                return Err(refuse("an extension header stands between an entry and its own"));
            }
            _ => {}
        }
        if name.is_some() && self.long_name.is_some() {
            return Err(refuse("an entry has two names"));
        }
        self.long_name = name.or(self.long_name.take());
        Ok(())
    }

    /// Checks type and name of an entry, and returns its normal path.
    fn admit(&mut self, header: &Header) -> Result<String> {
        self.count()?;
        self.header = false;
        let long_name = self.long_name.take();
        let raw = long_name.as_ref().unwrap_or(&header.path);
        let shown = String::from_utf8_lossy(&raw[..raw.len().min(limits::PATH)]).into_owned();
        let refuse = |reason: &str| {
            Error::new(ErrorKind::Invalid, "read the archive")
                .with("entry", shown.escape_debug())
                .with("reason", reason)
                .hint("make the archive with `leverframe manifest pack`, which holds plain files under relative paths only")
        };
        match header.kind {
            Kind::File | Kind::Directory => {}
            Kind::Link => return Err(refuse("a link")),
            Kind::Device => return Err(refuse("a device or pipe")),
            _ => return Err(refuse("neither a regular file nor a directory")),
        }
        if raw.len() > limits::PATH {
            return Err(refuse("the path is too long"));
        }
        let path = std::str::from_utf8(raw).map_err(|_| refuse("the path is not UTF-8"))?;
        if path.contains(['\0', '\\', ':']) || path.chars().any(char::is_control) {
            return Err(refuse("the path has a character that no path of a namespace has"));
        }
        if path.starts_with('/') {
            return Err(refuse("the path is absolute"));
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(refuse("the path leaves the archive"));
        }
        if parts.is_empty() && header.kind != Kind::Directory {
            return Err(refuse("the path is empty"));
        }
        Ok(parts.join("/"))
    }

    fn directory(&mut self, path: String) {
        if !path.is_empty() {
            self.directories.insert(path);
        }
    }

    /// The header's size is only believed up to the limits.
    fn content<R: Read>(&mut self, header: &Header, entries: &mut Entries<R>, path: &str) -> Result<Bytes> {
        if header.size > limits::FILE as u64 {
            return Err(over("bytes in a file", limits::FILE).with("entry", path));
        }
        let content = entries.content().map_err(|error| broken(error).with("entry", path))?;
        self.total += content.len();
        if self.total > limits::UNCOMPRESSED {
            return Err(over("bytes in all", limits::UNCOMPRESSED));
        }
        Ok(content.into())
    }

    fn file(&mut self, path: String, content: Bytes) -> Result<()> {
        self.files += 1;
        if self.files > limits::ALL_FILES {
            return Err(over("files", limits::ALL_FILES));
        }
        if self.tree.get(&path).is_some() {
            return Err(Error::new(ErrorKind::Invalid, "read the archive")
                .with("entry", path)
                .with("reason", "the path occurs twice")
                .hint("make the archive with `leverframe manifest pack`"));
        }
        self.tree.insert(path, Entry::File(content));
        Ok(())
    }

    fn finish(self) -> Result<Unpacked> {
        if self.header || self.long_name.is_some() {
            return Err(broken(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "an extension header without an entry",
            )));
        }
        let Self { tree, directories, .. } = self;
        let clash = tree.iter().find(|(path, _)| {
            directories.contains(*path) || ancestors(path).any(|above| tree.get(above).is_some())
        });
        if let Some((path, _)) = clash {
            return Err(Error::new(ErrorKind::Invalid, "read the archive")
                .with("entry", path)
                .with("reason", "a path is a file and a directory")
                .hint("make the archive with `leverframe manifest pack`"));
        }
        Ok(unwrap_top(tree, &directories))
    }
}

/// Returns the directories that a path stands in, the nearest last.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// Takes off a single top-level directory around the namespace (plain tarballs of a repository have one).
fn unwrap_top(tree: Tree, directories: &BTreeSet<String>) -> Unpacked {
    let mut tops = tree.iter().map(|(path, _)| path.split('/').next().unwrap_or(path));
    let prefix = match tops.next() {
        Some(top) if !matches!(top, "flags" | "segments") && tops.all(|other| other == top) => {
            format!("{top}/")
        }
        _ => String::new(),
    };
    drop(tops);
    if prefix.is_empty() || tree.iter().any(|(path, _)| !path.starts_with(&prefix)) {
        return Unpacked { tree: with_directories(tree, directories, ""), wrapped: false };
    }
    let mut inner = Tree::new();
    for (path, entry) in tree.iter() {
        inner.insert(&path[prefix.len()..], entry.clone());
    }
    Unpacked { tree: with_directories(inner, directories, &prefix), wrapped: true }
}

/// Records the directories that hold no file, so that an empty `flags` folder is seen as one.
fn with_directories(mut tree: Tree, directories: &BTreeSet<String>, prefix: &str) -> Tree {
    let filled: HashSet<String> =
        tree.iter().flat_map(|(path, _)| ancestors(path)).map(str::to_owned).collect();
    for path in directories.iter().filter_map(|d| d.strip_prefix(prefix)) {
        if !path.is_empty() && !filled.contains(path) {
            tree.insert(path, Entry::Directory);
        }
    }
    tree
}

/// Fails instead of giving more than it was granted.
struct Budget<R> {
    inner: R,
    left: usize,
}

impl<R: Read> Read for Budget<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read).ok_or_else(|| io::Error::other(BOMB))?;
        Ok(read)
    }
}

const BOMB: &str = "the content is larger than 50,000,000 bytes";

/// Bytes of an extension header: a path and a few times take some hundred.
const EXTENSION: u64 = 8 * 1024;

fn broken(error: io::Error) -> Error {
    let bomb = error.to_string().contains(BOMB);
    let kind = if bomb { ErrorKind::LimitExceeded } else { ErrorKind::Invalid };
    let hint = if bomb {
        "split the namespace; an archive may hold 50,000,000 bytes"
    } else {
        "the archive is truncated or damaged: fetch or pack it again"
    };
    Error::new(kind, "read the archive").hint(hint).source(error)
}

fn over(what: &str, limit: usize) -> Error {
    Error::new(ErrorKind::LimitExceeded, "keep the archive within its limits")
        .with("limit", format!("{limit} {what}"))
        .hint("split the namespace, or leave files out with `.exdignore`")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ::tar::{Builder, EntryType, Header};

    use super::*;

    /// Writes an archive entry by entry, names and types unchecked.
    struct Raw(Builder<Vec<u8>>);

    impl Raw {
        fn new() -> Self {
            Self(Builder::new(Vec::new()))
        }

        fn entry(mut self, name: &str, kind: EntryType, content: &[u8]) -> Self {
            let mut header = Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            self.0.append(&header, content).unwrap();
            self
        }

        fn file(self, name: &str) -> Self {
            self.entry(name, EntryType::Regular, b"x = 1")
        }

        fn gzip(self) -> Vec<u8> {
            gzip(&self.0.into_inner().unwrap())
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzBuilder::new().write(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn refused(archive: &[u8], kind: ErrorKind, word: &str) {
        let error = unpack(archive).map(|_| ()).unwrap_err();

        assert_eq!(error.kind(), kind, "{}", error.chain());
        assert!(error.chain().contains(word), "{}", error.chain());
        assert!(error.hint_text().is_some());
    }

    #[test]
    fn hostile_entries_are_refused_by_name() {
        use ErrorKind::Invalid;

        for name in ["../x", "flags/../../x", "a/..", "flags\\x", "c:x", "flags/\n.toml"] {
            refused(&Raw::new().file("flags/a.toml").file(name).gzip(), Invalid, "entry");
        }
        refused(&Raw::new().file("/etc/passwd").gzip(), Invalid, "absolute");
        for kind in [EntryType::Symlink, EntryType::Link] {
            refused(&Raw::new().entry("flags/a.toml", kind, b"").gzip(), Invalid, "a link");
        }
        for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
            refused(&Raw::new().entry("flags/a.toml", kind, b"").gzip(), Invalid, "a device or pipe");
        }
        refused(&Raw::new().entry("flags/a.toml", EntryType::Continuous, b"").gzip(), Invalid, "neither");
    }

    #[test]
    fn the_header_that_git_puts_first_is_passed_over() {
        let comment = b"52 comment=0123456789012345678901234567890123456789\n";
        let raw = Raw::new().entry("pax_global_header", EntryType::XGlobalHeader, comment);

        let unpacked = unpack(&raw.file("shop-main/flags/a.toml").gzip()).unwrap();

        assert!(unpacked.wrapped);
        assert_eq!(unpacked.tree.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["flags/a.toml"]);
    }

    #[test]
    fn duplicates_and_file_directory_clashes_are_refused() {
        let invalid = ErrorKind::Invalid;

        refused(&Raw::new().file("flags/a.toml").file("./flags//a.toml").gzip(), invalid, "twice");
        refused(&Raw::new().file("flags").file("flags/a.toml").gzip(), invalid, "a file and a directory");
        refused(
            &Raw::new().file("flags").entry("flags/", EntryType::Directory, b"").gzip(),
            invalid,
            "a file and",
        );
    }

    #[test]
    fn limits_hold_while_reading() {
        let big = vec![b'#'; limits::FILE + 1];
        refused(
            &Raw::new().entry("flags/a.toml", EntryType::Regular, &big).gzip(),
            ErrorKind::LimitExceeded,
            "file",
        );

        let many = (0..=limits::ALL_FILES)
            .fold(Raw::new(), |raw, i| raw.entry(&format!("flags/f{i}.toml"), EntryType::Regular, b""));
        refused(&many.gzip(), ErrorKind::LimitExceeded, "files");

        let directories = (0..=limits::ALL_FILES * 2)
            .fold(Raw::new(), |raw, i| raw.entry(&format!("d{i}"), EntryType::Directory, b""));
        refused(&directories.gzip(), ErrorKind::LimitExceeded, "entries");

        refused(&vec![0x1f; limits::COMPRESSED + 1], ErrorKind::LimitExceeded, "archive bytes");
    }

    #[test]
    fn a_gzip_bomb_stops_at_the_limit() {
        let mut encoder = GzBuilder::new().write(Vec::new(), Compression::fast());
        let zeros = vec![0; 1 << 20];
        // Zero blocks end a tar, so the bomb begins behind its end, where only a drained stream meets it.
        for _ in 0..96 {
            encoder.write_all(&zeros).unwrap();
        }

        refused(&encoder.finish().unwrap(), ErrorKind::LimitExceeded, "50,000,000");
    }

    #[test]
    fn what_is_no_archive_is_told_apart() {
        refused(b"", ErrorKind::Invalid, "empty");
        refused(b"PK\x03\x04", ErrorKind::Invalid, "no gzip");
        refused(&[0x1f, 0x8b, 8, 0], ErrorKind::Invalid, "read the archive");
        refused(&gzip(&[b'x'; 600]), ErrorKind::Invalid, "read the archive");
    }

    #[test]
    fn a_truncated_archive_is_refused_at_every_length() {
        let tree: Tree = [("flags/a.toml", "a = 1"), ("namespace.toml", "b = 2")].into_iter().collect();
        let whole = pack(&tree).unwrap();

        for end in 0..whole.len() {
            assert!(unpack(&whole[..end]).is_err(), "{end} of {} bytes", whole.len());
        }
    }

    #[test]
    fn a_single_top_directory_is_taken_off() {
        let unpacked =
            unpack(&Raw::new().file("repo-main/flags/a.toml").file("repo-main/namespace.toml").gzip())
                .unwrap();

        assert!(unpacked.wrapped);
        assert_eq!(
            unpacked.tree.iter().map(|(p, _)| p).collect::<Vec<_>>(),
            ["flags/a.toml", "namespace.toml"]
        );
    }

    #[test]
    fn packing_is_deterministic_and_leaves_out_what_does_not_belong() {
        let tree: Tree =
            [("flags/a.toml", "a"), ("README.md", "r"), (".exdignore", "b.toml"), ("flags/b.toml", "b")]
                .into_iter()
                .collect();

        let packed = pack(&tree).unwrap();

        assert_eq!(packed, pack(&tree).unwrap());
        let again = unpack(&packed).unwrap().tree;
        assert_eq!(again.iter().map(|(p, _)| p).collect::<Vec<_>>(), ["flags/a.toml"]);
        assert_eq!(pack(&again).unwrap(), packed);
    }

    #[test]
    fn the_slug_of_an_archive_is_its_stem_without_the_version() {
        assert_eq!(slug_of_file("billing-v8.tar.gz"), "billing");
        assert_eq!(slug_of_file("billing.tgz"), "billing");
        assert_eq!(slug_of_file("billing-vip.tar.gz"), "billing-vip");
        assert_eq!(slug_of_file("payments"), "payments");
    }
}
