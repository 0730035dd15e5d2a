//! A command at work, and what it is told.

use std::{io, process::ExitStatus, time::Duration};

use leverframe::traits::{Clock, Tick};
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

/// Whether somebody has told the command to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Nobody has.
    No,
    /// It was sent what many end of, and some take for something else: if it still runs then, it goes on.
    Perhaps(Tick),
    /// It has to.
    Surely,
}

impl Ending {
    /// Takes in what the command is told.
    fn after(self, told: Told, doubted_until: Tick) -> Self {
        match (self, told) {
            (Self::Surely, _) | (_, Told::Terminate) => Self::Surely,
            (_, Told::Hangup | Told::Interrupt | Told::Quit) => Self::Perhaps(doubted_until),
            (before, Told::Kill | Told::User1 | Told::User2) => before,
        }
    }
}

/// A command that runs, with the streams of this process.
pub(super) struct Child {
    process: tokio::process::Child,
    ending: Ending,
}

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
        let started = command.spawn().map(|process| Self { process, ending: Ending::No });
        started.map_err(|error| {
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
        self.process.wait().await.map(code)
    }

    /// Passes on what somebody tells the command.
    pub(super) fn pass(&mut self, told: Told, clock: &impl Clock, patience: Duration) {
        self.ending = self.ending.after(told, clock.now() + patience);
        self.send(told);
    }

    /// Passes signals on for so long, and for as long as the command may be ending because somebody told it to; returns
    /// the exit code if it ends before.
    pub(super) async fn ended_within(
        &mut self,
        wait: Duration,
        clock: &impl Clock,
        patience: Duration,
        passed: &mut Passed,
    ) -> io::Result<Option<u8>> {
        let mut due = clock.now() + wait;
        loop {
            let over = clock.sleep_until(due);
            tokio::select! {
                code = self.ended() => return code.map(Some),
                told = passed.next() => self.pass(told, clock, patience),
                () = over, if self.ending != Ending::Surely => match self.ending {
                    Ending::Perhaps(until) if until > clock.now() => due = until,
                    _ => return Ok(None),
                }
            }
        }
    }

    /// Ends the command so that it can be started again; returns the exit code if that is not to be, because it ended by
    /// itself, or because somebody tells it to end.
    pub(super) async fn stop(
        &mut self,
        clock: &impl Clock,
        patience: Duration,
        passed: &mut Passed,
    ) -> io::Result<Option<u8>> {
        if let Some(status) = self.process.try_wait()? {
            return Ok(Some(code(status)));
        }
        self.send(Told::Terminate);
        let late = clock.sleep_until(clock.now() + patience);
        tokio::pin!(late);
        // What it was told before it has outlived.
        self.ending = Ending::No;
        let mut killed = false;
        loop {
            tokio::select! {
                code = self.ended() => {
                    return code.map(|code| (self.ending != Ending::No).then_some(code));
                }
                told = passed.next() => self.pass(told, clock, patience),
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
        pub(in super::super) fn send(&mut self, told: Told) {
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
            let process = self.process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_be_terminated_is_for_good_and_other_signals_may_mean_something_else() {
        let [soon, later] = [1, 2].map(|second| Tick::ORIGIN + Duration::from_secs(second));

        assert_eq!(Ending::No.after(Told::User1, soon), Ending::No);
        assert_eq!(Ending::No.after(Told::Hangup, soon), Ending::Perhaps(soon));
        assert_eq!(Ending::Perhaps(soon).after(Told::Interrupt, later), Ending::Perhaps(later));
        assert_eq!(Ending::Perhaps(soon).after(Told::Terminate, later), Ending::Surely);
        assert_eq!(Ending::Surely.after(Told::Hangup, later), Ending::Surely);
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
                let _ = self.process.start_kill();
            }
        }
    }
}
