//! The clauses of [`Transport`].

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::{check_name, poll_once, skipped, within};
use crate::{
    ErrorKind, Result,
    testing::Answer,
    traits::{Request, Response, Transport},
};

/// The other side of a transport.
pub trait Peer: Send + Sync {
    /// Arranges an answer and returns where to ask for it; `None` where this peer cannot answer so.
    fn arrange(&mut self, answer: Answer) -> Option<Uri>;

    /// Returns an address where nobody is; `None` where there is no such thing.
    fn unreachable(&mut self) -> Option<Uri>;
}

/// A transport with its peer.
pub struct Fixture<T> {
    transport: Arc<T>,
    peer: Box<dyn Peer>,
}

impl<T: Transport> Fixture<T> {
    /// Takes a transport and its peer.
    #[must_use]
    pub fn new(transport: T, peer: impl Peer + 'static) -> Self {
        Self { transport: Arc::new(transport), peer: Box::new(peer) }
    }
}

/// What a clause works on.
pub struct Case {
    transport: Arc<dyn Transport>,
    peer: Box<dyn Peer>,
}

#[doc(hidden)]
pub fn on_the_type<T: Transport>(fixture: Fixture<T>) -> Case {
    Case { transport: fixture.transport, peer: fixture.peer }
}

#[doc(hidden)]
pub fn through_arc_dyn<T: Transport>(fixture: Fixture<T>) -> Case {
    let erased: Arc<dyn Transport> = fixture.transport;
    Case { transport: Arc::new(erased), peer: fixture.peer }
}

const SOON: Duration = Duration::from_millis(50);

fn plain(body: &'static str) -> Answer {
    Answer::Whole(StatusCode::OK, HeaderMap::new(), Bytes::from_static(body.as_bytes()))
}

impl Case {
    async fn send(&self, request: Request) -> Result<Response> {
        within("an answer or an error", self.transport.send(request)).await
    }

    /// Sends and reads to the end; whichever of the two fails first is the error.
    async fn exchange(&self, request: Request) -> Result<(Response, Bytes)> {
        let limit = request.body_limit;
        let mut response = self.send(request).await?;
        let body = std::mem::replace(&mut response.body, crate::traits::Body::from_bytes(""));
        let content = within("the body or an error", body.read_all(limit)).await?;
        Ok((response, content))
    }
}

/// T1: every status is a response.
pub async fn t1_every_status_is_a_response(mut case: Case) {
    for code in [200, 304, 401, 404, 429, 500, 503] {
        let status = StatusCode::from_u16(code).expect("a well-known status");
        let Some(uri) = case.peer.arrange(Answer::Whole(status, HeaderMap::new(), Bytes::new())) else {
            skipped("T1", &format!("this peer cannot answer {code}"));
            continue;
        };
        match case.send(Request::get(uri)).await {
            Ok(response) => assert_eq!(response.status, status),
            Err(error) => panic!("status {code} became an error: {}", error.chain()),
        }
    }
}

/// T2: status, headers and body arrive as sent.
pub async fn t2_answers_arrive_unaltered(mut case: Case) {
    let mut headers = HeaderMap::new();
    headers.insert(header::ETAG, HeaderValue::from_static("\"v8\""));
    let body = Bytes::from((0..=255).cycle().take(70_000).collect::<Vec<u8>>());
    let with_headers = case.peer.arrange(Answer::Whole(StatusCode::OK, headers, body.clone()));
    let (uri, tagged) = match with_headers {
        Some(uri) => (Some(uri), true),
        None => (case.peer.arrange(Answer::Whole(StatusCode::OK, HeaderMap::new(), body.clone())), false),
    };
    let Some(uri) = uri else { return skipped("T2", "this peer cannot send a body of choice") };
    match case.exchange(Request::get(uri)).await {
        Ok((response, content)) => {
            assert_eq!(content, body, "the body was altered");
            if tagged {
                assert_eq!(
                    response.headers.get(header::ETAG).map(HeaderValue::as_bytes),
                    Some(&b"\"v8\""[..])
                );
            }
        }
        Err(error) => panic!("the exchange failed: {}", error.chain()),
    }
}

/// T3: the deadline covers the whole exchange.
pub async fn t3_deadline_covers_the_exchange(mut case: Case) {
    for answer in [Answer::Silent, Answer::Stalled] {
        let shown = format!("{answer:?}");
        let Some(uri) = case.peer.arrange(answer) else {
            skipped("T3", &format!("this peer cannot be {shown}"));
            continue;
        };
        let kind = case.exchange(Request::get(uri).deadline(SOON)).await.err().map(|e| e.kind());
        assert_eq!(kind, Some(ErrorKind::Timeout), "a {shown} peer");
    }
}

