//! An ssh connection to a server that is known, as a user that it knows.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::TcpStream,
    path::Path,
};

use ssh2::{Channel, ErrorCode, HashType, MethodType, Session};
use zeroize::Zeroizing;

use super::{
    config::GitConfig,
    known_hosts::{KnownHosts, Verdict, distrust},
    place::SshPlace,
    wire::words,
};
use crate::{Error, ErrorKind, Result, Retry};

/// A connection on which git's server program runs.
pub(super) struct Connection {
    pub(super) channel: Channel,
    /// Whether git's server program has said anything.
    pub(super) has_spoken: bool,
    place: SshPlace,
}

impl Connection {
    /// Greets the server, checks who it is, says who we are, and starts git's server program.
    pub(super) fn open(
        socket: TcpStream,
        place: &SshPlace,
        config: &GitConfig,
        timeout_ms: u32,
    ) -> Result<Self> {
        let about = |error: Error| error.with("host", &place.host).with("port", place.port);
        let mut session = Session::new().map_err(|e| about(library("make an ssh session", e)))?;
        session.set_timeout(timeout_ms);
        session.set_tcp_stream(socket);
        let known = KnownHosts::read(&config.known_hosts_file)?;
        prefer_known_kinds(&session, &known, place);
        session.handshake().map_err(|e| about(library("greet the ssh server", e)))?;
        check_host(&session, &known, place)?;
        log_in(&session, place, config).map_err(about)?;
        let channel = start(&session, place).map_err(|e| about(library("start git on the ssh server", e)))?;
        Ok(Self { channel, has_spoken: false, place: place.clone() })
    }

    pub(super) fn send(&mut self, request: &[u8]) -> Result<()> {
        self.channel
            .write_all(request)
            .and_then(|()| self.channel.flush())
            .map_err(|e| failed("write to the ssh server", e))
    }

    /// Git's server program has ended; if it has said nothing before, then why.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.has_spoken {
            return Ok(());
        }
        let mut said = Vec::new();
        // What it said is for people; that it ended is an error anyway.
        let _ = self.channel.stderr().take(MOST_WORDS).read_to_end(&mut said);
        let _ = self.channel.wait_close();
        let error = |kind| {
            Error::new(kind, "open the repository on the ssh server")
                .with("host", &self.place.host)
                .with("path", &self.place.path)
                .with("server says", words(&said))
        };
        Err(match self.channel.exit_status() {
            // The program and the hosting services give one status for all that they will not serve.
            Ok(status) if status != 0 => {
                error(ErrorKind::NotFound).hint("check the path, and that the key may read the repository")
            }
            _ => error(ErrorKind::Unavailable).retry(Retry::Now),
        })
    }
}

const MOST_WORDS: u64 = 1_000;

/// The host is asked for a key of a kind that is known; it would show its favourite otherwise, and pass for a stranger.
fn prefer_known_kinds(session: &Session, known: &KnownHosts, place: &SshPlace) {
    let supported = session.supported_algs(MethodType::HostKey).unwrap_or_default();
    let kinds: Vec<String> = known
        .key_kinds(session, &place.host, place.port)
        .into_iter()
        .map(|kind| match kind.as_str() {
            // One kind of key, several ways to sign with it.
            "ssh-rsa" => "rsa-sha2-512,rsa-sha2-256,ssh-rsa".to_owned(),
            _ => kind,
        })
        .collect();
    let kinds = kinds.join(",");
    let usable: Vec<&str> = kinds.split(',').filter(|kind| supported.contains(kind)).collect();
    if !usable.is_empty() {
        // Without the preference the key is still checked, and at worst refused.
        let _ = session.method_pref(MethodType::HostKey, &usable.join(","));
    }
}

fn check_host(session: &Session, known: &KnownHosts, place: &SshPlace) -> Result<()> {
    let SshPlace { host, port, .. } = place;
    let (key, digest) = match (session.host_key(), session.host_key_hash(HashType::Sha256)) {
        (Some((key, _)), Some(digest)) => (key, digest),
        _ => {
            return Err(Error::new(ErrorKind::PermissionDenied, "trust the ssh server")
                .with("reason", "it shows no key"));
        }
    };
    match known.check(session, host, *port, key) {
        Verdict::Known => Ok(()),
        verdict => Err(distrust(verdict, known, host, *port, key, digest)),
    }
}

fn log_in(session: &Session, place: &SshPlace, config: &GitConfig) -> Result<()> {
    if config.ssh_key_file.as_os_str().is_empty() {
        log_in_by_agent(session, &place.user)
    } else {
        log_in_by_key(session, &place.user, &config.ssh_key_file, config.ssh_key_passphrase.expose())
    }
}

