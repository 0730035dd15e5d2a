//! Gates what comes to an HTTP service: a layer of `tower`.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Entry, GateReason, GateResult, SafeModeStrategy, WaitState};

/// Says the tag of a request.
pub type TagOf = for<'a> fn(&'a Parts) -> Option<&'a str>;

/// Says the weight of a request.
pub type WeightOf = fn(&Parts) -> Option<f64>;

/// Where requests say their tag, unless the layer is told otherwise.
const TAG_HEADER: HeaderName = HeaderName::from_static("x-waitstate-tag");

/// When refused callers are told to come again.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Lets an HTTP service do only what the gate lets pass.
///
/// What passes is measured until its response begins (not until its body ends), by the client's clock. A status of 500
/// or more, an error of the service, and a panic, wherever it is caught, count as errors; a response that nobody waits for any more is counted
/// with the time that it had. What does not pass is answered at once: 429 with `Retry-After` and JSON,
/// `{"error":"rate_limited","reason":"kill_signal"}`.
///
/// A client with a limiter ([`WaitState::limited`]) is asked for a place as well; statuses 503 and 504 and errors of the
/// service tell the limiter of too much load.
///
/// The tag is what the header `x-waitstate-tag` says. Whoever may set that header chooses among the limits: where
/// requests come from strangers, have the edge set it, or choose the tag from what is known of the caller
/// ([`tag_from`](Self::tag_from)). Tags of more than 128 bytes are counted as `__other__`.
///
/// # Examples
/// ```
/// use std::convert::Infallible;
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use leverframe::gate::{GateLayer, Policy, WaitState};
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// # #[derive(Clone)] struct Shop;
/// # impl Service<Request<()>> for Shop {
/// #     type Response = Response<Bytes>;
/// #     type Error = Infallible;
/// #     type Future = std::future::Ready<Result<Response<Bytes>, Infallible>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// #     fn call(&mut self, _: Request<()>) -> Self::Future {
/// #         std::future::ready(Ok(Response::new(Bytes::from_static(b"welcome"))))
/// #     }
/// # }
/// # let ws = WaitState::builder().publish_key("pk").secret_key("sk").base_url("http://127.0.0.1:9").build()?;
/// ws.set_policy(Policy { tag_max_weights: [("free", 2.0)].into(), ..Policy::default() });
/// let layer = GateLayer::new(ws)
///     .tag_from(|request| request.uri.path().starts_with("/free").then_some("free"))
///     .weight_from(|request| (request.method == http::Method::POST).then_some(5.0));
///
/// let mut shop = layer.layer(Shop);
///
/// # leverframe::live::block_on(async {
/// let bought = shop.call(Request::post("/free/cart").body(()).unwrap()).await?;
/// assert_eq!(bought.status(), 429);
/// assert_eq!(bought.body(), r#"{"error":"rate_limited","reason":"tag_blocked"}"#);
/// assert_eq!(shop.call(Request::get("/free/cart").body(()).unwrap()).await?.status(), 200);
/// # Ok::<(), Infallible>(())
/// # }).unwrap();
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct GateLayer<T = TagOf, W = WeightOf> {
    client: WaitState,
    tag: T,
    weight: W,
    retry_after: Duration,
}

impl GateLayer {
    /// Gates by this client: the tag from the header `x-waitstate-tag`, the weight 1.
    pub fn new(client: WaitState) -> Self {
        Self { client, tag: tag_of_header, weight: |_| None, retry_after: RETRY_AFTER }
    }
}

impl<T, W> GateLayer<T, W> {
    /// Takes the tag from somewhere else; `None` is a request without a tag.
    ///
    /// It is text of the request, or fixed text: a tag that had to be made would cost each request an allocation, and
    /// tags that are made are soon more than can be told apart.
    pub fn tag_from<F>(self, tag: F) -> GateLayer<F, W>
    where
        F: for<'a> Fn(&'a Parts) -> Option<&'a str>,
    {
        let Self { client, tag: _, weight, retry_after } = self;
        GateLayer { client, tag, weight, retry_after }
    }

    /// Says what a request weighs; `None` is 1.
    pub fn weight_from<F>(self, weight: F) -> GateLayer<T, F>
    where
        F: Fn(&Parts) -> Option<f64>,
    {
        let Self { client, tag, weight: _, retry_after } = self;
        GateLayer { client, tag, weight, retry_after }
    }

    /// Sets when refused callers are told to come again, in whole seconds. Default: 60 s.
    ///
    /// They are told to come sooner where it is known that this is worth it: the calls of the safe mode
    /// `fixed_rps` come back within a second.
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = pause;
        self
    }
}

impl<T, W> fmt::Debug for GateLayer<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateLayer")
            .field("client", &self.client)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

