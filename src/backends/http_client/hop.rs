//! One request of an exchange, and where a redirect leads from it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri::Authority};

use super::{
    head::Head,
    location::{Target, resolve},
};
use crate::{
    Error, ErrorKind, Result,
    traits::{Request, redacted},
};

/// A request to one place. The URI holds no user-info: that has become a header.
#[derive(Clone)]
pub(crate) struct Hop {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    follows: bool,
}

/// How many redirects of one request are followed.
pub(crate) const MAX_REDIRECTS: usize = 5;

impl Hop {
    /// Takes a request to `http` or `https`.
    ///
    /// # Errors
    /// `Unsupported` for another scheme, `Invalid` for credentials that no header can hold.
    pub(crate) fn first(request: Request) -> Result<Self> {
        let Request { method, uri, mut headers, body, redirects: follows, .. } = request;
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), authority) else {
            return Err(Error::new(ErrorKind::Unsupported, "send the request")
                .with("uri", redacted(&uri))
                .with("reason", "the URI is not one of HTTP")
                .hint("write a whole URI that begins with `https://` or `http://`"));
        };
        if let Some((user_info, _)) = authority.as_str().rsplit_once('@')
            && !headers.contains_key(header::AUTHORIZATION)
        {
            headers.insert(header::AUTHORIZATION, basic(user_info));
        }
        let uri = without_user_info(&uri, authority)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "send the request").with("uri", redacted(&uri)))?;
        Ok(Self { method, uri, headers, body, follows })
    }

    /// Returns the request that an answer redirects to, `None` where it redirects nowhere.
    ///
    /// Only a `GET` that was not told otherwise follows: what another method did at the first place is not known to be wanted at the second. On
    /// the way to another origin only headers that are known to hold no credential stay.
    ///
    /// # Errors
    /// `PermissionDenied` where following would leave HTTP or TLS, `Invalid` where the place makes no sense.
    pub(crate) fn redirected(&self, head: &Head) -> Result<Option<Self>> {
        if !self.follows
            || self.method != Method::GET
            || !matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308)
        {
            return Ok(None);
        }
        let Some(location) = head.headers.get(header::LOCATION) else { return Ok(None) };
        let refuse = |kind, reason| {
            Error::new(kind, "follow the redirect").with("uri", redacted(&self.uri)).with("reason", reason)
        };
        let uri = match resolve(&self.uri, location.as_bytes()) {
            Target::Http(uri) => uri,
            Target::Foreign => {
                return Err(refuse(ErrorKind::PermissionDenied, "it leads to neither `http` nor `https`"));
            }
            Target::Senseless => return Err(refuse(ErrorKind::Invalid, "it leads to no URI")),
        };
        if self.uri.scheme_str() == Some("https") && uri.scheme_str() == Some("http") {
            return Err(refuse(ErrorKind::PermissionDenied, "it leads from `https` to `http`")
                .with("to", redacted(&uri))
                .hint("have the peer redirect to `https`, or ask for the target directly"));
        }
        let mut headers = self.headers.clone();
        if !same_origin(&self.uri, &uri) {
            headers =
                HARMLESS.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect();
        }
        Ok(Some(Self { method: Method::GET, uri, headers, body: Bytes::new(), follows: true }))
    }

    /// The error of a request that was redirected too often.
    pub(crate) fn led_astray(&self) -> Error {
        Error::new(ErrorKind::LimitExceeded, "follow the redirects")
            .with("uri", redacted(&self.uri))
            .with("limit", MAX_REDIRECTS)
            .hint("ask for the place where the redirects end")
    }
}

/// Headers that hold no credential; a list of those that do would never be whole.
const HARMLESS: [HeaderName; 11] = [
    header::ACCEPT,
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::PRAGMA,
    header::RANGE,
    header::USER_AGENT,
];

fn same_origin(a: &Uri, b: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        (uri.scheme_str().map(str::to_owned), host, uri.port_u16().unwrap_or(default))
    };
    origin(a) == origin(b)
}

