//! Git's framing: runs of bytes behind a length of four hexadecimal digits, and marks between them.

use bytes::{Bytes, BytesMut};

use super::wire::{Wire, cut_off, not_git};
use crate::{Error, ErrorKind, Result};

/// A run of bytes, or a mark.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Data(Bytes),
    /// Ends a message.
    Flush,
    /// Ends a section of a message.
    Delimiter,
    /// The connection, or the answer to a request, is over.
    End,
}

/// Takes packets out of what a wire brings, and counts what it brings.
#[derive(Debug)]
pub(super) struct Packets {
    buffer: BytesMut,
    received: u64,
    limit: u64,
}

impl Packets {
    /// Refuses to go on beyond `limit` bytes in all.
    pub(super) fn new(limit: u64) -> Self {
        Self { buffer: BytesMut::new(), received: 0, limit }
    }

    /// Forgets what is left of the last answer.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
    }

    pub(super) async fn next(&mut self, wire: &mut dyn Wire) -> Result<Packet> {
        if !self.fill(wire, LENGTH).await? {
            return if self.buffer.is_empty() { Ok(Packet::End) } else { Err(cut_off()) };
        }
        let digits = std::str::from_utf8(&self.buffer[..LENGTH]).ok();
        let length = digits
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|d| usize::from_str_radix(d, 16).ok())
            .ok_or_else(|| not_git("a packet's length is not hexadecimal"))?;
        match length {
            0..=2 => drop(self.buffer.split_to(LENGTH)),
            3 => return Err(not_git("a packet's length is impossible")),
            LONGEST.. => return Err(not_git("a packet is longer than packets may be")),
            _ => {
                if !self.fill(wire, length).await? {
                    return Err(cut_off());
                }
                let mut packet = self.buffer.split_to(length);
                return Ok(Packet::Data(packet.split_off(LENGTH).freeze()));
            }
        }
        Ok(match length {
            0 => Packet::Flush,
            1 => Packet::Delimiter,
            _ => Packet::End,
        })
    }

    /// Waits until `bytes` are there; false where the wire ended before.
    async fn fill(&mut self, wire: &mut dyn Wire, bytes: usize) -> Result<bool> {
        while self.buffer.len() < bytes {
            let Some(chunk) = wire.receive().await? else { return Ok(false) };
            self.received += chunk.len() as u64;
            if self.received > self.limit {
                return Err(too_much(self.limit));
            }
            self.buffer.extend_from_slice(&chunk);
        }
        Ok(true)
    }
}

/// The server brings more than is allowed.
pub(super) fn too_much(limit: u64) -> Error {
    Error::new(ErrorKind::LimitExceeded, "fetch from the git server")
        .with("limit", limit)
        .hint("raise `source.git.max_fetch_bytes`, or keep flags in a repository of their own")
}

/// Appends a packet to a request.
pub(super) fn push(request: &mut Vec<u8>, line: &str) {
    request.extend_from_slice(format!("{:04x}{line}\n", line.len() + LENGTH + 1).as_bytes());
}

pub(super) const FLUSH: &[u8] = b"0000";
pub(super) const DELIMITER: &[u8] = b"0001";

/// The digits of a length, which counts itself.
const LENGTH: usize = 4;
/// One more than the longest packet that git allows.
const LONGEST: usize = 65_521;

#[cfg(test)]
pub(super) mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::live::block_on;

    /// Brings what a server said, in pieces of a size.
    pub(in crate::sources::git) struct Said(
        pub(in crate::sources::git) Bytes,
        pub(in crate::sources::git) usize,
    );

    #[async_trait]
    impl Wire for Said {
        async fn greet(&mut self) -> Result<()> {
            Ok(())
        }

        async fn send(&mut self, _: Vec<u8>) -> Result<()> {
            Ok(())
        }

        async fn receive(&mut self) -> Result<Option<Bytes>> {
            let piece = self.0.split_to(self.0.len().min(self.1));
            Ok(Some(piece).filter(|p| !p.is_empty()))
        }

        fn may_skip_greeting(&self) -> bool {
            true
        }
    }

    fn packets(said: &'static str, piece: usize) -> Result<Vec<Packet>> {
        let mut wire = Said(said.into(), piece);
        let mut packets = Packets::new(100);
        let mut all = Vec::new();
        loop {
            match block_on(packets.next(&mut wire))? {
                Packet::End => return Ok(all),
                packet => all.push(packet),
            }
        }
    }

    #[test]
    fn packets_come_out_whole_however_the_bytes_arrive() {
        for piece in [1, 3, 100] {
            let all = packets("0009hello000000010004000ahello\n", piece).unwrap();
            let data = |text: &'static str| Packet::Data(text.into());
            assert_eq!(all, [data("hello"), Packet::Flush, Packet::Delimiter, data(""), data("hello\n")]);
        }
    }

    #[test]
    fn cut_malformed_and_endless_answers_are_errors() {
        for (said, kind) in [
            ("00", ErrorKind::Unavailable),
            ("0009hel", ErrorKind::Unavailable),
            ("0003", ErrorKind::Invalid),
            ("+009hello", ErrorKind::Invalid),
            ("<html></html>", ErrorKind::Invalid),
            ("fff1", ErrorKind::Invalid),
        ] {
            assert_eq!(packets(said, 100).unwrap_err().kind(), kind, "{said}");
        }
        let endless: &'static str = "0009hello".repeat(20).leak();
        assert_eq!(packets(endless, 7).unwrap_err().kind(), ErrorKind::LimitExceeded);
    }
}
