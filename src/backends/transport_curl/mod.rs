//! Requests through libcurl, compiled in.
//!
//! Choose it for libcurl's proxies and its thirty years of other people's servers, with connections that are kept and
//! HTTP/2; TLS is OpenSSL's. Everything runs on one thread, started by the first request, that ends when the
//! transport is closed or dropped. It works without any async runtime.
//!
//! It reads no `~/.curlrc` (the `curl_cli` transport does) and speaks nothing but HTTP. Redirects are followed here,
//! at most five, without credentials on the way to another origin. `ca_file` adds to the platform's roots. Headers
//! must be UTF-8.

mod driver;
mod transfer;

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use self::driver::Driver;
use crate::{
    Error, Result, Retry,
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
    traits::{Clock, Request, Response, Transport, redacted},
};

/// The name under which the transport is registered.
pub const NAME: &str = "curl";

/// A transport over libcurl; see the [module](self).
///
/// # Examples
/// ```
/// use leverframe::{ErrorKind, backends::{http_client::HttpClientConfig, transport_curl::CurlTransport}};
/// use leverframe::{live::block_on, traits::{Request, Transport}};
/// let transport = CurlTransport::open(&HttpClientConfig::default())?;
/// let error = block_on(transport.send(Request::get("ftp://127.0.0.1/flags".parse().unwrap()))).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Unsupported);
/// # Ok::<(), leverframe::Error>(())
/// ```
pub struct CurlTransport {
    settings: Settings,
    exchanges: Exchanges,
    driver: Mutex<Option<Driver>>,
}

/// What every request needs.
#[derive(Clone)]
struct Settings {
    config: HttpClientConfig,
    trust: Trust,
}

impl CurlTransport {
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
        let settings = Settings { config: config.clone(), trust: Trust::load(config)? };
        Ok(Self { settings, exchanges: Exchanges::new(clock, config.gzip), driver: Mutex::new(None) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Driver>> {
        // Only whole values are put in and taken out.
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for CurlTransport {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, request: Request) -> Result<Response> {
        self.exchanges.send(self, request).await
    }

    async fn close(&self) -> Result<()> {
        self.exchanges.close();
        // Its thread ends with the connections that it keeps.
        drop(self.lock().take());
        Ok(())
    }
}

impl Wire for CurlTransport {
    const LOGS_IN: bool = false;

    fn start(&self, hop: &Hop, left: Duration) -> Result<Reports> {
        let mut driver = self.lock();
        if let Some(reports) = driver.as_ref().and_then(|driver| driver.submit(hop, left)) {
            return Ok(reports);
        }
        // The first request, or the thread is gone, which only a bug in it can bring about.
        let refuse = |e| Error::from_io("start libcurl's thread", e).with("uri", redacted(&hop.uri));
        let started = Driver::start(self.settings.clone()).map_err(|e| refuse(e).retry(Retry::Now))?;
        let reports = started.submit(hop, left);
        *driver = Some(started);
        reports.ok_or_else(|| refuse(io::Error::other("it ended at once")))
    }
}

impl fmt::Debug for CurlTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration is left out: a proxy's URL may hold a password.
        f.debug_struct("CurlTransport").field("driver", &*self.lock()).finish_non_exhaustive()
    }
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(CurlTransport::open_with_clock(&context.settings()?, Arc::clone(context.clock()))?))
}

/// How the transport is registered.
pub const PLUGIN: Plugin<dyn Transport> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("libcurl, compiled in, with connections that are kept")
    .with_example(include_str!("example.toml"))
    .with_fields(HttpClientConfig::FIELDS);
register_transport!(PLUGIN);
