//! The client as the settings want it.

use std::{fs, path::Path, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy, redirect::Policy};
use zeroize::Zeroizing;

use super::super::http_client::{HttpClientConfig, Via};
use crate::{Error, ErrorKind, Result};

/// Makes the client; reads files, connects to nobody.
pub(super) fn build(config: &HttpClientConfig) -> Result<Client> {
    let build = |change: fn(ClientBuilder) -> ClientBuilder| {
        let builder = change(builder(config)?);
        builder.build().map_err(|e| refuse("use the settings of the HTTP client").source(e))
    };
    let built = build(|builder| builder);
    if built.is_err() && config.ca_file.as_os_str().is_empty() {
        // A minimal container has no certificate authorities. Trusting nobody leaves plain HTTP usable, and HTTPS fails
        // with the hint to name an authority.
        if let Ok(client) = build(|builder| builder.tls_certs_only([])) {
            tracing::warn!("the platform has no certificate authorities; set `transport.reqwest.ca_file`");
            return Ok(client);
        }
    }
    built
}

fn builder(config: &HttpClientConfig) -> Result<ClientBuilder> {
    let mut builder = Client::builder()
        .tls_backend_rustls()
        // Followed by hand, where it is known which headers are credentials.
        .redirect(Policy::none())
        .referer(false)
        .gzip(config.gzip)
        .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
        .user_agent(&config.user_agent);
    if !config.http2 {
        builder = builder.http1_only();
    }
    if !config.ca_file.as_os_str().is_empty() {
        builder = builder.tls_certs_merge(authorities(&config.ca_file)?);
    }
    if let Some(identity) = identity(config)? {
        builder = builder.identity(identity);
    }
    match config.via() {
        Via::Environment => {}
        Via::Nobody => builder = builder.no_proxy(),
        Via::Proxy(url) => builder = builder.proxy(proxy(url)?),
    }
    Ok(builder)
}

fn authorities(file: &Path) -> Result<Vec<Certificate>> {
    let refuse = || {
        refuse("read the certificate authorities")
            .with("key", "transport.reqwest.ca_file")
            .with("path", file.display())
            .hint("name a PEM file with at least one `BEGIN CERTIFICATE`")
    };
    let pem = fs::read(file).map_err(|e| refuse().source(e))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|e| refuse().source(e))?;
    if found.is_empty() { Err(refuse().with("reason", "it holds none")) } else { Ok(found) }
}

fn identity(config: &HttpClientConfig) -> Result<Option<Identity>> {
    let (cert, key) = (&config.client_cert_file, &config.client_key_file);
    match (cert.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (true, true) => return Ok(None),
        (false, false) => {}
        _ => {
            return Err(refuse("use a client certificate").hint(
                "set both `transport.reqwest.client_cert_file` and `transport.reqwest.client_key_file`",
            ));
        }
    }
    // The cause of a wrong form is left out: it could quote the key.
    let mut pem = Zeroizing::new(Vec::new());
    for (name, file) in
        [("transport.reqwest.client_cert_file", cert), ("transport.reqwest.client_key_file", key)]
    {
        let content = fs::read(file).map(Zeroizing::new).map_err(|e| {
            refuse("read the client certificate").with("key", name).with("path", file.display()).source(e)
        })?;
        pem.extend_from_slice(&content);
        pem.push(b'\n');
    }
    Identity::from_pem(&pem).map(Some).map_err(|_| {
        refuse("read the client certificate")
            .with("path", cert.display())
            .hint("name two PEM files: the certificate chain, and its unencrypted private key")
    })
}

fn proxy(url: &str) -> Result<Proxy> {
    // The URL stays out of the error, and so does the cause, which may quote it: it may hold a password.
    let refuse = || {
        refuse("use the proxy")
            .with("key", "transport.reqwest.proxy")
            .hint("write it as `http://host:port`, `https://host:port`, `socks5://host:port`, or `none`")
    };
    let known = ["http://", "https://", "socks5://", "socks5h://"];
    if !known.iter().any(|scheme| url.starts_with(scheme)) {
        return Err(refuse());
    }
    Proxy::all(url).map_err(|_| refuse())
}

fn refuse(operation: &'static str) -> Error {
    Error::new(ErrorKind::Config, operation)
}
