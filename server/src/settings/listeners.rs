//! Who listens to a service's stream, and what they are told: what changed between what the service had and what it has.

use std::{
    cmp::Ordering as Order,
    collections::{HashMap, VecDeque},
    convert::Infallible,
    fmt::Write as _,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{Stream, task::AtomicWaker};
use http::HeaderValue;

use super::{
    heads::Seat,
    model::EntryKind,
    parts::Parts,
    patch::Patch,
    session::Session,
    view::{Mark, View},
};
use crate::{
    events::{Lease, Signal},
    metrics::Metrics,
};

/// Changes that wait for a listener before it is told to look at everything.
const QUEUE_LIMIT: usize = 64;
/// Events of one change before it is told as one.
const MOST_EVENTS: usize = 64;
/// How long before a session ends its stream says so.
const WARNING: Duration = Duration::from_secs(300);

const RESYNC: &[u8] = b"event: resync\ndata: {}\n\n";
const EXPIRING: &[u8] = b"event: auth_expiring\ndata: {}\n\n";
const PING: &[u8] = b": ping\n\n";

/// The listeners of one service.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// Held while they are told, so that all of them see changes in order.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Whether somebody waits for the turn already.
    waiting: AtomicBool,
    /// Whether it has to be tried again.
    failed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    all: HashMap<u64, Arc<Listener>>,
    told: Option<Told>,
}

/// Where everybody is.
#[derive(Debug)]
struct Told {
    secret: Side,
    public: Side,
    until: Option<SystemTime>,
}

/// What one kind of caller has seen.
#[derive(Clone, Debug)]
struct Side {
    etag: HeaderValue,
    marks: Arc<[Mark]>,
}

impl Told {
    fn of(view: &View) -> Self {
        let of = |public| {
            let face = view.known(public);
            Side { etag: face.etag.clone(), marks: Arc::clone(&face.marks) }
        };
        Self { secret: of(false), public: of(true), until: view.until() }
    }
}

/// Who listens.
#[derive(Clone, Debug)]
pub(super) struct Who {
    /// The id of the key or the session.
    pub(super) id: Arc<str>,
    pub(super) public: bool,
    /// Which has an end, and may be believed no longer before that.
    pub(super) session: Option<Arc<Session>>,
}

#[derive(Debug)]
struct Listener {
    who: Who,
    warned: AtomicBool,
    queue: Mutex<VecDeque<Bytes>>,
    waker: AtomicWaker,
}

impl Listener {
    fn tell(&self, event: Bytes) {
        let mut queue = self.lock();
        queue.push_back(event);
        if queue.len() > QUEUE_LIMIT {
            // Whatever it was, everything is looked at.
            *queue = VecDeque::from([Bytes::from_static(RESYNC)]);
            self.warned.store(false, Ordering::Release);
        }
        drop(queue);
        self.waker.wake();
    }

