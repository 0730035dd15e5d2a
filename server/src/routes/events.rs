//! The event stream, and who reads it.

use axum::{
    Json as Answer,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use leverframe::{flags::events::FlagFilter, rfc3339};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    events::{Peer, ReaderReport, Subscription},
    extract::{PageQuery, Path, Query},
    principal::{Permission, Principal},
    problem::{Problem, Refusals},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(stream)).routes(routes!(clients))
}

/// Streams changes of namespaces as server-sent events.
///
/// Needs a token that may read every namespace named. The first event of each namespace is a snapshot, also after
/// `Last-Event-ID`. A token has at most 16 streams.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", security(("bearer" = [])),
    params(
        ("ns" = Vec<String>, Query, explode,
            description = "`slug` or `slug:*` for all flags of a namespace, `slug:a,b` for some; may be repeated"),
        ("tenant" = Option<String>, Query,
            description = "The tenant of the namespaces, for tokens that have none of their own"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last position; has no influence")
    ),
    responses(
        (status = 200, description = "Events without end", content_type = "text/event-stream", body = String),
        Refusals
    )
)]
async fn stream(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = read_query(&uri)?;
    if let Some((unknown, _)) = query.iter().find(|(key, _)| key != "ns" && key != "tenant") {
        let shown: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(Problem::bad_request(format!("there is no parameter `{shown}` here")));
    }
    let tenant = tenant_of(&principal, &query)?;
    let values = query.iter().filter(|(key, _)| key == "ns").map(|(_, value)| value.as_str());
    let subscriptions = Subscription::parse_all(values)?;
    for Subscription { namespace, .. } in &subscriptions {
        principal.require(Permission::ManifestRead, tenant, Some(namespace))?;
    }
    for Subscription { namespace, .. } in &subscriptions {
        // One that is read already is there, and the store need not be asked, which may be away for the moment.
        if !app.hub().is_read(tenant, namespace) && app.store().namespace(tenant, namespace).await?.is_none()
        {
            // In the words of `require`: whether a namespace exists is not told to whoever may not read it.
            return Err(Problem::forbidden("the token does not permit this here"));
        }
    }
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let peer = Peer::new(info.peer(), agent);
    let stream = app.hub().subscribe(principal.shared_token(), peer, tenant, &subscriptions).await?;
    Ok((event_stream_headers(), Body::from_stream(stream)).into_response())
}

/// Returns the headers of an answer that is an event stream.
pub(super) fn event_stream_headers() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Or a proxy would collect events until it has a buffer full of them.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ]
}

/// Reads a query that may have a parameter more than once.
pub(super) fn read_query(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    if uri.query().is_some_and(|query| query.len() > LONGEST_QUERY) {
        return Err(Problem::bad_request(format!("the query is longer than {LONGEST_QUERY} bytes")));
    }
    let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    query.map(|query| query.0).map_err(|_| Problem::bad_request("the query cannot be read"))
}

fn tenant_of<'a>(principal: &'a Principal, query: &'a [(String, String)]) -> Result<&'a str, Problem> {
    let mut named = query.iter().filter(|(key, _)| key == "tenant").map(|(_, value)| value.as_str());
    match (principal.tenant(), named.next(), named.next()) {
        (_, Some(_), Some(_)) => Err(Problem::bad_request("one connection reads of one `tenant`")),
        (Some(own), None, _) => Ok(own),
        (_, Some(named), None) => principal.resolve_tenant(named),
        (None, None, _) => {
            Err(Problem::bad_request("this token has no tenant; say which: `&tenant=<tenant>`"))
        }
    }
}

/// A reader that is connected.
#[derive(Debug, Serialize, ToSchema)]
struct ClientView {
    /// The number of its stream in this server process.
    id: u64,
    token: ClientToken,
    /// Where it connects from, which may be a proxy.
    #[schema(example = "192.0.2.7")]
    address: Option<String>,
    /// What it says it is.
    user_agent: Option<String>,
    #[schema(format = DateTime)]
    connected_at: String,
    /// The flags it reads; null for all.
    flags: Option<Vec<String>>,
    /// The last version that was handed to it; 0 before the first.
    delivered_version: u64,
    /// How many versions ago that was, if a change that concerns it waits for it; 0 if none does.
    versions_behind: u64,
    /// How many events wait for it, of all its namespaces.
    queued: usize,
}

/// The token of a reader, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct ClientToken {
    id: String,
    name: String,
}

/// The readers of a namespace, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct ClientsAnswer {
    clients: Vec<ClientView>,
    /// The current version of the namespace; 0 before the first.
    version: u64,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

impl From<ReaderReport> for ClientView {
    fn from(report: ReaderReport) -> Self {
        Self {
            id: report.id,
            token: ClientToken { id: report.token_id, name: report.token_name },
            address: report.address.map(|address| address.to_string()),
            user_agent: report.user_agent,
            connected_at: rfc3339(report.connected_at),
            flags: match report.filter {
                FlagFilter::Only(flags) => Some(flags),
                _ => None,
            },
            delivered_version: report.delivered_version,
            versions_behind: report.versions_behind,
            queued: report.queued,
        }
    }
}

/// Lists who reads a namespace's events from this server process, and how far behind they are.
///
/// For whoever may write to the namespace or read the audit log of its tenant. Of several processes on one database
/// each knows its own readers.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/clients", tag = "events",
    security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("namespace" = String, Path, description = "Slug"),
        PageQuery
    ),
    responses((status = 200, description = "The readers, in the order they came", body = ClientsAnswer), Refusals)
)]
async fn clients(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((tenant, namespace)): Path<(String, String)>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<ClientsAnswer>, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    if !principal.may(Permission::AuditRead, tenant, Some(&namespace)) {
        principal.require(Permission::ManifestWrite, tenant, Some(&namespace))?;
    }
    let page = query.page()?;
    let after =
        page.after.as_deref().map(str::parse).transpose().map_err(|_| {
            Problem::bad_request("`cursor` must be what an earlier answer gave as `next_cursor`")
        })?;
    let record = app.store().namespace(tenant, &namespace).await?;
    let record = record.ok_or_else(|| Problem::not_found("there is no such namespace"))?;
    // One more than asked for, which tells whether there is a part that follows.
    let mut readers = app.hub().readers(tenant, &namespace, after, page.limit + 1);
    let more = readers.len() > page.limit;
    readers.truncate(page.limit);
    let next_cursor = readers.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Answer(ClientsAnswer {
        clients: readers.into_iter().map(ClientView::from).collect(),
        version: record.version,
        next_cursor,
        request_id: info.id().to_owned(),
    }))
}

/// Bytes of a query; with it, the head of a request stays below what a connection takes.
const LONGEST_QUERY: usize = 12 * 1024;
