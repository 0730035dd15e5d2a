//! How requests to the server are written.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header};
use sha2::{Digest, Sha256};

use super::ManifestError;
use crate::{Error, ErrorKind, Secret, encoding::hex, manifest::names::is_slug, traits::Request};

/// What stands for the token's own tenant (S2).
pub(super) const OWN_TENANT: &str = "-";

/// Where a server is, as whom it is asked, and for which tenant.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) base: String,
    pub(super) tenant: String,
    pub(super) token: Secret,
}

impl Address {
    /// Makes a request about the manifest of a namespace; `rest` follows `manifest` in the path.
    pub(super) fn request(
        &self,
        method: Method,
        namespace: &str,
        rest: &str,
    ) -> Result<Request, ManifestError> {
        if self.tenant != OWN_TENANT && !is_slug(&self.tenant) {
            return Err(refuse("name the tenant", "it is not `[a-z][a-z0-9-]*` of at most 63 characters"));
        }
        if !is_slug(namespace) {
            return Err(refuse("name the namespace", "it is not `[a-z][a-z0-9-]*` of at most 63 characters"));
        }
        let base = self.base()?;
        let uri = format!("{base}/api/v1/tenants/{}/namespaces/{namespace}/manifest{rest}", self.tenant);
        let uri: Uri = uri.parse().map_err(|_| refuse_base("it is malformed"))?;
        Ok(Request::new(method, uri).header(header::AUTHORIZATION, self.authorization()?).deadline(DEADLINE))
    }

    /// Returns the base without slashes at its end.
    fn base(&self) -> Result<&str, ManifestError> {
        let uri: Uri = self.base.parse().map_err(|_| refuse_base("it is malformed"))?;
        if !matches!(uri.scheme_str(), Some("https" | "http")) {
            return Err(refuse_base("its scheme is neither `https` nor `http`"));
        }
        if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(refuse_base("credentials do not belong into it"));
        }
        if uri.query().is_some() || self.base.contains('#') {
            return Err(refuse_base("it has a query or a fragment"));
        }
        Ok(self.base.trim_end_matches('/'))
    }

    fn authorization(&self) -> Result<HeaderValue, ManifestError> {
        let malformed = || {
            ManifestError::Invalid(
                Error::new(ErrorKind::Config, "send the token")
                    .with("reason", "it is empty, or holds a line break or another control character")
                    .hint("give the token alone, without white space around it"),
            )
        };
        if self.token.expose().is_empty() {
            return Err(malformed());
        }
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", self.token.expose())).map_err(|_| malformed())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Puts an archive into a request as the form's field `archive`.
pub(super) fn with_archive(mut request: Request, namespace: &str, archive: &[u8]) -> Request {
    // No content holds its own digest, so the boundary does not occur in it.
    let boundary = format!("leverframe-{}", &hex(&Sha256::digest(archive))[..48]);
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"archive\"; filename=\"{namespace}.tar.gz\"\r\n\
         Content-Type: application/gzip\r\n\r\n"
    );
    let mut body = Vec::with_capacity(head.len() + archive.len() + boundary.len() + 8);
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(archive);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    request.body = Bytes::from(body);
    let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"));
    request.header(header::CONTENT_TYPE, kind.expect("a boundary is made of letters, digits and hyphens"))
}

/// Puts a JSON body into a request.
pub(super) fn with_json(mut request: Request, body: &serde_json::Value) -> Request {
    request.body = Bytes::from(body.to_string());
    request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

/// An upload of 5 MB over a slow line, and the lint of 10,000 flags behind it.
const DEADLINE: Duration = Duration::from_secs(120);

fn refuse(operation: &'static str, reason: &'static str) -> ManifestError {
    ManifestError::Invalid(Error::new(ErrorKind::Config, operation).with("reason", reason))
}

/// The address itself is not shown: it may hold a password.
fn refuse_base(reason: &'static str) -> ManifestError {
    ManifestError::Invalid(
        Error::new(ErrorKind::Config, "read the server's address")
            .with("reason", reason)
            .hint("write it as `https://flags.example.com`; the token is given beside it"),
    )
}
