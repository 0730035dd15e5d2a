//! Asks a person for a secret, without showing what is typed.

#[cfg(not(unix))]
pub(super) use self::elsewhere::ask;
#[cfg(unix)]
pub(super) use self::unix::ask;

#[cfg(unix)]
mod unix {
    use std::{
        fs::{File, OpenOptions},
        io::{self, Read, Write},
    };

    use leverframe::Secret;
    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

    /// A line that is longer was not typed.
    const LONGEST: usize = 16_384;

    /// Returns what is typed up to the end of the line; `None` where there is no terminal, or it is given up.
    pub(in super::super) fn ask(question: &str) -> io::Result<Option<Secret>> {
        let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
            return Ok(None);
        };
        let mut quiet = Quiet::new(terminal)?;
        write!(quiet.terminal, "{question}: ")?;
        let typed = quiet.line();
        writeln!(quiet.terminal)?;
        typed
    }

    /// A terminal that shows nothing and hands over each byte, until this is dropped.
    struct Quiet {
        terminal: File,
        before: Termios,
    }

    impl Quiet {
        fn new(terminal: File) -> io::Result<Self> {
            let before = tcgetattr(&terminal)?;
            let mut quiet = before.clone();
            // Ctrl-C comes as a byte, too: ending by the signal would leave the terminal as it is now.
            quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
            quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
            quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
            Ok(Self { terminal, before })
        }

        fn line(&mut self) -> io::Result<Option<Secret>> {
            // As large as it may get from the start: what grows leaves copies behind.
            let mut typed = Vec::with_capacity(LONGEST);
            let mut byte = [0];
            loop {
                if self.terminal.read(&mut byte)? == 0 {
                    return Ok(None);
                }
                match byte[0] {
                    b'\r' | b'\n' => break,
                    // Ctrl-C, Ctrl-D, Ctrl-\.
                    3 | 4 | 28 => return Ok(None),
                    // Ctrl-U.
                    21 => typed.clear(),
                    8 | 127 => {
                        // A character of several bytes goes as a whole.
                        while typed.pop().is_some_and(|b| b & 0xc0 == 0x80) {}
                    }
                    _ if typed.len() == LONGEST => return Err(io::ErrorKind::InvalidInput.into()),
                    byte => typed.push(byte),
                }
            }
            match String::from_utf8(typed) {
                Ok(text) => Ok(Some(Secret::new(text))),
                Err(_) => Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    impl Drop for Quiet {
        fn drop(&mut self) {
            // Nobody is left to be told of a terminal that is gone.
            let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::io;

    use leverframe::Secret;

    /// There is no way to ask here.
    pub(in super::super) fn ask(_: &str) -> io::Result<Option<Secret>> {
        Ok(None)
    }
}
