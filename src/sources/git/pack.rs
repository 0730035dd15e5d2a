//! Keeps what a server sent as a file, after checking that it unpacks to something of bearable size.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use flate2::{Decompress, FlushDecompress, Status};

use super::packet::too_much;
use crate::{Error, ErrorKind, Result};

/// A pack that is being received into a file.
///
/// libgit2 makes room for an object as large as the pack says it is. A few thousand bytes can say gigabytes, so
/// every object is inflated here first, into nothing, and measured.
#[derive(Debug)]
pub(super) struct PackFile {
    path: PathBuf,
    file: File,
    meter: Meter,
}

impl PackFile {
    /// Begins a file at `path`; no object may be larger than `largest` bytes.
    pub(super) fn create(path: &Path, largest: u64) -> Result<Self> {
        let file = File::create_new(path).map_err(keep_failed)?;
        Ok(Self { path: path.to_owned(), file, meter: Meter::new(largest) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.meter.measure(bytes)?;
        self.file.write_all(bytes).map_err(keep_failed)
    }

    /// Checks that nothing is missing.
    pub(super) fn finish(&mut self) -> Result<()> {
        match self.meter.state {
            State::Trailer { left: 0 } => self.file.flush().map_err(keep_failed),
            _ => Err(damaged("it ends too early")),
        }
    }
}

fn keep_failed(error: io::Error) -> Error {
    Error::from_io("keep what was fetched", error)
        .hint("check the space and the rights in `source.git.work_dir`")
}

pub(super) fn damaged(reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, "read the objects that the git server sent")
        .with("reason", reason)
        .retry(crate::Retry::Now)
}

/// Follows a pack byte by byte: header, objects of a head and deflated content, checksum.
struct Meter {
    state: State,
    /// Bytes of a head that arrived so far.
    head: Vec<u8>,
    objects_left: u32,
    largest: u64,
    /// What all objects together may still come to.
    total_left: u64,
    inflate: Decompress,
    sink: Vec<u8>,
}

enum State {
    Header,
    Head,
    Content(Object),
    Trailer { left: usize },
}

struct Object {
    size: u64,
    seen: u64,
    /// The beginning of a delta, which says how large its result is.
    delta: Option<Vec<u8>>,
}

impl Meter {
    fn new(largest: u64) -> Self {
        Self {
            state: State::Header,
            head: Vec::with_capacity(LONGEST_HEAD),
            objects_left: 0,
            largest,
            total_left: largest.saturating_mul(GROWTH),
            inflate: Decompress::new(true),
            sink: vec![0; 16 * 1024],
        }
    }

