//! What the sources on web servers share: credentials, validators, and what it means not to get a document.

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

use crate::{
    Error, ErrorKind, Result, Retry, UriAuth,
    document::{Document, Revision},
    encoding::base64,
    registry::BuildContext,
    traits::{Load, Transport, redacted},
};

/// Returns what a source on a web server cannot be without: where it is, and what requests travel by.
pub(super) fn place_and_transport<'c>(
    context: &'c BuildContext<'_>,
    operation: &'static str,
) -> Result<(&'c str, Arc<dyn Transport>)> {
    let uri = context
        .uri()
        .ok_or_else(|| Error::new(ErrorKind::Config, operation).hint("set `uri` of the namespace's table"))?;
    let transport = context.transport().ok_or_else(|| {
        Error::new(ErrorKind::Config, operation)
            .with("reason", "no transport was given")
            .hint("choose one with `transport.use`, or `BuildContext::with_transport`")
    })?;
    Ok((uri, Arc::clone(transport)))
}

/// Says what an answer in full is to whoever has a state already.
pub(super) fn loaded(document: Document, since: Option<&Revision>) -> Load {
    // Servers, and caches on the way, may answer in full although nothing changed.
    if since == Some(document.revision()) { Load::Unchanged } else { Load::Snapshot(document) }
}

/// Writes the header that carries credentials.
pub(crate) fn authorization(auth: &UriAuth) -> Result<HeaderValue> {
    let text = match auth {
        UriAuth::Bearer(token) => format!("Bearer {token}"),
        UriAuth::Basic { user, pass } => format!("Basic {}", base64(format!("{user}:{pass}").as_bytes())),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        Error::new(ErrorKind::Config, "send the credentials")
            .with("reason", "they hold a line break or another control character")
            .hint("strip whitespace from the end of the token or password")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a server names a state by.
pub(super) enum Validator<'h> {
    Etag(&'h str),
    Modified(&'h str),
}

const ETAG: &str = "etag:";
const MODIFIED: &str = "modified:";

impl<'h> Validator<'h> {
    pub(super) fn of(headers: &'h HeaderMap) -> Option<Self> {
        let text =
            |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).filter(|v| v.len() <= 512);
        text(header::ETAG).map(Self::Etag).or_else(|| text(header::LAST_MODIFIED).map(Self::Modified))
    }

    pub(super) fn revision(&self) -> Revision {
        Revision::new(match self {
            Self::Etag(etag) => format!("{ETAG}{etag}"),
            Self::Modified(when) => format!("{MODIFIED}{when}"),
        })
    }

    /// Returns the header that asks for anything but `revision`; `None` where the revision is a digest of ours.
    pub(super) fn condition(revision: &Revision) -> Option<(HeaderName, HeaderValue)> {
        let text = revision.as_str();
        let (name, value) = match (text.strip_prefix(ETAG), text.strip_prefix(MODIFIED)) {
            (Some(etag), _) => (header::IF_NONE_MATCH, etag),
            (_, Some(when)) => (header::IF_MODIFIED_SINCE, when),
            _ => return None,
        };
        Some((name, HeaderValue::from_str(value).ok()?))
    }
}

/// The words of one source for what a person can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// Where credentials are set.
    pub(super) credentials: &'static str,
    /// The setting of the longest exchange.
    pub(super) timeout: &'static str,
    /// What may be wrong where there is nothing.
    pub(super) nothing: &'static str,
    /// What may be wrong where the answer makes no sense.
    pub(super) odd: &'static str,
}

impl Words {
    /// Says what a person can do about a failed exchange, where the transport does not.
    pub(super) fn next_step(self, error: Error) -> Error {
        if error.hint_text().is_some() {
            return error;
        }
        let hint: Cow<'static, str> = match error.kind() {
            ErrorKind::Timeout => {
                format!("see whether the server answers; the next poll tries again, for `{}`", self.timeout)
                    .into()
            }
            ErrorKind::Unavailable => {
                "see whether the server is up and reachable; the next poll tries again".into()
            }
            ErrorKind::LimitExceeded => {
                "is it the right URI? the server sends more than a document has".into()
            }
            _ => "check the URI and the `[transport]` settings; the cause says more".into(),
        };
        error.hint(hint)
    }

    /// Says what a status other than those of a document means.
    pub(super) fn refused(self, uri: &Uri, status: StatusCode, headers: &HeaderMap) -> Error {
        let (kind, hint): (_, Cow<'static, str>) = match status {
            StatusCode::UNAUTHORIZED => (
                ErrorKind::Unauthenticated,
                format!("check the token or password: {}", self.credentials).into(),
            ),
            StatusCode::FORBIDDEN => (
                ErrorKind::PermissionDenied,
                "the server knows the caller and refuses: ask for read access".into(),
            ),
            StatusCode::NOT_FOUND | StatusCode::GONE => (ErrorKind::NotFound, self.nothing.into()),
            StatusCode::TOO_MANY_REQUESTS => {
                (ErrorKind::Unavailable, "the server limits requests: poll less often".into())
            }
            StatusCode::NOT_MODIFIED => (
                ErrorKind::Invalid,
                "nothing was said of a state to compare with: is a cache on the way broken?".into(),
            ),
            StatusCode::REQUEST_TIMEOUT => (ErrorKind::Unavailable, "the next poll tries again".into()),
            status if status.is_server_error() => {
                (ErrorKind::Unavailable, "the next poll tries again".into())
            }
            status if status.is_redirection() => (
                ErrorKind::Invalid,
                "use the URI that it redirects to, or a transport that follows it".into(),
            ),
            _ => (ErrorKind::Invalid, self.odd.into()),
        };
        let retry = match retry_after(headers) {
            _ if kind != ErrorKind::Unavailable => Retry::Never,
            Some(pause) => Retry::After(pause),
            None => Retry::Now,
        };
        Error::new(kind, "fetch the document")
            .with("uri", redacted(uri))
            .with("status", status)
            .retry(retry)
            .hint(hint)
    }
}

/// Reads `Retry-After` in seconds; dates are the retry layer's business, which knows the time.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    const LONGEST: u64 = 24 * 3_600;
    let seconds: u64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validators_come_back_as_conditions() {
        let condition = |text: &str| Validator::condition(&Revision::new(text));

        let (name, value) = condition("etag:W/\"v8\"").unwrap();
        assert_eq!((name, value.to_str().unwrap()), (header::IF_NONE_MATCH, "W/\"v8\""));
        assert_eq!(condition("modified:Sat, 21 Nov 2026 07:00:00 GMT").unwrap().0, header::IF_MODIFIED_SINCE);
        assert_eq!(condition("sha256:abc"), None);
        assert_eq!(condition("etag:a\nb"), None);
    }
}
