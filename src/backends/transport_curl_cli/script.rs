//! What the program reads on its standard input: options in the form of `~/.curlrc`.
//!
//! Everything that may be secret goes this way, because arguments and environment of a process can be read by others.

use std::{ffi::OsStr, fmt, path::Path};

use http::{HeaderMap, Method, header};
use zeroize::Zeroizing;

use crate::{
    Error, ErrorKind, Result,
    backends::http_client::{HttpClientConfig, Via, hop::Hop, trust::Trust},
    traits::redacted,
};

/// Options, one a line. Wiped when dropped.
#[derive(Default)]
pub(super) struct Script(Zeroizing<Vec<u8>>);

/// Where the program finds what does not fit on its standard input.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Files<'f> {
    pub(super) roots: Option<&'f Path>,
    pub(super) body: Option<&'f Path>,
}

impl Script {
    /// Writes the options of a request that may take `left_ms`.
    ///
    /// # Errors
    /// `Invalid` for a value that no option can hold.
    pub(super) fn write(
        hop: &Hop,
        config: &HttpClientConfig,
        trust: &Trust,
        files: Files<'_>,
        left_ms: u64,
    ) -> Result<Self> {
        let mut script = Self::with_room_for(hop);
        let refuse = |_: HoldsNul| {
            Error::new(ErrorKind::Invalid, "send the request")
                .with("uri", redacted(&hop.uri))
                .with("reason", "a setting holds a NUL character")
        };
        script.fixed();
        script.connection(config, trust, files, left_ms).map_err(refuse)?;
        script.request(hop, config, files).map_err(refuse)?;
        Ok(script)
    }

