//! The bytes of a kept entry, for every cache that keeps bytes: a fixed head, the revision, the content, and a digest
//! over all of it.
//!
//! ```text
//! magic 7 · version 1 · stored_at ms 8 · revision length 4 (u32::MAX: none) · content length 8 · revision · content · SHA-256 32
//! ```
//! Numbers are little-endian. [`decode`] gives back what [`encode`] was given or an error of kind `Corrupt`, whatever
//! bytes it is shown, also those that a newer version of this library wrote.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Result, document::Revision, traits::CacheEntry};

const MAGIC: &[u8; 7] = b"LVFCACH";
const VERSION: u8 = b'1';
const HEAD: usize = 28;
const DIGEST: usize = 32;
const NO_REVISION: u32 = u32::MAX;

/// The longest revision that is kept, in bytes: it is an ETag, a commit or a digest.
pub const LONGEST_REVISION: usize = 64 * 1024;

/// The most bytes that an entry takes beyond those of its content.
pub const OVERHEAD: u64 = (HEAD + DIGEST + LONGEST_REVISION) as u64;

/// Returns the bytes that keep an entry.
///
/// # Errors
/// `LimitExceeded` for a revision beyond [`LONGEST_REVISION`].
///
/// # Examples
/// ```
/// use leverframe::{backends::cache_entry::{decode, encode}, traits::CacheEntry};
/// let entry = CacheEntry::new("content", std::time::SystemTime::UNIX_EPOCH);
/// assert_eq!(decode(&encode(&entry)?)?, entry);
/// # Ok::<(), leverframe::Error>(())
/// ```
pub fn encode(entry: &CacheEntry) -> Result<Vec<u8>> {
    let revision = entry.revision().map(|r| r.as_str().as_bytes());
    if revision.is_some_and(|r| r.len() > LONGEST_REVISION) {
        return Err(Error::new(ErrorKind::LimitExceeded, "put a cache entry")
            .with("limit", format!("{LONGEST_REVISION} bytes of revision")));
    }
    let millis = entry.stored_at().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let mut bytes =
        Vec::with_capacity(HEAD + revision.map_or(0, <[u8]>::len) + entry.content().len() + DIGEST);
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(&millis.to_le_bytes());
    bytes.extend_from_slice(&revision.map_or(NO_REVISION, |r| r.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(entry.content().len() as u64).to_le_bytes());
    bytes.extend_from_slice(revision.unwrap_or_default());
    bytes.extend_from_slice(entry.content());
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    Ok(bytes)
}

/// Reads an entry from the bytes that keep it.
///
/// # Errors
/// `Corrupt` for anything that [`encode`] did not write; the reason stands in the context.
///
/// # Examples
/// ```
/// use leverframe::{ErrorKind, backends::cache_entry::decode};
/// assert_eq!(decode(b"something else").unwrap_err().kind(), ErrorKind::Corrupt);
/// ```
pub fn decode(bytes: &[u8]) -> Result<CacheEntry> {
    read(bytes).map_err(corrupt)
}

/// Makes the error about an entry that cannot be trusted, for reasons that the bytes alone do not show.
#[must_use]
pub fn corrupt(reason: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "read a cache entry")
        .with("reason", reason)
        .hint("remove the entry; it is written again after the next successful load")
}

/// The error says what is wrong with the entry.
fn read(bytes: &[u8]) -> Result<CacheEntry, &'static str> {
    // Before the digest: another version may keep it elsewhere.
    let (magic, rest) = bytes.split_first_chunk().ok_or("it is too short")?;
    let version = rest.first().ok_or("it is too short")?;
    if magic != MAGIC {
        return Err("it is of another format");
    }
    if *version != VERSION {
        return Err("it is of another version of the format, as a newer release of this library may write");
    }
    let (signed, digest) = bytes.split_last_chunk::<DIGEST>().ok_or("it is too short")?;
    if Sha256::digest(signed).as_slice() != digest {
        return Err("its digest does not match");
    }
    let (_, head) = Cut(signed).take::<8>()?;
    let (millis, head) = head.take::<8>()?;
    let (revision_length, head) = head.take::<4>()?;
    let (content_length, Cut(rest)) = head.take::<8>()?;
    let revision_length = u32::from_le_bytes(revision_length);
    let (revision, content) = match revision_length {
        NO_REVISION => (None, rest),
        length => {
            let (revision, content) =
                rest.split_at_checked(length as usize).ok_or("its lengths do not match")?;
            (Some(std::str::from_utf8(revision).map_err(|_| "its revision is not UTF-8")?), content)
        }
    };
    if content.len() as u64 != u64::from_le_bytes(content_length) {
        return Err("its lengths do not match");
    }
    let stored_at = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(u64::from_le_bytes(millis)))
        .ok_or("its time is out of range")?;
    let entry = CacheEntry::new(Bytes::copy_from_slice(content), stored_at);
    Ok(match revision {
        Some(revision) => entry.with_revision(Revision::new(revision)),
        None => entry,
    })
}

/// What is left to read.
struct Cut<'b>(&'b [u8]);

impl<'b> Cut<'b> {
    fn take<const N: usize>(self) -> Result<([u8; N], Self), &'static str> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or("it is too short")?;
        Ok((*taken, Self(rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> CacheEntry {
        CacheEntry::new("content", UNIX_EPOCH + Duration::from_millis(1_700_000_000_123))
            .with_revision(Revision::new("v8"))
    }

    #[test]
    fn entries_read_back() {
        let bare = CacheEntry::new("", UNIX_EPOCH);

        assert_eq!(decode(&encode(&entry()).unwrap()).unwrap(), entry());
        assert_eq!(decode(&encode(&bare).unwrap()).unwrap(), bare);
    }

    #[test]
    fn damage_at_any_byte_and_truncation_at_any_length_are_noticed() {
        let whole = encode(&entry()).unwrap();

        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&whole[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn another_version_is_told_from_damage_and_is_corrupt_all_the_same() {
        let mut newer = encode(&entry()).unwrap();
        newer[7] = b'2';

        let error = decode(&newer).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("newer release"), "{error}");
    }

    #[test]
    fn a_revision_beyond_the_limit_is_not_kept() {
        let entry =
            CacheEntry::new("", UNIX_EPOCH).with_revision(Revision::new("r".repeat(LONGEST_REVISION + 1)));

        assert_eq!(encode(&entry).unwrap_err().kind(), ErrorKind::LimitExceeded);
    }
}
