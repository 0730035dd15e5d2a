//! Looks for secrets in the memory of processes.

use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    os::unix::fs::FileExt,
    process,
};

use zeroize::Zeroizing;

/// A secret that no binary holds, and that is nowhere in clear but where it belongs: every byte is changed in here.
pub(crate) struct Masked(Vec<u8>);

const MASK: u8 = 0xa5;
/// As much is read at a time.
const PART: usize = 1 << 20;

impl Masked {
    /// Makes one that was never there before, of 32 characters.
    pub(crate) fn new() -> Self {
        let digit = |n: usize| char::from_digit((RandomState::new().hash_one(n) % 16) as u32, 16).unwrap();
        Self((0..32).map(|n| digit(n) as u8 ^ MASK).collect())
    }

    pub(crate) fn put(&self, into: &mut Vec<u8>) {
        into.extend(self.0.iter().map(|byte| byte ^ MASK));
    }

    /// Returns where in what this process may write to there are copies.
    pub(crate) fn copies(&self) -> Vec<String> {
        self.copies_in(process::id()).unwrap()
    }

    /// Returns where in what a process may write to there are copies: one word an occurrence, for what the memory is of.
    ///
    /// # Errors
    /// Where the kernel lets nobody look.
    pub(crate) fn copies_in(&self, process: u32) -> std::io::Result<Vec<String>> {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let memory = File::open(format!("/proc/{process}/mem"))?;
        let mut copies = Vec::new();
        // Wiped, or the search in one's own memory would find what it has read.
        let mut part = Zeroizing::new(vec![0; PART]);
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (range, rest) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let address = |hex| u64::from_str_radix(hex, 16).unwrap();
            let (mut from, to) = (address(from), address(to));
            let name = rest.split_whitespace().nth(4).unwrap_or("anonymous").to_owned();
            while from < to {
                let length = PART.min((to - from) as usize);
                // Some of what is listed is gone by now, or cannot be read.
                let Ok(read) = memory.read_at(&mut part[..length], from) else { break };
                let found = self.occurrences(&part[..read]);
                copies.extend(std::iter::repeat_n(name.clone(), found));
                if read < self.0.len() {
                    break;
                }
                // What lies across two parts is in the next.
                from += (read - if from + (read as u64) < to { self.0.len() - 1 } else { 0 }) as u64;
            }
        }
        Ok(copies)
    }

    fn occurrences(&self, mut rest: &[u8]) -> usize {
        let (first, mut found) = (self.0[0] ^ MASK, 0);
        while let Some(at) = rest.iter().position(|byte| *byte == first) {
            rest = &rest[at..];
            let same = rest.iter().zip(&self.0).all(|(byte, masked)| *byte == *masked ^ MASK);
            found += usize::from(same && rest.len() >= self.0.len());
            rest = &rest[1..];
        }
        found
    }

    /// Returns the secret in clear.
    pub(crate) fn clear(&self) -> Zeroizing<String> {
        let mut bytes = Vec::with_capacity(self.0.len());
        self.put(&mut bytes);
        Zeroizing::new(String::from_utf8(bytes).unwrap())
    }
}
