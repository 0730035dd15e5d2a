//! Documents from a file server that speaks FTP over TLS.
//!
//! Choose it where an archive is dropped on a file server that speaks nothing better: `ftps://host/path/file` names
//! one file, and its bytes become the document. A poll asks for the file's modification time and size (`MDTM`,
//! `SIZE`) over a connection that is kept open, and transfers the file only when they say something new; a server
//! that knows no `MDTM` is read each time. The revision is the digest of the content, so a file that was only
//! touched is `Unchanged`.
//!
//! TLS is explicit (`AUTH TLS`, port 21) or implicit (port 990), versions 1.2 and 1.3, and covers commands and data;
//! a data connection resumes the session of its control connection, as many servers demand. Certificates are
//! checked against the platform's authorities and those of `ca_file`. The log-in is, in this order: that of
//! [`UriAuth::Basic`](crate::UriAuth), that of the URI, `anonymous`. The path is relative to the directory in which
//! the log-in ends; `ftps://host/%2Fsrv/file` names one from the root.
//!
//! **Two writes in one second.** `MDTM` counts whole seconds, so a second write within the second of the first, of
//! as many bytes, changes neither time nor size. Time and size are therefore believed only for a transfer that
//! began two seconds or more after they were first seen, or that read a file a day old; before that the next load
//! transfers again and compares digests. The two seconds are this process's own, so that a server's clock may be
//! wrong; a freshly written file costs one transfer more. A file that is written while it is read is noticed by
//! time, size and length, and read again.
//!
//! It cannot speak plain FTP, list directories, upload, use active mode or client certificates, go through a proxy,
//! or be told of changes; and it does not see a change that leaves size and time as they were, as tools can make that
//! set modification times back.

mod config;
mod failure;
mod fetch;
mod place;
mod session;
mod tls;

use std::{fmt, future::pending, sync::Arc};

use async_trait::async_trait;

pub use self::config::FtpsConfig;
use self::{
    fetch::Remote,
    place::{Credentials, Place},
    tls::Trust,
};
use crate::{
    Error, ErrorKind, Result, UriAuth,
    backends::{clock_system::SystemClock, tokio_thread},
    document::Revision,
    register_source,
    registry::{BuildContext, Plugin},
    traits::{Clock, Load, Source},
};

/// The name under which the source is registered.
pub const NAME: &str = "ftps";

/// A source over one file of a server; see the [module](self).
///
/// # Examples
/// ```
/// use leverframe::{UriAuth, sources::ftps::{FtpsConfig, FtpsSource}};
/// let auth = UriAuth::Basic { user: "reader".into(), pass: "s3cret".into() };
/// // Nothing is sent before the first load.
/// let source = FtpsSource::open("ftps://files.example.com/m.tar.gz", Some(&auth), FtpsConfig::default())?;
/// assert!(!format!("{source:?}").contains("s3cret"));
/// # Ok::<(), leverframe::Error>(())
/// ```
pub struct FtpsSource {
    remote: Arc<Remote>,
}

impl FtpsSource {
    /// Opens the source on an `ftps://` URI; nothing is sent yet. `auth` outranks the URI's own user-info.
    ///
    /// # Errors
    /// `Invalid` for a URI that names no file of a server, `Config` for settings or credentials that cannot be used
    /// and for authorities that cannot be read.
    pub fn open(uri: &str, auth: Option<&UriAuth>, config: FtpsConfig) -> Result<Self> {
        Self::open_with_clock(uri, auth, config, Arc::new(SystemClock::new()))
    }

    /// Opens the source with another clock than the system's; nothing is sent yet.
    ///
    /// # Errors
    /// As [`FtpsSource::open`].
    pub fn open_with_clock(
        uri: &str,
        auth: Option<&UriAuth>,
        config: FtpsConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let (place, user_info) = Place::of_uri(uri, &config)?;
        let credentials = match auth {
            Some(auth) => Credentials::of_auth(auth)?,
            None => user_info.unwrap_or_else(Credentials::anonymous),
        };
        let trust = Trust::load(&config.ca_file)?;
        Ok(Self { remote: Arc::new(Remote::new(place, credentials, trust, config, clock)) })
    }
}

#[async_trait]
impl Source for FtpsSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        self.remote.check_open()?;
        let (remote, since) = (Arc::clone(&self.remote), since.cloned());
        tokio_thread::run(async move { remote.load(since.as_ref()).await }).await?
    }

    async fn changed(&self) -> Result<()> {
        pending().await
    }

    async fn close(&self) -> Result<()> {
        if let Some(session) = self.remote.close() {
            let remote = Arc::clone(&self.remote);
            // Best effort: a server ends a session as well when its connection is gone.
            let _ = tokio_thread::run(async move { remote.quit(session).await }).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for FtpsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FtpsSource")
            .field("uri", &self.remote.place.locator)
            .field("config", &self.remote.config)
            .finish_non_exhaustive()
    }
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Source>> {
    let uri = context.uri().ok_or_else(|| {
        Error::new(ErrorKind::Config, "open the ftps source")
            .with("reason", "it needs a URI")
            .hint("set the namespace's `uri`, such as `ftps://host/path/manifest.tar.gz`")
    })?;
    let clock = Arc::clone(context.clock());
    Ok(Arc::new(FtpsSource::open_with_clock(uri, context.auth(), context.settings()?, clock)?))
}

/// How the source is registered.
pub const PLUGIN: Plugin<dyn Source> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("An archive on a server that speaks FTP over TLS, explicit or implicit")
    .with_example(include_str!("example.toml"))
    .with_fields(FtpsConfig::FIELDS);
register_source!(PLUGIN);
