//! The least transport that keeps a deadline and a limit, for tests of what stands above transports.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use leverframe::{
    Error, ErrorKind, Result, Retry, async_trait,
    traits::{Body, Request, Response, Transport},
};

/// Sends requests with reqwest, on a runtime of its own, trusting one authority.
pub(crate) struct TestTransport {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    received: AtomicU64,
}

impl TestTransport {
    /// Trusts the authority whose certificate this is.
    pub(crate) fn trusting(ca_pem: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let authority = reqwest::Certificate::from_pem(ca_pem.as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([authority])
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { runtime, client, received: AtomicU64::new(0) }
    }

    /// How many bytes of bodies arrived in all.
    #[allow(dead_code, reason = "only some test binaries look at it")]
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for TestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestTransport")
    }
}

#[async_trait]
impl Transport for TestTransport {
    fn name(&self) -> &'static str {
        "test"
    }

    async fn send(&self, request: Request) -> Result<Response> {
        let client = self.client.clone();
        let exchange = async move {
            let sent = client
                .request(request.method, request.uri.to_string())
                .headers(request.headers)
                .body(request.body)
                .timeout(request.deadline)
                .send();
            let mut response = sent.await.map_err(failed)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                body.extend_from_slice(&chunk);
                if body.len() as u64 > request.body_limit {
                    return Err(Error::new(ErrorKind::LimitExceeded, "read the body"));
                }
            }
            Ok((status, headers, Bytes::from(body)))
        };
        let (status, headers, body) = self.runtime.spawn(exchange).await.unwrap()?;
        self.received.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok(Response::new(status, headers, Body::from_bytes(body)))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// The cause is left out: it would show the URL.
fn failed(error: reqwest::Error) -> Error {
    let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Unavailable };
    Error::new(kind, "send the request").retry(Retry::Now)
}
