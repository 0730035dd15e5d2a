//! What the error numbers of libcurl mean; the `curl` program ends with the same.

use http::{HeaderName, Uri, header};

use super::hop::Hop;
use crate::{Error, ErrorKind, Retry, traits::redacted};

/// Makes the error of a request that libcurl gave up, with the library's own words where they hold no secret.
pub(crate) fn failed(code: u32, hop: &Hop, proxy: &str, words: Option<&str>) -> Error {
    let Meaning { kind, retry, reason, hint } = meaning(code);
    let mut error = Error::new(kind, "send the request")
        .with("uri", redacted(&hop.uri))
        .with("reason", reason)
        .with("curl_code", code)
        .retry(retry);
    if let Some(hint) = hint {
        error = error.hint(hint);
    }
    // One number stands for peers that went away and for peers that cannot be talked to.
    let went_away = |words: &str| ["SYSCALL", "reset", "eof"].iter().any(|sign| words.contains(sign));
    if code == TLS_HANDSHAKE && words.is_some_and(went_away) {
        error = error.retry(Retry::Now);
    }
    match words.and_then(|words| harmless(words, hop, proxy)) {
        Some(words) => error.source(words),
        None => error,
    }
}

const TLS_HANDSHAKE: u32 = 35;

struct Meaning {
    kind: ErrorKind,
    retry: Retry,
    reason: &'static str,
    hint: Option<&'static str>,
}

fn meaning(code: u32) -> Meaning {
    use ErrorKind::{Config, Invalid, Io, LimitExceeded, Timeout, Unauthenticated, Unavailable, Unsupported};
    let again = |reason| Meaning { kind: Unavailable, retry: Retry::Now, reason, hint: None };
    let never = |kind, reason| Meaning { kind, retry: Retry::Never, reason, hint: None };
    let hinted = |meaning: Meaning, hint| Meaning { hint: Some(hint), ..meaning };
    match code {
        1 => never(Unsupported, "curl does not speak this protocol"),
        2 => hinted(
            never(Config, "curl could not start the transfer"),
            "curl must be 7.66 or newer, and `~/.curlrc` must hold no option that it does not know",
        ),
        3 => never(Invalid, "the URI is malformed"),
        4 | 48 => hinted(
            never(Unsupported, "this curl was built without something that the request needs"),
            "install a curl with TLS and HTTP/2, or choose another transport",
        ),
        5 => hinted(again("the proxy's name could not be resolved"), PROXY),
        6 => hinted(
            again("the host's name could not be resolved"),
            "check the URI's host and the name service",
        ),
        7 => again("nobody accepts connections there"),
        8 => again("the answer makes no sense"),
        16 | 92 => again("the HTTP/2 connection broke"),
        18 => again("the body ended early"),
        23 => never(Io, "curl could not hand on what it received"),
        26 => never(Io, "the body could not be read"),
        28 => Meaning { kind: Timeout, retry: Retry::Now, reason: "it took too long", hint: None },
        TLS_HANDSHAKE => hinted(
            never(Unavailable, "the TLS handshake failed"),
            "check that the peer speaks TLS on this port and needs no client certificate; set `ca_file` where its authority is a private one",
        ),
        51 | 60 => hinted(
            never(Unavailable, "the peer's certificate is not trusted"),
            "check name and dates of the certificate; set `ca_file` where its authority is a private one",
        ),
        52 => again("the peer closed the connection without an answer"),
        55 => again("sending failed"),
        56 => again("the connection broke"),
        58 => hinted(
            never(Config, "the client certificate could not be used"),
            "check `client_cert_file` and `client_key_file`: PEM files that belong together, the key not encrypted",
        ),
        59 => never(Config, "no TLS cipher can be used"),
        61 => again("the body's encoding is unknown or damaged"),
        63 => never(LimitExceeded, "the body is larger than `~/.curlrc` allows"),
        67 | 94 => never(Unauthenticated, "the log-in was refused"),
        77 | 82 | 83 => hinted(
            never(Config, "the file of certificate authorities could not be used"),
            "check `ca_file`, and `cacert` in `~/.curlrc`",
        ),
        90 | 91 => never(Unavailable, "the peer's certificate is not the one that is wanted"),
        97 => hinted(again("the proxy refused the connection"), PROXY),
        98 => hinted(
            never(Unauthenticated, "the peer asks for a client certificate"),
            "set `client_cert_file` and `client_key_file`",
        ),
        _ => again("the transfer failed"),
    }
}

const PROXY: &str = "check the `proxy` setting and the variables `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`";

/// Returns the words in one line of bounded length, `None` where they hold something secret of the request.
fn harmless(words: &str, hop: &Hop, proxy: &str) -> Option<String> {
    let words = words.trim();
    let secret = |text: &str| text.len() > 2 && words.contains(text);
    let proxy_user = proxy.rsplit_once('@').map(|(before, _)| before.rsplit('/').next().unwrap_or(before));
    let tells = hop.uri.query().is_some_and(secret)
        || proxy_user.is_some_and(|user_info| user_info.split(':').any(secret))
        || hop.headers.iter().any(|(name, value)| !PLAIN.contains(name) && value.to_str().is_ok_and(secret))
        || words.contains('@');
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    (!tells && !line.is_empty()).then_some(line)
}

/// Headers whose values may be repeated.
const PLAIN: [HeaderName; 6] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONTENT_TYPE,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::USER_AGENT,
];

/// Makes the error of a request after `close`.
pub(crate) fn closed(uri: &Uri) -> Error {
    Error::new(ErrorKind::Cancelled, "send the request")
        .with("uri", redacted(uri))
        .with("reason", "the transport is closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traits::Request;

    fn hop() -> Hop {
        Hop::first(Request::get("https://u:hunter2@example.com/a?sig=abc".parse().unwrap())).unwrap()
    }

    #[test]
    fn what_may_pass_may_be_tried_again_and_what_must_be_mended_not() {
        for (code, kind, again) in [
            (6, ErrorKind::Unavailable, true),
            (7, ErrorKind::Unavailable, true),
            (18, ErrorKind::Unavailable, true),
            (28, ErrorKind::Timeout, true),
            (60, ErrorKind::Unavailable, false),
            (58, ErrorKind::Config, false),
            (77, ErrorKind::Config, false),
        ] {
            let error = failed(code, &hop(), "", None);
            assert_eq!((error.kind(), error.retry_state().may_retry()), (kind, again), "{code}");
        }
    }

    #[test]
    fn words_that_repeat_a_secret_are_left_out() {
        let proxy = "http://me:pr0xy@proxy:3128";

        let shown = |words| failed(7, &hop(), proxy, Some(words)).chain();

        assert!(shown("Connection refused\n").ends_with(": Connection refused"));
        for words in ["bad sig=abc here", "u:p@x", "proxy wants pr0xy"] {
            assert!(!shown(words).contains(words), "{words}");
        }
    }
}
