//! Work that keeps a processor busy for long: done beside the event loop, and not much of it at once.

use std::{num::NonZeroUsize, thread};

use tokio::{sync::Semaphore, task};

use crate::problem::Problem;

/// Runs lint, packing, searches and comparisons on threads of their own.
///
/// As many run at once as there are processors; some wait; beyond that callers are asked to come back, so that a
/// burst of large uploads neither starves evaluation nor piles up in memory.
#[derive(Debug)]
pub struct Work {
    running: Semaphore,
    admitted: Semaphore,
}

impl Work {
    /// Makes room for as much as this machine has processors for.
    #[must_use]
    pub fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { running: Semaphore::new(processors), admitted: Semaphore::new(processors + WAITING) }
    }

    /// Runs `job` when its turn comes.
    ///
    /// # Errors
    /// `unavailable` when too many wait already; `internal` when the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let _admitted = self.admitted.try_acquire().map_err(|_| Problem::busy())?;
        // Neither semaphore is ever closed.
        let _turn = self.running.acquire().await.map_err(|_| Problem::internal())?;
        task::spawn_blocking(job).await.map_err(|error| {
            tracing::error!(%error, "work beside the event loop failed");
            Problem::internal()
        })
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

/// Jobs that may wait; each holds an upload of at most 5 MB.
const WAITING: usize = 64;
