//! Bytes become events.

use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// One event.
///
/// # Examples
/// ```
/// use leverframe::sse::{Decoder, Limits};
/// let mut events = Vec::new();
/// Decoder::new(Limits::default()).decode(b"event: version\nid: 8\ndata: {\ndata: }\n\n", &mut events)?;
/// assert_eq!((events[0].name.as_str(), events[0].data.as_str(), events[0].id.as_str()), ("version", "{\n}", "8"));
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// What it is called; `message` where the stream does not say.
    pub name: String,
    /// Its lines, joined by line feeds.
    pub data: String,
    /// The last id that the stream gave, with this event or before it; empty for none.
    pub id: String,
}

/// How much a decoder holds at most.
///
/// # Examples
/// ```
/// let limits = leverframe::sse::Limits { line: 1_000, ..Default::default() };
/// assert_eq!(limits.event, 1 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two bounds that callers name")]
pub struct Limits {
    /// Bytes of a line, its end left out.
    pub line: usize,
    /// Bytes of an event's data, the line feeds between its lines included.
    pub event: usize,
}

impl Default for Limits {
    /// Returns a mebibyte for each: sixteen times what the contract puts into one event.
    fn default() -> Self {
        Self { line: 1 << 20, event: 1 << 20 }
    }
}

/// Decodes one stream.
///
/// Lines end in CR, LF or CRLF. A byte-order mark at the beginning is skipped, invalid UTF-8 is replaced, comments and
/// unknown fields are dropped, and so is an event that the end of the stream cuts off.
///
/// # Examples
/// ```
/// use leverframe::sse::{Decoder, Limits};
/// let mut decoder = Decoder::new(Limits::default());
/// let mut events = Vec::new();
/// for chunk in [&b"data: a\r"[..], b"\n\r", b"\nretry: 1000\n: still here\n"] {
///     decoder.decode(chunk, &mut events)?;
/// }
/// assert_eq!(events.len(), 1);
/// assert_eq!(decoder.retry(), Some(std::time::Duration::from_secs(1)));
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// How much of the byte-order mark was seen; `None` once the beginning is past.
    mark: Option<usize>,
    /// Whether the last byte was a CR, whose LF may follow.
    after_cr: bool,
    /// The part of a line that came with earlier chunks.
    line: Vec<u8>,
    name: String,
    data: String,
    /// Whether a `data` field came: an event with one empty line of data is an event.
    has_data: bool,
    id: String,
    retry: Option<Duration>,
    failed: bool,
}

const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

