//! One exchange, as it runs on the worker's thread: redirects, then the body piece by piece.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use reqwest::{Client, Url};
use tokio::sync::{mpsc, oneshot};

use super::failure;
use crate::{
    Error, ErrorKind, Result,
    traits::{Request, redacted},
};

/// The most redirects that one request follows.
const REDIRECTS: usize = 5;

/// How many pieces wait to be read before the peer is made to wait.
const WAITING: usize = 2;

/// The beginning of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) pieces: mpsc::Receiver<Piece>,
}

/// A part of a body. The end is one as well: a channel that just closes is a task that was ended.
#[derive(Debug)]
pub(super) enum Piece {
    Chunk(Bytes),
    End,
    Failed(Error),
}

/// Runs an exchange; ends as soon as nobody listens.
pub(super) async fn run(client: Client, request: Request, head: oneshot::Sender<Result<Head>>) {
    match follow(&client, request).await {
        Ok(mut response) => {
            let (sender, pieces) = mpsc::channel(WAITING);
            let status = response.status();
            let headers = std::mem::take(response.headers_mut());
            if head.send(Ok(Head { status, headers, pieces })).is_ok() {
                pass_on(response, sender).await;
            }
        }
        // Nobody listens any more: then nobody misses the error.
        Err(error) => drop(head.send(Err(error))),
    }
}

async fn pass_on(mut response: reqwest::Response, sender: mpsc::Sender<Piece>) {
    loop {
        let piece = match response.chunk().await {
            Ok(Some(chunk)) => Piece::Chunk(chunk),
            Ok(None) => Piece::End,
            Err(error) => Piece::Failed(failure::while_reading(error, &shown(response.url()))),
        };
        let last = !matches!(piece, Piece::Chunk(_));
        if sender.send(piece).await.is_err() || last {
            return;
        }
    }
}

/// Sends the request, and where it is a `GET`, those that redirects ask for.
async fn follow(client: &Client, request: Request) -> Result<reqwest::Response> {
    let mut url = start(&request.uri)?;
    let first = client
        .request(request.method.clone(), url.clone())
        .headers(request.headers)
        .body(request.body)
        .build()
        .map_err(|e| failure::while_sending(e, &shown(&url)))?;
    // User-info has become a header by now, and left the URL.
    url = first.url().clone();
    let mut headers = first.headers().clone();
    let mut next = first;
    for _ in 0..=REDIRECTS {
        let response = client.execute(next).await.map_err(|e| failure::while_sending(e, &shown(&url)))?;
        if !request.redirects {
            return Ok(response);
        }
        let Some(target) = redirect(&request.method, &response)? else { return Ok(response) };
        if !same_origin(&url, &target) {
            headers = headers.into_iter().filter_map(harmless).collect();
        }
        url = target;
        next = reqwest::Request::new(Method::GET, url.clone());
        *next.headers_mut() = headers.clone();
    }
    Err(Error::new(ErrorKind::LimitExceeded, "follow the redirects")
        .with("uri", redacted(&request.uri))
        .with("limit", REDIRECTS)
        .hint("the peer sends the request in circles; ask for the final address directly"))
}

fn start(uri: &Uri) -> Result<Url> {
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(Error::new(ErrorKind::Unsupported, "send the request")
            .with("uri", redacted(uri))
            .hint("this transport speaks `http` and `https`"));
    }
    // The cause is left out: the URI may hold a password.
    Url::parse(&uri.to_string())
        .map_err(|_| Error::new(ErrorKind::Invalid, "read the request's URI").with("uri", redacted(uri)))
}

/// Returns where the answer sends the request on to; `None` where it is the answer.
fn redirect(method: &Method, response: &reqwest::Response) -> Result<Option<Url>> {
    if method != Method::GET || !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(header::LOCATION) else { return Ok(None) };
    let from = response.url();
    let refuse = |kind, reason: &str| {
        Error::new(kind, "follow the redirect").with("from", shown(from)).with("reason", reason)
    };
    let mut target = location
        .to_str()
        .ok()
        .and_then(|location| from.join(location).ok())
        .ok_or_else(|| refuse(ErrorKind::Invalid, "it leads to no URI"))?;
    match (from.scheme(), target.scheme()) {
        ("http", "http" | "https") | ("https", "https") => {}
        ("https", "http") => {
            return Err(refuse(ErrorKind::PermissionDenied, "it leads from `https` to `http`")
                .with("to", shown(&target))
                .hint("have the peer redirect to `https`, or ask for the target directly"));
        }
        _ => return Err(refuse(ErrorKind::PermissionDenied, "it leads to neither `http` nor `https`")),
    }
    // Credentials come from the caller, not from a peer. Both fail for URLs without a host only, which these are not.
    let _ = target.set_username("");
    let _ = target.set_password(None);
    Ok(Some(target))
}

fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Keeps a header that cannot be a credential. Everything else may be one: tokens travel under many names.
fn harmless(
    (name, value): (Option<HeaderName>, http::HeaderValue),
) -> Option<(HeaderName, http::HeaderValue)> {
    const KEPT: [HeaderName; 9] = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::ACCEPT_LANGUAGE,
        header::CACHE_CONTROL,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::RANGE,
        header::IF_RANGE,
        header::USER_AGENT,
    ];
    name.filter(|name| KEPT.contains(name)).map(|name| (name, value))
}

/// Returns a URL as it may enter errors.
fn shown(url: &Url) -> String {
    url.as_str().parse().map_or_else(|_| url.scheme().to_owned(), |uri: Uri| redacted(&uri))
}
