//! The framing of tar: headers, contents, padding, end mark.
//!
//! Reads what common programs write (ustar, GNU and the oldest headers, names in headers of their own) and refuses
//! what they do not agree on, because an archive that two readers take differently is a trap. Knows nothing of what a
//! namespace may hold.

use std::{
    io::{self, Read, Write},
    ops::Range,
};

#[cfg(test)]
mod oracle;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Device,
    Directory,
    File,
    /// Says something of all entries that follow.
    GlobalHeader,
    /// Says something of the entry that follows.
    Header,
    Link,
    /// Names the entry that follows.
    LongName,
    Other,
}

/// The header of an entry.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes of its content. Not to be trusted.
    pub(super) size: u64,
    pub(super) path: Vec<u8>,
}

/// The entries of a tar, one after the other.
#[derive(Debug)]
pub(super) struct Entries<R> {
    inner: R,
    /// Bytes of the current entry that were not read yet: of its content, and behind it.
    content: u64,
    padding: u64,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, content: 0, padding: 0 }
    }

    /// Passes over what is left of the current entry, and returns the next one, or `None` at the end mark.
    pub(super) fn advance(&mut self) -> io::Result<Option<Header>> {
        let rest = self.content.checked_add(self.padding).ok_or_else(|| damaged("the size of an entry"))?;
        if io::copy(&mut self.inner.by_ref().take(rest), &mut io::sink())? < rest {
            return Err(cut("an entry is cut short"));
        }
        let mut block = [0; BLOCK];
        let mut read = 0;
        while read < BLOCK {
            match self.inner.read(&mut block[read..]) {
                // A tar that was cut between two entries looks whole but for its end mark.
                Ok(0) if read == 0 => return Err(cut("the tar has no end mark")),
                Ok(0) => return Err(cut("a header is cut short")),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        (self.content, self.padding) = (0, 0);
        if block == [0; BLOCK] {
            return Ok(None);
        }
        let header = Header::parse(&block)?;
        self.content = header.size;
        self.padding = padding_of(header.size);
        Ok(Some(header))
    }

    /// Reads the whole content of the current entry, which the caller found to be small enough.
    pub(super) fn content(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::with_capacity(usize::try_from(self.content).map_err(io::Error::other)?);
        let read = self.inner.by_ref().take(self.content).read_to_end(&mut content)?;
        self.content -= read as u64;
        if self.content > 0 { Err(cut("a content is cut short")) } else { Ok(content) }
    }

    /// Reads what stands behind the end mark, which is more of it, so that damage there is noticed.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * BLOCK];
        let mut zeros = BLOCK;
        loop {
            let read = match self.inner.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let last = buffer[..read].iter().rev().take(BLOCK).take_while(|byte| **byte == 0).count();
            zeros = if last == read { zeros.saturating_add(last) } else { last };
        }
        if zeros < BLOCK { Err(cut("the tar has no end mark")) } else { Ok(()) }
    }
}

impl Header {
    fn parse(block: &[u8; BLOCK]) -> io::Result<Self> {
        let sum = octal(&block[CHECKSUM]).ok_or_else(|| damaged("the checksum of a header"))?;
        if sum != unsigned_sum(block) && i64::try_from(sum).ok() != Some(signed_sum(block)) {
            return Err(damaged("a header does not fit its checksum"));
        }
        let size = number(&block[SIZE]).ok_or_else(|| damaged("the size of an entry"))?;
        let ustar = block[MAGIC] == *USTAR;
        let gnu = block[MAGIC] == *GNU;
        let kind = match block[TYPE] {
            0 | b'0' => Kind::File,
            b'1' | b'2' | b'K' => Kind::Link,
            b'3' | b'4' | b'6' => Kind::Device,
            b'5' => Kind::Directory,
            // Programs that know no such headers take them for files.
            b'L' | b'x' | b'g' if !ustar && !gnu => Kind::Other,
            b'L' => Kind::LongName,
            b'x' => Kind::Header,
            b'g' => Kind::GlobalHeader,
            _ => Kind::Other,
        };
        let mut path = Vec::new();
        // Elsewhere, times stand in the place of the prefix.
        if ustar && block[PREFIX.start] != 0 {
            path.extend_from_slice(until_zero(&block[PREFIX]));
            path.push(b'/');
        }
        path.extend_from_slice(until_zero(&block[NAME]));
        Ok(Self { kind, size, path })
    }
}

/// Splits the content of an extension header into keys and values.
pub(super) fn records(mut content: &[u8]) -> io::Result<Vec<(&[u8], &[u8])>> {
    let bad = || damaged("an extension header");
    let mut records = Vec::new();
    while !content.is_empty() {
        let space = content.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let (digits, _) = content.split_at(space);
        if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(bad());
        }
        let length = digits.iter().fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
        let (record, rest) = content.split_at_checked(length).ok_or_else(bad)?;
        let pair = record.get(space + 1..).and_then(|pair| pair.strip_suffix(b"\n")).ok_or_else(bad)?;
        // Some readers go by lines instead of lengths.
        if pair.contains(&b'\n') {
            return Err(bad());
        }
        let equals = pair.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        records.push((&pair[..equals], &pair[equals + 1..]));
        content = rest;
    }
    Ok(records)
}

