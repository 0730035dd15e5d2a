//! What all cases need: a way to make a transport, to ask, and to look at the outcome.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use leverframe::{
    Error, Result,
    backends::{clock_system::SystemClock, http_client::HttpClientConfig},
    live::block_on,
    testing::{
        Answer,
        conformance::transport::{Fixture, Peer},
    },
    traits::{Clock, Request, Transport},
};

use crate::real::{
    nginx::Nginx,
    ports::free_port,
    rude::{Manner, Rude},
};

/// Makes the transport under test.
pub(crate) type Make = fn(&HttpClientConfig) -> Result<Arc<dyn Transport>>;

#[cfg(feature = "http-in-process")]
pub(crate) fn reqwest(config: &HttpClientConfig) -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(leverframe::backends::transport_reqwest::ReqwestTransport::open(config)?))
}

#[cfg(feature = "transport-curl")]
pub(crate) fn curl(config: &HttpClientConfig) -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(leverframe::backends::transport_curl::CurlTransport::open(config)?))
}

/// With an empty home folder, so that the tester's own `~/.curlrc` changes nothing.
pub(crate) fn curl_cli(config: &HttpClientConfig) -> Result<Arc<dyn Transport>> {
    use leverframe::backends::transport_curl_cli::CurlCliTransport;
    Ok(Arc::new(CurlCliTransport::open(config)?.with_home("/nonexistent")))
}

/// A transport with default settings.
pub(crate) fn default(make: Make) -> Arc<dyn Transport> {
    make(&HttpClientConfig::default()).unwrap()
}

/// Default settings, and the authority of the server trusted.
pub(crate) fn trusting(nginx: &Nginx) -> HttpClientConfig {
    let mut config = HttpClientConfig::default();
    config.ca_file = nginx.ca_file();
    config
}

/// A request with a deadline that no healthy exchange comes near.
pub(crate) fn get(uri: impl AsRef<str>) -> Request {
    Request::get(uri.as_ref().parse().unwrap()).deadline(Duration::from_secs(15))
}

/// A request with a deadline that a test can wait for.
pub(crate) fn get_soon(uri: impl AsRef<str>) -> Request {
    get(uri).deadline(Duration::from_millis(400))
}

pub(crate) fn header(request: Request, name: HeaderName, value: &str) -> Request {
    request.header(name, HeaderValue::from_str(value).unwrap())
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Whole {
    /// The value of a line of `/echo`.
    pub(crate) fn line(&self, name: &str) -> String {
        let text = std::str::from_utf8(&self.body).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("no line `{name}` in {text}")).to_owned()
    }
}

/// Sends and reads to the end on this thread, without any runtime.
pub(crate) fn exchange(transport: &dyn Transport, request: Request) -> Result<Whole> {
    in_time(async {
        let response = transport.send(request).await?;
        // The transport must keep the limit, not the reader.
        let body = response.body.read_all(u64::MAX).await?;
        Ok(Whole { status: response.status, headers: response.headers, body })
    })
}

/// Like [`exchange`], where the answer is wanted.
pub(crate) fn answer(transport: &dyn Transport, request: Request) -> Whole {
    exchange(transport, request).unwrap_or_else(|error| panic!("{}", error.chain()))
}

/// Like [`exchange`], where the error is wanted.
pub(crate) fn failure(transport: &dyn Transport, request: Request) -> Error {
    match exchange(transport, request) {
        Ok(answer) => panic!("an answer instead of an error: {answer:?}"),
        Err(error) => error,
    }
}

/// Drives a future without any runtime, and fails instead of hanging.
pub(crate) fn in_time<T>(future: impl Future<Output = T>) -> T {
    let clock = SystemClock::new();
    let mut limit = clock.sleep_until(clock.now() + Duration::from_secs(30));
    block_on(async move {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => limit.as_mut().poll(cx).map(|()| panic!("hangs")),
        })
        .await
    })
}

/// The conformance kit's fixture.
pub(crate) fn fixture(make: Make) -> Fixture<Arc<dyn Transport>> {
    Fixture::new(default(make), RudePeer(Rude::start()))
}

struct RudePeer(Rude);

impl Peer for RudePeer {
    fn arrange(&mut self, answer: Answer) -> Option<Uri> {
        let manner = match answer {
            Answer::Whole(status, headers, body) => {
                let headers: Vec<(&str, &str)> =
                    headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
                Manner::whole(status.as_u16(), &headers, &body)
            }
            Answer::Cut(body) => Manner::promising(body.len() as u64 + 100, &body),
            Answer::Endless => Manner::endless(),
            Answer::Stalled => Manner::stalled(),
            Answer::Silent => Manner::silent(),
            _ => return None,
        };
        Some(self.0.arrange(manner).parse().unwrap())
    }

    fn unreachable(&mut self) -> Option<Uri> {
        Some(format!("http://127.0.0.1:{}/", free_port()).parse().unwrap())
    }
}
