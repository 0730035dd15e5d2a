//! Which host keys are trusted, from files as OpenSSH keeps them.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use ssh2::{CheckResult, KnownHostFileKind, Session};

use crate::encoding::base64;
use crate::{Error, ErrorKind, Result};

/// The text of the files that say whom to trust.
#[derive(Debug)]
pub(super) struct KnownHosts {
    text: String,
    files: Vec<PathBuf>,
}

/// What is known of a host's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This key is the host's.
    Known,
    /// Another key of this kind is the host's.
    Changed,
    /// Somebody took the key out of use.
    Revoked,
    /// Nothing is known of the host, or not of a key of this kind.
    Unknown,
}

impl KnownHosts {
    /// Reads the given file; where the path is empty, the user's and the system's files, if they exist.
    pub(super) fn read(configured: &Path) -> Result<Self> {
        let files = if configured.as_os_str().is_empty() {
            let user = std::env::home_dir().map(|home| home.join(".ssh/known_hosts"));
            user.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).collect()
        } else {
            vec![configured.to_owned()]
        };
        let mut text = String::new();
        for file in &files {
            let mut bytes = Vec::new();
            match File::open(file).and_then(|f| f.take(LARGEST_FILE).read_to_end(&mut bytes)) {
                Ok(_) => {}
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && configured.as_os_str().is_empty() => {}
                Err(error) => {
                    return Err(Error::from_io("read the known host keys", error)
                        .with("path", file.display())
                        .hint("make the file with `ssh-keyscan HOST`, and set `source.git.known_hosts_file` to it"));
                }
            }
            text.push_str(&String::from_utf8_lossy(&bytes));
            text.push('\n');
        }
        Ok(Self { text, files })
    }

    /// The files, for a person who is to add a line.
    pub(super) fn shown(&self) -> String {
        let files: Vec<String> = self.files.iter().map(|f| f.display().to_string()).collect();
        files.join(", ")
    }

    /// The kinds of keys that are known of a host: asking the host for another kind would only be refused.
    pub(super) fn key_kinds(&self, session: &Session, host: &str, port: u16) -> Vec<String> {
        let mut kinds: Vec<String> = Vec::new();
        for name in names(host, port) {
            for line in self.lines(session, &name).filter(|line| line.marker.is_none()) {
                if !kinds.iter().any(|kind| kind == line.kind) {
                    kinds.push(line.kind.to_owned());
                }
            }
        }
        kinds
    }

    /// Says what is known of a host and the key it showed, which is raw, as it travels.
    pub(super) fn check(&self, session: &Session, host: &str, port: u16, key: &[u8]) -> Verdict {
        let mut verdict = Verdict::Unknown;
        for name in names(host, port) {
            match self.check_name(session, &name, key) {
                Verdict::Unknown => {}
                revoked @ Verdict::Revoked => return revoked,
                // As OpenSSH does: an entry without the port may confirm a key, not contradict one.
                Verdict::Changed if name == host && port != SSH => {}
                found if verdict == Verdict::Unknown => verdict = found,
                _ => {}
            }
        }
        verdict
    }

    fn check_name(&self, session: &Session, name: &str, key: &[u8]) -> Verdict {
        let Some(kind) = key_kind(key) else { return Verdict::Unknown };
        let key = base64(key);
        let mut verdict = Verdict::Unknown;
        for line in self.lines(session, name) {
            let same = line.key.trim_end_matches('=') == key.trim_end_matches('=');
            match line.marker {
                Some("@revoked") if same => return Verdict::Revoked,
                // Certificates of hosts are not spoken here; a line that trusts an authority trusts no key.
                Some(_) => {}
                None if same && line.kind == kind => verdict = Verdict::Known,
                None if line.kind == kind && verdict == Verdict::Unknown => verdict = Verdict::Changed,
                None => {}
            }
        }
        verdict
    }

    fn lines<'k>(&'k self, session: &'k Session, name: &'k str) -> impl Iterator<Item = Line<'k>> {
        self.text.lines().filter_map(Line::parse).filter(move |line| line.is_about(session, name))
    }
}

struct Line<'l> {
    marker: Option<&'l str>,
    hosts: &'l str,
    kind: &'l str,
    key: &'l str,
}

