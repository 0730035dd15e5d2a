//! What the operating system tells the process.

#[cfg(not(unix))]
pub(crate) use self::elsewhere::Signals;
#[cfg(unix)]
pub(crate) use self::unix::Signals;

/// What is asked of a process that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To read its files again.
    #[cfg_attr(not(unix), expect(dead_code, reason = "only unix has a signal for it"))]
    Reload,
    /// To end.
    Stop,
}

#[cfg(unix)]
mod unix {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::Asked;

    /// Ctrl-C, SIGTERM and SIGHUP; none of them ends the process by itself once this exists.
    pub(crate) struct Signals {
        hangup: Signal,
        interrupt: Signal,
        terminate: Signal,
    }

    impl Signals {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self {
                hangup: signal(SignalKind::hangup())?,
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            })
        }

        pub(crate) async fn next(&mut self) -> Asked {
            tokio::select! {
                _ = self.hangup.recv() => Asked::Reload,
                _ = self.interrupt.recv() => Asked::Stop,
                _ = self.terminate.recv() => Asked::Stop,
            }
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::{future::pending, io};

    use super::Asked;

    /// Ctrl-C.
    pub(crate) struct Signals;

    impl Signals {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn next(&mut self) -> Asked {
            if tokio::signal::ctrl_c().await.is_err() {
                // Nobody can ask, then.
                pending::<()>().await;
            }
            Asked::Stop
        }
    }
}
