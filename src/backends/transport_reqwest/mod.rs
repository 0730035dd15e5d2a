//! Sends requests from this process, over reqwest and rustls.
//!
//! The default transport. Choose it unless `~/.curlrc` or libcurl's TLS is wanted. HTTP/1.1 and HTTP/2, TLS 1.2 and
//! 1.3 with the platform's certificate authorities and those of `ca_file`, client certificates, proxies, gzip.
//! It does not do HTTP/3, cookies, or revocation lists, and verification cannot be switched off.
//!
//! A `GET` follows up to five redirects. Where one leads to another origin, only headers that cannot be a credential
//! go along; none leads from `https` to `http`. Bodies are counted as they are after decompression.
//!
//! Requests run on one thread of the transport's own, started by the first of them, so that the callers may be in
//! any async runtime or in none.

mod client;
mod exchange;
mod failure;
mod worker;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use self::{
    exchange::{Head, Piece},
    worker::{Task, Worker},
};
use super::{
    clock_system::SystemClock,
    deadline::{late, unless_due},
    http_client::HttpClientConfig,
};
use crate::{
    Error, ErrorKind, Result, register_transport,
    registry::{BuildContext, Plugin},
    traits::{Body, BoxFuture, Chunks, Clock, Request, Response, Transport, redacted},
};

/// The name under which the transport is registered.
pub const NAME: &str = "reqwest";

/// Sends requests from this process; see the [module](self).
///
/// # Examples
/// ```
/// use leverframe::{ErrorKind, live::block_on, traits::{Request, Transport}};
/// use leverframe::backends::{http_client::HttpClientConfig, transport_reqwest::ReqwestTransport};
/// let mut config = HttpClientConfig::default();
/// config.connect_timeout_ms = 2_000;
/// let transport = ReqwestTransport::open(&config)?;
/// let request = Request::get("http://127.0.0.1:1/flags".parse().unwrap()); // nobody listens there
/// let answer = block_on(async { transport.send(request).await?.body.read_all(5_000_000).await });
/// assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
/// # Ok::<(), leverframe::Error>(())
/// ```
pub struct ReqwestTransport {
    client: reqwest::Client,
    worker: Arc<Worker>,
    clock: Arc<dyn Clock>,
}

impl ReqwestTransport {
    /// Reads the certificates that the settings name and makes the transport; connects to nobody.
    ///
    /// # Errors
    /// `Config` where a file cannot be read or holds no certificate or key, or the proxy's URL is none.
    pub fn open(config: &HttpClientConfig) -> Result<Self> {
        Self::open_with_clock(config, Arc::new(SystemClock::new()))
    }

    /// Like [`open`](Self::open); deadlines are measured by `clock`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_clock(config: &HttpClientConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self { client: client::build(config)?, worker: Arc::new(Worker::new()), clock })
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, request: Request) -> Result<Response> {
        let uri = redacted(&request.uri);
        let (allowed, left) = (request.deadline, request.body_limit);
        let mut due = self.clock.sleep_until(self.clock.now() + allowed);
        let (sender, receiver) = oneshot::channel();
        // The task ends when this future or the body that takes it over is dropped.
        let task = self.worker.spawn(exchange::run(self.client.clone(), request, sender), &uri)?;
        let Some(outcome) = unless_due(&mut due, receiver).await else {
            return Err(late("wait for the answer", &uri, allowed));
        };
        // The sender vanishes without a word where the worker was closed.
        let Head { status, headers, pieces } = outcome.map_err(|_| worker::cancelled(&uri))??;
        let chunks = Pieces { pieces, due, allowed, left, uri, state: State::Reading(task) };
        Ok(Response::new(status, headers, Body::from_chunks(chunks)))
    }

    async fn close(&self) -> Result<()> {
        self.worker.close();
        Ok(())
    }
}

impl fmt::Debug for ReqwestTransport {
    /// Prints no settings: the proxy's URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestTransport").finish_non_exhaustive()
    }
}

/// A body that arrives on the worker's thread.
struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    due: BoxFuture<'static, ()>,
    allowed: Duration,
    /// How much of the limit is left.
    left: u64,
    uri: String,
    state: State,
}

enum State {
    /// Dropping the task ends it.
    Reading(#[expect(dead_code, reason = "held for its drop")] Task),
    Ended,
    Failed,
}

#[async_trait]
impl Chunks for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.state {
            State::Reading(_) => {}
            State::Ended => return Ok(None),
            // A body that failed once must not look as if it had ended.
            State::Failed => {
                return Err(Error::new(ErrorKind::Unavailable, "read the body")
                    .with("uri", &self.uri)
                    .with("reason", "reading it failed before"));
            }
        }
        let outcome = self.read().await;
        match &outcome {
            Ok(Some(_)) => {}
            Ok(None) => self.state = State::Ended,
            Err(_) => self.state = State::Failed,
        }
        outcome
    }
}

impl Pieces {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        let Some(piece) = unless_due(&mut self.due, self.pieces.recv()).await else {
            return Err(late("read the body", &self.uri, self.allowed));
        };
        let chunk = match piece {
            Some(Piece::Chunk(chunk)) => chunk,
            Some(Piece::End) => return Ok(None),
            Some(Piece::Failed(error)) => return Err(error),
            // Neither an end nor a failure: the worker was closed.
            None => return Err(worker::cancelled(&self.uri)),
        };
        let Some(left) = self.left.checked_sub(chunk.len() as u64) else {
            return Err(Error::new(ErrorKind::LimitExceeded, "read the body")
                .with("uri", &self.uri)
                .hint("the answer is larger than the request allows; raise the limit, or ask for less"));
        };
        self.left = left;
        Ok(Some(chunk))
    }
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(ReqwestTransport::open_with_clock(&context.settings()?, Arc::clone(context.clock()))?))
}

/// How the transport is registered.
pub const PLUGIN: Plugin<dyn Transport> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("Requests from this process, over rustls; HTTP/1.1 and HTTP/2")
    .with_example(include_str!("example.toml"))
    .with_fields(HttpClientConfig::FIELDS);
register_transport!(PLUGIN);