fn without_user_info(uri: &Uri, authority: &Authority) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let host = authority.as_str().rsplit('@').next()?;
    parts.authority = Some(host.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Makes the header of HTTP Basic from user-info as a URI writes it.
fn basic(user_info: &str) -> HeaderValue {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let mut plain = unescaped(user);
    plain.push(b':');
    plain.extend_from_slice(&unescaped(password));
    let mut value = HeaderValue::from_str(&format!("Basic {}", base64(&plain)))
        .expect("Base64 has only characters that a header may hold");
    value.set_sensitive(true);
    value
}

/// Replaces `%41` by `A`.
fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |i: usize| bytes.get(at + i).and_then(|b| char::from(*b).to_digit(16));
        match (byte, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            (0..4).map(move |i| {
                if i <= chunk.len() { char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]) } else { '=' }
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn hop(method: Method, uri: &str) -> Hop {
        let mut request = Request::new(method, uri.parse().unwrap());
        request.headers.insert(header::COOKIE, HeaderValue::from_static("c"));
        request.headers.insert("x-api-key", HeaderValue::from_static("k"));
        request.headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"1\""));
        Hop::first(request).unwrap()
    }

    fn redirect(status: u16, location: &str) -> Head {
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, location.parse().unwrap());
        Head { status: StatusCode::from_u16(status).unwrap(), headers }
    }

    #[test]
    fn user_info_becomes_a_header_and_leaves_the_uri() {
        let hop = hop(Method::GET, "https://reader:p%40ss%2Fw%25rd@example.com:8443/a?b");

        assert_eq!(hop.uri, "https://example.com:8443/a?b");
        assert_eq!(hop.headers[header::AUTHORIZATION], "Basic cmVhZGVyOnBAc3MvdyVyZA==");
    }

    #[test]
    fn base64_pads_every_length() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("\u{ff}", "w78="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn an_explicit_authorization_wins_over_user_info() {
        let request = Request::get("https://a:b@example.com/".parse().unwrap())
            .header(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"));

        assert_eq!(Hop::first(request).unwrap().headers[header::AUTHORIZATION], "Bearer t");
    }

    #[test]
    fn other_schemes_are_refused() {
        for uri in ["ftp://example.com/", "/path", "example.com:80"] {
            let error = Hop::first(Request::get(uri.parse().unwrap())).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{uri}");
        }
    }

    #[test]
    fn credentials_stay_on_the_same_origin_only() {
        let hop = hop(Method::GET, "https://u:p@example.com/a");

        for same in ["/b", "https://example.com:443/b", "https://EXAMPLE.com/b"] {
            let next = hop.redirected(&redirect(302, same)).unwrap().unwrap();
            assert_eq!(next.headers, hop.headers, "{same}");
        }
        for other in ["https://example.com:444/b", "https://example.org/b", "//www.example.com/b"] {
            let next = hop.redirected(&redirect(302, other)).unwrap().unwrap();
            let left: Vec<&str> = next.headers.keys().map(HeaderName::as_str).collect();
            assert_eq!(left, ["if-none-match"], "{other}");
        }
    }

    #[test]
    fn tls_and_http_are_not_left() {
        let hop = hop(Method::GET, "https://example.com/a");

        for place in ["http://example.com/a", "file:///etc/passwd", "ftp://example.com/"] {
            let error = hop.redirected(&redirect(301, place)).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{place}");
        }
        assert!(hop.redirected(&redirect(304, "/b")).unwrap().is_none());
    }

    #[test]
    fn only_a_get_follows() {
        for (method, follows) in [(Method::GET, true), (Method::HEAD, false), (Method::POST, false)] {
            for status in [301, 302, 303, 307, 308] {
                let next = hop(method.clone(), "https://example.com/a").redirected(&redirect(status, "/b"));
                assert_eq!(next.unwrap().is_some(), follows, "{method} {status}");
            }
        }
    }
}
