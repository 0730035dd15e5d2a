//! What happens around every request: its id, its time limit, the envelope of a refusal, the log line, the counts.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use leverframe::traits::{BoxFuture, Clock};

use crate::{app::App, problem::Problem, request::RequestInfo, serve::Peer};

/// The header that carries a request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The name of whatever no route matches, in logs and counts.
const UNMATCHED: &str = "unmatched";

/// Frames what the router answers.
pub(crate) async fn frame(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let info = app.begin(peer);
    request.extensions_mut().insert(info.clone());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    framed(&app, &info, &method, route, next.run(request)).await
}

/// Frames an answer, whoever makes it.
pub(crate) async fn framed(
    app: &App,
    info: &RequestInfo,
    method: &Method,
    route: &str,
    answer: impl Future<Output = Response>,
) -> Response {
    let answer = AssertUnwindSafe(answer).catch_unwind();
    let response = match within(app.clock(), app.limits().answer_within, answer).await {
        Some(Ok(response)) => response,
        Some(Err(_)) => {
            tracing::error!(request_id = info.id(), "a handler panicked");
            Problem::internal().into_response()
        }
        None => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the request did not arrive in time, or could not be answered in time",
        )
        .into_response(),
    };
    let mut response = enveloped(response, info);
    add_headers(response.headers_mut(), info);

    let (took, status) = (app.clock().now() - info.begun(), response.status());
    app.metrics().answered(method, route, status, took);
    // Never the path itself, the query, a header or a body: any of them may hold a secret.
    tracing::info!(
        request_id = info.id(),
        method = if method.as_str().len() <= 16 { method.as_str() } else { "other" },
        route,
        status = status.as_u16(),
        ms = took.as_secs_f64() * 1e3,
        principal = info.principal(),
        peer = info.peer().map(tracing::field::display),
        "request"
    );
    response
}

/// Writes the envelope of a refusal, ours or the router's.
fn enveloped(mut response: Response, info: &RequestInfo) -> Response {
    let problem = response.extensions_mut().remove::<Problem>().or_else(|| of_router(&response));
    let Some(problem) = problem else { return response };
    let mut headers = std::mem::take(response.headers_mut());
    let mut answer = problem.into_answer(info.id());
    for of_old_body in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        headers.remove(of_old_body);
    }
    headers.extend(std::mem::take(answer.headers_mut()));
    *answer.headers_mut() = headers;
    answer
}

/// Says in the envelope what the router refuses with plain text or nothing.
fn of_router(response: &Response) -> Option<Problem> {
    let status = response.status();
    let media = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let plain = media.is_none_or(|media| media.starts_with(b"text/plain"));
    if !plain || !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    Some(match status {
        StatusCode::NOT_FOUND => Problem::not_found("there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(status, "method_not_allowed", "the path exists, but not for this method")
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::payload_too_large("the body is longer than this route takes")
        }
        _ if status.is_server_error() => Problem::internal(),
        _ => Problem::bad_request("the request cannot be read"),
    })
}

/// The headers of every answer; those that a route has set stay.
fn add_headers(headers: &mut HeaderMap, info: &RequestInfo) {
    // Room at once, instead of moving house twice.
    headers.reserve(8);
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        ),
    ] {
        headers.entry(name).or_insert(value);
    }
    if let Ok(id) = HeaderValue::from_str(info.id()) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Waits for a future, but not longer than so long; the clock is asked only if there is something to wait for.
async fn within<F: Future>(clock: &dyn Clock, longest: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut alarm: Option<BoxFuture<'static, ()>> = None;
    std::future::poll_fn(move |cx: &mut Context<'_>| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let alarm = alarm.get_or_insert_with(|| clock.sleep_until(clock.now() + longest));
        Pin::new(alarm).poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::UNIX_EPOCH};

    use axum::{Router, body::Body, middleware, routing::get};
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use leverframe::{testing::ManualClock, traits::Tick};

    use super::*;
    use crate::{problem::Envelope, store};

    /// Sends a request for each path to routes that go wrong.
    async fn answers(paths: &[&str]) -> Vec<(StatusCode, Envelope, HeaderMap)> {
        let data = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
        let store = store::open(data.path(), None, Arc::clone(&clock)).await.unwrap();
        let app = App::new(store, clock);
        let router = Router::new()
            .route("/panic", get(async || -> () { panic!("with a secret") }))
            .route("/plain", get(async || (StatusCode::UNPROCESSABLE_ENTITY, "what went wrong: a secret")))
            .route("/own", get(async || (StatusCode::BAD_GATEWAY, [("x-own", "1")], "a secret")))
            .layer(middleware::from_fn_with_state(app.clone(), frame))
            .with_state(app);
        let service = TowerToHyperService::new(router);
        let mut answers = Vec::new();
        for path in paths {
            let request = Request::builder().uri(*path).body(Body::empty()).unwrap();
            let response = service.call(request).await.unwrap();
            let (status, headers) = (response.status(), response.headers().clone());
            let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
            assert!(!body.windows(6).any(|part| part == b"secret"));
            answers.push((status, serde_json::from_slice(&body).unwrap(), headers));
        }
        answers
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_told_in_the_envelope_without_its_cause() {
        let answers = answers(&["/panic", "/plain", "/own"]).await;

        let told: Vec<_> = answers.iter().map(|(status, e, _)| (status.as_u16(), &*e.error.code)).collect();
        assert_eq!(told, [(500, "internal"), (400, "bad_request"), (500, "internal")]);
        for (_, envelope, headers) in &answers {
            assert_eq!(envelope.request_id, headers[&REQUEST_ID].to_str().unwrap());
        }
        assert_eq!(answers[2].2["x-own"], "1", "other headers stay");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up_and_what_is_ready_never_asks_the_clock() {
        let clock = ManualClock::new();
        assert_eq!(within(&clock, Duration::ZERO, std::future::ready(1)).await, Some(1));

        let waiting = within(&clock, Duration::from_secs(60), std::future::pending::<()>());
        let (given_up, ()) = tokio::join!(waiting, async {
            while clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_secs(60));
        });

        assert_eq!(given_up, None);
    }

    #[test]
    fn headers_that_a_route_has_set_stay() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));

        let id = "01HV5XK1EFQT8N3JRDCP7MW04A".parse().unwrap();
        add_headers(&mut headers, &RequestInfo::new(id, Tick::ORIGIN, UNIX_EPOCH, None));

        assert_eq!(headers[header::CACHE_CONTROL], "private");
        assert_eq!(headers["x-request-id"], "01HV5XK1EFQT8N3JRDCP7MW04A");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
