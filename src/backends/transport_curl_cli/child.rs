//! A program that is ended by whoever no longer wants it, and reaped by the thread that started it.

use std::{
    io,
    process::{Child, ExitStatus},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A place for a running program. It can be ended before it has been started.
#[derive(Debug, Default)]
pub(super) struct Running {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    unwanted: bool,
}

impl Running {
    /// Takes a program that was just started.
    pub(super) fn adopt(&self, mut child: Child) {
        let mut state = self.lock();
        if state.unwanted {
            kill(&mut child);
        }
        state.child = Some(child);
    }

    /// Ends the program, now or as soon as it has been started.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.unwanted = true;
        if let Some(child) = &mut state.child {
            kill(child);
        }
        self.ended.notify_all();
    }

    /// Waits for the program, which has closed its outputs, and lets the system forget it.
    ///
    /// The lock is given up while waiting, so that it can still be ended.
    pub(super) fn reap(&self) -> io::Result<ExitStatus> {
        let mut state = self.lock();
        let mut pause = Duration::from_millis(1);
        loop {
            let child = state.child.as_mut().ok_or(io::ErrorKind::NotFound)?;
            if let Some(status) = child.try_wait()? {
                state.child = None;
                return Ok(status);
            }
            state = self.ended.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic happens under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kill(child: &mut Child) {
    // The one reason for a failure is that it has ended by itself, which is what is wanted.
    let _ = child.kill();
}
