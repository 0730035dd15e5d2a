//! The host that was asked.

use std::net::IpAddr;

use http::{HeaderMap, Uri, header, uri::Authority};

/// The host that a request was sent to, with its port if that was sent along; empty if none was named, or two.
#[derive(Clone, Debug)]
pub(crate) struct Host(String);

impl Host {
    /// Takes a host as it was sent.
    pub(crate) fn new(host: &str) -> Self {
        Self(host.to_ascii_lowercase())
    }

    /// Reads it from a request.
    pub(crate) fn of(headers: &HeaderMap, uri: &Uri) -> Self {
        let mut hosts = headers.get_all(header::HOST).iter();
        let named = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok(),
            // HTTP/2 has it in the URI.
            (None, _) => uri.authority().map(Authority::as_str),
            _ => None,
        };
        Self::new(named.unwrap_or_default())
    }

    /// Returns true if a service with this slug may be asked there: the first label is the slug, unless it is an address
    /// or this machine, which have no labels to tell services by.
    pub(crate) fn may_be(&self, slug: &str) -> bool {
        // Clients before 0.15 leave the port out, others do not.
        let host = match self.0.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.0,
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if address.parse::<IpAddr>().is_ok() || host == "localhost" {
            return true;
        }
        host.split('.').next().is_some_and(|label| !label.is_empty() && label.eq_ignore_ascii_case(slug))
    }

    /// Returns the host and the port, without a port that goes without saying.
    pub(super) fn plain(&self) -> &str {
        plain(&self.0)
    }
}

/// Cuts off a port that goes without saying.
pub(super) fn plain(host: &str) -> &str {
    host.strip_suffix(":443").or_else(|| host.strip_suffix(":80")).unwrap_or(host)
}
