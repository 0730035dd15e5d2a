//! The connection: opened, read, lost, and opened again after a pause.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::{Decoder, Event, Limits};
use crate::{
    Error, ErrorKind, Result, Retry,
    backoff::Backoff,
    traits::{Body, BoxFuture, Clock, Request},
};

/// The pauses before the stream is opened again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// However long a server asks to be left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// How long a server may take to answer.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// A stream has no deadline; this is what transports that need a figure get.
const FAR_AWAY: Duration = Duration::from_secs(366 * 86_400);

/// Asks for a stream, given the position of what was applied last; the answer's head is in order once it is ready.
pub(crate) type Opener = Box<dyn Fn(Option<HeaderValue>) -> BoxFuture<'static, Result<Body>> + Send + Sync>;

/// One connection after another to one server.
pub(crate) struct Link {
    open: Opener,
    /// The stream's URI, as errors show it.
    place: String,
    /// A connection that is silent for longer is dead, whatever the network says.
    silence: Duration,
    clock: Arc<dyn Clock>,
    backoff: Backoff,
    /// What the stream's `retry` field asked for.
    asked: Duration,
    phase: Phase,
}

enum Phase {
    Resting(BoxFuture<'static, ()>),
    Connecting {
        answer: BoxFuture<'static, Result<Body>>,
        due: BoxFuture<'static, ()>,
    },
    Reading {
        chunk: BoxFuture<'static, (Body, Result<Option<Bytes>>)>,
        silence: BoxFuture<'static, ()>,
        decoder: Decoder,
    },
    Closed,
}

/// What happened to the connection.
#[derive(Debug)]
pub(crate) enum Happening {
    Opened,
    /// Events came, perhaps none: bytes came.
    Told(Vec<Event>),
    /// An open connection ended.
    Dropped(Error),
    /// No connection came about.
    NotOpened(Error),
}

impl Link {
    /// Prepares a connection, which counts as dead once it was silent for `silence`: three heartbeats or so.
    pub(crate) fn new(open: Opener, place: String, silence: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            open,
            place,
            silence,
            clock,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            asked: Duration::ZERO,
            // Ready at once: the first connection waits for nothing but somebody who asks.
            phase: Phase::Resting(Box::pin(std::future::ready(()))),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Reading { .. })
    }

    /// Forgets the failures: what the stream told of was applied.
    pub(crate) fn works(&mut self) {
        self.backoff.reset();
    }

    /// Lets go of the connection and opens another after a pause.
    pub(crate) fn reopen(&mut self) {
        if !matches!(self.phase, Phase::Closed) {
            self.rest(Duration::ZERO);
        }
    }

    pub(crate) fn close(&mut self) {
        self.phase = Phase::Closed;
    }

    /// Goes on until something happens. `position` is what a new connection says it has applied.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        position: impl FnOnce() -> Option<HeaderValue>,
    ) -> Poll<Happening> {
        if let Phase::Resting(pause) = &mut self.phase {
            let Poll::Ready(()) = pause.as_mut().poll(cx) else { return Poll::Pending };
            self.phase = Phase::Connecting {
                answer: (self.open)(position()),
                due: self.clock.sleep_until(self.clock.now() + HEAD_WITHIN),
            };
        }
        match &mut self.phase {
            Phase::Connecting { answer, due } => {
                let outcome = match answer.as_mut().poll(cx) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => {
                        let Poll::Ready(()) = due.as_mut().poll(cx) else { return Poll::Pending };
                        Err(late("wait for the event stream", &self.place, HEAD_WITHIN))
                    }
                };
                Poll::Ready(match outcome {
                    Ok(body) => {
                        self.phase = self.reading(body, Decoder::new(Limits::default()));
                        Happening::Opened
                    }
                    Err(error) => Happening::NotOpened(self.lost(error)),
                })
            }
            Phase::Reading { chunk, silence, decoder } => {
                let Poll::Ready((body, outcome)) = chunk.as_mut().poll(cx) else {
                    let Poll::Ready(()) = silence.as_mut().poll(cx) else { return Poll::Pending };
                    let error = late("read the event stream", &self.place, self.silence);
                    return Poll::Ready(Happening::Dropped(self.lost(error)));
                };
                let decoder = std::mem::replace(decoder, Decoder::new(Limits::default()));
                Poll::Ready(self.read(decoder, body, outcome))
            }
            Phase::Resting(_) | Phase::Closed => Poll::Pending,
        }
    }

    /// Takes what came over the open connection.
    fn read(&mut self, mut decoder: Decoder, body: Body, outcome: Result<Option<Bytes>>) -> Happening {
        let mut events = Vec::new();
        let outcome = match outcome {
            Ok(Some(bytes)) => decoder.decode(&bytes, &mut events),
            Ok(None) => Err(Error::new(ErrorKind::Unavailable, "read the event stream")
                .with("uri", &self.place)
                .with("reason", "the server ended it")
                .retry(Retry::Now)),
            Err(error) => Err(error),
        };
        self.asked = decoder.retry().unwrap_or(self.asked).min(LONGEST_PAUSE);
        match outcome {
            Ok(()) => {
                self.phase = self.reading(body, decoder);
                Happening::Told(events)
            }
            Err(error) => Happening::Dropped(self.lost(error)),
        }
    }

    fn reading(&self, mut body: Body, decoder: Decoder) -> Phase {
        // The future owns the body, so that whoever stops polling it loses nothing of the stream.
        let chunk = Box::pin(async move {
            let outcome = body.next().await;
            (body, outcome)
        });
        Phase::Reading { chunk, silence: self.clock.sleep_until(self.clock.now() + self.silence), decoder }
    }

    fn lost(&mut self, error: Error) -> Error {
        let asked = match error.retry_state() {
            Retry::After(asked) => asked.min(LONGEST_ASKED),
            _ => Duration::ZERO,
        };
        self.rest(asked);
        error
    }

    fn rest(&mut self, asked: Duration) {
        self.backoff.fail();
        let pause = self.backoff.pause_of_at_least(asked.max(self.asked)).unwrap_or(FIRST_PAUSE);
        self.phase = Phase::Resting(self.clock.sleep_until(self.clock.now() + pause));
    }
}

/// Turns a request into one for an event stream.
pub(crate) fn asking_for_events(request: Request) -> Request {
    request
        .deadline(FAR_AWAY)
        .body_limit(u64::MAX)
        // The pauses between attempts are the link's.
        .attempts(1)
        .header(header::ACCEPT, HeaderValue::from_static(MEDIA_TYPE))
        // Compressed events wait in the compressor for more of them.
        .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Returns true if an answer with these headers is an event stream.
pub(crate) fn are_of_events(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(MEDIA_TYPE)
}

const MEDIA_TYPE: &str = "text/event-stream";

fn late(operation: &'static str, place: &str, allowed: Duration) -> Error {
    Error::new(ErrorKind::Timeout, operation)
        .with("uri", place)
        .with("allowed_seconds", allowed.as_secs())
        .retry(Retry::Now)
}
