//! Archives that are hostile.

use std::{fs, path::Path};

use leverframe::manifest::archive::limits;
use tar::{EntryType, Header};

use crate::{
    fifo,
    running::{NAMESPACE, Running, archive_of, clear, gzip, tier, value},
};

/// Writes a tar entry by entry, names, types and sizes unchecked.
struct Raw(Vec<u8>);

impl Raw {
    fn whole() -> Self {
        Self(Vec::new())
            .file("namespace.toml", NAMESPACE.as_bytes())
            .file("flags/tier.toml", tier(8).as_bytes())
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name, EntryType::Regular, content.len() as u64, content)
    }

    fn entry(mut self, name: &str, kind: EntryType, size: u64, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn gzip(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        gzip(&self.0)
    }
}

/// Puts each archive in the place of the one that runs.
#[track_caller]
fn each_is_survived<'c>(cases: impl IntoIterator<Item = (&'c str, Vec<u8>, &'c [&'c str])>) {
    let running = Running::from_archive();
    for (case, archive, words) in cases {
        assert!(archive.len() <= limits::COMPRESSED, "{case}: refused for its size alone");
        let named = if words[0].starts_with('E') { &[][..] } else { &["shop-v1.tar.gz"][..] };
        running.survives(case, |place| fs::write(place, &archive).unwrap(), &[words, named].concat());
    }
}

#[test]
fn entries_that_a_namespace_cannot_hold_are_refused_by_name() {
    for (name, reason) in [
        ("../tier.toml", "leaves the archive"),
        ("flags/../../../etc/cron.d/x", "leaves the archive"),
        ("flags/..", "leaves the archive"),
        ("/etc/passwd", "absolute"),
        ("//flags/a.toml", "absolute"),
        ("flags\\a.toml", "character"),
        ("C:/flags/a.toml", "character"),
        ("flags/a\u{1b}[2J.toml", "character"),
    ] {
        let shown = name.escape_debug().to_string();
        each_is_survived([(name, Raw::whole().file(name, b"").gzip(), &[shown.as_str(), reason][..])]);
    }
    for (kind, reason) in [
        (EntryType::Symlink, "a link"),
        (EntryType::Link, "a link"),
        (EntryType::Char, "a device or pipe"),
        (EntryType::Block, "a device or pipe"),
        (EntryType::Fifo, "a device or pipe"),
        (EntryType::GNULongLink, "a link"),
        (EntryType::GNUSparse, "neither"),
        (EntryType::Continuous, "neither"),
        (EntryType::new(b'Z'), "neither"),
    ] {
        let archive = Raw::whole().entry("flags/odd.toml", kind, 0, b"").gzip();
        each_is_survived([(reason, archive, &["flags/odd.toml", reason][..])]);
    }
}

#[test]
fn one_path_twice_or_as_file_and_directory_is_refused_by_name() {
    each_is_survived([
        ("twice", Raw::whole().file("flags/tier.toml", b"").gzip(), &["flags/tier.toml", "twice"][..]),
        (
            "other spelling",
            Raw::whole().file("./flags/./tier.toml", b"").gzip(),
            &["flags/tier.toml", "twice"],
        ),
        ("file below file", Raw::whole().file("flags/tier.toml/x", b"").gzip(), &["a file and a directory"]),
        (
            "directory over file",
            Raw::whole().entry("flags/tier.toml/", EntryType::Directory, 0, b"").gzip(),
            &["a file and a directory"],
        ),
    ]);
}

#[test]
fn damaged_archives_are_refused_whole() {
    let whole = archive_of(8);
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let running = Running::from_archive();

    for end in (0..whole.len()).step_by(7) {
        running.survives(
            "cut",
            |place| fs::write(place, &whole[..end]).unwrap(),
            &["failed to read the archive"],
        );
    }
    // Checksum and length stand in the last eight bytes of a gzip.
    for at in [0, 1, 2, whole.len() / 2, whole.len() - 8, whole.len() - 1] {
        running.survives(
            "flipped",
            |place| fs::write(place, flipped(at)).unwrap(),
            &["failed to read the archive"],
        );
    }
    each_is_survived([
        ("empty", Vec::new(), &["an empty file"][..]),
        ("a zip", b"PK\x03\x04 and so on".to_vec(), &["no gzip header"]),
        ("no tar inside", gzip(&[b'x'; 2048]), &["failed to read the archive"]),
        ("text after it", [whole.clone(), b"and more".to_vec()].concat(), &["failed to read the archive"]),
        ("a tar cut between entries", gzip(&Raw::whole().0), &["no end mark"]),
        (
            "content shorter than announced",
            gzip(&Raw::whole().entry("flags/a.toml", EntryType::Regular, 4096, b"x").0),
            &["failed to read the archive"],
        ),
        (
            "a file of its own that does not lint",
            Raw::whole().file("flags/bad.toml", b"a = \n").gzip(),
            &["E001", "flags/bad.toml:1:"],
        ),
    ]);
}

