//! Text that holds secrets while it is put together.

use std::io::{self, Write};

use bytes::Bytes;
use zeroize::Zeroizing;

/// A buffer that leaves no copy of what was in it, neither when it grows nor when it goes.
#[derive(Default)]
pub(super) struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(bytes)))
    }

    pub(super) fn push(&mut self, more: &[u8]) {
        let needed = self.0.len() + more.len();
        if needed > self.0.capacity() {
            // Not by growing in place, which leaves what was there before behind.
            let mut larger = Zeroizing::new(Vec::with_capacity(needed * 2));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(more);
    }

    /// Writes a JSON string, quotes included.
    pub(super) fn string(&mut self, text: &str) {
        self.push(b"\"");
        self.escaped(text);
        self.push(b"\"");
    }

    /// Writes what stands between the quotes of a JSON string.
    pub(super) fn escaped(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c == '"' || c == '\\' || c < ' ') {
            let (plain, special) = rest.split_at(at);
            self.push(plain.as_bytes());
            let byte = special.as_bytes()[0];
            match byte {
                b'"' => self.push(b"\\\""),
                b'\\' => self.push(b"\\\\"),
                b'\n' => self.push(b"\\n"),
                other => {
                    let digits = b"0123456789abcdef";
                    let (high, low) = (digits[usize::from(other >> 4)], digits[usize::from(other & 15)]);
                    self.push(&[b'\\', b'u', b'0', b'0', high, low]);
                }
            }
            rest = &special[1..];
        }
        self.push(rest.as_bytes());
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns what was written; only text ever is.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Returns what was written, to be wiped when the last who holds it lets go.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.0)
    }
}

impl Write for Wiped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_are_written_so_that_json_reads_them_back(text in "(\\PC|[\"\\\\/\u{0}-\u{1f}]){0,30}") {
            let mut written = Wiped::default();
            written.string(&text);

            let read: String = serde_json::from_str(written.text()).unwrap();
            prop_assert_eq!(read, text);
        }
    }
}
