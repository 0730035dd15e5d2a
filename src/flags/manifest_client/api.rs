//! What a server is asked through.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};
use serde_json::Value;

use super::{
    ManifestError, answer,
    request::{DEADLINE, authorization, with_json},
};
use crate::{
    Error, ErrorKind, HttpBackend, Secret,
    backends::clock_system::SystemClock,
    encoding::percent_encoded,
    sources::server::api_uri,
    traits::{Request, Transport},
    wiring::Wiring,
};

/// Asks a server for anything that its API has, as JSON: what `leverframe gate` is made of.
///
/// Paths are relative to `/api/v1`. Reading is tried again when the server is away for a moment; writing is not, since
/// nobody knows how far it came.
///
/// # Examples
/// ```no_run
/// use leverframe::ServerApi;
/// use serde_json::json;
///
/// # async fn shed(token: String) -> Result<(), Box<dyn std::error::Error>> {
/// let api = ServerApi::new("https://flags.example.com", token);
/// api.patch("gate/acme", &json!({ "tag_max_weights": { "free": 10 } })).await?;
/// let status = api.get("gate/acme").await?;
/// println!("{}", status["sites"][0]["policy"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServerApi {
    base: String,
    token: Secret,
    backend: Option<HttpBackend>,
    /// Made by the first request.
    transport: OnceLock<Arc<dyn Transport>>,
}

impl ServerApi {
    /// Makes a client of the server at `base`, such as `https://flags.example.com`, that shows `token`.
    #[must_use]
    pub fn new(base: impl Into<String>, token: impl Into<String>) -> Self {
        Self { base: base.into(), token: Secret::new(token), backend: None, transport: OnceLock::new() }
    }

    /// Chooses the transport [default: [`HttpBackend::from_env_or_default`]].
    #[must_use]
    pub fn with_http_backend(self, backend: HttpBackend) -> Self {
        Self { backend: Some(backend), transport: OnceLock::new(), ..self }
    }

    /// Uses this transport instead of one of the built-in kinds.
    #[must_use]
    pub fn with_transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { transport: OnceLock::from(transport), ..self }
    }

    /// Reads what is at a path, such as `gate/acme`.
    ///
    /// # Errors
    /// `Server` where the server refuses, `Malformed` where the answer is no JSON, `Transport` where none came.
    pub async fn get(&self, path: &str) -> Result<Value, ManifestError> {
        self.ask(Method::GET, path, None).await
    }

    /// Creates something.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ManifestError> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Changes something.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, ManifestError> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// Removes something.
    ///
    /// # Errors
    /// As of [`get`](Self::get).
    pub async fn delete(&self, path: &str) -> Result<(), ManifestError> {
        let request = self.request(Method::DELETE, api_uri(&self.base, path))?;
        self.exchange(request, JSON_LIMIT).await?;
        Ok(())
    }

    /// Reads a list part by part, to its end or until it has `most` entries; they stand under `key` in each part.
    ///
    /// # Errors
    /// As of [`get`](Self::get); `Malformed` for a part that has no entries and is not the last.
    pub async fn list(&self, path: &str, key: &str, most: usize) -> Result<Vec<Value>, ManifestError> {
        let mut entries = Vec::new();
        let mut cursor = String::new();
        while entries.len() < most {
            let limit = (most - entries.len()).min(PAGE);
            let mut part = self.get(&format!("{path}?limit={limit}{cursor}")).await?;
            let Value::Array(mut more) = part[key].take() else {
                return Err(answer::malformed(format!("no list of `{key}`")));
            };
            let nothing = more.is_empty();
            entries.append(&mut more);
            let Some(next) = part["next_cursor"].as_str() else { break };
            if nothing || next.len() > CURSOR_LIMIT {
                return Err(answer::malformed("a cursor that leads nowhere"));
            }
            cursor = format!("&cursor={}", percent_encoded(next));
        }
        entries.truncate(most);
        Ok(entries)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ManifestError> {
        let request = self.request(method, api_uri(&self.base, path))?;
        let request = body.into_iter().fold(request, with_json);
        let (_, body) = self.exchange(request, JSON_LIMIT).await?;
        answer::json(&body)
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Makes a request that shows the token.
    pub(super) fn request(&self, method: Method, uri: crate::Result<Uri>) -> Result<Request, ManifestError> {
        let authorization = authorization(&self.token).map_err(ManifestError::Invalid)?;
        Ok(Request::new(method, uri.map_err(ManifestError::Invalid)?)
            .header(header::AUTHORIZATION, authorization)
            .deadline(DEADLINE))
    }

    /// Sends a request and reads what comes back, at most `limit` bytes.
    pub(super) async fn exchange(
        &self,
        request: Request,
        limit: u64,
    ) -> Result<(HeaderMap, Bytes), ManifestError> {
        let transport = self.transport()?;
        let request = request.body_limit(limit.max(REFUSAL_LIMIT));
        let response = transport.send(request).await.map_err(unreachable)?;
        if response.status.is_success() {
            let body = response.body.read_all(limit).await.map_err(unreachable)?;
            return Ok((response.headers, body));
        }
        // What the status says counts also where the words do not come through.
        let body = response.body.read_all(REFUSAL_LIMIT).await.unwrap_or_default();
        Err(answer::refusal(response.status, &response.headers, &body, &self.token))
    }

    fn transport(&self) -> Result<Arc<dyn Transport>, ManifestError> {
        if let Some(transport) = self.transport.get() {
            return Ok(Arc::clone(transport));
        }
        let make = || {
            let wiring = Wiring::of_process(Arc::new(SystemClock::new()))?;
            self.backend.into_iter().try_fold(wiring, Wiring::with_backend)?.transport()
        };
        let made = make().map_err(ManifestError::Transport)?;
        Ok(Arc::clone(self.transport.get_or_init(|| made)))
    }
}

impl fmt::Debug for ServerApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerApi")
            .field("base", &crate::secret::without_credentials(&self.base))
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// Entries of a page that a server gives at most (S1).
pub(super) const PAGE: usize = 500;
pub(super) const CURSOR_LIMIT: usize = 4_096;
/// A page of versions has 150 kB; findings for each of 10,000 flags have more.
pub(super) const JSON_LIMIT: u64 = 8 * 1024 * 1024;
/// Refusals hold findings, too.
const REFUSAL_LIMIT: u64 = JSON_LIMIT;

fn unreachable(error: Error) -> ManifestError {
    let hint = match error.kind() {
        _ if error.hint_text().is_some() => return ManifestError::Transport(error),
        ErrorKind::LimitExceeded => "is it the right address? the server sends more than it should have",
        _ => "see whether the server is up, and whether the address is right",
    };
    ManifestError::Transport(error.hint(hint))
}
