//! What every transport that speaks HTTP shares: the settings, and what is the same whoever does the talking.

pub(crate) mod exchange;
pub(crate) mod failure;
mod gunzip;
pub(crate) mod head;
pub(crate) mod hop;
mod location;
pub(crate) mod trust;

use std::path::PathBuf;

use crate::{Secret, settings};

settings! {
    /// How connections are made; the table of the `reqwest`, `curl` and `curl_cli` transports alike.
    ///
    /// # Examples
    /// ```
    /// use leverframe::backends::http_client::HttpClientConfig;
    /// assert_eq!(HttpClientConfig::default().connect_timeout_ms, 5_000);
    /// ```
    pub struct HttpClientConfig {
        /// A PEM file of certificate authorities that are trusted besides the platform's. Empty: none.
        pub ca_file: PathBuf = Path, PathBuf::new();
        /// A PEM file with the client's certificate chain, for mutual TLS. Empty: none.
        pub client_cert_file: PathBuf = Path, PathBuf::new();
        /// The PEM file with the client certificate's private key. Needed with `client_cert_file`.
        pub client_key_file: PathBuf = Path, PathBuf::new();
        /// The proxy's URL, `http://`, `https://` or `socks5://`. Empty: what the environment says (`HTTPS_PROXY`, `NO_PROXY`). `none`: no proxy, whatever the environment says.
        pub proxy: Secret = Secret, Secret::new("");
        /// How long connecting may take, name resolution and TLS included, in milliseconds.
        pub connect_timeout_ms: u64 = Integer, 5_000;
        /// Whether HTTP/2 is offered.
        pub http2: bool = Boolean, true;
        /// Whether compressed answers are asked for.
        pub gzip: bool = Boolean, true;
        /// What the requests call themselves.
        pub user_agent: String = String, concat!("leverframe/", env!("CARGO_PKG_VERSION")).to_owned();
    }
}

/// Who stands between a client and its peers.
#[derive(Clone, Copy)]
pub(crate) enum Via<'c> {
    /// Whoever the environment names.
    Environment,
    /// Nobody.
    Nobody,
    /// The proxy of this URL, which may hold a password.
    Proxy(&'c str),
}

impl HttpClientConfig {
    pub(crate) fn via(&self) -> Via<'_> {
        match self.proxy.expose() {
            "" => Via::Environment,
            "none" => Via::Nobody,
            url => Via::Proxy(url),
        }
    }
}