#[test]
fn a_million_entries_end_at_the_limit() {
    // Gzip members may follow each other, so that a small archive says the same thing a hundred times.
    let repeated = |chunk: Raw| gzip(&chunk.0).repeat(100);
    let directories =
        repeated((0..10_000).fold(Raw(Vec::new()), |raw, _| raw.entry("d", EntryType::Directory, 0, b"")));
    let files =
        (0..limits::ALL_FILES + 1).fold(Raw(Vec::new()), |raw, i| raw.file(&format!("flags/f{i}.toml"), b""));

    each_is_survived([
        ("directories", directories, &["archive entries"][..]),
        ("files", files.gzip(), &["20003 files"]),
    ]);
}

#[test]
fn bombs_end_at_the_limit_in_bounded_memory() {
    let mebibyte = gzip(&vec![0; 1 << 20]);
    let zeros = |mebibytes: usize| mebibyte.repeat(mebibytes);
    let headed = |raw: Raw| [gzip(&raw.0), zeros(1_000)].concat();
    let tebibyte = 1 << 40;
    let pax = b"26 size=99999999999999999\n";
    let empty_members = gzip(b"").repeat(limits::COMPRESSED / gzip(b"").len());

    each_is_survived([
        ("behind the end", [archive_of(8), zeros(1_000)].concat(), &["50,000,000"][..]),
        ("nothing but zeros", zeros(1_000), &["50,000,000"]),
        ("no content at all", empty_members, &["no end mark"]),
        (
            "a file of a tebibyte",
            headed(Raw::whole().entry("flags/a.toml", EntryType::Regular, tebibyte, b"")),
            &["flags/a.toml", "bytes in a file"],
        ),
        (
            "a long name",
            headed(Raw::whole().entry("x", EntryType::GNULongName, tebibyte, b"")),
            &["too large"],
        ),
        ("a long header", headed(Raw::whole().entry("x", EntryType::XHeader, tebibyte, b"")), &["too large"]),
        (
            "a global header",
            headed(Raw::whole().entry("x", EntryType::XGlobalHeader, tebibyte, b"")),
            &["too large"],
        ),
        (
            "a directory with content",
            headed(Raw::whole().entry("d/", EntryType::Directory, tebibyte, b"")),
            &["failed to"],
        ),
        (
            "a size in a header",
            headed(
                Raw::whole().entry("x", EntryType::XHeader, pax.len() as u64, pax).file("flags/a.toml", b""),
            ),
            &["sets a size"],
        ),
    ]);
}

#[test]
fn content_beyond_the_limits_is_refused() {
    let half = vec![b'#'; limits::FILE / 2];
    let many = (0..=limits::UNCOMPRESSED / half.len())
        .fold(Raw::whole(), |raw, i| raw.file(&format!("flags/f{i}.toml"), &half));

    each_is_survived([
        (
            "one file",
            Raw::whole().file("flags/a.toml", &vec![b'#'; limits::FILE + 1]).gzip(),
            &["flags/a.toml"][..],
        ),
        ("all files", many.gzip(), &["50000000 bytes"]),
    ]);
    let running = Running::from_archive();
    running.survives(
        "the archive",
        |place| fs::write(place, vec![0x1f; limits::COMPRESSED + 1]).unwrap(),
        &["shop-v1.tar.gz", "5000000"],
    );
}

#[test]
fn an_archive_that_is_gone_or_something_else_is_named() {
    let running = Running::from_archive();
    let name = "shop-v1.tar.gz";

    running.survives("gone", clear, &[name]);
    running.survives("pipe", fifo, &[name]);
    running.survives(
        "dangling link",
        |place: &Path| {
            clear(place);
            std::os::unix::fs::symlink("nowhere", place).unwrap();
        },
        &[name],
    );
    running.survives(
        "a directory that is no namespace",
        |place| {
            clear(place);
            fs::create_dir_all(place).unwrap();
            fs::write(place.join("namespace.toml"), "").unwrap();
        },
        &["E001", "namespace.toml"],
    );
}

#[test]
fn long_names_and_the_header_that_git_writes_are_read() {
    let long = format!("flags/{}.toml", "k".repeat(63));
    let top = format!("{}/", "shop-0123456789abcdef".repeat(5));
    let pax = |name: &str| {
        let record = |length: usize| format!("{length} path={name}\n");
        let length = (0..999).find(|length| record(*length).len() == *length).unwrap();
        record(length).into_bytes()
    };
    let comment = b"52 comment=0123456789abcdef0123456789abcdef01234567\n";
    let (content, path, name) = (tier(8), pax(&format!("{top}{long}")), format!("{top}flags/tier.toml\0"));
    let archive = Raw(Vec::new())
        .entry("pax_global_header", EntryType::XGlobalHeader, comment.len() as u64, comment)
        .entry("x", EntryType::XHeader, path.len() as u64, &path)
        .file("cut", content.as_bytes())
        .entry("x", EntryType::GNULongName, name.len() as u64, name.as_bytes())
        .file("cut", content.as_bytes())
        .gzip();
    let running = Running::from_archive();

    fs::write(&running.place, archive).unwrap();
    // Like a plain tarball of a repository, it declares no slug.
    let error = running.namespace.refresh();

    assert_eq!(error.map_err(|e| e.to_string()), Ok(()));
    assert_eq!(value(&running.namespace), 8);
    assert_eq!(running.namespace.snapshot().snapshot.program.len(), 2);
}
