//! Requests to a server, and what its refusals mean.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;

use super::{ServerConfig, ServerPlace};
use crate::{
    Error, ErrorKind, Result, UriAuth,
    sources::web::{Words, authorization},
    traits::{Request, Response, Transport, redacted},
};

pub(super) const WORDS: Words = Words {
    credentials: "`api_token` in code, `source.server.api_token` in the configuration",
    timeout: "source.server.timeout_ms",
    nothing: "check tenant and namespace, and that something was uploaded: `leverframe manifest push`",
    odd: "is it the base URL of a server, without `/api/v1`?",
};

/// More than any error body of the contract has.
const ERROR_LIMIT: u64 = 16 * 1024;

/// A namespace of a server, asked by a transport with a token.
pub(super) struct Api {
    pub(super) place: ServerPlace,
    authorization: Option<HeaderValue>,
    pub(super) transport: Arc<dyn Transport>,
    timeout: Duration,
    max_bytes: u64,
}

impl Api {
    pub(super) fn new(
        config: &ServerConfig,
        place: ServerPlace,
        auth: Option<&UriAuth>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self> {
        let configured = Some(config.api_token.expose()).filter(|token| !token.is_empty());
        let configured = configured.map(|token| UriAuth::Bearer(token.to_owned()));
        let authorization = auth.or(configured.as_ref()).map(authorization).transpose()?;
        let timeout = Duration::from_millis(config.timeout_ms);
        Ok(Self { place, authorization, transport, timeout, max_bytes: config.max_bytes })
    }

    /// Asks for something without a token.
    pub(super) fn plain(&self, uri: Uri) -> Request {
        Request::get(uri).deadline(self.timeout).body_limit(self.max_bytes)
    }

    /// Asks for something with the token.
    pub(super) fn authorized(&self, uri: Uri) -> Request {
        let request = self.plain(uri);
        match &self.authorization {
            Some(authorization) => request.header(header::AUTHORIZATION, authorization.clone()),
            None => request,
        }
    }

    /// Asks for the manifest, unless it is the one that `etag` names.
    pub(super) async fn manifest(&self, etag: Option<HeaderValue>) -> Result<Response> {
        let mut request = self.authorized(self.place.of_namespace("manifest")?);
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        self.send(request).await
    }

    pub(super) async fn send(&self, request: Request) -> Result<Response> {
        self.transport.send(request).await.map_err(|error| WORDS.next_step(error))
    }

    /// Reads an archive.
    pub(super) async fn read(&self, uri: &Uri, response: Response) -> Result<Bytes> {
        response.body.read_all(self.max_bytes).await.map_err(|error| match error.kind() {
            ErrorKind::LimitExceeded => Error::new(ErrorKind::LimitExceeded, "read the manifest")
                .with("uri", redacted(uri))
                .with("limit", self.max_bytes)
                .hint("a namespace's archive has at most 5,000,000 bytes; is it the right URL?"),
            _ => WORDS.next_step(error),
        })
    }
}

/// A refusal, with the code that the server gave.
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) status: StatusCode,
}

impl Refusal {
    /// Reads what the server says about an answer that is no document.
    pub(super) async fn read(uri: &Uri, response: Response) -> Self {
        let Response { status, headers, body, .. } = response;
        // Without the body the status still says what matters.
        let said = body.read_all(ERROR_LIMIT).await.unwrap_or_default();
        let error = WORDS.refused(uri, status, &headers);
        let error = code_of(&headers, &said).into_iter().fold(error, |error, code| error.with("code", code));
        Self { error, status }
    }
}

#[derive(Deserialize)]
struct Envelope {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    code: String,
}

/// Returns the code of an error envelope. The message stays out: it is text from outside.
fn code_of(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    if !kind.starts_with("application/json") {
        return None;
    }
    let code = serde_json::from_slice::<Envelope>(body).ok()?.error.code;
    let plain = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    plain.then_some(code)
}