/// Writes a file under a relative path with at most one folder, always with the same bytes.
pub(super) fn write_file(out: &mut impl Write, path: &str, content: &[u8]) -> io::Result<()> {
    if path.contains('\0') {
        return Err(damaged("a path with a zero byte"));
    }
    let mut header = blank(USTAR, content.len() as u64, b'0');
    if path.len() <= NAME.len() {
        put(&mut header[NAME], path);
        return write_entry(out, header, content);
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    // The folder goes to the prefix, and stays there even if the name does not fit nevertheless: archives of equal
    // trees are equal across versions, and those of the first one have it.
    put(&mut header[PREFIX], folder);
    if !folder.is_empty() && name.len() <= NAME.len() {
        put(&mut header[NAME], name);
    } else {
        write_long_name(out, path)?;
        let whole = (0..=NAME.len()).rfind(|end| path.is_char_boundary(*end)).unwrap_or(0);
        put(&mut header[NAME], &path[..whole]);
    }
    write_entry(out, header, content)
}

/// Writes the end mark.
pub(super) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn write_long_name(out: &mut impl Write, path: &str) -> io::Result<()> {
    let content = [path.as_bytes(), b"\0"].concat();
    let mut header = blank(GNU, content.len() as u64, b'L');
    header[NAME][..LONG_NAME.len()].copy_from_slice(LONG_NAME);
    header[OWNER].copy_from_slice(b"0000000\0");
    header[GROUP].copy_from_slice(b"0000000\0");
    write_entry(out, header, &content)
}

fn write_entry(out: &mut impl Write, mut header: [u8; BLOCK], content: &[u8]) -> io::Result<()> {
    let sum = unsigned_sum(&header);
    write_octal(&mut header[CHECKSUM], sum);
    out.write_all(&header)?;
    out.write_all(content)?;
    out.write_all(&[0; BLOCK][..BLOCK - 1 - (content.len() + BLOCK - 1) % BLOCK])
}

fn blank(magic: &[u8; 8], size: u64, kind: u8) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    header[MAGIC].copy_from_slice(magic);
    write_octal(&mut header[MODE], 0o644);
    write_octal(&mut header[SIZE], size);
    write_octal(&mut header[TIME], 0);
    header[TYPE] = kind;
    header
}

/// Fills a field with octal digits and a zero byte. Sizes of what is packed are far smaller than a field takes.
fn write_octal(field: &mut [u8], value: u64) {
    let mut rest = value;
    let digits = field.len() - 1;
    for digit in field[..digits].iter_mut().rev() {
        *digit = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    field[digits] = 0;
}

fn number(field: &[u8]) -> Option<u64> {
    // Sizes of eight gibibytes and more are written in binary. What does not fit into 64 bits is no size.
    match field.split_at_checked(field.len() - 8) {
        Some(([0x80, high @ ..], low)) if high.iter().all(|byte| *byte == 0) => {
            low.try_into().ok().map(u64::from_be_bytes)
        }
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits = until_zero(field).trim_ascii();
    if digits.is_empty() || digits.len() > 21 || !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| value << 3 | u64::from(digit - b'0')))
}

/// The sum of a header's bytes, those of the sum itself taken for spaces.
fn unsigned_sum(block: &[u8; BLOCK]) -> u64 {
    let all: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = block[CHECKSUM].iter().map(|byte| u64::from(*byte)).sum();
    all - own + 8 * u64::from(b' ')
}

/// The same as some old programs count it, for whom bytes have a sign.
fn signed_sum(block: &[u8; BLOCK]) -> i64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(byte.cast_signed())).sum::<i64>();
    sum(block) - sum(&block[CHECKSUM]) + 8 * i64::from(b' ')
}

fn padding_of(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

fn put(field: &mut [u8], text: &str) {
    field[..text.len()].copy_from_slice(text.as_bytes());
}

fn cut(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A tar is made of blocks of this many bytes, and ends with blocks of zeros.
pub(super) const BLOCK: usize = 512;

// Where the fields of a header stand.
const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const OWNER: Range<usize> = 108..116;
const GROUP: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const TIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
/// With the version behind it.
const MAGIC: Range<usize> = 257..265;
const PREFIX: Range<usize> = 345..500;

const USTAR: &[u8; 8] = b"ustar\x0000";
const GNU: &[u8; 8] = b"ustar  \0";

/// What GNU tar calls the entry that holds a long name.
const LONG_NAME: &[u8] = b"././@LongLink";