impl<'l> Line<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        let mut words = line.split_ascii_whitespace();
        let first = words.next()?;
        let (marker, hosts) =
            if first.starts_with('@') { (Some(first), words.next()?) } else { (None, first) };
        Some(Self { marker, hosts, kind: words.next()?, key: words.next()? })
    }

    fn is_about(&self, session: &Session, name: &str) -> bool {
        if self.hosts.starts_with('|') {
            return is_hash_of(session, self.hosts, name);
        }
        let mut about = false;
        for pattern in self.hosts.split(',') {
            match pattern.strip_prefix('!') {
                Some(pattern) if matches(pattern, name) => return false,
                Some(_) => {}
                None => about |= matches(pattern, name),
            }
        }
        about
    }
}

/// What a file of a few hosts, or of a few thousand, does not reach.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;
/// The port that host names stand for alone.
const SSH: u16 = 22;

/// How a host is written in the files, the exact way first.
fn names(host: &str, port: u16) -> Vec<String> {
    if port == SSH { vec![host.to_owned()] } else { vec![format!("[{host}]:{port}"), host.to_owned()] }
}

/// The kind of key that raw key bytes begin with.
pub(super) fn key_kind(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk::<4>()?;
    let name = rest.get(..u32::from_be_bytes(*length) as usize)?;
    std::str::from_utf8(name).ok()
}

