//! Archives.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use leverframe::{
    ErrorKind,
    document::{Entry, Tree},
    manifest::{
        Layout,
        archive::{self, limits},
    },
};

/// What is accepted holds plain files under plain relative paths, and packs to bytes that do not change any more.
///
/// Bytes with a gzip header are taken as they are; all others are blocks of a tar, whose checksums are mended first
/// so that changes get past them.
pub fn archive(data: &[u8]) {
    if data.starts_with(&[0x1f, 0x8b]) {
        check(data);
    } else {
        check(&gzip(&mended(data)));
    }
}

fn check(bytes: &[u8]) {
    let tree = match archive::unpack(bytes) {
        Ok(unpacked) => unpacked.tree,
        Err(error) => {
            let kind = error.kind();
            assert!(matches!(kind, ErrorKind::Invalid | ErrorKind::LimitExceeded), "{}", error.chain());
            assert!(error.hint_text().is_some(), "{}", error.chain());
            return;
        }
    };

    let files = tree.iter().filter(|(_, entry)| matches!(entry, Entry::File(_))).count();
    assert!(files <= limits::ALL_FILES);
    for (path, entry) in tree.iter() {
        check_path(&tree, path);
        match entry {
            Entry::File(content) => assert!(content.len() <= limits::FILE, "{path}"),
            Entry::Directory => {}
            other => panic!("{path} is {other:?}"),
        }
    }
    let packed = archive::pack(&tree).expect("what came out of an archive goes into one");
    let unpacked = archive::unpack(&packed).expect("what was packed can be unpacked");
    assert_eq!(unpacked.tree, Layout::of(&tree).packaged(), "packing changes the files");
    assert_eq!(archive::pack(&unpacked.tree).expect("a second time as well"), packed);
}

fn check_path(tree: &Tree, path: &str) {
    assert!(path.len() <= limits::PATH, "{path:?}");
    assert!(!path.contains(['\\', ':']) && !path.chars().any(char::is_control), "{path:?}");
    assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
    for (at, _) in path.match_indices('/') {
        assert!(!matches!(tree.get(&path[..at]), Some(Entry::File(_))), "{path:?} is below a file");
    }
}

const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Writes the right checksum into every block that stands where a header is read.
fn mended(tar: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    tar.resize(tar.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    let mut at = 0;
    while let Some(header) = tar.get_mut(at..at + BLOCK) {
        if header.iter().any(|b| *b != 0) {
            header[CHECKSUM].fill(b' ');
            let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
            header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let mut known = tar::Header::new_old();
        known.as_mut_bytes().copy_from_slice(&tar[at..at + BLOCK]);
        let content = known.entry_size().unwrap_or(0);
        let content = usize::try_from(content).unwrap_or(usize::MAX).min(tar.len());
        at += BLOCK + content.next_multiple_of(BLOCK);
    }
    tar
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}