    fn measure(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Header => {
                    self.head.push(first);
                    bytes = rest;
                    if self.head.len() == HEADER {
                        self.header()?;
                    }
                }
                State::Head => {
                    self.head.push(first);
                    bytes = rest;
                    if let Some(object) = self.head()? {
                        self.inflate.reset(true);
                        self.state = State::Content(object);
                    }
                }
                State::Content(object) => {
                    let (read, done) = inflate(&mut self.inflate, bytes, object, &mut self.sink)?;
                    bytes = &bytes[read..];
                    if done {
                        let result = object.result()?;
                        self.spend(result)?;
                        self.next();
                    }
                }
                State::Trailer { left: 0 } => return Err(damaged("something follows its end")),
                State::Trailer { left } => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    bytes = &bytes[taken..];
                }
            }
        }
        Ok(())
    }

    fn header(&mut self) -> Result<()> {
        let number = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| self.head[at + i]));
        if !self.head.starts_with(b"PACK") || !matches!(number(4), 2 | 3) {
            return Err(damaged("it is not a pack"));
        }
        self.objects_left = number(8);
        if self.objects_left > MOST_OBJECTS {
            return Err(Error::new(ErrorKind::LimitExceeded, "fetch from the git server")
                .with("objects", self.objects_left)
                .with("limit", MOST_OBJECTS)
                .hint("keep flags in a repository of their own"));
        }
        self.head.clear();
        self.state = if self.objects_left == 0 { State::Trailer { left: CHECKSUM } } else { State::Head };
        Ok(())
    }

    /// Reads the head of an object, once it is all there: kind and size, and for a delta what it starts from.
    fn head(&mut self) -> Result<Option<Object>> {
        let Some(end) = self.head.iter().position(|b| b & 0x80 == 0) else {
            return if self.head.len() < LONGEST_NUMBER {
                Ok(None)
            } else {
                Err(damaged("a size is too long"))
            };
        };
        let kind = self.head[0] >> 4 & 7;
        let rest = &self.head[end + 1..];
        let whole = match kind {
            1..=4 => true,
            6 if rest.len() > LONGEST_NUMBER => return Err(damaged("an offset is too long")),
            6 => rest.last().is_some_and(|b| b & 0x80 == 0),
            7 => rest.len() == CHECKSUM,
            _ => return Err(damaged("an object is of no kind")),
        };
        if !whole {
            return Ok(None);
        }
        let high = number(&self.head[1..=end]).unwrap_or_default();
        let size = high << 4 | u64::from(self.head[0] & 15);
        self.head.clear();
        self.spend(size)?;
        Ok(Some(Object { size, seen: 0, delta: (kind > 4).then(Vec::new) }))
    }

    fn spend(&mut self, size: u64) -> Result<()> {
        if size > self.largest {
            return Err(too_much(self.largest).with("object bytes", size));
        }
        self.total_left = self.total_left.checked_sub(size).ok_or_else(|| too_much(self.largest))?;
        Ok(())
    }

    fn next(&mut self) {
        self.objects_left -= 1;
        self.state = if self.objects_left == 0 { State::Trailer { left: CHECKSUM } } else { State::Head };
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("objects_left", &self.objects_left).finish_non_exhaustive()
    }
}

impl Object {
    /// How large what a delta makes is; 0 for what is no delta and was counted by its head.
    fn result(&self) -> Result<u64> {
        if self.seen != self.size {
            return Err(damaged("an object is not of the size that it says"));
        }
        let Some(delta) = &self.delta else { return Ok(0) };
        let base = delta.iter().position(|b| b & 0x80 == 0).map(|end| &delta[end + 1..]);
        let result = base.and_then(|rest| rest.iter().position(|b| b & 0x80 == 0).map(|end| &rest[..=end]));
        result.and_then(number).ok_or_else(|| damaged("a delta has no size"))
    }
}

/// Inflates into nothing; returns how much was read, and whether that was the object's end.
fn inflate(
    with: &mut Decompress,
    bytes: &[u8],
    object: &mut Object,
    sink: &mut [u8],
) -> Result<(usize, bool)> {
    let (read, made) = (with.total_in(), with.total_out());
    let status = with
        .decompress(bytes, sink, FlushDecompress::None)
        .map_err(|_| damaged("an object is not deflated"))?;
    let (read, made) = ((with.total_in() - read) as usize, (with.total_out() - made) as usize);
    object.seen += made as u64;
    if object.seen > object.size {
        return Err(damaged("an object is larger than it says"));
    }
    if let Some(delta) = &mut object.delta {
        let missing = (2 * LONGEST_NUMBER).saturating_sub(delta.len());
        delta.extend_from_slice(&sink[..made.min(missing)]);
    }
    if status != Status::StreamEnd && read == 0 && made == 0 {
        return Err(damaged("an object does not go on"));
    }
    Ok((read, status == Status::StreamEnd))
}

/// Reads a number of seven bits a byte, the lowest first.
fn number(bytes: &[u8]) -> Option<u64> {
    bytes.iter().rev().try_fold(0_u64, |n, b| n.checked_mul(128).map(|n| n | u64::from(b & 0x7f)))
}

