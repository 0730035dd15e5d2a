//! What an `ftps://` URI names, and who asks for it.

use std::fmt;

use http::Uri;

use super::{FtpsConfig, config::Mode};
use crate::{Error, ErrorKind, Result, Secret, UriAuth, encoding::percent_decoded};

/// A file of a server.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) mode: Mode,
    /// What the server is asked for.
    pub(super) path: String,
    /// The URI without user-info, as errors show it.
    pub(super) locator: String,
}

/// A log-in.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) user: Secret,
    pub(super) pass: Secret,
}

impl Place {
    /// Reads a URI and its user-info, if it has any.
    pub(super) fn of_uri(uri: &str, config: &FtpsConfig) -> Result<(Self, Option<Credentials>)> {
        // The text itself enters no error: until it is taken apart, a password may be anywhere in it.
        let parsed: Uri = uri.parse().map_err(|_| refuse("it is no URI"))?;
        let authority = parsed.authority().map(|a| a.as_str()).unwrap_or_default();
        let (user_info, server) = match authority.rsplit_once('@') {
            Some((user_info, server)) => (Some(user_info), server),
            None => (None, authority),
        };
        let locator = format!("ftps://{server}{}", parsed.path());
        let refuse = |reason| refuse(reason).with("uri", &locator);
        if parsed.scheme_str() != Some("ftps") {
            return Err(refuse("it does not begin with `ftps://`"));
        }
        // `http` drops fragments while parsing, so the text is looked at.
        if parsed.query().is_some() || uri.contains('#') {
            return Err(refuse("it has a query or a fragment; write `?` as `%3F` and `#` as `%23`"));
        }
        let host = parsed.host().filter(|h| !h.is_empty()).ok_or_else(|| refuse("it names no host"))?;
        let port = match server.strip_prefix(host).unwrap_or_default() {
            "" => None,
            port => Some(
                port.strip_prefix(':')
                    .and_then(|p| p.parse().ok())
                    .filter(|p| *p != 0)
                    .ok_or_else(|| refuse("its port is none"))?,
            ),
        };
        let path = parsed.path().strip_prefix('/').unwrap_or_default();
        let path = percent_decoded(path)
            .filter(|p| is_one_line(p))
            .ok_or_else(|| refuse("it is wrongly escaped"))?;
        if path.is_empty() || path.ends_with('/') {
            return Err(refuse("it names no file"));
        }
        let credentials = user_info
            .map(|info| {
                Credentials::of_user_info(info).ok_or_else(|| refuse("its user-info is wrongly escaped"))
            })
            .transpose()?;
        let (mode, port) = config.mode_and_port(port)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok((Self { host, port, mode, path, locator }, credentials))
    }

    /// The last part of the path.
    pub(super) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

impl Credentials {
    /// What a public server is logged in to with.
    pub(super) fn anonymous() -> Self {
        Self { user: Secret::new("anonymous"), pass: Secret::new("anonymous@") }
    }

    /// Takes the log-in that code gave.
    pub(super) fn of_auth(auth: &UriAuth) -> Result<Self> {
        let refuse = |reason: &str| {
            Error::new(ErrorKind::Config, "open the ftps source")
                .with("reason", reason)
                .hint("give `UriAuth::Basic` with the user and password of the file server")
        };
        match auth {
            UriAuth::Basic { user, pass } if is_one_line(user) && is_one_line(pass) => {
                Ok(Self { user: Secret::new(user), pass: Secret::new(pass) })
            }
            UriAuth::Basic { .. } => Err(refuse("the credentials hold a line break")),
            UriAuth::Bearer(_) => Err(refuse("FTP knows no bearer tokens")),
        }
    }

    fn of_user_info(text: &str) -> Option<Self> {
        let (user, pass) = text.split_once(':').unwrap_or((text, ""));
        let part = |text| percent_decoded(text).filter(|t| is_one_line(t)).map(Secret::new);
        Some(Self { user: part(user)?, pass: part(pass)? })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// A line break would end the command, and what follows would be a command of its own.
fn is_one_line(text: &str) -> bool {
    !text.contains(['\r', '\n', '\0'])
}

fn refuse(reason: &str) -> Error {
    Error::new(ErrorKind::Invalid, "read the ftps URI")
        .with("reason", reason)
        .hint("write it as `ftps://host/path/manifest.tar.gz`, a path from the server's root as `ftps://host/%2Fpath`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> Result<(Place, Option<Credentials>)> {
        Place::of_uri(uri, &FtpsConfig::default())
    }

    #[test]
    fn a_uri_gives_host_port_path_and_log_in() {
        let (place, log_in) = read("ftps://ann:p%40ss%3Aword@files.example.com:2121/a%20b/m.tar.gz").unwrap();
        let log_in = log_in.unwrap();

        assert_eq!((place.host.as_str(), place.port), ("files.example.com", 2121));
        assert_eq!((place.path.as_str(), place.file_name()), ("a b/m.tar.gz", "m.tar.gz"));
        assert_eq!(place.locator, "ftps://files.example.com:2121/a%20b/m.tar.gz");
        assert_eq!((log_in.user.expose(), log_in.pass.expose()), ("ann", "p@ss:word"));
    }

    #[test]
    fn a_path_from_the_root_is_written_with_an_escaped_slash_and_addresses_lose_their_brackets() {
        let (place, log_in) = read("ftps://[::1]:990/%2Fsrv/m.tar.gz").unwrap();

        assert_eq!((place.host.as_str(), place.port, place.mode), ("::1", 990, Mode::Implicit));
        assert_eq!(place.path, "/srv/m.tar.gz");
        assert!(log_in.is_none());
    }

    #[test]
    fn what_names_no_file_of_a_server_is_refused_without_showing_the_password() {
        for bad in [
            "ftp://u:hunter2@host/a",
            "ftps://u:hunter2@host",
            "ftps://u:hunter2@host/",
            "ftps://u:hunter2@host/a/",
            "ftps://u:hunter2@host/a?b",
            "ftps://u:hunter2@host/a#b",
            "ftps://u:hunter2@host/a%0d%0aDELE%20b",
            "ftps://u:hunter2%0aDELE@host/a",
            "ftps://u:hunter2@host/a%zz",
            "ftps://u:hunter2@host:0/a",
            "ftps://u:hunter2@host:99999/a",
            "ftps://u:hunter2@/a",
            "ftps:///a",
            "host/a",
            "ftps://u:hunter2@ho st/a",
        ] {
            let error = read(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
