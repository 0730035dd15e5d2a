//! How requests to the server are written.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Secret, UriAuth, encoding::hex, sources::web, traits::Request};

/// Makes the header that shows a token.
pub(super) fn authorization(token: &Secret) -> crate::Result<HeaderValue> {
    if token.expose().is_empty() {
        return Err(Error::new(ErrorKind::Config, "send the token")
            .with("reason", "it is empty")
            .hint("give a token of the server, such as `exd_write_…`"));
    }
    web::authorization(&UriAuth::Bearer(token.expose().to_owned()))
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
pub(super) const DEADLINE: Duration = Duration::from_secs(120);
