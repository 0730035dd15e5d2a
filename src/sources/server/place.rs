//! Which namespace of which server.

use std::{fmt, net::IpAddr};

use http::{Uri, uri::PathAndQuery};

use crate::{Error, ErrorKind, Result, manifest::names};

/// The path segment that stands for the tenant of the token.
pub(crate) const OWN_TENANT: &str = "-";

/// A namespace on a server.
///
/// # Examples
/// ```
/// use leverframe::sources::server::ServerPlace;
/// let place = ServerPlace::new("https://flags.example.com/", "payments")?.with_tenant("acme")?;
/// assert_eq!(place.to_string(), "https://flags.example.com/api/v1/tenants/acme/namespaces/payments");
/// assert_eq!(place, ServerPlace::of_uri("exd-server://flags.example.com/acme/payments")?);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPlace {
    /// Scheme and authority.
    origin: String,
    /// What stands before `/api/v1`, without a slash at its end.
    prefix: String,
    tenant: String,
    namespace: String,
}

impl ServerPlace {
    /// Names a namespace of the token's own tenant on the server at this base URL, with or without a slash at its end.
    ///
    /// # Errors
    /// `Invalid` for what is no `https` or `http` URL, one with user-info, query or fragment, and for what is no slug.
    pub fn new(server: &str, namespace: &str) -> Result<Self> {
        let (origin, prefix) = origin_and_prefix(server)?;
        if !names::is_slug(namespace) {
            return Err(no_slug("namespace", namespace));
        }
        Ok(Self { origin, prefix, tenant: OWN_TENANT.to_owned(), namespace: namespace.to_owned() })
    }

    /// Names the tenant; `-` stands for that of the token.
    ///
    /// # Errors
    /// `Invalid` for what is no slug.
    pub fn with_tenant(mut self, tenant: &str) -> Result<Self> {
        if tenant != OWN_TENANT && !names::is_slug(tenant) {
            return Err(no_slug("tenant", tenant));
        }
        tenant.clone_into(&mut self.tenant);
        Ok(self)
    }

    /// Reads `exd-server://host[:port]/[tenant/]namespace`.
    ///
    /// The server is asked over `https`, on the loopback interface over `http`; `exd-server+http://` asks over `http`
    /// anywhere.
    ///
    /// # Errors
    /// `Invalid` for anything else; the text itself is not shown, for it may hold a password.
    pub fn of_uri(uri: &str) -> Result<Self> {
        let refuse = |reason| {
            refuse(reason)
                .hint("write it as `exd-server://host/namespace` or `exd-server://host/tenant/namespace`")
        };
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| refuse("it has no `scheme://`"))?;
        let (authority, path) = rest.split_once('/').ok_or_else(|| refuse("it names no namespace"))?;
        let scheme = match scheme {
            SCHEME if is_loopback(authority) => "http",
            SCHEME => "https",
            SCHEME_OVER_HTTP => "http",
            _ => return Err(refuse("its scheme is not `exd-server`")),
        };
        let server = format!("{scheme}://{authority}");
        if path.contains(['?', '#']) || authority.contains(['?', '#']) {
            return Err(refuse("it has a query or a fragment"));
        }
        match path.trim_end_matches('/').split('/').collect::<Vec<_>>()[..] {
            [namespace] => Self::new(&server, namespace),
            [tenant, namespace] => Self::new(&server, namespace)?.with_tenant(tenant),
            _ => Err(refuse("its path is neither a namespace nor a tenant and a namespace")),
        }
    }

    /// Returns the slug of the namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the slug of the tenant, `-` for that of the token.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Returns the base URL of the server.
    #[must_use]
    pub fn server(&self) -> String {
        format!("{}{}", self.origin, self.prefix)
    }

    /// Returns the URI of something that belongs to the namespace, such as `manifest`.
    pub(crate) fn of_namespace(&self, path: &str) -> Result<Uri> {
        self.on_server(&format!("/api/v1/tenants/{}/namespaces/{}/{path}", self.tenant, self.namespace))
    }

    /// Returns the URI of a path of the server, query included.
    pub(super) fn on_server(&self, path: &str) -> Result<Uri> {
        let malformed = |_| Error::new(ErrorKind::Invalid, "name what is asked of the server");
        format!("{}{}{path}", self.origin, self.prefix).parse().map_err(malformed)
    }

    /// Returns the URI that the server names, relative to itself or as a whole; nothing but the server's own origin
    /// is followed.
    ///
    /// # Errors
    /// `PermissionDenied` for another origin, `Invalid` for what is no URI.
    pub(super) fn named_by_server(&self, named: &str) -> Result<Uri> {
        let refuse = |kind, reason: &str| {
            Error::new(kind, "read the URL of a snapshot")
                .with("server", &self.origin)
                .with("reason", reason)
                .hint("look whether a proxy changes what the server sends")
        };
        if named.len() > LONGEST_URL {
            return Err(refuse(ErrorKind::LimitExceeded, "it is too long"));
        }
        // `//host/…` names another host, and so does what some readers make of a backslash.
        if named.starts_with('/') && !named.starts_with("//") && !named.contains('\\') {
            named.parse::<PathAndQuery>().map_err(|_| refuse(ErrorKind::Invalid, "it is malformed"))?;
            return self.on_server(named);
        }
        let uri: Uri = named.parse().map_err(|_| refuse(ErrorKind::Invalid, "it is malformed"))?;
        let own: Uri = self.on_server("/")?;
        if !same_origin(&uri, &own) {
            let there = uri.authority().map_or("", |a| a.host());
            return Err(refuse(ErrorKind::PermissionDenied, "it leads to another origin").with("host", there));
        }
        Ok(uri)
    }
}

