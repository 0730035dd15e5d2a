//! A command at work, and what it is told.

use std::{io, process::ExitStatus, time::Duration};

use leverframe::traits::Clock;
use tokio::process::Command;

#[cfg(not(unix))]
pub(super) use self::elsewhere::Passed;
#[cfg(unix)]
pub(super) use self::unix::Passed;
use super::plan::Plan;
use crate::{
    args::RunArgs,
    commands::settings::KEY,
    failure::{Failure, exit},
};

/// What a shell ends with where there is no such command, and where there is one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// What is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(unix), expect(dead_code, reason = "only unix has more than one"))]
pub(super) enum Told {
    Hangup,
    Interrupt,
    Kill,
    Quit,
    Terminate,
    User1,
    User2,
}

impl Told {
    /// Returns true if whoever is told so is to end.
    fn ends(self) -> bool {
        !matches!(self, Self::User1 | Self::User2)
    }
}

/// A command that runs, with the streams of this process.
pub(super) struct Child(tokio::process::Child);

impl Child {
    pub(super) fn start(args: &RunArgs, plan: &Plan) -> Result<Self, Failure> {
        let (program, rest) =
            args.command.split_first().ok_or_else(|| Failure::usage("no command is given"))?;
        let mut command = Command::new(program);
        command.args(rest);
        if !args.pass_key {
            command.env_remove(KEY);
        }
        // Below, so that a setting of that very name counts.
        command.envs(plan.set.iter().map(|(name, value)| (name, value)));
        command.spawn().map(Self).map_err(|error| {
            let shown = program.to_string_lossy();
            match error.kind() {
                io::ErrorKind::NotFound => Failure::new(NOT_FOUND, format!("there is no command `{shown}`"))
                    .with_hint("check its name and PATH"),
                io::ErrorKind::ArgumentListTooLong => Failure::new(
                    NOT_RUN,
                    format!("failed to run `{shown}`: {error}"),
                )
                .with_hint(
                    "the settings are too large for variables: use `--files DIR`, or choose with `--only`",
                ),
                _ => Failure::new(NOT_RUN, format!("failed to run `{shown}`: {error}")),
            }
        })
    }

    /// Waits for the end and returns the exit code.
    pub(super) async fn ended(&mut self) -> io::Result<u8> {
        self.0.wait().await.map(code)
    }

    /// Passes signals on until a moment comes; returns the exit code if the command ends before.
    pub(super) async fn ended_before(
        &mut self,
        moment: impl Future<Output = ()>,
        passed: &mut Passed,
    ) -> io::Result<Option<u8>> {
        tokio::pin!(moment);
        loop {
            tokio::select! {
                code = self.ended() => return code.map(Some),
                told = passed.next() => self.send(told),
                () = &mut moment => return Ok(None),
            }
        }
    }

    /// Ends the command so that it can be started again; returns the exit code if that is not to be, because it ended by
    /// itself, or because somebody told it to end.
    pub(super) async fn stop(
        &mut self,
        clock: &impl Clock,
        patience: Duration,
        passed: &mut Passed,
    ) -> io::Result<Option<u8>> {
        if let Some(status) = self.0.try_wait()? {
            return Ok(Some(code(status)));
        }
        self.send(Told::Terminate);
        let late = clock.sleep_until(clock.now() + patience);
        tokio::pin!(late);
        let (mut killed, mut told_to_end) = (false, false);
        loop {
            tokio::select! {
                code = self.ended() => return code.map(|code| told_to_end.then_some(code)),
                told = passed.next() => {
                    told_to_end |= told.ends();
                    self.send(told);
                }
                () = &mut late, if !killed => {
                    killed = true;
                    self.send(Told::Kill);
                }
            }
        }
    }
}

/// Returns the exit code as a shell has it.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    // Elsewhere codes may be larger; none of them may look like success.
    let code = status.code().unwrap_or_else(|| i32::from(exit::IO));
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(unix)]
mod unix {
    use std::{fs::File, io};

    use rustix::{
        process::{Pid, Signal as Sent, getpgrp, kill_process},
        termios::tcgetpgrp,
    };
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::{Child, Told};

    /// The signals that end this process no more, but are the command's.
    pub(in super::super) struct Passed {
        hangup: Signal,
        interrupt: Signal,
        quit: Signal,
        terminate: Signal,
        user1: Signal,
        user2: Signal,
    }

    impl Passed {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Self {
                hangup: signal(SignalKind::hangup())?,
                interrupt: signal(SignalKind::interrupt())?,
                quit: signal(SignalKind::quit())?,
                terminate: signal(SignalKind::terminate())?,
                user1: signal(SignalKind::user_defined1())?,
                user2: signal(SignalKind::user_defined2())?,
            })
        }

        pub(in super::super) async fn next(&mut self) -> Told {
            tokio::select! {
                _ = self.hangup.recv() => Told::Hangup,
                _ = self.interrupt.recv() => Told::Interrupt,
                _ = self.quit.recv() => Told::Quit,
                _ = self.terminate.recv() => Told::Terminate,
                _ = self.user1.recv() => Told::User1,
                _ = self.user2.recv() => Told::User2,
            }
        }
    }

    impl Child {
        pub(in super::super) fn send(&self, told: Told) {
            let sent = match told {
                Told::Hangup => Sent::HUP,
                // What is typed goes to the command as well: telling it twice would be once too often.
                Told::Interrupt | Told::Quit if has_terminal() => return,
                Told::Interrupt => Sent::INT,
                Told::Kill => Sent::KILL,
                Told::Quit => Sent::QUIT,
                Told::Terminate => Sent::TERM,
                Told::User1 => Sent::USR1,
                Told::User2 => Sent::USR2,
            };
            // Without an id it has ended, and its number may be another's.
            let process = self.0.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
            if let Some(process) = process {
                // One that ended just now needs no telling.
                let _ = kill_process(process, sent);
            }
        }
    }

    /// Returns true if keys that are typed become signals of this process and of the command, which is in its group.
    fn has_terminal() -> bool {
        File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::{future::pending, io};

    use super::{Child, Told};

    /// Ctrl-C, which the command hears by itself.
    pub(in super::super) struct Passed;

    impl Passed {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(in super::super) async fn next(&mut self) -> Told {
            if tokio::signal::ctrl_c().await.is_err() {
                // Nobody can ask, then.
                pending::<()>().await;
            }
            Told::Interrupt
        }
    }

    impl Child {
        pub(in super::super) fn send(&mut self, told: Told) {
            if told != Told::Interrupt {
                // One that ended just now needs no telling.
                let _ = self.0.start_kill();
            }
        }
    }
}
