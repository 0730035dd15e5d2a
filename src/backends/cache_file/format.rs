//! The bytes of an entry: a fixed head, the revision, the content, and a digest over all of it.
//!
//! ```text
//! magic 8 · stored_at ms 8 · revision length 4 (u32::MAX: none) · content length 8 · revision · content · SHA-256 32
//! ```
//! Numbers are little-endian.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{document::Revision, traits::CacheEntry};

const MAGIC: &[u8; 8] = b"LVFCACH1";
const HEAD: usize = 28;
const DIGEST: usize = 32;
const NO_REVISION: u32 = u32::MAX;
/// A revision is an ETag, a commit or a digest.
const LONGEST_REVISION: usize = 64 * 1024;

/// The most that an entry's file is larger than its content.
pub(super) const OVERHEAD: u64 = (HEAD + DIGEST + LONGEST_REVISION) as u64;

pub(super) fn encode(entry: &CacheEntry) -> Vec<u8> {
    let revision = entry.revision().map(|r| r.as_str().as_bytes()).filter(|r| r.len() <= LONGEST_REVISION);
    let millis = entry.stored_at().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let mut bytes =
        Vec::with_capacity(HEAD + revision.map_or(0, <[u8]>::len) + entry.content().len() + DIGEST);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&millis.to_le_bytes());
    bytes.extend_from_slice(&revision.map_or(NO_REVISION, |r| r.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(entry.content().len() as u64).to_le_bytes());
    bytes.extend_from_slice(revision.unwrap_or_default());
    bytes.extend_from_slice(entry.content());
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    bytes
}

/// Reads an entry; the error says what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<CacheEntry, &'static str> {
    let (signed, digest) = bytes.split_last_chunk::<DIGEST>().ok_or("it is too short")?;
    if Sha256::digest(signed).as_slice() != digest {
        return Err("its digest does not match");
    }
    let head = Cut(signed);
    let (magic, head) = head.take::<8>()?;
    if &magic != MAGIC {
        return Err("it is of another format");
    }
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

        assert_eq!(decode(&encode(&entry())), Ok(entry()));
        assert_eq!(decode(&encode(&bare)), Ok(bare));
    }

    #[test]
    fn damage_at_any_byte_and_truncation_at_any_length_are_noticed() {
        let whole = encode(&entry());

        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&whole[..at]).is_err(), "length {at}");
        }
    }
}
