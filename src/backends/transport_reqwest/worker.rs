//! The thread that requests run on.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::AbortHandle,
};

use crate::{Error, ErrorKind, Result};

/// One thread with a runtime, started by the first task.
#[derive(Debug)]
pub(super) struct Worker {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Idle,
    Running {
        handle: Handle,
        /// The thread ends when this is dropped.
        _stop: oneshot::Sender<()>,
    },
    Closed,
}

/// A running task; dropping it ends the task, and with it the task's connection.
#[derive(Debug)]
pub(super) struct Task {
    abort: AbortHandle,
    /// Keeps the thread while anybody reads from it.
    _worker: Arc<Worker>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Worker {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State::Idle) }
    }

    /// Starts a task.
    pub(super) fn spawn(
        self: &Arc<Self>,
        task: impl Future<Output = ()> + Send + 'static,
        uri: &str,
    ) -> Result<Task> {
        let mut state = self.lock();
        if matches!(*state, State::Idle) {
            *state = start()?;
        }
        match &*state {
            State::Running { handle, .. } => {
                Ok(Task { abort: handle.spawn(task).abort_handle(), _worker: Arc::clone(self) })
            }
            _ => Err(cancelled(uri)),
        }
    }

    /// Ends the thread with all its tasks and connections, now and for good.
    pub(super) fn close(&self) {
        *self.lock() = State::Closed;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only whole states are written under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start() -> Result<State> {
    let fail = |error| Error::from_io("start the thread that sends requests", error);
    let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(fail)?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    thread::Builder::new()
        .name("leverframe-reqwest".to_owned())
        .spawn(move || {
            // Both a word and the sender's end mean the same.
            let _ = runtime.block_on(stopped);
            // Not waiting: a name that is being looked up would hold the thread for as long as the system likes.
            runtime.shutdown_background();
        })
        .map_err(fail)?;
    Ok(State::Running { handle, _stop: stop })
}

/// The error of a request on a closed transport.
pub(super) fn cancelled(uri: &str) -> Error {
    Error::new(ErrorKind::Cancelled, "send the request")
        .with("uri", uri)
        .with("reason", "the transport is closed")
}
