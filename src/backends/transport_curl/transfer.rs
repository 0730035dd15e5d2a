//! One request as libcurl sees it: its options, and what its callbacks do.

use std::time::Duration;

use bytes::Bytes;
use curl::easy::{Easy2, Handler, HttpVersion, List, SslVersion, WriteError};
use http::{HeaderMap, Method, header};

use super::Settings;
use crate::{
    Error, ErrorKind, Result,
    backends::{
        bridge::Refused,
        http_client::{
            Via,
            exchange::{Event, Reporter},
            failure::failed,
            head::{Head, HeadParser},
            hop::Hop,
        },
    },
    traits::redacted,
};

/// Receives what libcurl reads and hands it to the future.
pub(super) struct Transfer {
    hop: Hop,
    reporter: Reporter,
    parser: HeadParser,
    /// Heads that have not been reported: the last may still be that of a proxy.
    heads: Vec<Head>,
    reported: bool,
    paused: bool,
    too_large: bool,
}

impl Transfer {
    fn new(hop: Hop, reporter: Reporter) -> Self {
        Self {
            hop,
            reporter,
            parser: HeadParser::default(),
            heads: Vec::new(),
            reported: false,
            paused: false,
            too_large: false,
        }
    }

    /// Returns true once nobody wants the answer any more.
    pub(super) fn is_unwanted(&self) -> bool {
        self.reporter.is_gone()
    }

    /// Returns true where the transfer waits and could go on.
    pub(super) fn may_resume(&self) -> bool {
        self.paused && self.reporter.has_room()
    }

    /// To be called before libcurl is told to go on: it calls back at once.
    pub(super) fn resume(&mut self) {
        self.paused = false;
    }

    /// Returns how many heads wait to be reported.
    pub(super) fn waiting_heads(&self) -> usize {
        self.heads.len()
    }

    /// Reports the last head as that of the answer.
    pub(super) fn report_head(&mut self) {
        if let Some(head) = self.heads.pop().filter(|_| !self.reported) {
            self.reported = true;
            self.report(Ok(Event::Head(head)));
        }
        self.heads.clear();
    }

    /// Reports how it ended; `code` is libcurl's, `None` for success.
    pub(super) fn finish(&mut self, settings: &Settings, failure: Option<(u32, String)>) {
        let report = match failure {
            _ if self.too_large => Err(Error::new(ErrorKind::LimitExceeded, "read the answer's head")
                .with("uri", redacted(&self.hop.uri))
                .with("reason", "it is too large")),
            Some((code, words)) => Err(failed(code, &self.hop, settings.config.proxy.expose(), Some(&words))),
            None => {
                self.report_head();
                Ok(Event::End)
            }
        };
        self.report(report);
    }

    pub(super) fn report(&self, report: Result<Event>) {
        // Where nobody listens any more, nobody needs to know.
        let _ = self.reporter.push(report);
    }
}

impl Handler for Transfer {
    fn header(&mut self, line: &[u8]) -> bool {
        match self.parser.line(line) {
            Ok(Some(head)) => self.heads.push(head),
            Ok(None) => {}
            Err(_) => self.too_large = true,
        }
        !self.too_large
    }

    fn write(&mut self, data: &[u8]) -> std::result::Result<usize, WriteError> {
        // A body follows the answer's own head and no other.
        self.report_head();
        match self.reporter.try_send(Ok(Event::Chunk(Bytes::copy_from_slice(data)))) {
            Ok(()) => Ok(data.len()),
            Err(Refused::Full) => {
                self.paused = true;
                Err(WriteError::Pause)
            }
            // Less than there was ends the transfer.
            Err(Refused::Gone | Refused::Late) => Ok(0),
        }
    }
}

/// Makes a handle of libcurl with every option of the request.
///
/// # Errors
/// Where libcurl does not take an option.
pub(super) fn configured(
    hop: Hop,
    reporter: Reporter,
    settings: &Settings,
    left: Duration,
) -> Result<Easy2<Transfer>> {
    let headers = lines(&hop.headers, hop.body.is_empty()).map_err(|name| {
        Error::new(ErrorKind::Unsupported, "send the request")
            .with("uri", redacted(&hop.uri))
            .with("header", name)
            .with("reason", "libcurl takes only headers that are UTF-8")
    })?;
    let mut easy = Easy2::new(Transfer::new(hop.clone(), reporter));
    match set(&mut easy, &hop, headers, settings, left) {
        Ok(()) => Ok(easy),
        Err(error) => {
            Err(failed(error.code(), &hop, settings.config.proxy.expose(), Some(error.description())))
        }
    }
}

fn set(
    easy: &mut Easy2<Transfer>,
    hop: &Hop,
    headers: Vec<String>,
    settings: &Settings,
    left: Duration,
) -> std::result::Result<(), curl::Error> {
    let Settings { config, trust } = settings;
    easy.url(&hop.uri.to_string())?;
    easy.path_as_is(true)?;
    easy.follow_location(false)?;
    easy.http_09_allowed(false)?;
    easy.http_version(if config.http2 { HttpVersion::V2TLS } else { HttpVersion::V11 })?;
    easy.ssl_min_max_version(SslVersion::Tlsv12, SslVersion::Default)?;
    easy.timeout(left.clamp(Duration::from_millis(1), LONGEST))?;
    easy.connect_timeout(Duration::from_millis(config.connect_timeout_ms))?;
    easy.tcp_keepalive(true)?;
    match config.via() {
        Via::Environment => {}
        Via::Nobody => easy.noproxy("*")?,
        Via::Proxy(url) => easy.proxy(url)?,
    }
    if let Some(roots) = &trust.roots {
        easy.ssl_cainfo_blob(roots)?;
        easy.proxy_ssl_cainfo_blob(roots)?;
    }
    if let Some((cert, key)) = &trust.client {
        easy.ssl_cert(cert)?;
        easy.ssl_key(key)?;
    }
    if !hop.headers.contains_key(header::USER_AGENT) {
        easy.useragent(&config.user_agent)?;
    }
    let mut list = List::new();
    for line in headers {
        list.append(&line)?;
    }
    easy.http_headers(list)?;
    method(easy, hop)
}

/// libcurl counts in milliseconds and refuses what overflows; our own deadline holds all the same.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

fn method(easy: &mut Easy2<Transfer>, hop: &Hop) -> std::result::Result<(), curl::Error> {
    let takes_a_body = matches!(hop.method, Method::POST | Method::PUT | Method::PATCH);
    if !hop.body.is_empty() || takes_a_body {
        easy.post(true)?;
        easy.post_fields_copy(&hop.body)?;
        easy.custom_request(hop.method.as_str())
    } else if hop.method == Method::HEAD {
        easy.nobody(true)
    } else if hop.method == Method::GET {
        easy.get(true)
    } else {
        easy.custom_request(hop.method.as_str())
    }
}

/// Returns header lines as libcurl reads them, or the name of one that it cannot.
fn lines(headers: &HeaderMap, no_body: bool) -> std::result::Result<Vec<String>, String> {
    let mut lines = Vec::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| name.to_string())?.trim_ascii();
        // `Name:` would take the header out; `Name;` sends it empty.
        lines.push(if text.is_empty() { format!("{name};") } else { format!("{name}: {text}") });
    }
    if !headers.contains_key(header::CONTENT_TYPE) {
        lines.push("Content-Type:".to_owned());
    }
    if !no_body {
        // Waiting for permission to send costs a second with peers that do not know of it.
        lines.push("Expect:".to_owned());
    }
    Ok(lines)
}