impl Decoder {
    /// Makes a decoder for a stream that has not begun.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            mark: Some(0),
            after_cr: false,
            line: Vec::new(),
            name: String::new(),
            data: String::new(),
            has_data: false,
            id: String::new(),
            retry: None,
            failed: false,
        }
    }

    /// Takes the next bytes, and adds the events that they complete to `events`.
    ///
    /// # Errors
    /// `LimitExceeded` for a line or an event beyond its bound; the decoder takes nothing more then.
    pub fn decode(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<()> {
        if self.failed {
            return Err(Error::new(ErrorKind::Invalid, "read on in an event stream that was given up"));
        }
        while let (Some(seen), [first, rest @ ..]) = (self.mark, bytes) {
            if *first == MARK[seen] {
                bytes = rest;
                self.mark = Some(seen + 1).filter(|seen| *seen < MARK.len());
            } else {
                // No mark after all: what looked like one is the beginning of the first line.
                self.line.extend_from_slice(&MARK[..seen]);
                self.mark = None;
            }
        }
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|b| matches!(b, b'\r' | b'\n'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() > self.limits.line {
                return Err(self.over("bytes in a line", self.limits.line));
            }
            let Some(end) = end else {
                self.line.extend_from_slice(part);
                return Ok(());
            };
            self.after_cr = bytes[end] == b'\r';
            if self.line.is_empty() {
                self.take_line(part, events)?;
            } else {
                self.line.extend_from_slice(part);
                let mut line = std::mem::take(&mut self.line);
                self.take_line(&line, events)?;
                line.clear();
                self.line = line;
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// Returns the last id that the stream gave; empty for none.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.id
    }

    /// Returns how long the stream asks to wait before it is opened again.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn take_line(&mut self, line: &[u8], events: &mut Vec<Event>) -> Result<()> {
        if line.is_empty() {
            self.dispatch(events);
            return Ok(());
        }
        let colon = line.iter().position(|b| *b == b':');
        let (field, value) = match colon {
            // A comment.
            Some(0) => return Ok(()),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                let value = String::from_utf8_lossy(value);
                if self.data.len() + value.len() + usize::from(self.has_data) > self.limits.event {
                    return Err(self.over("bytes in an event", self.limits.event));
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(&value);
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => self.id = String::from_utf8_lossy(value).into_owned(),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // Digits beyond what fits mean "for ever", which the user of the figure bounds.
                let text = String::from_utf8_lossy(value);
                self.retry = Some(Duration::from_millis(text.parse().unwrap_or(u64::MAX)));
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) {
        let name = std::mem::take(&mut self.name);
        if !std::mem::take(&mut self.has_data) {
            return;
        }
        let name = if name.is_empty() { "message".to_owned() } else { name };
        events.push(Event { name, data: std::mem::take(&mut self.data), id: self.id.clone() });
    }

    fn over(&mut self, what: &'static str, limit: usize) -> Error {
        self.failed = true;
        (self.line, self.data) = (Vec::new(), String::new());
        Error::new(ErrorKind::LimitExceeded, "read an event stream").with("limit", limit).with("of", what)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(chunks: &[&[u8]]) -> Vec<(String, String, String)> {
        let mut events = Vec::new();
        let mut decoder = Decoder::new(Limits::default());
        for chunk in chunks {
            decoder.decode(chunk, &mut events).unwrap();
        }
        events.into_iter().map(|e| (e.name, e.data, e.id)).collect()
    }

    fn event(name: &str, data: &str, id: &str) -> (String, String, String) {
        (name.to_owned(), data.to_owned(), id.to_owned())
    }

    #[test]
    fn the_examples_of_the_standard() {
        assert_eq!(decoded(&[b"data: YHOO\ndata: +2\ndata: 10\n\n"]), [event("message", "YHOO\n+2\n10", "")]);
        assert_eq!(
            decoded(&[
                b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"
            ]),
            [event("message", "first event", "1"), event("message", "second event", "")]
        );
        assert_eq!(
            decoded(&[b"data\n\ndata\ndata\n\ndata:"]),
            [event("message", "", ""), event("message", "\n", "")]
        );
        assert_eq!(
            decoded(&[b"data:test\n\ndata: test\n\n"]),
            [event("message", "test", ""), event("message", "test", "")]
        );
    }

    #[test]
    fn an_id_outlives_an_event_without_data_and_a_name_does_not() {
        assert_eq!(decoded(&[b"event: a\nid: 7\n\ndata: x\n\n"]), [event("message", "x", "7")]);
        assert_eq!(decoded(&[b"id: 7\n\nid: 8\0\ndata: x\n\n"]), [event("message", "x", "7")]);
    }

    #[test]
    fn a_mark_is_skipped_once_however_it_is_cut() {
        assert_eq!(decoded(&[b"\xef", b"\xbb", b"\xbfdata: x\n\n"]), [event("message", "x", "")]);
        assert_eq!(decoded(&[b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n"]), []);
        assert_eq!(decoded(&[b"\xef\xbb", b"data: x\n\n"]), []);
    }

    #[test]
    fn a_retry_of_anything_but_digits_is_left_alone() {
        let mut decoder = Decoder::new(Limits::default());
        for (line, millis) in [
            (&b"retry: 1500\n"[..], 1_500),
            (b"retry: 1s\n", 1_500),
            (b"retry: -5\n", 1_500),
            (b"retry:\n", 1_500),
            (b"retry: 99999999999999999999999\n", u64::MAX),
        ] {
            decoder.decode(line, &mut Vec::new()).unwrap();
            assert_eq!(decoder.retry(), Some(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn a_line_and_an_event_beyond_their_bounds_end_the_stream() {
        let limits = Limits { line: 10, event: 12 };
        for (chunks, fits) in [
            (&[&b"data:12345"[..], b"\n\n"][..], true),
            (&[b"data:12345", b"6\n\n"], false),
            (&[b"data:12345", b"6"], false),
            (&[b":234567890"], true),
            (&[b":2345678901"], false),
            (&[b"data:12345\ndata:67890\ndata\n"], true),
            (&[b"data:12345\ndata:67890\ndata:1\n"], false),
            (&[b"data:12345\ndata:67890\n\ndata:12345\ndata:67890\n\n"], true),
        ] {
            let mut decoder = Decoder::new(limits);
            let outcome = chunks.iter().try_for_each(|chunk| decoder.decode(chunk, &mut Vec::new()));
            assert_eq!(outcome.is_ok(), fits, "{chunks:?}");
            if let Err(error) = outcome {
                assert_eq!(error.kind(), ErrorKind::LimitExceeded);
                assert!(decoder.decode(b"\n", &mut Vec::new()).is_err());
            }
        }
    }

    /// The standard word by word, over the whole stream at once.
    fn naive(stream: &[u8]) -> Vec<(String, String, String)> {
        let stream = stream.strip_prefix(&MARK).unwrap_or(stream);
        let text = String::from_utf8_lossy(stream).replace("\r\n", "\n").replace('\r', "\n");
        let mut lines: Vec<&str> = text.split('\n').collect();
        // The last has no end.
        lines.pop();
        let (mut events, mut name, mut data, mut id) = (Vec::new(), "", String::new(), "");
        for line in lines {
            if line.is_empty() {
                if let Some(data) = data.strip_suffix('\n') {
                    events.push(event(if name.is_empty() { "message" } else { name }, data, id));
                }
                (name, data) = ("", String::new());
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = value,
                "data" => data = data + value + "\n",
                "id" if !value.contains('\0') => id = value,
                _ => {}
            }
        }
        events
    }

    fn streams() -> impl Strategy<Value = Vec<u8>> {
        const PIECES: [&[u8]; 15] = [
            b"data",
            b"event",
            b"id",
            b"retry",
            b":",
            b" ",
            b"\r",
            b"\n",
            b"\r\n",
            b"x",
            b"\0",
            b"\xef\xbb\xbf",
            b"\xff",
            b"\xe2\x82",
            "\u{20ac}".as_bytes(),
        ];
        let piece = prop::sample::select(&PIECES[..]);
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_cut_gives_what_the_standard_says(stream in streams(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();

            prop_assert_eq!(decoded(&chunks), naive(&stream));
        }
    }
}