fn log_in_by_key(session: &Session, user: &str, file: &Path, passphrase: &str) -> Result<()> {
    let mut key = Zeroizing::new(String::new());
    File::open(file).and_then(|f| f.take(LARGEST_KEY).read_to_string(&mut key)).map_err(|e| {
        Error::from_io("read the ssh key", e)
            .with("path", file.display())
            .hint("set `source.git.ssh_key_file` to a private key that the process may read")
    })?;
    let passphrase = Some(passphrase).filter(|p| !p.is_empty());
    session.userauth_pubkey_memory(user, None, &key, passphrase).map_err(|error| {
        let refused = matches!(error.code(), ErrorCode::Session(AUTHENTICATION_FAILED | PUBLICKEY_UNVERIFIED));
        let unreadable = matches!(error.code(), ErrorCode::Session(FILE | METHOD_NONE | KEYFILE_AUTH_FAILED));
        // The library's text is about the key, never of it; still only its number is passed on.
        let error = if unreadable {
            Error::new(ErrorKind::Config, "use the ssh key")
                .hint("check that the file is a private key, and `source.git.ssh_key_passphrase` if it is encrypted")
        } else if refused {
            Error::new(ErrorKind::Unauthenticated, "log in to the ssh server")
                .with("user", user)
                .hint("let the server know the public half of the key; the user stands before `@` in the URI")
        } else {
            library("log in to the ssh server", error)
        };
        error.with("key", file.display())
    })
}

fn log_in_by_agent(session: &Session, user: &str) -> Result<()> {
    let no_agent = |error| {
        Error::new(ErrorKind::Unauthenticated, "ask the ssh agent for keys")
            .source(describe(&error))
            .hint("start one and say `ssh-add`, or set `source.git.ssh_key_file`")
    };
    let mut agent = session.agent().map_err(no_agent)?;
    agent.connect().map_err(no_agent)?;
    agent.list_identities().map_err(no_agent)?;
    let identities = agent.identities().map_err(no_agent)?;
    for identity in &identities {
        match agent.userauth(user, identity) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Err(library("log in to the ssh server", error)),
            Err(_) => {}
        }
    }
    Err(Error::new(ErrorKind::Unauthenticated, "log in to the ssh server")
        .with("user", user)
        .with("keys of the agent", identities.len())
        .hint("say `ssh-add` with a key that the server knows, or set `source.git.ssh_key_file`"))
}

fn start(session: &Session, place: &SshPlace) -> Result<Channel, ssh2::Error> {
    let mut channel = session.channel_session()?;
    // Most servers refuse the variable unless told otherwise; then the first version of the protocol is spoken.
    let _ = channel.setenv("GIT_PROTOCOL", "version=2");
    channel.exec(&format!("git-upload-pack {}", quoted(&place.path)))?;
    Ok(channel)
}

/// Quotes a path for the shell on the other side.
fn quoted(path: &str) -> String {
    // Between single quotes only these two mean anything, the second to C shells.
    format!("'{}'", path.replace('\'', r"'\''").replace('!', r"'\!'"))
}

/// A read or write failed; libssh2 puts its own errors into those of the standard library.
pub(super) fn failed(operation: &'static str, error: io::Error) -> Error {
    let kind =
        if error.kind() == io::ErrorKind::TimedOut { ErrorKind::Timeout } else { ErrorKind::Unavailable };
    Error::new(kind, operation).source(error).retry(Retry::Now)
}

fn library(operation: &'static str, error: ssh2::Error) -> Error {
    let kind = match error.code() {
        ErrorCode::Session(TIMEOUT | SOCKET_TIMEOUT) => ErrorKind::Timeout,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, operation).source(describe(&error)).retry(Retry::Now)
}

fn describe(error: &ssh2::Error) -> io::Error {
    let (ErrorCode::Session(code) | ErrorCode::SFTP(code)) = error.code();
    io::Error::other(format!("{} (libssh2 error {code})", words(error.message().as_bytes())))
}

fn is_gone(error: &ssh2::Error) -> bool {
    matches!(
        error.code(),
        ErrorCode::Session(SOCKET_SEND | TIMEOUT | SOCKET_DISCONNECT | SOCKET_TIMEOUT | SOCKET_RECV)
    )
}

/// No private key is larger.
const LARGEST_KEY: u64 = 256 * 1024;

/// libssh2's numbers, which its interface fixes.
const SOCKET_SEND: i32 = -7;
const TIMEOUT: i32 = -9;
const SOCKET_DISCONNECT: i32 = -13;
const FILE: i32 = -16;
const METHOD_NONE: i32 = -17;
const AUTHENTICATION_FAILED: i32 = -18;
const PUBLICKEY_UNVERIFIED: i32 = -19;
const SOCKET_TIMEOUT: i32 = -30;
const SOCKET_RECV: i32 = -43;
const KEYFILE_AUTH_FAILED: i32 = -48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_nothing_to_the_shell() {
        assert_eq!(quoted("/srv/a b.git"), "'/srv/a b.git'");
        assert_eq!(quoted("/x'; rm -rf /!"), r"'/x'\''; rm -rf /'\!''");
    }
}
