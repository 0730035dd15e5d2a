//! Status line and header lines, read one by one and within bounds.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// What comes before a body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl Head {
    /// Returns true where the request may be sent again with a log-in.
    pub(crate) fn asks_for_log_in(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED)
    }
}

/// Puts the lines of heads together, one head after the other.
///
/// Interim heads (1xx) are read and left out. Lines outside a head, such as trailers behind a body, are no headers.
#[derive(Debug, Default)]
pub(crate) struct HeadParser {
    open: Option<Head>,
    last: Option<HeaderName>,
    bytes: usize,
}

/// A head is larger than any that is meant well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl HeadParser {
    /// Takes a line; returns the head that it ends.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<Option<Head>, TooLarge> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(status) = status_of(line) {
            *self = Self { open: Some(Head { status, headers: HeaderMap::new() }), ..Self::default() };
            return Ok(None);
        }
        let Some(head) = &mut self.open else { return Ok(None) };
        if line.is_empty() {
            return Ok(self.open.take().filter(|head| !head.status.is_informational()));
        }
        self.bytes += line.len();
        if self.bytes > LARGEST_HEAD {
            return Err(TooLarge);
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            fold(head, self.last.as_ref(), line);
            return Ok(None);
        }
        // What is no header, such as a line that a talkative program puts in between, is left out.
        self.last = None;
        let Some(colon) = line.iter().position(|b| *b == b':') else { return Ok(None) };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            self.last = Some(name.clone());
            head.headers.try_append(name, value).map_err(|_| TooLarge)?;
        }
        Ok(None)
    }
}

/// Below what libcurl itself takes, so that the error is ours and the same everywhere.
const LARGEST_HEAD: usize = 256 * 1024;

/// Reads `HTTP/1.1 200 OK` and its like.
fn status_of(line: &[u8]) -> Option<StatusCode> {
    let rest = line.strip_prefix(b"HTTP/")?;
    let code = rest.split(|b| *b == b' ').nth(1)?;
    StatusCode::from_bytes(code).ok()
}

/// Adds a continuation line to the value before it.
fn fold(head: &mut Head, last: Option<&HeaderName>, line: &[u8]) {
    let Some(name) = last else { return };
    let Some(value) = head.headers.get_all(name).iter().next_back().cloned() else { return };
    let joined = [value.as_bytes(), line.trim_ascii()].join(&b' ');
    let Ok(joined) = HeaderValue::from_bytes(&joined) else { return };
    let mut values: Vec<HeaderValue> = head.headers.get_all(name).iter().cloned().collect();
    values.pop();
    values.push(joined);
    head.headers.remove(name);
    for value in values {
        head.headers.append(name.clone(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(text: &str) -> Vec<Head> {
        let mut parser = HeadParser::default();
        text.split_inclusive('\n').filter_map(|line| parser.line(line.as_bytes()).unwrap()).collect()
    }

    #[test]
    fn a_head_keeps_status_and_every_header() {
        let all = heads("HTTP/1.1 404 Not Found\r\nA: 1\r\nb:2\r\na: 3\r\nempty:\r\n\r\n");

        assert_eq!(all.len(), 1);
        assert_eq!(all[0].status, StatusCode::NOT_FOUND);
        assert_eq!(all[0].headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(
            (&all[0].headers["b"], &all[0].headers["empty"]),
            (&"2".parse().unwrap(), &"".parse().unwrap())
        );
    }

    #[test]
    fn interim_heads_trailers_and_chatter_are_left_out() {
        let all = heads(
            "Warning: chatter\nA: 0\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/2 200 \r\n* chatter: y\r\na: 1\r\n\r\ntrailer: z\r\n",
        );

        assert_eq!(all.len(), 1);
        assert_eq!(all[0].headers.len(), 1);
    }

    #[test]
    fn a_folded_header_is_one_value() {
        let all = heads("HTTP/1.1 200 OK\r\na: 1\r\n\t two\r\nb: 3\r\n\r\n");

        assert_eq!(all[0].headers["a"], "1 two");
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let mut parser = HeadParser::default();
        parser.line(b"HTTP/1.1 200 OK\r\n").unwrap();
        let line = format!("a: {}\r\n", "x".repeat(1_000));

        let outcome = (0..10_000).try_for_each(|_| parser.line(line.as_bytes()).map(drop));

        assert_eq!(outcome, Err(TooLarge));
    }
}