/// Compares with `*` and `?`, as host names compare: without regard to case.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on after the last star, if what it stands for was too short.
    let mut again = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == b'?' || c.eq_ignore_ascii_case(&name[n]) => {
                p += 1;
                n += 1;
            }
            _ => match again {
                Some((after, from)) => {
                    again = Some((after, from + 1));
                    (p, n) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Whether `|1|SALT|HASH` stands for the name. libssh2 computes the hash; the key it is given here is never used.
fn is_hash_of(session: &Session, hashed: &str, name: &str) -> bool {
    const ANY_KEY: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQE=";
    let Ok(mut hosts) = session.known_hosts() else { return false };
    if hosts.read_str(&format!("{hashed} {ANY_KEY}"), KnownHostFileKind::OpenSSH).is_err() {
        return false;
    }
    matches!(hosts.check(name, b"another key"), CheckResult::Mismatch)
}

/// The error for a key that is not to be trusted.
pub(super) fn distrust(
    verdict: Verdict,
    known: &KnownHosts,
    host: &str,
    port: u16,
    key: &[u8],
    digest: &[u8],
) -> Error {
    let fingerprint = base64(digest);
    let scan =
        if port == SSH { format!("ssh-keyscan {host}") } else { format!("ssh-keyscan -p {port} {host}") };
    let (reason, hint) = match verdict {
        Verdict::Changed => (
            "the host shows another key than the known one",
            "somebody may stand between; ask who runs the host, then replace its line in the file".to_owned(),
        ),
        Verdict::Revoked => ("the host's key is marked as revoked", "ask who runs the host".to_owned()),
        Verdict::Unknown | Verdict::Known => (
            "the host's key is not known",
            format!(
                "compare the fingerprint with the one that the host's owner publishes, then add what `{scan}` prints to the file"
            ),
        ),
    };
    Error::new(ErrorKind::PermissionDenied, "trust the ssh server")
        .with("host", host)
        .with("port", port)
        .with("reason", reason)
        .with("key", key_kind(key).unwrap_or("unknown").escape_debug())
        .with("fingerprint", format!("SHA256:{}", fingerprint.trim_end_matches('=')))
        .with("known hosts", known.shown())
        .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of a kind, raw; what follows the kind tells keys apart.
    fn key(kind: &str, rest: u8) -> Vec<u8> {
        [&(kind.len() as u32).to_be_bytes()[..], kind.as_bytes(), &[0, 0, 0, 1, rest]].concat()
    }

    fn line(hosts: &str, kind: &str, rest: u8) -> String {
        format!("{hosts} {kind} {} somebody@somewhere\n", base64(&key(kind, rest)))
    }

    fn verdict(text: &str, host: &str, port: u16, kind: &str, rest: u8) -> Verdict {
        let known = KnownHosts { text: text.to_owned(), files: Vec::new() };
        known.check(&Session::new().unwrap(), host, port, &key(kind, rest))
    }

    const ED: &str = "ssh-ed25519";

    #[test]
    fn plain_names_ports_patterns_and_negations_are_understood() {
        let text = [
            "# a comment\n",
            &line("git.example.com,10.0.0.1", ED, 1),
            &line("[git.example.com]:2222", ED, 2),
        ]
        .concat();
        assert_eq!(verdict(&text, "git.example.com", 22, ED, 1), Verdict::Known);
        assert_eq!(verdict(&text, "10.0.0.1", 22, ED, 1), Verdict::Known);
        assert_eq!(verdict(&text, "git.example.com", 22, ED, 2), Verdict::Changed);
        assert_eq!(verdict(&text, "git.example.com", 22, "ssh-rsa", 1), Verdict::Unknown);
        assert_eq!(verdict(&text, "git.example.com", 2222, ED, 2), Verdict::Known);
        assert_eq!(verdict(&text, "git.example.com", 2222, ED, 3), Verdict::Changed);
        assert_eq!(verdict(&text, "other.example.com", 22, ED, 1), Verdict::Unknown);

        let text = line("!bad.example.com,*.example.com,h?st", ED, 1);
        assert_eq!(verdict(&text, "good.EXAMPLE.com", 22, ED, 1), Verdict::Known);
        assert_eq!(verdict(&text, "host", 22, ED, 1), Verdict::Known);
        assert_eq!(verdict(&text, "bad.example.com", 22, ED, 1), Verdict::Unknown);
        assert_eq!(verdict(&text, "example.com", 22, ED, 1), Verdict::Unknown);
    }

    #[test]
    fn an_entry_without_the_port_confirms_and_does_not_contradict() {
        let text = line("h", ED, 1);
        assert_eq!(verdict(&text, "h", 2222, ED, 1), Verdict::Known);
        assert_eq!(verdict(&text, "h", 2222, ED, 2), Verdict::Unknown);
    }

    #[test]
    fn hashed_names_are_recognised() {
        // Made with `ssh-keygen -H` of `git.example.com` and `[git.example.com]:2222`.
        let hashed = HASHED;
        for (hosts, port) in [(hashed[0], 22), (hashed[1], 2222)] {
            let text = line(hosts, ED, 1);
            assert_eq!(verdict(&text, "git.example.com", port, ED, 1), Verdict::Known);
            assert_eq!(verdict(&text, "git.example.com", port, ED, 2), Verdict::Changed);
            assert_eq!(verdict(&text, "git.example.org", port, ED, 1), Verdict::Unknown);
        }
        assert_eq!(verdict(&line("|1|x|y", ED, 1), "h", 22, ED, 1), Verdict::Unknown);
    }

    const HASHED: [&str; 2] = [
        "|1|Ehau/DbUSiQnmdeLzsDon+7ba4w=|G/5oCzldNBCMlTj6XbdJeviEpw0=",
        "|1|afGlPFfca917bawJIioEY2hxs68=|Yp4YAFVKn/dFsTKmNyeyOL+5Fd0=",
    ];

    #[test]
    fn revoked_keys_are_refused_and_authorities_trust_no_key() {
        let revoked = format!("{}@revoked {}", line("h", ED, 1), line("*", ED, 1));
        assert_eq!(verdict(&revoked, "h", 22, ED, 1), Verdict::Revoked);
        let authority = format!("@cert-authority {}", line("*", ED, 1));
        assert_eq!(verdict(&authority, "h", 22, ED, 1), Verdict::Unknown);
    }

    #[test]
    fn a_second_key_of_a_host_is_as_good_as_the_first() {
        let text = [line("h", ED, 1), line("h", ED, 2), line("h", "ssh-rsa", 3)].concat();
        let known = KnownHosts { text: text.clone(), files: Vec::new() };

        assert_eq!(verdict(&text, "h", 22, ED, 2), Verdict::Known);
        assert_eq!(known.key_kinds(&Session::new().unwrap(), "h", 22), [ED, "ssh-rsa"]);
    }

    #[test]
    fn broken_lines_and_keys_are_passed_over() {
        assert_eq!(verdict("h\nh ssh-ed25519\n@revoked\n\n", "h", 22, ED, 1), Verdict::Unknown);
        assert_eq!(key_kind(&[0, 0, 1, 0, b'x']), None);
        assert_eq!(key_kind(b""), None);
    }
}