/// T4: a body beyond the limit ends while it is read.
pub async fn t4_body_is_limited_while_read(mut case: Case) {
    let answer = case.peer.arrange(Answer::Endless);
    let uri = answer.or_else(|| {
        case.peer.arrange(Answer::Whole(StatusCode::OK, HeaderMap::new(), vec![0; 20_000].into()))
    });
    let Some(uri) = uri else { return skipped("T4", "this peer cannot send a large body") };
    let response = case.send(Request::get(uri).body_limit(10_000)).await;
    // The reader allows more than the request did, so that it is the transport that must stop.
    let outcome = match response {
        Ok(response) => within("the limit", response.body.read_all(1_000_000_000)).await.map(|b| b.len()),
        Err(error) => Err(error),
    };
    assert_eq!(outcome.map_err(|e| e.kind()), Err(ErrorKind::LimitExceeded), "a body beyond the limit");
}

/// T5: no credential shows.
pub async fn t5_no_credential_shows(mut case: Case) {
    const SECRET: &str = "s3cret-t0ken";
    let mut shown = format!("{:?}", case.transport);
    let good = case.peer.arrange(plain("x"));
    for uri in [good, case.peer.unreachable()].into_iter().flatten() {
        let uri: Uri = format!("{uri}?sig={SECRET}").parse().expect("a URI with a query");
        let value = HeaderValue::from_str(&format!("Bearer {SECRET}")).expect("a plain header");
        let request = Request::get(uri).header(header::AUTHORIZATION, value).deadline(SOON * 20);
        shown.push_str(&format!("{request:?}"));
        match case.send(request).await {
            Ok(response) => shown.push_str(&format!("{response:?}")),
            Err(error) => shown.push_str(&format!("{error} {error:?} {}", error.chain())),
        }
        shown.push_str(&format!("{:?}", case.transport));
    }
    assert!(!shown.contains(SECRET), "a credential shows: {shown}");
}

/// T6: a peer that cannot be reached is `Unavailable`, and may be tried again.
pub async fn t6_unreachable_is_unavailable(mut case: Case) {
    let Some(uri) = case.peer.unreachable() else { return skipped("T6", "this peer is always there") };
    match case.send(Request::get(uri)).await {
        Ok(response) => panic!("an answer from nowhere: {response:?}"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.retry_state().may_retry(), "trying again is ruled out");
        }
    }
}

/// T7: a body that ends early is an error.
pub async fn t7_cut_body_is_an_error(mut case: Case) {
    let Some(uri) = case.peer.arrange(Answer::Cut(Bytes::from_static(b"half of"))) else {
        return skipped("T7", "this peer cannot break off");
    };
    let outcome = case.exchange(Request::get(uri)).await;
    assert!(outcome.is_err(), "half a body passed for a whole one");
}

/// T8: dropping a future or a body leaves the transport usable.
pub async fn t8_dropped_futures_do_no_harm(mut case: Case) {
    let Some(uri) = case.peer.arrange(plain("content")) else {
        return skipped("T8", "this peer cannot answer");
    };
    let _ = poll_once(pin!(case.transport.send(Request::get(uri.clone()))));
    if let Ok(mut response) = case.send(Request::get(uri.clone())).await {
        let _ = poll_once(pin!(response.body.next()));
    }
    match case.exchange(Request::get(uri)).await {
        Ok((_, body)) => assert_eq!(body, "content"),
        Err(error) => panic!("unusable after a drop: {}", error.chain()),
    }
}

/// T9: `close` may be called more than once; a request after it is `Cancelled`.
pub async fn t9_close_ends_it(mut case: Case) {
    for _ in 0..2 {
        if let Err(error) = within("closing", case.transport.close()).await {
            panic!("closing failed: {}", error.chain());
        }
    }
    let Some(uri) = case.peer.arrange(plain("x")) else {
        return skipped("T9, second half", "this peer cannot answer");
    };
    let kind = case.send(Request::get(uri)).await.err().map(|e| e.kind());
    assert_eq!(kind, Some(ErrorKind::Cancelled), "a request after `close`");
}

/// T10: `name` is well-formed and the same on every call.
pub async fn t10_name_is_fixed(case: Case) {
    check_name([case.transport.name(), case.transport.name()]);
}
