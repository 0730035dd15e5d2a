//! The handle of a background refresh thread.

use std::{io, thread};

use crate::live::Stop;

/// Keeps a refresh thread alive; dropping it stops the thread and waits for it.
///
/// # Examples
/// ```
/// use leverframe::Namespace;
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::create_dir(dir.path().join("flags")).unwrap();
/// # std::fs::write(dir.path().join("flags/a.toml"), "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\n[flag.environments._]\nvariant = \"on\"\n").unwrap();
/// let namespace = Namespace::from_dir(dir.path())?;
/// let handle = namespace.start_periodic_refresh(std::time::Duration::from_secs(30));
/// assert!(handle.is_running());
/// handle.stop().unwrap();
/// # Ok::<(), leverframe::LoadError>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping the handle stops the refresh"]
pub struct RefreshHandle {
    thread: Option<thread::JoinHandle<()>>,
    stop: Stop,
}

impl RefreshHandle {
    pub(super) fn new(spawned: io::Result<thread::JoinHandle<()>>, stop: Stop) -> Self {
        let thread = spawned
            .inspect_err(
                |error| tracing::error!(%error, "no thread for background refresh: flags stay as loaded"),
            )
            .ok();
        Self { thread, stop }
    }

    /// Returns true while the thread runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    /// Stops the thread and waits for it to end; a refresh under way is finished first.
    ///
    /// # Errors
    /// The panic of the thread, if it panicked.
    pub fn stop(mut self) -> thread::Result<()> {
        self.end()
    }

    fn end(&mut self) -> thread::Result<()> {
        self.stop.stop();
        self.thread.take().map_or(Ok(()), thread::JoinHandle::join)
    }
}

impl Drop for RefreshHandle {
    fn drop(&mut self) {
        // A panic was already printed by the panic hook, and a destructor has nobody to hand it to.
        let _ = self.end();
    }
}
