//! Entries of the file cache.

use std::{fs, path::PathBuf};

use leverframe::{
    ErrorKind,
    backends::cache_file::{FileCache, FileCacheConfig},
    live::block_on,
    traits::{CacheKey, CacheStore},
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A file is an entry or `Corrupt`, never anything else; an entry is written back byte for byte as it was, and one
/// changed byte or one missing makes it `Corrupt`.
///
/// The bytes are tried as they are and with their digest behind them, so that changes get past it.
pub fn cache_entry(data: &[u8]) {
    let mut config = FileCacheConfig::default();
    config.dir = scratch("cache");
    let cache = FileCache::open(config).expect("a temporary directory can be made");
    check(&cache, data);
    let digest = Sha256::digest(data);
    check(&cache, &[data, &digest[..]].concat());
}

fn check(cache: &FileCache, bytes: &[u8]) {
    let key = CacheKey::new("k").expect("a plain key");
    let file = scratch("cache").join("k.entry");
    let entry = match read(cache, &key, bytes) {
        Some(entry) => entry,
        None => return,
    };

    let at = bytes.iter().fold(bytes.len(), |sum, b| sum.wrapping_mul(31) ^ usize::from(*b)) % bytes.len();
    let mut damaged = bytes.to_vec();
    damaged[at] ^= 1;
    assert!(read(cache, &key, &damaged).is_none(), "byte {at} may change unnoticed");
    assert!(read(cache, &key, &bytes[..at]).is_none(), "the end from {at} may go unnoticed");

    match block_on(cache.put(&key, entry.clone())) {
        Ok(()) => assert_eq!(fs::read(&file).expect("it was just written"), bytes, "an entry has two forms"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain()),
    }
}

/// Puts the bytes where the entry is kept and gets it; `None` where it is corrupt.
fn read(cache: &FileCache, key: &CacheKey, bytes: &[u8]) -> Option<leverframe::traits::CacheEntry> {
    fs::write(scratch("cache").join("k.entry"), bytes).expect("a temporary file can be written");
    match block_on(cache.get(key)) {
        Ok(entry) => Some(entry.expect("an entry that is there is not absent")),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error.chain());
            assert!(error.hint_text().is_some());
            None
        }
    }
}

/// Returns a path in a folder of this thread's own, which goes with it.
pub(crate) fn scratch(name: &str) -> PathBuf {
    thread_local! {
        static FOLDER: TempDir = TempDir::new().expect("a temporary directory");
    }
    FOLDER.with(|folder| folder.path().join(name))
}
