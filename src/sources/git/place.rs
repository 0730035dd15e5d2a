//! Which repository a URI names, how it is reached, and which part of it is meant.

use std::{fmt, net::IpAddr, path::PathBuf};

use git2::{Oid, Reference};
use http::Uri;

use crate::{Error, ErrorKind, Result, Secret, encoding::percent_decoded};

/// A repository and the part of it that is meant. `Display` shows it without credentials.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) carrier: Carrier,
    pub(super) selector: Selector,
    /// The folder that holds the files, `/`-separated; empty for the root.
    pub(super) subdir: String,
    shown: String,
    name: String,
}

/// How a repository is reached.
#[derive(Clone, Debug)]
pub(super) enum Carrier {
    File(PathBuf),
    Http(HttpPlace),
    Ssh(SshPlace),
}

#[derive(Clone, Debug)]
pub(super) struct HttpPlace {
    /// The repository's URL without credentials and without a slash at its end.
    pub(super) base: String,
    pub(super) login: Option<Login>,
}

/// What stood before the `@` of a URL.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: Secret,
    pub(super) password: Secret,
}

#[derive(Clone, Debug)]
pub(super) struct SshPlace {
    pub(super) user: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
}

/// Which commit is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    Head,
    /// A commit by its full name: it can never mean anything else.
    Commit(Oid),
    /// A branch, a tag, or the beginning of a commit's name.
    Named(String),
}

impl Place {
    /// Reads `git+SCHEME://…#ref:subdir`.
    pub(super) fn of_uri(uri: &str) -> Result<Self> {
        let (scheme, rest) =
            uri.strip_prefix("git+").and_then(|rest| rest.split_once("://")).ok_or_else(|| {
                refuse("git", "it does not begin with `git+ssh://`, `git+https://` or `git+file://`")
            })?;
        let refuse = |reason: &str| refuse(scheme, reason);
        let (location, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        if location.contains('?') {
            return Err(refuse("it has a query"));
        }
        let (authority, path) = location.split_at(location.find('/').unwrap_or(location.len()));
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        // Else the rest of a password that holds an unescaped slash would pass for a path, and be shown as one.
        if login.is_none() && location.contains('@') {
            return Err(refuse(
                "it has an `@` behind the host; in a path write `%40`, in a password `%2F` for a slash",
            ));
        }
        let path_text = percent_decoded(path)
            .filter(|p| !p.contains(char::is_control))
            .ok_or_else(|| refuse("its path is wrongly escaped, or holds control characters"))?;
        if path_text.trim_matches('/').is_empty() {
            return Err(refuse("it names no repository"));
        }
        let carrier = match scheme {
            "file" if !host.is_empty() && host != "localhost" || login.is_some() => {
                return Err(refuse("it names another host; write three slashes"));
            }
            "file" => Carrier::File(PathBuf::from(&path_text)),
            "ssh" => Carrier::Ssh(ssh(login, host, &path_text).map_err(&refuse)?),
            "https" | "http" => Carrier::Http(http(scheme, login, host, path).map_err(&refuse)?),
            _ => return Err(refuse("its scheme is none of `git+ssh`, `git+https` and `git+file`")),
        };
        let fragment = percent_decoded(fragment).ok_or_else(|| refuse("its fragment is wrongly escaped"))?;
        let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
        let selector = Selector::parse(reference).map_err(&refuse)?;
        let subdir = subdir.trim_matches('/').to_owned();
        if !subdir.is_empty() && subdir.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refuse("its folder holds an empty part, `.` or `..`"));
        }
        if subdir.contains(char::is_control) {
            return Err(refuse("its folder holds control characters"));
        }
        let last = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        let name = if subdir.is_empty() {
            let name = last(&path_text);
            name.strip_suffix(".git").filter(|stem| !stem.is_empty()).unwrap_or(&name).to_owned()
        } else {
            last(&subdir)
        };
        let shown_fragment = if fragment.is_empty() { String::new() } else { format!("#{fragment}") };
        let shown = format!("git+{scheme}://{host}{path_text}{shown_fragment}");
        Ok(Self { carrier, selector, subdir, shown, name })
    }

    /// What the files are called where they do not say so themselves.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Selector {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text == "HEAD" {
            return Ok(Self::Head);
        }
        if text.len() == FULL_NAME && is_hex(text) {
            return Oid::from_str(text).map(Self::Commit).map_err(|_| "its commit is not one");
        }
        let valid = Reference::is_valid_name(&format!("refs/heads/{text}")) && !text.starts_with('-');
        if valid { Ok(Self::Named(text.to_owned())) } else { Err("its ref is not a well-formed name") }
    }

    /// The refs that are meant, the first that exists before the others.
    pub(super) fn candidates(&self) -> Vec<String> {
        match self {
            Self::Head => vec!["HEAD".to_owned()],
            Self::Commit(_) => Vec::new(),
            Self::Named(name) if name.starts_with("refs/") => vec![name.clone()],
            Self::Named(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
        }
    }

    /// The beginning of a commit's name, if the selector can be one.
    pub(super) fn abbreviation(&self) -> Option<String> {
        match self {
            Self::Named(name) if (SHORTEST_NAME..FULL_NAME).contains(&name.len()) && is_hex(name) => {
                Some(name.to_ascii_lowercase())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("HEAD"),
            Self::Commit(id) => id.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// The digits of a commit's name, in full and at the least.
const FULL_NAME: usize = 40;
const SHORTEST_NAME: usize = 4;

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn ssh(login: Option<&str>, host: &str, path: &str) -> Result<SshPlace, &'static str> {
    let user = percent_decoded(login.unwrap_or("git")).ok_or("its user is wrongly escaped")?;
    if user.contains(':') {
        return Err("it has a password; `git+ssh` takes keys only");
    }
    if user.is_empty() || user.contains(char::is_control) {
        return Err("its user is not one");
    }
    let (host, port) = split_port(host)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || host.starts_with('-') || !host.chars().all(plain) {
        return Err("its host is not one");
    }
    // As the git program does: the shell of the other side makes a home folder of it.
    let path = if path.starts_with("/~") { &path[1..] } else { path };
    Ok(SshPlace { user, host, port: port.unwrap_or(22), path: path.to_owned() })
}

fn split_port(host: &str) -> Result<(&str, Option<u16>), &'static str> {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            let port = port
                .parse()
                .map_err(|_| "its port is not a number; a path follows the host after a slash")?;
            Ok((name, Some(port)))
        }
        _ => Ok((host, None)),
    }
}