    /// What grows leaves copies behind that nobody wipes.
    fn with_room_for(hop: &Hop) -> Self {
        let headers = hop.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
        let body = if is_text(&hop.body) { hop.body.len() } else { 0 };
        // Escaped, every byte may become two.
        let most = 2 * (body + headers.sum::<usize>() + hop.uri.to_string().len());
        Self(Zeroizing::new(Vec::with_capacity(most + 8 * 1024)))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What must be so whatever `~/.curlrc` says: that file is read before.
    fn fixed(&mut self) {
        for option in FIXED {
            self.line(option);
        }
    }

    fn connection(
        &mut self,
        config: &HttpClientConfig,
        trust: &Trust,
        files: Files<'_>,
        left_ms: u64,
    ) -> Result<(), HoldsNul> {
        self.seconds("max-time", left_ms);
        self.seconds("connect-timeout", config.connect_timeout_ms);
        if !config.http2 {
            self.line("http1.1");
        }
        match config.via() {
            Via::Environment => {}
            Via::Nobody => self.set("noproxy", b"*")?,
            Via::Proxy(url) => self.set("proxy", url.as_bytes())?,
        }
        if let Some(roots) = files.roots {
            self.set("cacert", roots.as_os_str().as_encoded_bytes())?;
            self.set("proxy-cacert", roots.as_os_str().as_encoded_bytes())?;
        }
        if let Some((cert, key)) = &trust.client {
            // A colon would begin the password.
            let cert = cert.as_os_str().as_encoded_bytes();
            let cert: Vec<u8> = cert
                .iter()
                .flat_map(|b| if matches!(b, b':' | b'\\') { vec![b'\\', *b] } else { vec![*b] })
                .collect();
            self.set("cert", &cert)?;
            self.set("key", key.as_os_str().as_encoded_bytes())?;
        }
        Ok(())
    }

    fn request(&mut self, hop: &Hop, config: &HttpClientConfig, files: Files<'_>) -> Result<(), HoldsNul> {
        if !hop.headers.contains_key(header::USER_AGENT) {
            self.set("user-agent", config.user_agent.as_bytes())?;
        }
        self.headers(&hop.headers)?;
        match (&hop.method, files.body) {
            (method, body) if !hop.body.is_empty() => {
                match body {
                    Some(file) => {
                        self.set("data-binary", &[b"@", file.as_os_str().as_encoded_bytes()].concat())?;
                    }
                    None => self.set("data-raw", &hop.body)?,
                }
                self.set("request", method.as_str().as_bytes())?;
                if !hop.headers.contains_key(header::CONTENT_TYPE) {
                    self.set("header", b"Content-Type:")?;
                }
                // Waiting for permission to send costs a second with peers that do not know of it.
                self.set("header", b"Expect:")?;
            }
            (&Method::GET, _) => {}
            (&Method::HEAD, _) => {
                self.line("head");
                // It shows the headers on the standard output unless told otherwise.
                self.line("no-include");
            }
            (method @ (&Method::POST | &Method::PUT | &Method::PATCH), _) => {
                // Peers want to be told that the body is empty.
                self.set("data-binary", b"")?;
                self.set("request", method.as_str().as_bytes())?;
                if !hop.headers.contains_key(header::CONTENT_TYPE) {
                    self.set("header", b"Content-Type:")?;
                }
            }
            (method, _) => self.set("request", method.as_str().as_bytes())?,
        }
        self.set("url", hop.uri.to_string().as_bytes())
    }

    fn headers(&mut self, headers: &HeaderMap) -> Result<(), HoldsNul> {
        for (name, value) in headers {
            let name = name.as_str().as_bytes();
            let value = value.as_bytes().trim_ascii();
            // `Name:` would take the header out; `Name;` sends it empty.
            let line = if value.is_empty() { [name, b";"].concat() } else { [name, b": ", value].concat() };
            self.set("header", &Zeroizing::new(line))?;
        }
        Ok(())
    }

    fn line(&mut self, option: &str) {
        self.0.extend_from_slice(option.as_bytes());
        self.0.push(b'\n');
    }

    fn seconds(&mut self, option: &str, ms: u64) {
        // Beyond three weeks libcurl's own counting overflows on some platforms; our own deadline holds all the same.
        if ms < 1_800_000_000 {
            self.line(&format!("{option} = {}.{:03}", ms / 1_000, ms % 1_000));
        }
    }

    /// Writes an option with a value that stays one whatever it holds.
    fn set(&mut self, option: &str, value: &[u8]) -> Result<(), HoldsNul> {
        self.0.extend_from_slice(option.as_bytes());
        self.0.extend_from_slice(b" = \"");
        for &byte in value {
            match byte {
                0 => return Err(HoldsNul),
                b'"' => self.0.extend_from_slice(b"\\\""),
                b'\\' => self.0.extend_from_slice(b"\\\\"),
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\r' => self.0.extend_from_slice(b"\\r"),
                b'\t' => self.0.extend_from_slice(b"\\t"),
                0x0b => self.0.extend_from_slice(b"\\v"),
                _ => self.0.push(byte),
            }
        }
        self.0.extend_from_slice(b"\"\n");
        Ok(())
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script(…)")
    }
}

/// The program reads no longer lines of options than 100 KiB, and escapes make them longer.
const LONGEST_TEXT: usize = 40 * 1024;

/// Returns true for a body that an option can hold, so that it need not go through a file.
pub(super) fn is_text(body: &[u8]) -> bool {
    body.len() <= LONGEST_TEXT && !body.contains(&0)
}

/// A value that the program's options cannot hold.
#[derive(Debug)]
struct HoldsNul;

/// Headers go to the standard error output, apart from the body: in one stream with it, trailers would become part
/// of the body.
const FIXED: [&str; 18] = [
    "silent",
    "show-error",
    "no-verbose",
    "no-buffer",
    "globoff",
    "path-as-is",
    "no-location",
    "no-fail",
    "no-insecure",
    "no-proxy-insecure",
    "no-include",
    "no-compressed",
    "retry = 0",
    // To be compared with what arrived: `output` in `~/.curlrc` sends it elsewhere.
    "write-out = \"%{stderr}leverframe-bytes %{size_download}\\n\"",
    "proto = \"=http,https\"",
    "suppress-connect-headers",
    DUMP_HEADER,
    "no-remote-name-all",
];

#[cfg(unix)]
const DUMP_HEADER: &str = "dump-header = \"/dev/stderr\"";
#[cfg(not(unix))]
const DUMP_HEADER: &str = "dump-header = \"%\"";

/// The arguments that everybody may see.
pub(super) fn arguments() -> [&'static OsStr; 2] {
    [OsStr::new("--config"), OsStr::new("-")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traits::Request;

    fn script(hop: &Hop, config: &HttpClientConfig) -> String {
        let script = Script::write(hop, config, &Trust::default(), Files::default(), 1_500).unwrap();
        String::from_utf8(script.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn quotes_backslashes_and_line_ends_stay_inside_their_value() {
        let mut script = Script::default();

        script.set("header", b"a: \"\\\n\r\t\x0b\nurl = \"file:///etc/passwd").unwrap();

        assert_eq!(
            String::from_utf8_lossy(script.as_bytes()),
            "header = \"a: \\\"\\\\\\n\\r\\t\\v\\nurl = \\\"file:///etc/passwd\"\n"
        );
        assert!(script.set("header", b"a\0b").is_err());
    }

    #[test]
    fn the_path_of_a_certificate_ends_where_it_ends() {
        let config = HttpClientConfig::default();
        let hop = Hop::first(Request::get("https://example.com/".parse().unwrap())).unwrap();
        let trust = Trust { roots: None, client: Some(("/a:b\\c".into(), "/k:e".into())) };

        let script = Script::write(&hop, &config, &trust, Files::default(), 1).unwrap();

        let text = String::from_utf8_lossy(script.as_bytes()).into_owned();
        assert!(text.contains("cert = \"/a\\\\:b\\\\\\\\c\"\nkey = \"/k:e\"\n"), "{text}");
    }

    #[test]
    fn a_request_becomes_options() {
        let request = Request::get("https://u:p@example.com/a\"?b".parse().unwrap())
            .header(header::ACCEPT, "".parse().unwrap());

        let text = script(&Hop::first(request).unwrap(), &HttpClientConfig::default());

        assert!(text.contains("max-time = 1.500\nconnect-timeout = 5.000\n"), "{text}");
        assert!(text.contains("header = \"accept;\"\n"), "{text}");
        assert!(text.contains("header = \"authorization: Basic dTpw\"\n"), "{text}");
        assert!(text.ends_with("url = \"https://example.com/a\\\"?b\"\n"), "{text}");
        assert!(!format!("{:?}", Script::default()).contains("url"));
    }
}
