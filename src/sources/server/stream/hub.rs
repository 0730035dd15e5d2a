//! One connection for any number of namespaces: what comes is sorted into the inbox of each.
//!
//! Nothing is spawned: whoever waits for a namespace drives the connection for all of them, so that none depends on
//! another being quick.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, StatusCode, Uri};

use super::{
    super::api::{Api, Refusal, WORDS},
    inbox::{Inbox, Told},
};
use crate::{
    Error, ErrorKind, Result,
    flags::{
        FlagFilter,
        events::{RESYNC, ResyncEvent, VERSION, VersionEvent},
    },
    sse::{Event, Happening, Link, StreamState, StreamStatus, are_of_events, asking_for_events},
    traits::{Body, BoxFuture, Clock, Response, redacted},
};

/// More happenings than this at once are looked at in turns, so that a peer that never pauses keeps nobody.
const AT_ONCE: usize = 256;
/// Three heartbeats of the contract.
const SILENCE: Duration = Duration::from_secs(45);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A connection and the inboxes that it fills.
pub(super) struct Hub {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    waiters: Arc<Waiters>,
}

struct State {
    link: Link,
    members: BTreeMap<String, Member>,
    last_event_id: Option<String>,
    connected_since: Option<SystemTime>,
    connections: u64,
    events: u64,
    attempts_lost: u64,
    last_error: Option<String>,
}

#[derive(Default)]
struct Member {
    inbox: Inbox,
    /// The version being served, and the digest of its closure.
    applied: Option<(u64, String)>,
    fetching: bool,
}

impl Hub {
    /// Prepares a connection for these namespaces; nothing is opened before somebody waits.
    pub(super) fn new<'m>(
        api: Arc<Api>,
        members: impl IntoIterator<Item = (&'m str, &'m FlagFilter)>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        let members: BTreeMap<&str, &FlagFilter> = members.into_iter().collect();
        let uri = events_uri(&api, &members)?;
        let state = State {
            link: link(api, uri, Arc::clone(&clock)),
            members: members.keys().map(|slug| ((*slug).to_owned(), Member::default())).collect(),
            last_event_id: None,
            connected_since: None,
            connections: 0,
            events: 0,
            attempts_lost: 0,
            last_error: None,
        };
        Ok(Arc::new(Self { clock, state: Mutex::new(state), waiters: Arc::default() }))
    }

    /// Drives the connection, and returns what `look` finds afterwards.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        slug: &str,
        look: impl FnOnce(Look<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // Before the connection is looked at: what wakes it from here on wakes this waiter.
        self.waiters.add(cx.waker());
        let waker = Waker::from(Arc::clone(&self.waiters));
        let mut shared = Context::from_waker(&waker);
        let mut state = self.lock();
        let mut happened = 0;
        while happened < AT_ONCE
            && let Poll::Ready(happening) = state.poll_link(&mut shared)
        {
            happened += 1;
            state.take(happening, &*self.clock);
        }
        let found = state.look(slug).map_or(Poll::Pending, look);
        drop(state);
        if happened > 0 {
            // What came may be for others; and after a turn that was cut short somebody has to go on.
            self.waiters.wake_by_ref();
        }
        found
    }

    /// Does something with one namespace's inbox.
    pub(super) fn with_inbox<T>(&self, slug: &str, act: impl FnOnce(&mut Inbox) -> T) -> Option<T> {
        self.lock().members.get_mut(slug).map(|member| act(&mut member.inbox))
    }

    /// Notes whether a snapshot is being fetched.
    pub(super) fn set_fetching(&self, slug: &str, fetching: bool) {
        if let Some(member) = self.lock().members.get_mut(slug) {
            member.fetching = fetching;
        }
    }

    /// Notes what is being served.
    pub(super) fn applied(&self, slug: &str, version: u64, hash: &str) {
        let mut state = self.lock();
        state.link.works();
        if let Some(member) = state.members.get_mut(slug) {
            member.applied = Some((version, hash.to_owned()));
        }
    }

    /// Returns the version whose closure has this digest, where it is the one being served.
    pub(super) fn version_of(&self, slug: &str, hash: &str) -> Option<u64> {
        let state = self.lock();
        let (version, applied) = state.members.get(slug)?.applied.as_ref()?;
        (applied == hash).then_some(*version)
    }

    /// Lets go of the connection and opens another after a pause.
    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        state.link.reopen();
        state.connected_since = None;
        drop(state);
        self.waiters.wake_by_ref();
    }

    /// Takes a namespace out; with the last one the connection ends.
    pub(super) fn leave(&self, slug: &str) {
        let mut state = self.lock();
        state.members.remove(slug);
        if state.members.is_empty() {
            state.link.close();
            state.connected_since = None;
        }
    }

    pub(super) fn status(&self, slug: &str) -> StreamStatus {
        let state = self.lock();
        let fetches = state.members.get(slug).is_some_and(|m| m.fetching || m.inbox.has_to_fetch());
        StreamStatus {
            state: match (state.link.is_open(), fetches) {
                (false, _) => StreamState::Connecting,
                (true, true) => StreamState::SnapshotFetching,
                (true, false) => StreamState::Steady,
            },
            last_event_id: state.last_event_id.clone(),
            connected_since: state.connected_since,
            connections: state.connections,
            events: state.events,
            last_error: state.last_error.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change under the lock is whole; a panic in a transport's future leaves the connection to be lost.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one namespace's waiter may want to know.
pub(super) struct Look<'s> {
    pub(super) inbox: &'s Inbox,
    /// How often no connection came about.
    pub(super) attempts_lost: u64,
}

impl State {
    fn look(&self, slug: &str) -> Option<Look<'_>> {
        let inbox = &self.members.get(slug)?.inbox;
        Some(Look { inbox, attempts_lost: self.attempts_lost })
    }

    fn poll_link(&mut self, cx: &mut Context<'_>) -> Poll<Happening> {
        let Self { link, members, .. } = self;
        link.poll(cx, || position(members))
    }

    fn take(&mut self, happening: Happening, clock: &dyn Clock) {
        match happening {
            Happening::Opened => {
                self.connections += 1;
                self.connected_since = Some(clock.wall());
                self.last_error = None;
            }
            Happening::Told(events) => events.into_iter().for_each(|event| self.sort(event)),
            Happening::Dropped(error) => {
                tracing::info!(error = %error.chain(), "the event stream was lost, opening another");
                self.connected_since = None;
                self.last_error = Some(error.chain());
            }
            Happening::NotOpened(error) => {
                tracing::warn!(error = %error.chain(), "the event stream cannot be opened, polling meanwhile");
                self.attempts_lost += 1;
                self.last_error = Some(error.chain());
                // Polling shows whether it is the stream or the server, and keeps flags current in the first case.
                self.members.values_mut().for_each(|member| member.inbox.ask_for_poll());
            }
        }
    }

    /// Puts an event into the inbox of its namespace.
    fn sort(&mut self, event: Event) {
        self.events += 1;
        if !event.id.is_empty() {
            self.last_event_id = Some(event.id);
        }
        let read = match event.name.as_str() {
            VERSION => serde_json::from_str::<VersionEvent>(&event.data)
                .map(|event| (event.namespace.clone(), Told::from(event))),
            RESYNC => serde_json::from_str::<ResyncEvent>(&event.data)
                .map(|event| (event.namespace.clone(), Told::from(event))),
            // Later servers may tell more.
            _ => return,
        };
        match read {
            Ok((slug, told)) => {
                if let Some(member) = self.members.get_mut(&slug) {
                    member.inbox.push(told);
                }
            }
            Err(error) => {
                // Whose it was cannot be known, so everybody looks; the text itself may be anything.
                tracing::warn!(
                    line = error.line(),
                    column = error.column(),
                    "an event makes no sense, polling"
                );
                self.members.values_mut().for_each(|member| member.inbox.ask_for_poll());
            }
        }
    }
}

