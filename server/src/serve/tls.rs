//! TLS, by rustls with aws-lc-rs, which is named so that no other choice of the process matters.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use leverframe::{Error, ErrorKind, Result};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// Where the certificate chain and its key are: PEM files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The certificate, followed by those that it was signed with.
    pub certificate_chain: PathBuf,
    /// The key.
    pub private_key: PathBuf,
}

impl TlsFiles {
    /// Names the files.
    pub fn new(certificate_chain: impl Into<PathBuf>, private_key: impl Into<PathBuf>) -> Self {
        Self { certificate_chain: certificate_chain.into(), private_key: private_key.into() }
    }
}

/// The certificate that new connections are given.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    pub(super) fn load(files: TlsFiles) -> Result<Self> {
        let config = ArcSwap::from(config(&files)?);
        Ok(Self { files, config })
    }

    /// Reads the files again; if they cannot be used, the certificate at hand stays.
    pub(super) fn reload(&self) -> Result<()> {
        self.config.store(config(&self.files)?);
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>> {
    let chain = read(&files.certificate_chain)?;
    let chain = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(&files.certificate_chain).source(error))?;
    if chain.is_empty() {
        return Err(invalid(&files.certificate_chain).hint("the file has no `BEGIN CERTIFICATE`"));
    }
    // What is wrong with a key is not told: the parser might quote it.
    let key = PrivateKeyDer::from_pem_slice(&read(&files.private_key)?).map_err(|_| {
        invalid(&files.private_key).hint("the file must hold one unencrypted private key in PEM")
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Config, "set up TLS").source(error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            invalid(&files.certificate_chain).source(error).hint("is the key that of the certificate?")
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes));
    file.map_err(|error| Error::from_io("read a file for TLS", error).with("path", path.display()))?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(invalid(path).hint("the file is longer than 1 MiB"));
    }
    Ok(bytes)
}

fn invalid(path: &Path) -> Error {
    Error::new(ErrorKind::Config, "use a file for TLS").with("path", path.display())
}

/// Chains are a few kilobytes.
const LONGEST_FILE: u64 = 1 << 20;
