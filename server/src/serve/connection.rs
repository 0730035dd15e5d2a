//! One connection, from its handshake to its end.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{Router, body::Body};
use http::{Request, Response};
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use leverframe::traits::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{patience::Patience, tls::Tls};
use crate::{
    app::{App, Draining},
    routes::Hot,
};

/// Where a request's connection came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// How connections are served.
#[derive(Clone, Debug)]
pub(super) struct Frontend {
    app: App,
    router: Router,
    tls: Option<Arc<Tls>>,
    http: Builder<TokioExecutor>,
}

/// Longest wait for a TLS handshake, for the first request, and for the head of each later one.
const PATIENCE: Duration = Duration::from_secs(30);
/// The smallest that hyper takes; an idle connection holds two of them at most.
const MAX_BUFFER: usize = 16 * 1_024;
/// Requests at once on one HTTP/2 connection: a client's event streams are limited to 16 besides.
const MAX_STREAMS: u32 = 64;
/// Room for what a client sends ahead on one HTTP/2 stream, and on all of them.
const STREAM_WINDOW: u32 = 64 * 1_024;
const CONNECTION_WINDOW: u32 = 256 * 1_024;

impl Frontend {
    pub(super) fn new(app: App, router: Router, tls: Option<Arc<Tls>>) -> Self {
        let mut http = Builder::new(TokioExecutor::new());
        // At most 100 headers, which is what hyper takes anyway; saying so would cost each request an allocation.
        http.http1()
            .header_read_timeout(PATIENCE)
            // Head and body leave in one piece: most answers are small, and gathering them costs the system more.
            .writev(false)
            .max_buf_size(MAX_BUFFER)
            .half_close(false);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_BUFFER as u32)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(MAX_BUFFER)
            // A peer that vanished is noticed, so that its streams do not stay for ever.
            .keep_alive_interval(PATIENCE)
            .keep_alive_timeout(PATIENCE);
        Self { app, router, tls, http }
    }

    /// Serves a connection until it ends, or until the server drains and the last of its requests is answered.
    pub(super) async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        // Events are small and must not wait for more of them; a socket that refuses is slower, not wrong.
        let _ = stream.set_nodelay(true);
        let draining = self.app.draining();
        match &self.tls {
            None => self.serve_http(stream, peer, draining).await,
            // On its own in memory: an idle connection without TLS must not pay for the one with it.
            Some(tls) => Box::pin(self.serve_tls(tls, stream, peer, draining)).await,
        }
    }

    async fn serve_tls(&self, tls: &Tls, stream: TcpStream, peer: SocketAddr, draining: Draining) {
        let alarm = self.app.clock().sleep_until(self.app.clock().now() + PATIENCE);
        let handshake = tls.acceptor().accept(stream);
        match before(alarm, handshake).await {
            Some(Ok(stream)) => self.serve_http(stream, peer, draining).await,
            Some(Err(error)) => tracing::debug!(peer = %peer.ip(), %error, "a TLS handshake failed"),
            None => tracing::debug!(peer = %peer.ip(), "a TLS handshake took too long"),
        }
    }

    async fn serve_http<S>(&self, stream: S, peer: SocketAddr, mut draining: Draining)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let answering = Arc::new(Answering {
            app: self.app.clone(),
            router: self.router.clone(),
            peer: Peer(peer),
            any: AtomicBool::new(false),
        });
        let service = Requests(Arc::clone(&answering));
        let mut http = self.http.clone();
        http.http1().timer(Patience::default());
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        // A connection on which nothing ever arrives is nobody's: the protocol's own limit starts with its first
        // bytes.
        let mut silent = Some(self.app.clock().sleep_until(self.app.clock().now() + PATIENCE));
        let mut ending = false;
        let begun = draining.begun();
        let mut begun = pin!(begun);
        let ended = poll_fn(|cx| {
            // The connection comes first: whatever else there is to wait for is of interest only when it has to wait.
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            // Not waited for any longer than it means something: each look at the alarm is work.
            silent.take_if(|_| answering.any.load(Ordering::Relaxed));
            if silent.as_mut().is_some_and(|silent| silent.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(None);
            }
            if !ending && begun.as_mut().poll(cx).is_ready() {
                ending = true;
                connection.as_mut().graceful_shutdown();
                return connection.as_mut().poll(cx).map(Some);
            }
            Poll::Pending
        });
        if let Some(Err(error)) = ended.await {
            tracing::debug!(peer = %peer.ip(), error = %chain(&*error), "a connection broke");
        }
    }
}

/// Answers the requests of a connection; clones share everything, so that a request counts up nothing that other
/// connections count as well.
#[derive(Clone, Debug)]
struct Requests(Arc<Answering>);

#[derive(Debug)]
struct Answering {
    app: App,
    router: Router,
    peer: Peer,
    /// Whether there was any request.
    any: AtomicBool,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.0.any.store(true, Ordering::Relaxed);
        let Self(answering) = self.clone();
        Box::pin(async move {
            let uri = request.uri().clone();
            if let Some(hot) = Hot::of(request.method(), &uri) {
                return Ok(hot.answer(&answering.app, request, answering.peer.0.ip()).await);
            }
            request.extensions_mut().insert(answering.peer);
            TowerToHyperService::new(answering.router.clone()).call(request).await
        })
    }
}

async fn before<T>(alarm: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = alarm => None,
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
