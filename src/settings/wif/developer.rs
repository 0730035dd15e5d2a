//! A developer's own session, for work on a machine that has no identity.
//!
//! It is not exchanged: the variable, or the file that the vendor's tool writes, holds the session itself.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use http::Uri;
use serde::Deserialize;

use super::{Surroundings, Wishes, checked, exchanger::Session, surroundings::read};
use crate::{Error, ErrorKind, Result, Secret, calendar::from_rfc3339};

const VARIABLE: &str = "WESTYX_DEV_TOKEN";
/// How long a session from the variable is taken to last: nothing says it.
const TAKEN_TO_LAST: Duration = Duration::from_secs(8 * 3_600);
/// The file holds a few sessions.
const MOST: u64 = 1 << 20;
/// A session that ends sooner is refused.
const LEAST_LEFT: Duration = Duration::from_secs(60);

/// Finds the session for a service.
#[derive(Clone, Debug)]
pub(crate) struct Developer {
    token: Option<Secret>,
    file: Option<PathBuf>,
    /// The base URL of the service.
    endpoint: String,
}

#[derive(Deserialize)]
struct Credentials {
    version: u32,
    credentials: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    endpoint: String,
    token: Secret,
    expires_at: String,
}

impl Developer {
    pub(super) fn new(around: &Surroundings, wishes: &Wishes) -> Self {
        let settings = around
            .variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(around.variable("HOME")?).join(".config")));
        Self {
            token: around.variable(VARIABLE).map(Secret::new),
            file: settings.map(|dir| dir.join("westyx").join("dev-credentials.json")),
            endpoint: wishes.endpoint.clone(),
        }
    }

    /// Returns true where there may be a session.
    pub(super) fn is_here(&self) -> bool {
        self.token.is_some() || self.file.as_ref().is_some_and(|file| file.is_file())
    }

    /// Reads the session, anew each time: the tool renews it in the file.
    pub(super) fn session(&self, now: SystemTime) -> Result<Session> {
        if let Some(token) = &self.token {
            let token = checked(token.expose(), "read the developer's session")?;
            return Ok(Session { token, lasts: TAKEN_TO_LAST });
        }
        let file = self.file.as_ref().ok_or_else(|| refuse().with("reason", "there is no home directory"))?;
        let at = |error: Error| error.with("file", file.display());
        let entry = self.entry(file).map_err(at)?;
        let ends = from_rfc3339(&entry.expires_at)
            .ok_or_else(|| at(refuse().with("reason", "`expires_at` is no time")))?;
        let lasts = ends.duration_since(now).unwrap_or_default();
        if lasts < LEAST_LEFT {
            return Err(at(refuse()
                .with("reason", "the session has ended")
                .hint("renew it: `westyx dev setup`")));
        }
        let token = checked(entry.token.expose(), "read the developer's session").map_err(at)?;
        Ok(Session { token, lasts })
    }

    fn entry(&self, file: &Path) -> Result<Entry> {
        private(file)?;
        let text = read(file, MOST).map_err(|error| Error::from_io("read the developer's session", error))?;
        // The cause is left out: it may quote a token.
        let all: Credentials = serde_json::from_str(text.expose())
            .map_err(|_| refuse().with("reason", "it is not of the form that `westyx dev setup` writes"))?;
        if all.version != 1 {
            return Err(refuse().with("version", all.version).hint("this program reads version 1"));
        }
        all.credentials
            .into_iter()
            .find(|entry| place(&entry.endpoint) == place(&self.endpoint))
            .ok_or_else(|| refuse().hint("make a session for this service: `westyx dev setup`"))
    }
}

fn refuse() -> Error {
    Error::new(ErrorKind::Unauthenticated, "read the developer's session")
}

/// Returns host and port of an endpoint, whichever way it is written.
fn place(endpoint: &str) -> Option<(String, u16)> {
    let whole = if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") };
    let uri: Uri = whole.parse().ok()?;
    let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    Some((uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(usual)))
}

/// Refuses a file that others may read.
#[cfg(unix)]
fn private(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error: io::Error| Error::from_io("read the developer's session", error);
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::PermissionDenied, "read the developer's session")
        .with("reason", "others may read the file")
        .hint("make it yours alone: `chmod 600` it"))
}

#[cfg(not(unix))]
fn private(_file: &Path) -> Result<()> {
    Ok(())
}
