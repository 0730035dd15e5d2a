//! A transport whose answers a test sets.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::{
    Error, ErrorKind, Result, Retry,
    backends::clock_system::SystemClock,
    traits::{Body, Chunks, Clock, Request, Response, Tick, Transport, redacted},
};

/// What a peer does with a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// Answers whole.
    Whole(StatusCode, HeaderMap, Bytes),
    /// Sends this much of a body and then breaks off.
    Cut(Bytes),
    /// Sends a body without end.
    Endless,
    /// Sends headers, and then nothing.
    Stalled,
    /// Sends nothing at all.
    Silent,
}

/// A transport with a script: answers by path, failures in turn.
///
/// # Examples
/// ```
/// use leverframe::{live::block_on, testing::{Answer, ScriptedTransport}, traits::{Request, Transport}};
/// use http::{HeaderMap, StatusCode};
/// let transport = ScriptedTransport::new();
/// transport.answer("/flags", Answer::Whole(StatusCode::OK, HeaderMap::new(), "hello".into()));
/// let response = block_on(transport.send(Request::get("http://peer/flags".parse().unwrap())))?;
/// assert_eq!(block_on(response.body.read_all(100))?, "hello");
/// assert_eq!(transport.requests().len(), 1);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScriptedTransport {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    answers: BTreeMap<String, Answer>,
    failures: VecDeque<ErrorKind>,
    requests: Vec<Request>,
    closed: bool,
}

impl ScriptedTransport {
    /// Makes a transport that answers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what requests for `path` get.
    pub fn answer(&self, path: impl Into<String>, answer: Answer) {
        self.lock().answers.insert(path.into(), answer);
    }

    /// Lets the next request fail with this kind, after those told to before.
    pub fn fail_next(&self, kind: ErrorKind) {
        self.lock().failures.push_back(kind);
    }

    /// Returns the requests that came so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides about a request without waiting.
    fn take(&self, request: &Request) -> Result<Answer> {
        let refuse = |kind, retry| {
            Error::new(kind, "send the request").with("uri", redacted(&request.uri)).retry(retry)
        };
        let mut shared = self.lock();
        if shared.closed {
            return Err(refuse(ErrorKind::Cancelled, Retry::Never));
        }
        shared.requests.push(request.clone());
        if let Some(kind) = shared.failures.pop_front() {
            return Err(refuse(kind, Retry::Now));
        }
        shared
            .answers
            .get(request.uri.path())
            .cloned()
            .ok_or_else(|| refuse(ErrorKind::Unavailable, Retry::Now))
    }
}

#[async_trait]
impl Transport for ScriptedTransport {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn send(&self, request: Request) -> Result<Response> {
        let deadline = SystemClock::new().now() + request.deadline;
        let (status, headers, script) = match self.take(&request)? {
            Answer::Whole(status, headers, body) => (status, headers, Script::Rest(Some(body))),
            Answer::Cut(body) => (StatusCode::OK, HeaderMap::new(), Script::Cut(Some(body))),
            Answer::Endless => (StatusCode::OK, HeaderMap::new(), Script::Endless),
            Answer::Stalled => (StatusCode::OK, HeaderMap::new(), Script::Stalled),
            Answer::Silent => {
                SystemClock::new().sleep_until(deadline).await;
                return Err(late(request.deadline));
            }
        };
        let chunks = Scripted { script, deadline, allowed: request.deadline, left: request.body_limit };
        Ok(Response::new(status, headers, Body::from_chunks(chunks)))
    }

    async fn close(&self) -> Result<()> {
        self.lock().closed = true;
        Ok(())
    }
}

struct Scripted {
    script: Script,
    deadline: Tick,
    allowed: Duration,
    left: u64,
}

enum Script {
    Rest(Option<Bytes>),
    Cut(Option<Bytes>),
    Endless,
    Stalled,
}

#[async_trait]
impl Chunks for Scripted {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let chunk = match &mut self.script {
            Script::Rest(body) => body.take().filter(|b| !b.is_empty()),
            Script::Cut(body) => match body.take().filter(|b| !b.is_empty()) {
                Some(body) => Some(body),
                None => {
                    return Err(Error::new(ErrorKind::Unavailable, "read the body")
                        .with("reason", "the peer broke off")
                        .retry(Retry::Now));
                }
            },
            Script::Endless => Some(Bytes::from_static(&[0; 4096])),
            Script::Stalled => {
                SystemClock::new().sleep_until(self.deadline).await;
                return Err(late(self.allowed));
            }
        };
        if let Some(chunk) = &chunk {
            self.left = self.left.checked_sub(chunk.len() as u64).ok_or_else(|| {
                Error::new(ErrorKind::LimitExceeded, "read the body").hint("raise the limit, or ask for less")
            })?;
        }
        Ok(chunk)
    }
}

fn late(allowed: Duration) -> Error {
    Error::new(ErrorKind::Timeout, "wait for the answer")
        .with("deadline_ms", allowed.as_millis())
        .retry(Retry::Now)
}
