//! Answers requests from the files of a folder.
//!
//! The template for plug-ins: complete, small, and passing the conformance kit. As a transport it is for tests and
//! for air-gapped hosts to which answers are copied. The path of the request names the file; what is not there is
//! a 404. It speaks to nobody, so it has no TLS, no proxy, and no method but `GET`.

mod config;

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use leverframe::{
    Error, ErrorKind, Result, Retry, async_trait, register_transport,
    registry::{BuildContext, Plugin},
    traits::{Body, Chunks, Request, Response, Transport, redacted},
};

pub use self::config::ExampleConfig;

/// The name under which the transport is registered.
pub const NAME: &str = "example";

/// A transport over a folder; see the [crate](self).
///
/// # Examples
/// ```
/// use leverframe::{live::block_on, traits::{Request, Transport}};
/// use transport_example::{ExampleConfig, ExampleTransport};
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("flags"), "hello").unwrap();
/// let mut config = ExampleConfig::default();
/// config.folder = dir.path().to_owned();
/// let transport = ExampleTransport::open(config)?;
/// let response = block_on(transport.send(Request::get("http://example.com/flags".parse().unwrap())))?;
/// assert_eq!(block_on(response.body.read_all(100))?, "hello");
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Debug)]
pub struct ExampleTransport {
    config: ExampleConfig,
    closed: AtomicBool,
}

impl ExampleTransport {
    /// Opens the folder.
    ///
    /// # Errors
    /// `Config` where no folder is set.
    pub fn open(config: ExampleConfig) -> Result<Self> {
        if config.folder.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::Config, "open the example transport")
                .hint("set `transport.example.folder`"));
        }
        Ok(Self { config, closed: AtomicBool::new(false) })
    }

    /// Returns the file that a path names; nothing outside the folder has a name.
    fn file(&self, path: &str) -> Option<PathBuf> {
        let relative = Path::new(path.trim_start_matches('/'));
        let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
        inside.then(|| self.config.folder.join(relative))
    }
}

#[async_trait]
impl Transport for ExampleTransport {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, request: Request) -> Result<Response> {
        // The URI enters errors without user-info and query: either may hold a credential.
        let refuse = |kind, retry| {
            Error::new(kind, "send the request").with("uri", redacted(&request.uri)).retry(retry)
        };
        if self.closed.load(Ordering::Acquire) {
            return Err(refuse(ErrorKind::Cancelled, Retry::Never));
        }
        if !self.config.folder.is_dir() {
            return Err(refuse(ErrorKind::Unavailable, Retry::Now).hint("the folder is gone; is it mounted?"));
        }
        let empty = |status| Response::new(status, HeaderMap::new(), Body::from_bytes(""));
        if request.method != http::Method::GET {
            return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
        }
        match self.file(request.uri.path()).map(File::open) {
            Some(Ok(file)) if file.metadata().is_ok_and(|m| m.is_file()) => {
                let chunks = FileChunks { file, left: request.body_limit };
                Ok(Response::new(StatusCode::OK, HeaderMap::new(), Body::from_chunks(chunks)))
            }
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                Err(refuse(ErrorKind::Unavailable, Retry::Now).source(error))
            }
            _ => Ok(empty(StatusCode::NOT_FOUND)),
        }
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

struct FileChunks {
    file: File,
    left: u64,
}

#[async_trait]
impl Chunks for FileChunks {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let mut buffer = vec![0; 16 * 1024];
        let read = self.file.read(&mut buffer).map_err(|e| Error::from_io("read the answer", e))?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| Error::new(ErrorKind::LimitExceeded, "read the answer"))?;
        buffer.truncate(read);
        Ok(Some(buffer.into()).filter(|b: &Bytes| !b.is_empty()))
    }
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(ExampleTransport::open(context.settings()?)?))
}

/// How the transport is registered.
pub const PLUGIN: Plugin<dyn Transport> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("Answers from the files of a folder")
    .with_example(include_str!("example.toml"))
    .with_fields(ExampleConfig::FIELDS);
register_transport!(PLUGIN);
