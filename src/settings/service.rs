//! One settings service: how it is asked.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use zeroize::{Zeroize, Zeroizing};

use super::{NexusError, credentials::Credentials, standing::Standing};
use crate::{
    Error, ErrorKind,
    traits::{Request, Response, Transport, redacted},
};

/// No answer of settings is larger.
pub(super) const BODY_LIMIT: u64 = 8 * 1024 * 1024;

/// Where a service is and how requests get there.
#[derive(Debug)]
pub(super) struct Service {
    /// Without a slash at its end.
    base: String,
    transport: Arc<dyn Transport>,
    credentials: Arc<dyn Credentials>,
    standing: Arc<Standing>,
    deadline: Duration,
}

impl Service {
    /// Takes a base URL: `https`, or `http` on the loopback interface; the credentials learn of the same `standing`.
    pub(super) fn new(
        endpoint: &str,
        transport: Arc<dyn Transport>,
        credentials: Arc<dyn Credentials>,
        standing: Arc<Standing>,
        deadline: Duration,
    ) -> Self {
        Self { base: endpoint.trim_end_matches('/').to_owned(), transport, credentials, standing, deadline }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn credentials(&self) -> &Arc<dyn Credentials> {
        &self.credentials
    }

    /// Returns what the service said of being left alone.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Makes a request; `path` begins with a slash and is escaped.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<Request, NexusError> {
        let uri: Uri = format!("{}{path}", self.base).parse().map_err(|_| {
            NexusError::Config("`endpoint` and the key make no URI: a key may be too long".to_owned())
        })?;
        Ok(Request::new(method, uri)
            .deadline(self.deadline)
            .body_limit(BODY_LIMIT)
            // The pauses are the feed's; and where the credential goes is not the answer's to say.
            .attempts(1)
            .without_redirects())
    }

    /// Sends a request with the credential, once more with another one where the first is not accepted, and returns
    /// what is no refusal.
    pub(super) async fn send(&self, what: &'static str, request: Request) -> Result<Response, NexusError> {
        let (mut response, sent) = self.send_once(request.clone()).await?;
        if response.status == StatusCode::UNAUTHORIZED && self.credentials.refused(&sent).await? {
            (response, _) = self.send_once(request).await?;
        }
        let status = response.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            self.standing.succeeded();
            return Ok(response);
        }
        Err(self.standing.refused(what, response).await)
    }

    /// Returns the answer, and what the credential was that it is the answer to.
    async fn send_once(&self, request: Request) -> Result<(Response, HeaderValue), NexusError> {
        let (name, value) = self.credentials.header().await?;
        let response = self.transport.send(request.header(name, value.clone())).await?;
        Ok((response, value))
    }
}

/// Reads a body into memory that is wiped when the last who holds it lets go.
pub(super) async fn read_wiped(response: Response, limit: u64) -> Result<Bytes, NexusError> {
    let Response { headers, mut body, .. } = response;
    let too_large = || NexusError::ResponseTooLarge { limit };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit) {
        return Err(too_large());
    }
    let start = declared.unwrap_or_default() as usize;
    let mut whole = Zeroizing::new(Vec::with_capacity(start));
    loop {
        let chunk = match body.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::LimitExceeded => return Err(too_large()),
            Err(error) => return Err(error.into()),
        };
        if (whole.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        if whole.len() + chunk.len() > whole.capacity() {
            // Not by growing in place, which leaves what was there before behind.
            let mut larger = Zeroizing::new(Vec::with_capacity((whole.len() + chunk.len()) * 2));
            larger.extend_from_slice(&whole);
            whole = larger;
        }
        whole.extend_from_slice(&chunk);
        if let Ok(mut chunk) = chunk.try_into_mut() {
            chunk.zeroize();
        }
    }
    Ok(Bytes::from_owner(whole))
}

/// Checks a base URL, and says what is wrong with it without showing it: it may hold a password.
pub(super) fn check_endpoint(endpoint: &str) -> Result<(), NexusError> {
    let refuse = |reason: &str| Err(NexusError::Config(format!("`endpoint` {reason}")));
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return refuse("is no URL: write it as `https://host`");
    };
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return refuse("has no host: write it as `https://host`");
    };
    if authority.as_str().contains('@') {
        return refuse("holds a user or a password: give the key as `api_key`");
    }
    if uri.query().is_some() || endpoint.contains('#') {
        return refuse("has a query or a fragment: write it as `https://host`");
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback(authority.host()) => Ok(()),
        Some("http") => refuse("is not encrypted: use `https` for any host but this one"),
        _ => refuse("is neither `https` nor `http`"),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Says that an answer makes no sense as what it has to be.
pub(super) fn odd_answer(uri: &Uri, reason: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "ask the settings service")
        .with("uri", redacted(uri))
        .with("reason", reason)
        .hint("check that the endpoint is that of a settings service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_encrypted_or_on_this_machine() {
        for good in [
            "https://a-b.example.com",
            "https://h:8443/",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://LOCALHOST",
        ] {
            assert!(check_endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "h",
            "http://h",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "https://",
            "https://u:canary@h",
            "http://127.0.0.1@h",
            "https://h/?k=canary",
            "https://h/#canary",
        ] {
            let error = check_endpoint(bad).err().unwrap_or_else(|| panic!("taken: {bad}"));
            assert!(
                matches!(error, NexusError::Config(_)) && !error.to_string().contains("canary"),
                "{error}"
            );
        }
    }
}
