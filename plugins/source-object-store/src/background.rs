//! The thread with the runtime that the stores' clients need, so that a source works on any other.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    thread,
};

use leverframe::{Error, ErrorKind, Result, Retry};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

/// A runtime on a thread that is started by the first task and ends with this value.
pub(crate) struct Background(Mutex<State>);

enum State {
    NotStarted,
    /// Dropping the sender ends the thread.
    Running(Handle, #[expect(dead_code, reason = "held for its drop")] oneshot::Sender<()>),
    Stopped,
}

/// Why a task has no outcome.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The time was up first.
    Late,
    /// The runtime was stopped, or the task panicked.
    Stopped,
}

impl Background {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::NotStarted))
    }

    /// Runs a task until it is done, `limit` is ready, or the future is dropped; in the latter cases it is aborted.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
        limit: impl Future<Output = ()> + Send,
    ) -> Result<Result<T, Lost>> {
        let Some(runtime) = self.runtime()? else { return Ok(Err(Lost::Stopped)) };
        let mut task = Aborting(runtime.spawn(task));
        let mut limit = pin!(limit);
        Ok(poll_fn(|cx| match Pin::new(&mut task).poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => limit.as_mut().poll(cx).map(|()| Err(Lost::Late)),
        })
        .await)
    }

    /// Ends the thread and whatever it was doing.
    pub(crate) fn stop(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::Stopped;
    }

    /// Returns the runtime, started where it is not; `None` once it was stopped.
    fn runtime(&self) -> Result<Option<Handle>> {
        // Poison means that starting panicked; the state is whole then.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Running(handle, _) => return Ok(Some(handle.clone())),
            State::Stopped => return Ok(None),
            State::NotStarted => {}
        }
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Io, "start the thread of the object_store source")
                .retry(Retry::Now)
                .source(error)
                .hint("the system has no thread or file descriptor left; look at its limits")
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new().name("leverframe-object-store".to_owned());
        thread
            .spawn(move || {
                // Ready when the sender is dropped: nothing is ever sent.
                let _ = runtime.block_on(stopped);
                // A name that is being resolved cannot be called off, and is not waited for.
                runtime.shutdown_background();
            })
            .map_err(failed)?;
        *state = State::Running(handle.clone(), stop);
        Ok(Some(handle))
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background(…)")
    }
}

/// A task that ends with whoever waits for it.
struct Aborting<T>(JoinHandle<T>);

impl<T> Future for Aborting<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|outcome| outcome.map_err(|_| Lost::Stopped))
    }
}

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
