//! The host that was asked.

use std::net::IpAddr;

use http::{HeaderMap, Uri, header, uri::Authority};

/// The host that a request was sent to, with its port if that was sent along; empty if none was named, or two.
#[derive(Clone, Debug)]
pub(crate) struct Host(String);

/// Which services may be asked at a host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names<'h> {
    /// Each of them.
    Any,
    /// The one with this slug, in lower case.
    Slug(&'h str),
    /// None.
    None,
}

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

    /// Returns true if a service with this slug may be asked there.
    pub(crate) fn may_be(&self, slug: &str) -> bool {
        match self.names() {
            Names::Any => true,
            Names::Slug(named) => named.eq_ignore_ascii_case(slug),
            Names::None => false,
        }
    }

    /// Returns which services may be asked there: the first label is the slug, unless it is an address or this machine,
    /// which have no labels to tell services by.
    pub(crate) fn names(&self) -> Names<'_> {
        // Clients before 0.15 leave the port out, others do not.
        let host = match self.0.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.0,
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if address.parse::<IpAddr>().is_ok() || host == "localhost" {
            return Names::Any;
        }
        host.split('.').next().filter(|label| !label.is_empty()).map_or(Names::None, Names::Slug)
    }

    /// Returns the host and the port, without a port that goes without saying.
    pub(crate) fn plain(&self) -> &str {
        plain(&self.0)
    }
}

/// Cuts off a port that goes without saying.
pub(crate) fn plain(host: &str) -> &str {
    host.strip_suffix(":443").or_else(|| host.strip_suffix(":80")).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_label_of_the_host_names_the_service_whatever_the_port() {
        let is = |host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            Host::of(&headers, &Uri::from_static("/v1/sync")).may_be("acme-web-prod")
        };

        for host in [
            "acme-web-prod.westyx.dev",
            "ACME-web-prod.api.example.com:8443",
            "acme-web-prod",
            "acme-web-prod:1",
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:8080",
            "localhost",
            "LocalHost:3",
        ] {
            assert!(is(host), "{host}");
        }
        for host in [
            "",
            "acme-web.example.com",
            "x.acme-web-prod",
            "localhost.example.com",
            "127.0.0.1.example.com",
            ":1",
        ] {
            assert!(!is(host), "{host}");
        }
        let in_uri = Uri::from_static("https://acme-web-prod.example.com:1/v1/sync");
        assert!(Host::of(&HeaderMap::new(), &in_uri).may_be("acme-web-prod"));
        assert!(!Host::of(&HeaderMap::new(), &Uri::from_static("/")).may_be("acme-web-prod"));
    }

    #[test]
    fn a_port_goes_without_saying_or_is_said() {
        for (host, shown) in
            [("A.example:443", "a.example"), ("a.example:80", "a.example"), ("a:8443", "a:8443"), ("a", "a")]
        {
            assert_eq!(Host::new(host).plain(), shown);
        }
        let mut two = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("a"))]);
        two.append(header::HOST, HeaderValue::from_static("b"));
        assert_eq!(Host::of(&two, &Uri::from_static("/")).plain(), "");
    }
}
