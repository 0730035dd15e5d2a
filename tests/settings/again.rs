//! This test binary once more, as another process that runs one test alone and plays the other part in it.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use leverframe::Secret;
use zeroize::{Zeroize, Zeroizing};

/// Says to a process which test it plays the other part in.
const PART: &str = "LEVERFRAME_TEST_PART";
/// What lines begin with that are for the other side, among those of the test harness.
const MARK: &str = "> ";

/// Returns true in the process that plays the other part in a test.
#[expect(clippy::disallowed_methods, reason = "the parent says it by the environment")]
pub(crate) fn is_other(test: &str) -> bool {
    env::var_os(PART).is_some_and(|part| part == test)
}

/// Says something to the other side. Also in a process whose harness has written the beginning of a line.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    write!(out, "\n{MARK}{line}\n").and_then(|()| out.flush()).unwrap();
}

/// Waits for a line of the other side; the end of what it says is an empty one. No copy of the line is left behind.
pub(crate) fn hear() -> Secret {
    // Not through the buffer of the standard library, which keeps what it has read.
    #[cfg(unix)]
    let mut from =
        std::fs::File::from(std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().unwrap());
    let mut line = Zeroizing::new(Vec::with_capacity(64 * 1024));
    let mut byte = [0];
    while from.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    byte.zeroize();
    let mut exact = String::with_capacity(line.len());
    exact.push_str(std::str::from_utf8(&line).unwrap());
    Secret::new(exact)
}

/// The other process; killed when it is let go of.
pub(crate) struct Other {
    pub(crate) process: Child,
    ear: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
    /// Everything that it wrote to its standard output.
    pub(crate) out: Vec<u8>,
}

/// Names the program and arguments of the process that plays the other part in a test.
pub(crate) fn command(program: Option<&[&str]>, test: &str) -> Command {
    let this = env::current_exe().unwrap();
    let mut command = match program {
        Some([program, arguments @ ..]) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
        _ => Command::new(this),
    };
    command.args(["--exact", "--nocapture", "--test-threads=1", test]).env(PART, test);
    command
}

impl Other {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (ear, said) = (process.stdin.take(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, ear, said, out: Vec::new() }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let ear = self.ear.as_mut().unwrap();
        ear.write_all(line.as_bytes()).and_then(|()| ear.write_all(b"\n")).unwrap();
    }

    /// Waits for what is said next.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> String {
        loop {
            let from = self.out.len();
            let read = self.said.read_until(b'\n', &mut self.out).unwrap();
            assert!(read > 0, "the other process ended: {}", String::from_utf8_lossy(&self.out));
            if let Some(line) = String::from_utf8_lossy(&self.out[from..]).strip_prefix(MARK) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// Says nothing more.
    pub(crate) fn close(&mut self) {
        drop(self.ear.take());
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn succeeds(&mut self) {
        self.close();
        self.said.read_to_end(&mut self.out).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&self.out));
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
