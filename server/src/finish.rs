//! Requests that may change something are answered to their end, even if whoever asked has gone away.
//!
//! What a store was told to do is done, whoever waits for it, and the record in the audit log comes after it. A handler that
//! were dropped in between would leave a change that nothing tells of.

use std::{
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{oneshot, watch};

use crate::{app::App, problem::Problem};

/// Answers a request that may change something in a task of its own.
pub(crate) async fn finish(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let (stays, gone) = oneshot::channel();
    let request = request.map(|body| Body::new(Attended { body, gone: Some(gone) }));
    let (answer, unfinished) = (next.run(request), app.unfinished().begin());
    let answer = tokio::spawn(async move {
        let answer = answer.await;
        drop(unfinished);
        answer
    });
    let answer = answer.await;
    drop::<oneshot::Sender<()>>(stays);
    answer.unwrap_or_else(|ended| match ended.try_into_panic() {
        // Told of by whoever frames the answer.
        Ok(panic) => resume_unwind(panic),
        // The runtime ends.
        Err(_) => Problem::unavailable().into_response(),
    })
}

/// A body that breaks off when nobody waits for the answer any more: what was not sent whole is not done.
struct Attended {
    body: Body,
    gone: Option<oneshot::Receiver<()>>,
}

impl HttpBody for Attended {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(gone) = &mut self.gone
            && Pin::new(gone).poll(cx).is_pending()
        {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        self.gone = None;
        Poll::Ready(Some(Err(axum::Error::new("whoever sent it has gone away"))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Counts the requests that are being answered in tasks of their own.
#[derive(Debug)]
pub(crate) struct Unfinished(watch::Sender<usize>);

impl Default for Unfinished {
    fn default() -> Self {
        Self(watch::channel(0).0)
    }
}

impl Unfinished {
    fn begin(&self) -> One {
        self.0.send_modify(|count| *count += 1);
        One(self.0.clone())
    }

    /// Waits until every one is answered.
    pub(crate) async fn none(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One of them.
struct One(watch::Sender<usize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::pin,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use axum::{
        Router,
        body::BodyDataStream,
        middleware,
        routing::{get, post},
    };
    use futures_util::{FutureExt, StreamExt, poll, stream};
    use http::StatusCode;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use leverframe::{testing::ManualClock, traits::Clock};
    use tokio::sync::Notify;

    use super::*;
    use crate::store;

    /// Whoever answers waits on the way until it is told to go on.
    #[derive(Default)]
    struct Way {
        begun: Notify,
        go_on: Notify,
        done: AtomicUsize,
    }

    async fn app() -> (tempfile::TempDir, App) {
        let data = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
        let store = store::open(data.path(), None, Arc::clone(&clock)).await.unwrap();
        (data, App::new(store, clock))
    }

    fn service(app: &App, router: Router<App>) -> TowerToHyperService<Router> {
        let router = router.layer(middleware::from_fn_with_state(app.clone(), finish));
        TowerToHyperService::new(router.with_state(app.clone()))
    }

    fn request(method: &str, body: Body) -> Request {
        Request::builder().method(method).uri("/").body(body).unwrap()
    }

    #[tokio::test]
    async fn what_may_change_something_is_done_though_whoever_asked_is_gone() {
        let (_data, app) = app().await;
        let way = Arc::new(Way::default());
        let handler = {
            let way = Arc::clone(&way);
            async move || {
                way.begun.notify_one();
                way.go_on.notified().await;
                way.done.fetch_add(1, Ordering::SeqCst);
            }
        };
        let service = service(&app, Router::new().route("/", post(handler)));
        let mut answer = Box::pin(service.call(request("POST", Body::empty())));
        assert!(poll!(&mut answer).is_pending());
        way.begun.notified().await;

        drop(answer);

        assert!(app.unfinished().none().now_or_never().is_none());
        way.go_on.notify_one();
        app.unfinished().none().await;
        assert_eq!(way.done.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_body_that_nobody_sends_any_more_breaks_off() {
        let (_data, app) = app().await;
        let (begun, broken) = (Arc::new(Notify::new()), Arc::new(Mutex::new(None)));
        let handler = {
            let (begun, broken) = (Arc::clone(&begun), Arc::clone(&broken));
            async move |body: Body| {
                let mut body: BodyDataStream = body.into_data_stream();
                begun.notify_one();
                let whole = body.next().await.is_some_and(|part| part.is_ok());
                *broken.lock().unwrap() = Some(!whole);
            }
        };
        let service = service(&app, Router::new().route("/", post(handler)));
        let endless = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let mut answer = Box::pin(service.call(request("POST", endless)));
        assert!(poll!(&mut answer).is_pending());
        begun.notified().await;

        drop(answer);

        app.unfinished().none().await;
        assert_eq!(*broken.lock().unwrap(), Some(true));
    }

    #[tokio::test]
    async fn what_changes_nothing_ends_with_whoever_asked() {
        let (_data, app) = app().await;
        let handler = async || std::future::pending::<()>().await;
        let service = service(&app, Router::new().route("/", get(handler)));

        {
            let mut answer = pin!(service.call(request("GET", Body::empty())));
            assert!(poll!(&mut answer).is_pending());
        }

        assert!(app.unfinished().none().now_or_never().is_some());
    }

    #[tokio::test]
    async fn bodies_and_answers_come_through_and_panics_are_panics() {
        let (_data, app) = app().await;
        let handler = async |body: String| {
            assert_ne!(body, "bomb");
            (StatusCode::CREATED, body)
        };
        let service = service(&app, Router::new().route("/", post(handler)));

        let answer = service.call(request("POST", Body::from("hello"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(axum::body::to_bytes(answer.into_body(), 100).await.unwrap(), "hello");
        let panicked = std::panic::AssertUnwindSafe(service.call(request("POST", Body::from("bomb"))));
        assert!(panicked.catch_unwind().await.is_err());
        assert!(app.unfinished().none().now_or_never().is_some());
    }
}
