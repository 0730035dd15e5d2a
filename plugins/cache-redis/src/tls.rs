//! TLS with the platform's authorities and those of a file.

use std::{io, net::TcpStream, path::Path, sync::Arc};

use leverframe::{Error, ErrorKind, Result};
use rustls::{
    ClientConfig, ClientConnection, StreamOwned,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use rustls_platform_verifier::Verifier;

use crate::{
    deadline::Deadline,
    stream::{Timed, Wire},
};

/// Whom connections trust.
#[derive(Clone)]
pub(crate) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Reads the authorities; an empty path adds none to the platform's.
    pub(crate) fn new(ca_file: &Path) -> Result<Self> {
        let refuse = |reason: String| {
            Error::new(ErrorKind::Config, "read the certificate authorities of the redis cache")
                .with("ca_file", ca_file.display())
                .with("reason", reason)
                .hint("set `cache.redis.ca_file` to a PEM file of certificates")
        };
        // The provider is handed over: the process-wide one belongs to the application.
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let mut extra = Vec::new();
        if !ca_file.as_os_str().is_empty() {
            let found =
                CertificateDer::pem_file_iter(ca_file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            extra = found.map_err(|e| refuse(e.to_string()))?;
            if extra.is_empty() {
                return Err(refuse("it holds no certificate".to_owned()));
            }
        }
        let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| Ok((builder, verifier?)))
            .map_err(|e| refuse(e.to_string()))
            .map(|(builder, verifier)| {
                // "Dangerous" is any verifier but the built-in one; this is the platform's.
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
            })?;
        Ok(Self(Arc::new(config)))
    }

    /// Speaks TLS over a connection; the handshake happens with the first bytes.
    pub(crate) fn secure(&self, host: &str, socket: Timed<TcpStream>) -> io::Result<Box<dyn Wire>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, socket)))
    }
}

impl Wire for StreamOwned<ClientConnection, Timed<TcpStream>> {
    fn set_deadline(&mut self, deadline: Deadline) {
        self.sock.set(deadline);
    }
}

/// Whether the peer's certificate was what kept a connection from being made.
pub(crate) fn is_distrust(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}