const HEADER: usize = 12;
/// The bytes of a SHA-1.
const CHECKSUM: usize = 20;
const LONGEST_NUMBER: usize = 9;
const LONGEST_HEAD: usize = 32;
/// A monorepo's newest commit fits; a pack that only costs time does not.
const MOST_OBJECTS: u32 = 1_000_000;
/// How many times the largest object all objects may come to: text deflates to a fifth, deltas to less.
const GROWTH: u64 = 40;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn head(kind: u8, mut size: u64) -> Vec<u8> {
        let mut head = vec![kind << 4 | (size & 15) as u8];
        size >>= 4;
        while size > 0 {
            *head.last_mut().unwrap() |= 0x80;
            head.push((size & 0x7f) as u8);
            size >>= 7;
        }
        head
    }

    fn pack(objects: &[Vec<u8>]) -> Vec<u8> {
        let mut pack = [&b"PACK"[..], &2_u32.to_be_bytes(), &(objects.len() as u32).to_be_bytes()].concat();
        objects.iter().for_each(|o| pack.extend_from_slice(o));
        pack.extend_from_slice(&[7; CHECKSUM]);
        pack
    }

    fn measured(pack: &[u8], piece: usize) -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let mut file = PackFile::create(&dir.path().join("pack"), 1_000).unwrap();
        for piece in pack.chunks(piece) {
            file.write(piece)?;
        }
        file.finish()
    }

    fn kind(pack: &[u8]) -> Option<ErrorKind> {
        measured(pack, 10).err().map(|e| e.kind())
    }

    #[test]
    fn a_whole_pack_passes_in_pieces_of_any_size() {
        let blob = [head(3, 300), deflated(&[b'x'; 300])].concat();
        let delta = [300_u64, 400].map(|n| vec![(n & 0x7f) as u8 | 0x80, (n >> 7) as u8]).concat();
        let by_offset = [head(6, 4), vec![0x81, 0x02], deflated(&delta)].concat();
        let by_name = [head(7, 4), vec![0xff; 20], deflated(&delta)].concat();
        let pack = pack(&[blob, by_offset, by_name]);

        for piece in [1, 2, 7, 10_000] {
            measured(&pack, piece).unwrap();
        }
        measured(&self::pack(&[]), 3).unwrap();
    }

    #[test]
    fn an_object_that_unpacks_too_large_is_refused_before_it_is_unpacked() {
        let bomb = [head(3, 10_000_000_000), deflated(&vec![0; 100_000])].concat();
        assert_eq!(kind(&pack(&[bomb])), Some(ErrorKind::LimitExceeded));
        let huge_result = [head(7, 6), vec![1; 20], deflated(&[5, 0xff, 0xff, 0xff, 0xff, 1])].concat();
        assert_eq!(kind(&pack(&[huge_result])), Some(ErrorKind::LimitExceeded));
        let many = vec![[head(3, 1_000), deflated(&[0; 1_000])].concat(); 41];
        assert_eq!(kind(&pack(&many)), Some(ErrorKind::LimitExceeded));
        let count = [&b"PACK"[..], &2_u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat();
        assert_eq!(kind(&count), Some(ErrorKind::LimitExceeded));
    }

    #[test]
    fn what_is_damaged_is_said_to_be() {
        let lies = [head(3, 10), deflated(&[b'x'; 300])].concat();
        let short = [head(3, 500), deflated(&[b'x'; 300])].concat();
        let raw = [head(3, 5), vec![b'x'; 100]].concat();
        let nothing = [head(5, 5), deflated(b"hello")].concat();
        for object in [lies, short, raw, nothing] {
            assert_eq!(kind(&pack(&[object])), Some(ErrorKind::Corrupt));
        }
        let good = pack(&[[head(3, 5), deflated(b"hello")].concat()]);
        assert_eq!(kind(&good[..good.len() - 1]), Some(ErrorKind::Corrupt));
        assert_eq!(kind(&[good, vec![0]].concat()), Some(ErrorKind::Corrupt));
        assert_eq!(kind(b"this is no pack at all"), Some(ErrorKind::Corrupt));
    }
}