impl<S, T: Clone, W: Clone> Layer<S> for GateLayer<T, W> {
    type Service = GateService<S, T, W>;

    fn layer(&self, inner: S) -> Self::Service {
        GateService { inner, gate: self.clone() }
    }
}

/// A service behind a gate; made by [`GateLayer`].
///
/// It is ready when the service behind it is.
#[derive(Clone)]
pub struct GateService<S, T = TagOf, W = WeightOf> {
    inner: S,
    gate: GateLayer<T, W>,
}

impl<S: fmt::Debug, T, W> fmt::Debug for GateService<S, T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateService").field("inner", &self.inner).field("gate", &self.gate).finish()
    }
}

impl<S, T, W, B, R> Service<Request<B>> for GateService<S, T, W>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
    T: for<'a> Fn(&'a Parts) -> Option<&'a str>,
    W: Fn(&Parts) -> Option<f64>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = GateFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let gate = &self.gate;
        let tag = (gate.tag)(&parts);
        let state = match gate.client.enter(tag, (gate.weight)(&parts)) {
            Ok(entry) => {
                let future = self.inner.call(Request::from_parts(parts, body));
                State::Passed { call: Some(Call(Some(entry))), future }
            }
            Err(GateResult { reason, .. }) => {
                State::Refused { reason, seconds: gate.seconds_until_retry(reason) }
            }
        };
        GateFuture { state, body: PhantomData }
    }
}

impl<T, W> GateLayer<T, W> {
    fn seconds_until_retry(&self, reason: GateReason) -> u64 {
        let asked = self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0);
        let config = self.client.config();
        let refills = config.safe_mode_strategy == SafeModeStrategy::FixedRps && config.safe_mode_max_rps > 0;
        match reason {
            GateReason::LeaseExpired if refills => asked.min(1),
            // A place is free again as soon as a call ends.
            GateReason::OverLimit => asked.min(1),
            _ => asked,
        }
    }
}

pin_project! {
    /// The answer of a service behind a gate.
    pub struct GateFuture<F, R> {
        #[pin]
        state: State<F>,
        body: PhantomData<fn() -> R>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Passed {
            call: Option<Call>,
            #[pin]
            future: F,
        },
        Refused {
            reason: GateReason,
            seconds: u64,
        },
    }
}

/// A request that passed; `None` once it has ended.
struct Call(Option<Entry>);

impl Call {
    /// Ends with the status of the response, if there is one.
    fn end(mut self, status: Option<StatusCode>) {
        let Some(mut entry) = self.0.take() else { return };
        if status.is_none_or(|status| status.is_server_error()) {
            entry.failed();
        }
        let overloaded = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        if status.is_some_and(|status| status.is_server_error() && !overloaded.contains(&status)) {
            // What is broken is not mended by fewer calls.
            entry.ignore();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(entry) = &mut self.0 {
            // Nobody waits for the response any more.
            entry.cut_off();
        }
    }
}

/// Ends a call as an error when it is dropped: its service panicked. Whoever catches that may keep the future, and when
/// the future goes nothing shows any more how the call ended.
struct Unwinds<'a>(&'a mut Option<Call>);

impl Drop for Unwinds<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            // The limiter learns nothing from it, as its permit goes while the thread unwinds.
            call.end(None);
        }
    }
}

impl<F, R, E> Future for GateFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Passed { call, future } => {
                let unwinds = Unwinds(call);
                let polled = future.poll(cx);
                mem::forget(unwinds);
                let outcome = ready!(polled);
                // Dropped here and not with the future, which may be kept for as long as its owner likes.
                if let Some(call) = call.take() {
                    call.end(outcome.as_ref().map(Response::status).ok());
                }
                Poll::Ready(outcome)
            }
            StateProjection::Refused { reason, seconds } => Poll::Ready(Ok(refusal(*reason, *seconds))),
        }
    }
}

impl<F, R> fmt::Debug for GateFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = match self.state {
            State::Refused { reason, .. } => Some(reason),
            State::Passed { .. } => None,
        };
        f.debug_struct("GateFuture").field("refused", &refused).finish_non_exhaustive()
    }
}

fn tag_of_header(request: &Parts) -> Option<&str> {
    let tag = request.headers.get(TAG_HEADER)?;
    std::str::from_utf8(tag.as_bytes()).ok().filter(|tag| !tag.is_empty())
}

fn refusal<R: From<Bytes>>(reason: GateReason, seconds: u64) -> Response<R> {
    let json = format!(r#"{{"error":"rate_limited","reason":"{reason}"}}"#);
    let mut response = Response::new(R::from(json.into()));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::RETRY_AFTER, seconds.into());
    response
}