fn http(scheme: &str, login: Option<&str>, host: &str, path: &str) -> Result<HttpPlace, &'static str> {
    let base = format!("{scheme}://{host}{}", path.trim_end_matches('/'));
    let parsed: Uri = base.parse().map_err(|_| "it is not a URL")?;
    let name = parsed.host().unwrap_or_default();
    if name.is_empty() || split_port(host)?.0 != name {
        return Err("its host is not one");
    }
    if scheme == "http" && !is_loopback(name) {
        return Err("`git+http` to another machine would send everything in the clear; use `git+https`");
    }
    let login = match login {
        None => None,
        Some(login) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let secret =
                |text| percent_decoded(text).map(Secret::new).ok_or("its credentials are wrongly escaped");
            Some(Login { user: secret(user)?, password: secret(password)? })
        }
    };
    Ok(HttpPlace { base, login })
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Shows nothing of the URI but its scheme: what cannot be taken apart cannot be cleaned of credentials either.
fn refuse(scheme: &str, reason: &str) -> Error {
    let known = ["ssh", "https", "http", "file"].contains(&scheme);
    Error::new(ErrorKind::Invalid, "read the git URI")
        .with("uri", if known { format!("git+{scheme}://…") } else { "…".to_owned() })
        .with("reason", reason)
        .hint("write it as `git+https://host/path.git#ref:folder`; ref and folder may be left out")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(uri: &str) -> Place {
        Place::of_uri(uri).unwrap()
    }

    #[test]
    fn the_fragment_gives_ref_and_folder_and_both_may_be_left_out() {
        for (fragment, selector, subdir) in [
            ("", Selector::Head, ""),
            ("#main", Selector::Named("main".to_owned()), ""),
            ("#:payments", Selector::Head, "payments"),
            ("#v1.2:flags/payments/", Selector::Named("v1.2".to_owned()), "flags/payments"),
            ("#feature/x%23y", Selector::Named("feature/x#y".to_owned()), ""),
        ] {
            let place = place(&format!("git+file:///srv/flags.git{fragment}"));
            assert_eq!((place.selector, place.subdir.as_str()), (selector, subdir), "{fragment}");
        }
        let pinned = place("git+file:///srv/flags.git#0123456789ABCDEF0123456789abcdef01234567");
        assert!(matches!(pinned.selector, Selector::Commit(_)));
    }

    #[test]
    fn names_come_from_the_folder_or_the_repository() {
        assert_eq!(place("git+https://h/org/flags.git").name(), "flags");
        assert_eq!(place("git+https://h/org/flags.git#:a/b").name(), "b");
        assert_eq!(place("git+file:///srv/flags/").name(), "flags");
    }

    #[test]
    fn ssh_places_have_user_host_port_and_path() {
        let Carrier::Ssh(ssh) = place("git+ssh://deploy@Git.Example.com:2222/srv/x.git").carrier else {
            panic!()
        };
        assert_eq!(
            (&*ssh.user, &*ssh.host, ssh.port, &*ssh.path),
            ("deploy", "git.example.com", 2222, "/srv/x.git")
        );
        let Carrier::Ssh(ssh) = place("git+ssh://[::1]/~me/x.git").carrier else { panic!() };
        assert_eq!((&*ssh.user, &*ssh.host, ssh.port, &*ssh.path), ("git", "::1", 22, "~me/x.git"));
    }

    #[test]
    fn credentials_are_taken_out_and_never_shown() {
        let place = place("git+https://x-access-token:s3cret%2Ftoken@h:8443/x.git#main");
        let shown = format!("{place} {place:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("x-access-token"), "{shown}");
        let Carrier::Http(http) = place.carrier else { panic!() };
        assert_eq!(http.base, "https://h:8443/x.git");
        assert_eq!(http.login.unwrap().password.expose(), "s3cret/token");
    }

    #[test]
    fn uris_that_mean_nothing_safe_are_refused_without_being_shown() {
        for bad in [
            "https://u:s3cret@h/x.git",
            "git+ftp://u:s3cret@h/x.git",
            "git+http://u:s3cret@example.com/x.git",
            "git+https://u:s3cret@h",
            "git+https://u:s3cret@h/x.git?token=s3cret",
            "git+https://u:12/s3cret@h/x.git",
            "git+https://u:s3cret/2@h/x.git",
            "git+ssh://git:s3cret@h/x.git",
            "git+ssh://git@h:s3cret/x.git",
            "git+ssh://git@-oProxyCommand=s3cret/x.git",
            "git+file://s3cret/x.git",
            "git+file:///x%00.git#s3cret",
            "git+file:///x.git#s3cret..main",
            "git+file:///x.git#-s3cret",
            "git+file:///x.git#main:a/../s3cret",
            "git+file:///x.git#main:/s3cret//b",
        ] {
            let error = Place::of_uri(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{bad}: {error}");
        }
        for loopback in ["localhost", "127.0.0.2:8080", "[::1]:80"] {
            place(&format!("git+http://{loopback}/x.git"));
        }
    }
}
