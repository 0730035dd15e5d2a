//! Looks for secrets in the memory of processes.

use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::BufRead,
    os::unix::fs::FileExt,
    process,
};

use zeroize::Zeroizing;

/// A secret that no binary holds, and that is nowhere in clear but where it belongs: every byte is changed in here.
pub(crate) struct Masked(Vec<u8>);

const MASK: u8 = 0xa5;
/// What stands right before and after a copy.
#[derive(Debug)]
pub(crate) struct Around {
    pub(crate) before: Vec<u8>,
    pub(crate) after: Vec<u8>,
}

/// So much of it.
const NEAR: usize = 24;
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

    /// Counts the copies in what this process may write to.
    pub(crate) fn copies(&self) -> usize {
        self.copies_in(process::id()).unwrap().len()
    }

    /// Returns the copies in what a process may write to, each as what stands around it.
    ///
    /// # Errors
    /// Where the kernel lets nobody look.
    pub(crate) fn copies_in(&self, process: u32) -> std::io::Result<Vec<Around>> {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let memory = File::open(format!("/proc/{process}/mem"))?;
        let mut copies = Vec::new();
        // Wiped, or the search in one's own memory would find what it has read.
        let mut part = Zeroizing::new(vec![0; PART]);
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let address = |hex| u64::from_str_radix(hex, 16).unwrap();
            let (mut from, to) = (address(from), address(to));
            while from < to {
                let length = PART.min((to - from) as usize);
                // Some of what is listed is gone by now, or cannot be read.
                let Ok(read) = memory.read_at(&mut part[..length], from) else { break };
                copies.extend(self.occurrences(&part[..read]));
                if read < self.0.len() {
                    break;
                }
                // What lies across two parts is in the next.
                from += (read - if from + (read as u64) < to { self.0.len() - 1 } else { 0 }) as u64;
            }
        }
        Ok(copies)
    }

    /// Finds the second half: of what was freed, the allocator has written over the beginning, which is no wiping.
    fn occurrences(&self, part: &[u8]) -> Vec<Around> {
        let (head, tail) = self.0.split_at(self.0.len() / 2);
        let first = tail[0] ^ MASK;
        let (mut found, mut rest) = (Vec::new(), part);
        // Quick also where nothing is optimised: the standard library looks for a byte, and is.
        while rest.skip_until(first).unwrap() > 0 {
            let at = part.len() - rest.len() - 1;
            let here = part.get(at..at + tail.len()).unwrap_or_default();
            if here.len() == tail.len() && here.iter().zip(tail).all(|(byte, masked)| *byte == *masked ^ MASK)
            {
                let (start, end) = (at.saturating_sub(head.len()), at + tail.len());
                found.push(Around {
                    before: part[start.saturating_sub(NEAR)..start].to_vec(),
                    after: part[end..part.len().min(end + NEAR)].to_vec(),
                });
            }
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
