//! Settings of the `ftps` source.

use std::path::PathBuf;

use crate::{Error, ErrorKind, Result, manifest::lint::did_you_mean, settings};

settings! {
    /// How the server is reached, and how much of it is waited and taken for.
    ///
    /// # Examples
    /// ```
    /// use leverframe::sources::ftps::FtpsConfig;
    /// assert_eq!(FtpsConfig::default().mode, "auto");
    /// ```
    pub struct FtpsConfig {
        /// When TLS begins: `explicit` after the greeting (`AUTH TLS`), `implicit` with the first byte, `auto` implicit on port 990 and explicit on every other.
        pub mode: String = String, "auto".to_owned();
        /// A PEM file of certificate authorities that are trusted besides the platform's. Empty: none.
        pub ca_file: PathBuf = Path, PathBuf::new();
        /// How long connecting may take, from name resolution to the end of the log-in, in milliseconds; also how long a connection that was kept open may take to show that it still works.
        pub connect_timeout_ms: u64 = Integer, 10_000;
        /// How long a whole load may take, connecting included, in milliseconds.
        pub timeout_ms: u64 = Integer, 30_000;
        /// The largest file that is taken, in bytes.
        pub max_file_bytes: u64 = Integer, 5_000_000;
    }
}

/// The port of FTP and of FTP over TLS that begins explicitly.
const EXPLICIT_PORT: u16 = 21;

/// The port that is set aside for FTP over TLS from the first byte.
const IMPLICIT_PORT: u16 = 990;

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Explicit,
    Implicit,
}

impl FtpsConfig {
    /// Returns when TLS begins, and the port, for a URI that names `port` or none.
    pub(super) fn mode_and_port(&self, port: Option<u16>) -> Result<(Mode, u16)> {
        Ok(match (self.mode.as_str(), port) {
            ("auto", Some(IMPLICIT_PORT)) => (Mode::Implicit, IMPLICIT_PORT),
            ("auto" | "explicit", port) => (Mode::Explicit, port.unwrap_or(EXPLICIT_PORT)),
            ("implicit", port) => (Mode::Implicit, port.unwrap_or(IMPLICIT_PORT)),
            (other, _) => {
                return Err(Error::new(ErrorKind::Config, "open the ftps source")
                    .with("key", "source.ftps.mode")
                    .with("value", other.escape_debug())
                    .with("available", MODES.join(", "))
                    .hint(did_you_mean(other, MODES).unwrap_or_else(|| "leave it at `auto`".to_owned())));
            }
        })
    }
}

const MODES: [&str; 3] = ["auto", "explicit", "implicit"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_990_is_implicit_unless_the_mode_says_otherwise() {
        let with = |mode: &str, port| {
            FtpsConfig { mode: mode.to_owned(), ..FtpsConfig::default() }.mode_and_port(port)
        };

        assert_eq!(with("auto", None).unwrap(), (Mode::Explicit, 21));
        assert_eq!(with("auto", Some(990)).unwrap(), (Mode::Implicit, 990));
        assert_eq!(with("auto", Some(2121)).unwrap(), (Mode::Explicit, 2121));
        assert_eq!(with("explicit", Some(990)).unwrap(), (Mode::Explicit, 990));
        assert_eq!(with("implicit", None).unwrap(), (Mode::Implicit, 990));
        assert_eq!(with("implicti", None).unwrap_err().hint_text(), Some("did you mean `implicit`?"));
    }
}
