//! How requests travel.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use crate::{Error, ErrorKind, Result};

/// A request with the bounds its answer must keep.
///
/// Headers that may carry credentials print as `***`, and so does everything in the URI behind the path and before
/// the host.
///
/// # Examples
/// ```
/// use leverframe::traits::Request;
/// let request = Request::get("https://user:pw@example.com/flags?sig=abc".parse().unwrap())
///     .header(http::header::AUTHORIZATION, http::HeaderValue::from_static("Bearer s3cret"));
/// let shown = format!("{request:?}");
/// assert!(shown.contains("https://example.com/flags") && !shown.contains("s3cret") && !shown.contains("pw"));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The content, empty for none.
    pub body: Bytes,
    /// How long the whole exchange may take, reading the body included. Default: 30 s.
    pub deadline: Duration,
    /// How large the answer's body may be. Default: 5,000,000 bytes, a namespace's archive.
    pub body_limit: u64,
    /// How often the layers around a transport may send it in all, at most. Default: as often as their policy says.
    pub attempts: u32,
    /// Whether a `GET` follows redirects, or gets them as its answer. Default: true.
    pub redirects: bool,
}

impl Request {
    /// Makes a request with default bounds.
    #[must_use]
    pub fn new(method: Method, uri: Uri) -> Self {
        Self {
            method,
            uri,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            deadline: Duration::from_secs(30),
            body_limit: 5_000_000,
            attempts: u32::MAX,
            redirects: true,
        }
    }

    /// Makes a `GET` with default bounds.
    #[must_use]
    pub fn get(uri: Uri) -> Self {
        Self::new(Method::GET, uri)
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets how long the whole exchange may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how often the layers around a transport may send it: once, where the caller has pauses of its own.
    #[must_use]
    pub fn attempts(mut self, most: u32) -> Self {
        self.attempts = most;
        self
    }

    /// Takes a redirect for the answer instead of following it: where the answer is believed because of where it comes
    /// from.
    #[must_use]
    pub fn without_redirects(mut self) -> Self {
        self.redirects = false;
        self
    }

    /// Sets how large the answer's body may be.
    #[must_use]
    pub fn body_limit(mut self, bytes: u64) -> Self {
        self.body_limit = bytes;
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("uri", &redacted(&self.uri))
            .field("headers", &Redacted(&self.headers))
            .field("body_bytes", &self.body.len())
            .field("deadline", &self.deadline)
            .field("body_limit", &self.body_limit)
            .finish()
    }
}

/// An answer: status, headers, and a body that is read while it arrives.
#[derive(Debug)]
#[non_exhaustive]
pub struct Response {
    /// The status; every status is an answer, none is an error.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The content.
    pub body: Body,
}

impl Response {
    /// Makes an answer.
    #[must_use]
    pub fn new(status: StatusCode, headers: HeaderMap, body: Body) -> Self {
        Self { status, headers, body }
    }
}

/// Gives a body chunk by chunk.
#[async_trait]
pub trait Chunks: Send {
    /// Returns the next chunk; `None` at the end.
    ///
    /// # Errors
    /// When the connection broke, the deadline passed, or the limit was reached.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}

/// The content of an answer.
///
/// # Examples
/// ```
/// use leverframe::{live::block_on, traits::Body};
/// let body = Body::from_bytes("hello");
/// assert_eq!(block_on(body.read_all(5)).unwrap(), "hello");
/// ```
pub struct Body(Box<dyn Chunks>);

impl Body {
    /// Wraps chunks as they arrive.
    #[must_use]
    pub fn from_chunks(chunks: impl Chunks + 'static) -> Self {
        Self(Box::new(chunks))
    }

    /// Wraps content that is all there.
    #[must_use]
    pub fn from_bytes(content: impl Into<Bytes>) -> Self {
        Self::from_chunks(Whole(Some(content.into()).filter(|b| !b.is_empty())))
    }

    /// Returns the next chunk; `None` at the end.
    ///
    /// # Errors
    /// When the connection broke, the deadline passed, or the limit was reached.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        self.0.next().await
    }

    /// Reads to the end, at most `limit` bytes.
    ///
    /// # Errors
    /// `LimitExceeded` beyond the limit, and whatever reading reports.
    pub async fn read_all(mut self, limit: u64) -> Result<Bytes> {
        let mut content = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            if (content.len() + chunk.len()) as u64 > limit {
                return Err(Error::new(ErrorKind::LimitExceeded, "read the body").with("limit", limit));
            }
            content.extend_from_slice(&chunk);
        }
        Ok(content.freeze())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(…)")
    }
}

struct Whole(Option<Bytes>);

#[async_trait]
impl Chunks for Whole {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

/// Sends requests.
///
/// Retries, waiting and observation are not its business: the framework wraps them around it.
///
/// Clauses:
/// - **T1** every status is a response; only what keeps a response from coming is an error.
/// - **T2** status, headers and body arrive as the peer sent them.
/// - **T3** the deadline covers the whole exchange, reading the body included; past it the error is `Timeout`.
/// - **T4** a body larger than the request's limit ends in `LimitExceeded` while it is read, not after.
/// - **T5** no credential of the request shows in any error, `Debug` or `Display`.
/// - **T6** a peer that cannot be reached is `Unavailable`, with a retry state that allows trying again.
/// - **T7** a body that ends early is an error, never a shorter body.
/// - **T8** dropping the future or the body at any point leaves the transport usable.
/// - **T9** `close` may be called more than once; a request after it is an error of kind `Cancelled`.
/// - **T10** `name` is the word under which the transport is registered and the same on every call.
#[cfg_attr(any(test, feature = "testing"), mockall::automock)]
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Returns the registered name of the kind of transport.
    fn name(&self) -> &'static str;

    /// Sends a request and returns when the answer's headers are there.
    ///
    /// # Errors
    /// What kept a response from coming.
    async fn send(&self, request: Request) -> Result<Response>;

    /// Lets go of connections.
    ///
    /// # Errors
    /// When something could not be let go in an orderly way; the transport is closed all the same.
    async fn close(&self) -> Result<()>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    async fn send(&self, request: Request) -> Result<Response> {
        (**self).send(request).await
    }

    async fn close(&self) -> Result<()> {
        (**self).close().await
    }
}

/// Returns a URI without user-info and query, as it may enter errors and logs.
#[must_use]
pub fn redacted(uri: &Uri) -> String {
    let scheme = uri.scheme_str().map(|s| format!("{s}://")).unwrap_or_default();
    let authority = uri.authority().map_or("", |a| a.as_str().rsplit('@').next().unwrap_or_default());
    let query = if uri.query().is_some() { "?…" } else { "" };
    format!("{scheme}{authority}{}{query}", uri.path())
}

/// Prints the values of headers that are known to carry no credential.
struct Redacted<'h>(&'h HeaderMap);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PLAIN: [header::HeaderName; 7] = [
            header::ACCEPT,
            header::ACCEPT_ENCODING,
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::IF_MODIFIED_SINCE,
            header::IF_NONE_MATCH,
            header::USER_AGENT,
        ];
        f.debug_map()
            .entries(self.0.iter().map(|(name, value)| {
                let shown = if PLAIN.contains(name) { value.to_str().unwrap_or("***") } else { "***" };
                (name.as_str(), shown)
            }))
            .finish()
    }
}
