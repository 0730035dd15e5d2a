//! TLS for the control connection and its data connections.

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use rustls::{
    ClientConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use suppaftp::{
    FtpError, FtpResult,
    tokio::{AsyncRustlsStream, AsyncTlsConnector},
    tokio_rustls::TlsConnector,
};
use tokio::net::TcpStream;

use crate::{Error, ErrorKind, Result};

/// Whose certificates are trusted: the platform's authorities, and those of a file.
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    verifier: Arc<Verifier>,
}

impl Trust {
    /// Reads the authorities; an empty path names none besides the platform's.
    pub(super) fn load(ca_file: &Path) -> Result<Self> {
        let refuse = |reason: String| {
            Error::new(ErrorKind::Config, "load certificate authorities")
                .with("ca_file", ca_file.display())
                .with("reason", reason)
                .hint("set `source.ftps.ca_file` to a readable PEM file of certificates")
        };
        let extra = if ca_file.as_os_str().is_empty() {
            Vec::new()
        } else {
            let read =
                CertificateDer::pem_file_iter(ca_file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let found = read.map_err(|e| refuse(e.to_string()))?;
            if found.is_empty() {
                return Err(refuse("it holds no certificate".to_owned()));
            }
            found
        };
        // Named, not taken from the process: another crate may have compiled in a second provider, and then there
        // is no default to take.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider))
            .map_err(|e| refuse(e.to_string()))?;
        Ok(Self { provider, verifier: Arc::new(verifier) })
    }

    /// Makes the TLS of one control connection.
    ///
    /// Its sessions are kept apart from those of every other: a server that demands that a data connection resumes
    /// the session of its control connection refuses one that resumes another's.
    pub(super) fn connector(&self) -> Result<Connector> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::new(ErrorKind::Config, "set up TLS").source(e))?
            .dangerous() // The name of the builder's step; the verifier is the platform's, nothing is left out.
            .with_custom_certificate_verifier(Arc::clone(&self.verifier) as _)
            .with_no_client_auth();
        Ok(Connector { tls: TlsConnector::from(Arc::new(config)), failure: Failure::default() })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust(…)")
    }
}

/// Why the last handshake failed: the FTP library passes on its text only, which nobody should have to search.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Begins TLS on the control connection and on each of its data connections.
pub(super) struct Connector {
    tls: TlsConnector,
    failure: Failure,
}

impl Connector {
    /// Where a failed handshake leaves its reason.
    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    async fn handshake(&self, host: &str, stream: TcpStream) -> io::Result<AsyncRustlsStream> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        // Commands are short and each waits for its answer: collecting them would only add delay.
        stream.set_nodelay(true)?;
        self.tls.connect(name, stream).await.map(AsyncRustlsStream::from)
    }
}

#[async_trait]
impl AsyncTlsConnector for Connector {
    type Stream = AsyncRustlsStream;

    async fn connect(&self, host: &str, stream: TcpStream) -> FtpResult<AsyncRustlsStream> {
        self.handshake(host, stream).await.map_err(|error| {
            let text = error.to_string();
            *self.failure.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            FtpError::SecureError(text)
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector(…)")
    }
}