    fn warn(&self, now: SystemTime) {
        let is_due = self.who.session.as_ref().is_some_and(|session| session.expires_at() <= now + WARNING);
        if is_due && !self.warned.swap(true, Ordering::AcqRel) {
            self.tell(Bytes::from_static(EXPIRING));
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listeners {
    /// Returns false if somebody is about to take the turn who sees what the caller has seen.
    pub(super) fn wait(&self) -> bool {
        !self.waiting.swap(true, Ordering::AcqRel)
    }

    /// Takes the turn; from here on nobody can rely on this run.
    pub(super) async fn take_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        let turn = self.turn.lock().await;
        self.waiting.store(false, Ordering::Release);
        turn
    }

    /// Adds a listener, who has seen nothing yet. The caller has the turn, and has just read the view in it.
    pub(super) fn join(&self, id: u64, who: Who, view: &View, now: SystemTime) {
        let queue = Mutex::new(VecDeque::from([Bytes::from_static(RESYNC)]));
        let (warned, waker) = (AtomicBool::new(false), AtomicWaker::new());
        let listener = Arc::new(Listener { who, warned, queue, waker });
        listener.warn(now);
        let mut state = self.lock();
        if state.all.is_empty() {
            state.told = Some(Told::of(view));
        }
        state.all.insert(id, listener);
    }

    fn get(&self, id: u64) -> Option<Arc<Listener>> {
        self.lock().all.get(&id).map(Arc::clone)
    }

    fn leave(&self, id: u64) {
        let mut state = self.lock();
        state.all.remove(&id);
        if state.all.is_empty() {
            *state = State::default();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().all.is_empty()
    }

    /// Returns who listens, each once.
    pub(super) fn who(&self) -> Vec<Who> {
        let state = self.lock();
        let by_id: HashMap<&str, &Who> =
            state.all.values().map(|listener| (&*listener.who.id, &listener.who)).collect();
        by_id.into_values().cloned().collect()
    }

    /// Tells everybody what is new. The caller has the turn.
    pub(super) fn tell(&self, view: &View) {
        let mut state = self.lock();
        let now = Told::of(view);
        let Some(before) = state.told.replace(now) else { return };
        let Some(now) = &state.told else { return };
        let (secret, public) =
            (news(&before.secret, &now.secret, &view.parts), news(&before.public, &now.public, &view.parts));
        for listener in state.all.values() {
            if let Some(news) = if listener.who.public { &public } else { &secret } {
                listener.tell(news.clone());
            }
        }
    }

    pub(super) fn failed(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Returns true, to one of those who ask, if it is time to look again without anybody saying so.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        let has_turned =
            self.lock().told.as_ref().and_then(|told| told.until).is_some_and(|until| until <= now);
        self.failed.swap(false, Ordering::AcqRel) || has_turned
    }

    /// Tells those whose sessions end soon.
    pub(super) fn warn(&self, now: SystemTime) {
        self.lock().all.values().for_each(|listener| listener.warn(now));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what changed; `None` if nothing did.
fn news(before: &Side, now: &Side, parts: &Parts) -> Option<Bytes> {
    let resync = || Some(Bytes::from_static(RESYNC));
    let (mut text, mut count) = (String::new(), 0);
    let mut patch = Patch::of(parts);
    let mut event = |mark: &Mark, what: &str| {
        count += 1;
        // Writing to a string does not fail; keys need no escaping.
        let _ = write!(text, "event: {}.{what}\ndata: {{\"key\":\"{}\"}}\n\n", mark.kind.as_str(), mark.key);
        count <= MOST_EVENTS
    };
    let (mut old, mut new) = (before.marks.iter().peekable(), now.marks.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Order::Less,
            (None, Some(_)) => Order::Greater,
            (Some(old), Some(new)) => (old.kind, &old.key).cmp(&(new.kind, &new.key)),
        };
        let (gone, come) = match order {
            Order::Less => (old.next(), None),
            Order::Greater => (None, new.next()),
            Order::Equal => (old.next(), new.next()),
        };
        let goes_on = match (gone, come) {
            (Some(gone), None) => {
                patch.removes(gone);
                event(gone, "deleted")
            }
            (None, Some(come)) => {
                patch.puts(come);
                event(come, "created")
            }
            (Some(gone), Some(come)) if gone == come => true,
            (Some(gone), Some(come)) => {
                patch.puts(come);
                let toggled = come.kind == EntryKind::Flag && gone.is_on != come.is_on;
                event(come, if toggled { "toggled" } else { "updated" })
            }
            (None, None) => true,
        };
        if !goes_on {
            return resync();
        }
    }
    match count {
        0 if before.etag == now.etag => None,
        // Of what else changes there is no event.
        0 => resync(),
        _ => {
            let patch = patch.text(&before.etag, &now.etag, count);
            Some([patch, text].concat().into())
        }
    }
}

/// The body of an answer: events as bytes, until the key or the server ends it.
#[derive(Debug)]
pub(crate) struct Events {
    seat: Arc<Seat>,
    listener: Option<Arc<Listener>>,
    lease: Lease,
    metrics: Arc<Metrics>,
}

impl Events {
    /// Reads what the listener of the lease's number is told.
    pub(super) fn of(seat: Arc<Seat>, lease: Lease, metrics: Arc<Metrics>) -> Self {
        metrics.streams_open.add(1);
        let listener = seat.listeners.get(lease.id());
        Self { seat, listener, lease, metrics }
    }
}

impl Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.lease.poll_signal(cx) {
            Poll::Ready(Signal::End) => return Poll::Ready(None),
            Poll::Ready(Signal::Beat) => return Poll::Ready(Some(Ok(Bytes::from_static(PING)))),
            Poll::Pending => {}
        }
        let Some(listener) = &self.listener else { return Poll::Ready(None) };
        listener.waker.register(cx.waker());
        let mut queue = listener.lock();
        let Some(event) = queue.pop_front() else { return Poll::Pending };
        if queue.is_empty() {
            // Idle nearly all of its life, and there may be thousands of them.
            *queue = VecDeque::new();
        }
        drop(queue);
        self.metrics.events_sent.add(1);
        Poll::Ready(Some(Ok(event)))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.metrics.streams_open.add(-1);
        self.seat.listeners.leave(self.lease.id());
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            model::{ServiceId, Trust},
            parts::Source,
        },
        *,
    };

    fn mark(kind: EntryKind, key: &str, version: u64, is_on: bool) -> Mark {
        Mark { kind, key: key.into(), version, source: Source::Service, is_on, digest: 0 }
    }

    fn told(tag: &'static str, marks: Vec<Mark>) -> Side {
        Side { etag: HeaderValue::from_static(tag), marks: marks.into() }
    }

    fn text(before: Vec<Mark>, now: Vec<Mark>) -> Option<String> {
        // The parts have none of the values, so that there is no patch before the events.
        let news = news(&told("a", before), &told("b", now), &Parts::for_tests())?;
        Some(String::from_utf8(news.to_vec()).unwrap())
    }

    #[test]
    fn news_are_the_difference_in_the_words_of_the_protocol() {
        use EntryKind::{Config, Flag, Secret};
        let before = vec![
            mark(Config, "gone", 1, false),
            mark(Config, "same", 1, false),
            mark(Flag, "on", 1, false),
            mark(Flag, "other", 1, true),
            mark(Secret, "s", 1, false),
        ];
        let now = vec![
            mark(Config, "new", 1, false),
            mark(Config, "same", 1, false),
            mark(Flag, "on", 1, true),
            mark(Flag, "other", 2, true),
            mark(Secret, "s", 2, false),
        ];

        let expected = [
            "config.deleted gone",
            "config.created new",
            "flag.toggled on",
            "flag.updated other",
            "secret.updated s",
        ]
        .map(|event| {
            let (name, key) = event.split_once(' ').unwrap();
            format!("event: {name}\ndata: {{\"key\":\"{key}\"}}\n\n")
        })
        .concat();
        assert_eq!(text(before, now), Some(expected));
    }

    #[test]
    fn a_patch_comes_before_the_events_that_it_stands_for() {
        let mut parts = Parts::for_tests();
        parts.put_config("port", 2, "8080");
        let (before, now) =
            (mark(EntryKind::Config, "port", 1, false), mark(EntryKind::Config, "port", 2, false));

        let news = news(&told("a", vec![before]), &told("b", vec![now]), &parts).unwrap();

        let (patch, events) = std::str::from_utf8(&news).unwrap().split_once("\n\n").unwrap();
        assert!(
            patch.starts_with("event: settings.patch\ndata: {\"base\":\"a\",\"etag\":\"b\",\"events\":1,")
        );
        assert_eq!(events, "event: config.updated\ndata: {\"key\":\"port\"}\n\n");
    }

    fn listener(session: Option<Session>) -> Listener {
        let who = Who { id: "set_1".into(), public: false, session: session.map(Arc::new) };
        Listener { who, warned: AtomicBool::new(false), queue: Mutex::default(), waker: AtomicWaker::new() }
    }

    #[test]
    fn whoever_does_not_fetch_what_they_are_told_is_told_once_to_look_at_everything() {
        let listener = listener(None);

        for _ in 0..QUEUE_LIMIT {
            listener.tell(Bytes::from_static(PING));
        }
        assert_eq!(listener.lock().len(), QUEUE_LIMIT);
        listener.tell(Bytes::from_static(PING));

        assert_eq!(*listener.lock(), [Bytes::from_static(RESYNC)]);
    }

    #[test]
    fn a_session_is_warned_once_five_minutes_before_it_ends_and_a_key_never() {
        let at = |seconds| std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        let service = ServiceId::new("acme", "web", "prod");
        let trust = Trust::new("ci", "https://issuer.example", "leverframe", "x");
        let session = Session::new(&service, &trust, "kubernetes", at(1_000), "1".to_owned());
        let (session, key) = (listener(Some(session)), listener(None));

        for (seconds, told) in [(0, 0), (699, 0), (700, 1), (701, 1), (999, 1)] {
            session.warn(at(seconds));
            key.warn(at(seconds));
            assert_eq!((session.lock().len(), key.lock().len()), (told, 0), "{seconds}");
        }
        assert_eq!(session.lock()[0], EXPIRING);
    }

    #[test]
    fn a_large_change_is_one_event_and_no_change_is_none() {
        let many: Vec<Mark> =
            (0..1_000).map(|n| mark(EntryKind::Config, &format!("k{n:04}"), 1, false)).collect();

        assert_eq!(text(Vec::new(), many.clone()).unwrap().as_bytes(), RESYNC);
        assert_eq!(text(many.clone(), many.clone()).unwrap().as_bytes(), RESYNC, "something else changed");
        assert_eq!(news(&told("a", many.clone()), &told("a", many), &Parts::for_tests()), None);
    }
}
