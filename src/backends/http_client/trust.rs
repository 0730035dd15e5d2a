//! The settings of a connection, looked through: whom it trusts, who it says it is, and by whom it goes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::HeaderValue;

use super::{HttpClientConfig, Via};
use crate::{Error, ErrorKind, Result};

/// What the settings say about TLS, looked through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// The platform's roots and those of `ca_file` after them, as PEM; `None` where the platform's alone are meant,
    /// which curl finds by itself.
    pub(crate) roots: Option<Vec<u8>>,
    /// Certificate and key of the client, as absolute paths.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

impl Trust {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// `Config` where a file is missing, cannot be read, or holds no certificate, and where the proxy's URL or the
    /// user agent is none.
    pub(crate) fn load(config: &HttpClientConfig) -> Result<Self> {
        if let Via::Proxy(url) = config.via() {
            check_proxy(url)?;
        }
        check_user_agent(&config.user_agent)?;
        let roots = if is_empty(&config.ca_file) { None } else { Some(bundle(&config.ca_file)?) };
        let client = match (is_empty(&config.client_cert_file), is_empty(&config.client_key_file)) {
            (true, true) => None,
            (false, false) => {
                let cert = readable("client_cert_file", &config.client_cert_file, CERTIFICATE)?.0;
                let key = readable("client_key_file", &config.client_key_file, KEY)?.0;
                Some((cert, key))
            }
            _ => {
                return Err(Error::new(ErrorKind::Config, "set up TLS")
                    .hint("set both `client_cert_file` and `client_key_file`, or neither"));
            }
        };
        Ok(Self { roots, client })
    }
}

fn check_proxy(url: &str) -> Result<()> {
    const KNOWN: [&str; 4] = ["http://", "https://", "socks5://", "socks5h://"];
    if KNOWN.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
        return Ok(());
    }
    // The URL stays out of the error: it may hold a password.
    Err(Error::new(ErrorKind::Config, "use the proxy")
        .with("setting", "proxy")
        .hint("write it as `http://host:port`, `https://host:port`, `socks5://host:port`, or `none`"))
}

/// A line end in it would begin another header.
fn check_user_agent(name: &str) -> Result<()> {
    HeaderValue::from_str(name).map(drop).map_err(|_| {
        Error::new(ErrorKind::Config, "use the user agent")
            .with("setting", "user_agent")
            .hint("write it in visible ASCII characters on one line")
    })
}

/// Returns the platform's roots with those of a file after them.
///
/// curl replaces the platform's roots by what it is given, so that they must be part of it.
fn bundle(ca_file: &Path) -> Result<Vec<u8>> {
    let (_, own) = readable("ca_file", ca_file, CERTIFICATE)?;
    let mut all = platform_roots().unwrap_or_default();
    all.push(b'\n');
    all.extend_from_slice(&own);
    Ok(all)
}

#[expect(
    clippy::disallowed_methods,
    reason = "OpenSSL's variable, by which the platform says where its roots are; it is no setting of ours"
)]
fn platform_roots() -> Option<Vec<u8>> {
    let said = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let roots =
        said.into_iter().chain(PLATFORM_ROOTS.map(PathBuf::from)).find_map(|path| fs::read(path).ok());
    if roots.is_none() {
        tracing::warn!(
            "the platform's certificate authorities were not found; only those of `ca_file` are trusted"
        );
    }
    roots
}

/// Where platforms keep all roots in one file.
const PLATFORM_ROOTS: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
const KEY: &str = "PRIVATE KEY-----";

/// Returns absolute path and content of a PEM file.
fn readable(setting: &'static str, path: &Path, marker: &str) -> Result<(PathBuf, Vec<u8>)> {
    let refuse = || {
        Error::new(ErrorKind::Config, "set up TLS")
            .with("setting", setting)
            .with("path", path.display())
            .hint("name a PEM file that this process may read")
    };
    let content = fs::read(path).map_err(|e| refuse().source(e))?;
    if !content.windows(marker.len()).any(|part| part == marker.as_bytes()) {
        return Err(refuse().with("reason", format!("it holds no `{marker}`")));
    }
    let path = std::path::absolute(path).map_err(|e| refuse().source(e))?;
    Ok((path, content))
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_holds_the_platforms_roots_and_ours_last() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        fs::write(&ca, format!("{CERTIFICATE}\nours")).unwrap();

        let config = HttpClientConfig { ca_file: ca, ..HttpClientConfig::default() };
        let roots = Trust::load(&config).unwrap().roots.unwrap();

        let text = String::from_utf8_lossy(&roots);
        assert!(text.ends_with("ours"));
        assert_eq!(text.matches(CERTIFICATE).count() > 1, platform_roots().is_some());
    }

    #[test]
    fn files_that_cannot_be_used_are_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "").unwrap();
        let with = |ca: &Path, cert: &Path| HttpClientConfig {
            ca_file: ca.to_owned(),
            client_cert_file: cert.to_owned(),
            ..HttpClientConfig::default()
        };

        for config in [
            with(Path::new("/nowhere"), Path::new("")),
            with(&empty, Path::new("")),
            with(Path::new(""), &empty),
        ] {
            assert_eq!(Trust::load(&config).unwrap_err().kind(), ErrorKind::Config);
        }
    }
}
