//! Decompresses a body as it arrives.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

/// Turns compressed chunks into plain ones; a stream that ends early or is damaged is an error.
#[derive(Debug)]
pub(super) struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    pending: Bytes,
    fed: bool,
}

impl Gunzip {
    pub(super) fn new() -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), pending: Bytes::new(), fed: false }
    }

    /// Gives it the next chunk; the one before must have been used up by [`next`](Self::next).
    pub(super) fn feed(&mut self, chunk: Bytes) {
        self.fed |= !chunk.is_empty();
        self.pending = chunk;
    }

    /// Returns the next plain chunk, or `None` where more must be fed.
    pub(super) fn next(&mut self) -> io::Result<Option<Bytes>> {
        while !self.pending.is_empty() {
            let piece = self.pending.split_to(self.pending.len().min(PIECE));
            self.decoder.write_all(&piece)?;
            if self.decoder.get_ref().len() >= ENOUGH {
                break;
            }
        }
        if self.pending.is_empty() && self.decoder.header().is_some() {
            // A peer that flushes expects that what it sent can be read.
            self.decoder.flush()?;
        }
        let plain = std::mem::take(self.decoder.get_mut());
        Ok((!plain.is_empty()).then(|| plain.into()))
    }

    /// Checks that the stream ended where it should; a body that is empty was never compressed.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.fed { self.decoder.try_finish() } else { Ok(()) }
    }
}

/// Small, as a byte can become a thousand and the limit is only looked at between pieces.
const PIECE: usize = 256;
/// When a plain chunk is handed on although more could follow.
const ENOUGH: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn gunzip(compressed: &[u8], chunk: usize) -> io::Result<Vec<u8>> {
        let mut gunzip = Gunzip::new();
        let mut plain = Vec::new();
        for chunk in compressed.chunks(chunk) {
            gunzip.feed(Bytes::copy_from_slice(chunk));
            while let Some(piece) = gunzip.next()? {
                plain.extend_from_slice(&piece);
            }
        }
        gunzip.finish()?;
        Ok(plain)
    }

    #[test]
    fn chunks_of_every_size_come_out_whole() {
        let plain: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let both = [gzip(&plain), gzip(b"second member")].concat();

        for size in [1, 7, 1_000, 1_000_000] {
            let out = gunzip(&both, size).unwrap();
            assert_eq!(out, [&plain[..], b"second member"].concat(), "chunks of {size}");
        }
        assert_eq!(gunzip(b"", 1).unwrap(), b"");
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error_wherever_it_ends() {
        let whole = gzip(b"hello, hello, hello");

        for end in 1..whole.len() {
            assert!(gunzip(&whole[..end], 3).is_err(), "cut at {end}");
        }
        assert!(gunzip(b"not compressed", 4).is_err());
    }

    #[test]
    fn a_bomb_comes_out_in_bounded_chunks() {
        let mut gunzip = Gunzip::new();
        gunzip.feed(gzip(&vec![0; 50_000_000]).into());

        let first = gunzip.next().unwrap().unwrap();

        assert!(first.len() < 400_000, "{}", first.len());
    }

    #[test]
    fn flushed_content_can_be_read_before_the_stream_ends() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(b"event").unwrap();
        encoder.flush().unwrap();
        let mut gunzip = Gunzip::new();

        gunzip.feed(encoder.get_ref().clone().into());

        assert_eq!(gunzip.next().unwrap().unwrap(), "event");
    }
}
