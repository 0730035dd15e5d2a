//! Requests through the `curl` program on the PATH.
//!
//! Choose it where the proxy, the log-in to it, or the TLS set-up of the house is already in `~/.curlrc`, which the
//! program reads, or where no TLS library may be linked. Each request, and each redirect of it, starts a program and
//! makes a connection: for a poll every few seconds that is nothing, for more choose `curl` or `reqwest`.
//!
//! - curl 7.66 or newer. No shell is involved.
//! - URI, headers, credentials, proxy and bodies go to the program's standard input; its arguments and its environment
//!   hold nothing of a request. A body of more than 40 KiB, or with a NUL in it, goes through a file that only its owner
//!   may read, in a folder of its own, removed when the program ends: options cannot hold it.
//! - Settings win over `~/.curlrc`, and so do a few options that an answer could not be understood without. Its
//!   `insecure` and `location` are not honoured: certificates are always checked, and redirects are followed here,
//!   at most five, without credentials on the way to another origin. What `~/.curlrc` itself adds to every request,
//!   such as `user` or `header`, goes to every host, as it does when curl is called by hand; credentials for one host
//!   belong in `~/.netrc`.
//! - TLS versions are those of the program and of `~/.curlrc`; curl 8 and OpenSSL 3 offer nothing below 1.2.
//! - With `ca_file`, the program is given a file with the platform's roots and those, for as long as it runs.
//! - Compressed answers are decompressed here, so that it does not matter how the program was built.

mod child;
mod scratch;
mod script;
mod talk;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    Result,
    backends::{
        clock_system::SystemClock,
        http_client::{
            HttpClientConfig,
            exchange::{Exchanges, Reports, Wire},
            hop::Hop,
            trust::Trust,
        },
    },
    register_transport,
    registry::{BuildContext, Plugin},
    traits::{Clock, Request, Response, Transport},
};

/// The name under which the transport is registered.
pub const NAME: &str = "curl_cli";

/// A transport that runs the `curl` program; see the [module](self).
///
/// # Examples
/// ```
/// use leverframe::{ErrorKind, backends::{http_client::HttpClientConfig, transport_curl_cli::CurlCliTransport}};
/// use leverframe::{live::block_on, traits::{Request, Transport}};
/// let transport = CurlCliTransport::open(&HttpClientConfig::default())?.with_program("/nowhere/curl");
/// let error = block_on(transport.send(Request::get("http://127.0.0.1/".parse().unwrap()))).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Config);
/// assert!(error.hint_text().unwrap().contains("install curl"));
/// # Ok::<(), leverframe::Error>(())
/// ```
pub struct CurlCliTransport {
    settings: Arc<Settings>,
    exchanges: Exchanges,
}

/// What every request needs.
#[derive(Clone)]
struct Settings {
    config: HttpClientConfig,
    trust: Trust,
    program: PathBuf,
    home: Option<PathBuf>,
}

impl CurlCliTransport {
    /// Reads the certificates that the settings name; nothing is started yet.
    ///
    /// # Errors
    /// `Config` where one of the files cannot be used, or the proxy's URL is none.
    pub fn open(config: &HttpClientConfig) -> Result<Self> {
        Self::open_with_clock(config, Arc::new(SystemClock::new()))
    }

    /// Like [`open`](Self::open); deadlines are measured by `clock`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_clock(config: &HttpClientConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let trust = Trust::load(config)?;
        let exchanges = Exchanges::new(clock, config.gzip);
        let settings = Settings { config: config.clone(), trust, program: "curl".into(), home: None };
        Ok(Self { settings: Arc::new(settings), exchanges })
    }

    /// Sets the program, in place of `curl` on the PATH.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        Arc::make_mut(&mut self.settings).program = program.into();
        self
    }

    /// Sets the folder whose `.curlrc` the program reads, in place of the home folder.
    #[must_use]
    pub fn with_home(mut self, home: impl Into<PathBuf>) -> Self {
        Arc::make_mut(&mut self.settings).home = Some(home.into());
        self
    }
}

#[async_trait]
impl Transport for CurlCliTransport {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, request: Request) -> Result<Response> {
        self.exchanges.send(self, request).await
    }

    async fn close(&self) -> Result<()> {
        self.exchanges.close();
        Ok(())
    }
}

impl Wire for CurlCliTransport {
    const LOGS_IN: bool = true;

    fn start(&self, hop: &Hop, left: Duration) -> Result<Reports> {
        talk::start(&self.settings, hop, left)
    }
}

impl fmt::Debug for CurlCliTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration is left out: a proxy's URL may hold a password.
        f.debug_struct("CurlCliTransport").field("program", &self.settings.program).finish_non_exhaustive()
    }
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(CurlCliTransport::open_with_clock(&context.settings()?, Arc::clone(context.clock()))?))
}

/// How the transport is registered.
pub const PLUGIN: Plugin<dyn Transport> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("The `curl` program, with what `~/.curlrc` says")
    .with_example(include_str!("example.toml"))
    .with_fields(HttpClientConfig::FIELDS);
register_transport!(PLUGIN);
