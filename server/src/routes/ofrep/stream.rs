//! The event stream of OFREP: it tells that something has changed, and clients evaluate anew.
//!
//! Browsers' event sources send no `Authorization`, so the answer to a bulk evaluation has a URL that is signed for the
//! token that asked. It changes twice a day only: clients connect anew where it is another.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{
    future::{Either, select},
    stream,
};
use http::{HeaderMap, HeaderName, Uri, header};
use serde_json::json;

use super::{
    super::events::{event_stream_headers, read_query},
    environment,
    request::{Place, authenticate, checked},
};
use crate::{
    app::App,
    events::{Lease, Signal, Watch},
    extract::Query,
    principal::Principal,
    problem::{Problem, Refusals},
    request::RequestInfo,
    routes::evaluate::{Asked, admit, allow, preflight},
};

const PATH: &str = "/ofrep/v1/events";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How long a URL stays the same; it is good for once to twice as long.
const SAME: Duration = Duration::from_secs(12 * 3_600);
/// Streams of a client token, which everybody shares who visits a page.
const MOST_OF_CLIENTS: usize = 10_000;
/// Streams of another token.
const MOST: usize = 16;

/// Returns the URL at which a principal is told of changes.
///
/// # Errors
/// When the store has no signing key and cannot make one.
pub(super) async fn url(app: &App, asked: &Asked) -> Result<String, Problem> {
    let signer = app.hub().signer().await?;
    let query = [
        ("namespace", asked.namespace.as_str()),
        ("tenant", asked.tenant.as_str()),
        ("token", asked.principal.token().id.as_str()),
    ];
    Ok(signer.url(PATH, query, until(app.clock().wall())))
}

/// Returns when a URL that is given out now is not good any more.
fn until(now: SystemTime) -> SystemTime {
    let turns = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / SAME.as_secs();
    UNIX_EPOCH + Duration::from_secs((turns + 2) * SAME.as_secs())
}

/// Tells when flags are to be evaluated anew.
///
/// The URL is one that an answer to a bulk evaluation gave, or it is asked for with a token. The first event comes at
/// once, unless `Last-Event-ID` says that nothing has changed since.
#[utoipa::path(
    get, path = "/ofrep/v1/events", tag = "ofrep", security(("bearer" = []), ("api_key" = []), ()),
    params(
        Place,
        ("token" = Option<String>, Query, description = "The id of the token that the URL is signed for"),
        ("exp" = Option<u64>, Query, description = "Until when it is good"),
        ("sig" = Option<String>, Query, description = "The signature"),
        ("last-event-id" = Option<String>, Header, description = "The last event that was seen")
    ),
    responses(
        (status = 200, description = "Events without end", content_type = "text/event-stream", body = String),
        Refusals
    )
)]
pub(super) async fn events(
    State(app): State<App>,
    Query(place): Query<Place>,
    uri: Uri,
    info: RequestInfo,
    headers: HeaderMap,
) -> Response {
    let origin = headers.get(header::ORIGIN).cloned();
    let (mut response, origin) = match open(&app, &place, &uri, &info, &headers).await {
        Ok((stream, cross_origin)) => (stream, origin.filter(|_| cross_origin)),
        Err(problem) => (problem.into_response(), origin),
    };
    allow(&mut response, origin);
    response
}

/// Tells browsers that they may read events from another origin.
#[utoipa::path(
    options, path = "/ofrep/v1/events", tag = "ofrep", security(()),
    responses((status = 204, description = "What such a request may carry; remembered for 600 seconds"))
)]
pub(super) async fn events_preflight(headers: HeaderMap) -> Response {
    preflight(&headers, "GET")
}

async fn open(
    app: &App,
    place: &Place,
    uri: &Uri,
    info: &RequestInfo,
    headers: &HeaderMap,
) -> Result<(Response, bool), Problem> {
    let query = read_query(uri)?;
    let asked = if query.iter().any(|(key, _)| key == "sig") {
        signed(app, uri, &query, headers).await?
    } else {
        authenticate(headers, info, app, place).await?
    };
    if asked.is_client() {
        let environment = environment(&asked, place)?;
        admit(app, &asked, environment).await?;
    }
    let most = if asked.is_client() { MOST_OF_CLIENTS } else { MOST };
    let lease = app.hub().admit(asked.principal.token(), most)?;
    let watch = app.hub().watch(&asked.tenant, &asked.namespace).await?;
    let current = app.heads().current(&asked.tenant, &asked.namespace).await?;
    let mut told = Told { app: app.clone(), asked, watch, lease, last: 0 };
    // What changed between the evaluation and this connection was told to nobody, so the first event comes unasked.
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
    let first = current.map(|head| head.record.version).filter(|version| seen != Some(*version));
    told.last = first.or(seen).unwrap_or(0);
    let first = format!("retry: 1000\n\n{}", first.map(|version| told.event(version)).unwrap_or_default());
    let is_client = told.asked.is_client();
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from(first))]);
    let rest =
        stream::unfold(told, |mut told| async move { told.next().await.map(|bytes| (Ok(bytes), told)) });
    let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
    Ok(((event_stream_headers(), body).into_response(), is_client))
}

/// Finds the token that a URL was signed for, which has to be live still.
async fn signed(
    app: &App,
    uri: &Uri,
    query: &[(String, String)],
    headers: &HeaderMap,
) -> Result<Asked, Problem> {
    let signer = app.hub().signer().await?;
    let now = app.clock().wall();
    signer.check(uri.path(), query, now).map_err(|_| Problem::unauthenticated())?;
    let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let (Some(tenant), Some(namespace), Some(id)) = (value("tenant"), value("namespace"), value("token"))
    else {
        return Err(Problem::unauthenticated());
    };
    let token = app.store().token(&id).await?.filter(|token| token.is_live(now));
    let principal = Principal::of(token.ok_or_else(Problem::unauthenticated)?.into());
    checked(Asked { principal, tenant, namespace }, headers)
}

/// A client that is being told.
struct Told {
    app: App,
    asked: Asked,
    watch: Watch,
    lease: Lease,
    /// The version that it was told of.
    last: u64,
}

impl Told {
    /// Waits for what is to be sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let version = {
                let signal = pin!(poll_fn(|cx| self.lease.poll_signal(cx)));
                let changed = pin!(self.watch.changed());
                match select(signal, changed).await {
                    Either::Left((Signal::Beat, _)) => return Some(Bytes::from_static(b":\n\n")),
                    Either::Left((Signal::End, _)) => return None,
                    Either::Right((version, _)) => version,
                }
            };
            if version > self.last {
                self.last = version;
                return Some(self.event(version).into());
            }
        }
    }

    fn event(&self, version: u64) -> String {
        let mut data = json!({"type": "refetchEvaluation", "etag": format!("v{version}")});
        let head = self.app.heads().at_hand(&self.asked.tenant, &self.asked.namespace);
        if let Some(head) = head.filter(|head| head.record.version == version) {
            let at = head.record.uploaded_at.duration_since(UNIX_EPOCH).unwrap_or_default();
            data["lastModified"] = at.as_secs().into();
        }
        format!("id: {version}\nevent: message\ndata: {data}\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_stays_the_same_for_half_a_day_and_is_good_for_as_long_at_least() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let turn = SAME.as_secs();

        assert_eq!(until(at(0)), at(2 * turn));
        assert_eq!(until(at(turn - 1)), at(2 * turn));
        assert_eq!(until(at(turn)), at(3 * turn));
    }
}