impl fmt::Display for ServerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, prefix, tenant, namespace } = self;
        write!(f, "{origin}{prefix}/api/v1/tenants/{tenant}/namespaces/{namespace}")
    }
}

/// The scheme of the source's URIs.
pub(super) const SCHEME: &str = "exd-server";
/// The scheme of those that are asked without TLS.
pub(super) const SCHEME_OVER_HTTP: &str = "exd-server+http";
/// More than a signed URL with 500 flags has.
const LONGEST_URL: usize = 64 * 1024;

/// Takes a server's base URL apart: scheme and authority, and what stands before `/api/v1`.
fn origin_and_prefix(server: &str) -> Result<(String, String)> {
    let uri: Uri = server.parse().map_err(|_| refuse("it is malformed"))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err(refuse("its scheme is neither `https` nor `http`"));
    }
    let authority =
        uri.authority().filter(|a| !a.host().is_empty()).ok_or_else(|| refuse("it has no host"))?;
    if authority.as_str().contains('@') {
        return Err(refuse("it holds a user or a password").hint("hand the token over as `api_token`"));
    }
    if uri.query().is_some() || server.contains('#') {
        return Err(refuse("it has a query or a fragment"));
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    let origin = format!("{scheme}://{}", authority.as_str().to_ascii_lowercase());
    Ok((origin, uri.path().trim_end_matches('/').to_owned()))
}

/// Returns the URI of a path of a server's API, query included.
///
/// # Errors
/// `Invalid` for what is no base URL of a server, and for a path that is malformed.
#[cfg(feature = "async-tokio")]
pub(crate) fn api_uri(server: &str, path: &str) -> Result<Uri> {
    let (origin, prefix) = origin_and_prefix(server)?;
    let malformed = |_| Error::new(ErrorKind::Invalid, "name what is asked of the server");
    format!("{origin}{prefix}/api/v1/{path}").parse().map_err(malformed)
}

fn refuse(reason: &'static str) -> Error {
    // The text itself is not shown: it may hold a password.
    Error::new(ErrorKind::Invalid, "read the server's URL")
        .with("reason", reason)
        .hint("write it as `https://host`, without `/api/v1`")
}

fn no_slug(what: &'static str, text: &str) -> Error {
    Error::new(ErrorKind::Invalid, "name a namespace of a server")
        .with(what, text.chars().take(80).collect::<String>().escape_debug())
        .with("reason", "it is no slug")
        .hint("a slug begins with a lower-case letter and goes on with letters, digits and `-`, at most 63 in all")
}

fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| {
        uri.port_u16().or(match uri.scheme_str() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            _ => None,
        })
    };
    // User-info belongs to no origin, and the server has no reason to name any.
    let plain = |uri: &Uri| uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    a.scheme() == b.scheme()
        && a.host().map(str::to_ascii_lowercase) == b.host().map(str::to_ascii_lowercase)
        && port(a) == port(b)
        && plain(a)
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(server: &str) -> ServerPlace {
        ServerPlace::new(server, "payments").unwrap()
    }

    #[test]
    fn the_scheme_says_https_and_the_loopback_interface_http() {
        for (uri, shown) in [
            (
                "exd-server://flags.acme.com/marketing",
                "https://flags.acme.com/api/v1/tenants/-/namespaces/marketing",
            ),
            ("exd-server://h:8443/acme/shop/", "https://h:8443/api/v1/tenants/acme/namespaces/shop"),
            ("exd-server://127.0.0.1:8080/shop", "http://127.0.0.1:8080/api/v1/tenants/-/namespaces/shop"),
            ("exd-server://[::1]:8080/shop", "http://[::1]:8080/api/v1/tenants/-/namespaces/shop"),
            ("exd-server://localhost/shop", "http://localhost/api/v1/tenants/-/namespaces/shop"),
            ("exd-server+http://flags.lan/shop", "http://flags.lan/api/v1/tenants/-/namespaces/shop"),
        ] {
            assert_eq!(ServerPlace::of_uri(uri).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_names_no_namespace_is_refused_without_being_shown() {
        for bad in [
            "exd-server://u:s3cret@h/shop",
            "exd-server://h/",
            "exd-server://h",
            "exd-server:///shop",
            "exd-server://h/a/b/s3cret",
            "exd-server://h/shop?token=s3cret",
            "exd-server://h/S3cret",
            "https://h/s3cret",
            "s3cret",
        ] {
            let error = ServerPlace::of_uri(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
            assert!(error.hint_text().is_some(), "{bad}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn a_prefix_and_slashes_at_the_end_are_kept_and_dropped() {
        let uri = place("https://EDGE.example.com/exd//").of_namespace("manifest").unwrap();

        assert_eq!(uri, "https://edge.example.com/exd/api/v1/tenants/-/namespaces/payments/manifest");
    }

    #[test]
    fn only_the_own_origin_is_followed() {
        let place = place("https://flags.example.com");

        for (named, uri) in [
            ("/api/v1/x?sig=1", "https://flags.example.com/api/v1/x?sig=1"),
            ("https://flags.example.com/api/v1/x", "https://flags.example.com/api/v1/x"),
            ("https://FLAGS.example.com:443/x", "https://FLAGS.example.com:443/x"),
        ] {
            assert_eq!(place.named_by_server(named).unwrap(), uri);
        }
        for bad in [
            "https://evil.example.com/x",
            "http://flags.example.com/x",
            "https://flags.example.com:444/x",
            "https://flags.example.com@evil.example.com/x",
            "https://u:p@flags.example.com/x",
            "//evil.example.com/x",
            "/\\evil.example.com/x",
            "ftp://flags.example.com/x",
            "x",
            "",
        ] {
            assert!(place.named_by_server(bad).is_err(), "{bad}");
        }
    }
}