/// Returns what the server calls the position of a reader that has applied this.
fn position(members: &BTreeMap<String, Member>) -> Option<HeaderValue> {
    let applied = |member: &Member| member.applied.as_ref().map(|(version, _)| *version);
    let text = if members.len() == 1 {
        members.values().find_map(applied)?.to_string()
    } else {
        let each =
            members.iter().filter_map(|(slug, m)| applied(m).map(|version| format!("{slug}={version}")));
        each.collect::<Vec<_>>().join(",")
    };
    HeaderValue::from_str(&text).ok().filter(|text| !text.is_empty())
}

/// Prepares the connection.
fn link(api: Arc<Api>, uri: Uri, clock: Arc<dyn Clock>) -> Link {
    let place = redacted(&uri);
    let open = move |position| {
        Box::pin(connect(Arc::clone(&api), uri.clone(), position)) as BoxFuture<'static, Result<Body>>
    };
    Link::new(Box::new(open), place, SILENCE, clock)
}

/// Opens the stream; the answer's head is in order once the future is ready.
async fn connect(api: Arc<Api>, uri: Uri, position: Option<HeaderValue>) -> Result<Body> {
    let mut request = asking_for_events(api.authorized(uri.clone()));
    if let Some(position) = position {
        request = request.header(LAST_EVENT_ID, position);
    }
    let response = api.send(request).await?;
    if response.status != StatusCode::OK {
        return Err(Refusal::read(&uri, response).await.error);
    }
    let Response { headers, body, .. } = response;
    if !are_of_events(&headers) {
        return Err(Error::new(ErrorKind::Invalid, "open the event stream")
            .with("uri", redacted(&uri))
            .with("reason", "the answer is no event stream")
            .hint(WORDS.odd));
    }
    Ok(body)
}

fn events_uri(api: &Api, members: &BTreeMap<&str, &FlagFilter>) -> Result<Uri> {
    let each = members.iter().map(|(slug, filter)| format!("ns={slug}:{}", flags_text(filter)));
    let query = each.collect::<Vec<_>>().join("&");
    api.place.on_server(&format!("/api/v1/events?{query}")).map_err(|_| {
        Error::new(ErrorKind::LimitExceeded, "subscribe to flags")
            .with("bytes", query.len())
            .hint("name fewer flags, or none to get all")
    })
}

/// Writes a filter as queries have it; keys need no escaping.
pub(crate) fn flags_text(filter: &FlagFilter) -> String {
    match filter {
        FlagFilter::All => "*".to_owned(),
        FlagFilter::Only(flags) => flags.join(","),
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

/// Everybody who waits for the connection.
#[derive(Default)]
struct Waiters(Mutex<Vec<Waker>>);

impl Waiters {
    fn add(&self, waker: &Waker) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A waiter that is polled often must not grow the list.
        if !waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }
}
