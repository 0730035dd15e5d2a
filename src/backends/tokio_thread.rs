//! One thread with a Tokio runtime, for backends whose library needs one.
//!
//! A backend may be called from any thread, with any runtime or none. What it does on sockets runs here; the caller
//! only waits for the outcome, which needs no runtime. The thread is started by the first use and shared by all.

use std::{
    future::{Future, pending},
    io,
    sync::{Mutex, PoisonError},
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    task::JoinHandle,
};

use crate::{Error, ErrorKind, Result};

/// Runs `work` on the thread and waits for it; dropping the returned future drops `work` as well.
///
/// # Errors
/// `Io` where the thread cannot be started, `Cancelled` where `work` panicked.
pub(crate) async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let handle = handle().map_err(|e| Error::from_io("start the I/O thread", e))?;
    let mut task = Task(handle.spawn(work));
    (&mut task.0)
        .await
        .map_err(|error| Error::new(ErrorKind::Cancelled, "finish work on the I/O thread").source(error))
}

/// Work under way, ended when nobody waits for it any more.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn handle() -> io::Result<Handle> {
    static STARTED: Mutex<Option<Handle>> = Mutex::new(None);
    // One whole assignment happens under the lock.
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*started {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("leverframe-io".to_owned())
        .spawn(move || runtime.block_on(pending::<()>()))?;
    *started = Some(handle.clone());
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, sync::mpsc, task::Context, task::Waker};

    use super::*;
    use crate::live::block_on;

    #[test]
    fn work_runs_without_a_runtime_around_it_and_inside_of_one() {
        let inside = tokio::runtime::Builder::new_current_thread().build().unwrap();

        assert_eq!(block_on(run(async { 1 })).unwrap(), 1);
        assert_eq!(inside.block_on(run(async { 2 })).unwrap(), 2);
    }

    #[test]
    fn work_that_nobody_waits_for_is_dropped() {
        struct Told(mpsc::Sender<()>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        let (told, dropped) = mpsc::channel();
        let guard = Told(told);

        {
            let work = pin!(run(async move {
                let _guard = guard;
                pending::<()>().await;
            }));
            assert!(work.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }

        dropped.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    }

    #[test]
    fn a_panic_is_an_error_and_the_thread_lives_on() {
        let error = block_on(run(async { panic!("on purpose") })).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(block_on(run(async { 3 })).unwrap(), 3);
    }
}
