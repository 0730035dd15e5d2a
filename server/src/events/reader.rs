//! One reader: its queue, and the stream that empties it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt::Write as _,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::{Stream, task::AtomicWaker};

use super::{
    change::{Change, Frame, Point, Whole},
    hub::{ChannelPin, Shared},
    lease::{Lease, Signal},
    signing::Signer,
};
use crate::model::TokenRecord;

/// Where a reader connects from.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Peer {
    /// Its address, as far as it is known.
    pub address: Option<IpAddr>,
    /// What it says it is; cut to 256 characters.
    pub user_agent: Option<Box<str>>,
}

impl Peer {
    /// Describes a peer.
    #[must_use]
    pub fn new(address: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        const LONGEST: usize = 256;
        let cut = |text: &str| text.chars().take(LONGEST).collect::<String>().into_boxed_str();
        Self { address, user_agent: user_agent.map(cut) }
    }
}

/// One reader, as the channels see it.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) id: u64,
    pub(super) token: Arc<TokenRecord>,
    pub(super) peer: Peer,
    pub(super) since: SystemTime,
    /// The namespaces, sorted, each in the slot of its index.
    names: Box<[Arc<str>]>,
    state: Mutex<Queue>,
    waker: AtomicWaker,
}

#[derive(Debug)]
struct Queue {
    items: VecDeque<(u16, Item)>,
    slots: Box<[Slot]>,
}

#[derive(Debug)]
enum Item {
    Change(Arc<Change>),
    Whole(Arc<Point>, Whole),
}

/// What a reader knows of one of its namespaces.
#[derive(Clone, Debug, Default)]
struct Slot {
    /// What it was told last; 0 before the first event.
    delivered: u64,
    /// What it will know when its queue is empty.
    latest: Option<Arc<Point>>,
}

/// How far a reader is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) delivered: u64,
    pub(super) latest: u64,
    pub(super) queued: usize,
}

impl Reader {
    /// Makes a reader of these namespaces.
    pub(super) fn new(
        id: u64,
        token: Arc<TokenRecord>,
        peer: Peer,
        since: SystemTime,
        names: Vec<Arc<str>>,
    ) -> Self {
        let queue =
            Queue { items: VecDeque::new(), slots: vec![Slot::default(); names.len()].into_boxed_slice() };
        Self {
            id,
            token,
            peer,
            since,
            names: names.into(),
            state: Mutex::new(queue),
            waker: AtomicWaker::new(),
        }
    }

    /// Tells the reader where a namespace stands.
    pub(super) fn start(&self, slot: u16, point: &Arc<Point>) {
        let mut queue = self.lock();
        queue.slots[usize::from(slot)].latest = Some(Arc::clone(point));
        queue.put(slot, Item::Whole(Arc::clone(point), Whole::Snapshot));
        drop(queue);
        self.waker.wake();
    }

    /// Tells the reader of a change. Never waits.
    pub(super) fn tell(&self, slot: u16, change: &Arc<Change>) {
        let mut queue = self.lock();
        queue.slots[usize::from(slot)].latest = Some(Arc::clone(&change.point));
        queue.put(slot, Item::Change(Arc::clone(change)));
        drop(queue);
        self.waker.wake();
    }

    /// Returns how far the reader is in a namespace.
    pub(super) fn progress(&self, slot: u16) -> Progress {
        let queue = self.lock();
        let Slot { delivered, latest } = &queue.slots[usize::from(slot)];
        let latest = latest.as_ref().map_or(*delivered, |point| point.version);
        Progress { delivered: *delivered, latest, queued: queue.items.len() }
    }

    fn poll(&self, cx: &mut Context<'_>, signer: &Signer, now: SystemTime) -> Poll<(Bytes, Option<Bytes>)> {
        self.waker.register(cx.waker());
        let mut queue = self.lock();
        let Some((slot, item)) = queue.items.pop_front() else { return Poll::Pending };
        if queue.items.is_empty() {
            // A reader is idle nearly all of its life, and there may be thousands of them.
            queue.items = VecDeque::new();
        }
        queue.slots[usize::from(slot)].delivered = item.version();
        let id = (self.names.len() > 1).then(|| self.position(&queue.slots));
        drop(queue);
        let frame = item.frame(signer, now);
        Poll::Ready(match id {
            None => (frame.alone(), None),
            Some(id) => (id, Some(frame.without_id())),
        })
    }

    /// Writes the id of an event for a reader of several namespaces: the whole position.
    fn position(&self, slots: &[Slot]) -> Bytes {
        let mut id = String::from("id: ");
        for (index, (name, slot)) in self.names.iter().zip(slots).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // Writing to a string does not fail.
            let _ = write!(id, "{comma}{name}={}", slot.delivered);
        }
        id.push('\n');
        id.into()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn put(&mut self, slot: u16, item: Item) {
        self.items.push_back((slot, item));
        if self.items.len() > QUEUE_LIMIT {
            self.give_up();
        }
    }

    /// Replaces what is queued by one event for each namespace concerned: fetch everything.
    fn give_up(&mut self) {
        let mut concerned = vec![false; self.slots.len()];
        for (slot, _) in std::mem::take(&mut self.items) {
            concerned[usize::from(slot)] = true;
        }
        for (index, (slot, _)) in self.slots.iter().zip(concerned).enumerate().filter(|(_, (_, c))| *c) {
            let Some(latest) = &slot.latest else { continue };
            // The first event of a namespace is a snapshot, whatever happens.
            let whole = if slot.delivered == 0 { Whole::Snapshot } else { Whole::SlowReader };
            self.items.push_back((index as u16, Item::Whole(Arc::clone(latest), whole)));
        }
    }
}

impl Item {
    fn version(&self) -> u64 {
        match self {
            Self::Change(change) => change.point.version,
            Self::Whole(point, _) => point.version,
        }
    }

    /// Signed when it is read and not when it was queued, so that what waited is not expired.
    fn frame(&self, signer: &Signer, now: SystemTime) -> Frame {
        match self {
            Self::Change(change) => match &change.inline {
                Some(frame) => frame.clone(),
                None => change.point.announced(Whole::Snapshot, signer, now),
            },
            Self::Whole(point, whole) => point.announced(*whole, signer, now),
        }
    }
}

/// The body of an answer: events as bytes, until the token or the server ends it. Dropping it disconnects the reader.
#[derive(Debug)]
pub struct EventStream {
    reader: Arc<Reader>,
    lease: Lease,
    shared: Arc<Shared>,
    signer: Arc<Signer>,
    pins: Vec<ChannelPin>,
    /// What goes out before anything else.
    next: Option<Bytes>,
}

impl EventStream {
    pub(super) fn new(
        reader: Arc<Reader>,
        lease: Lease,
        shared: Arc<Shared>,
        signer: Arc<Signer>,
        pins: Vec<ChannelPin>,
    ) -> Self {
        // Sent at once, so that the reader knows that it is connected also where there is nothing to tell it yet.
        let next = Some(Bytes::from_static(b"retry: 1000\n\n"));
        shared.metrics.streams_open.add(1);
        Self { reader, lease, shared, signer, pins, next }
    }

    pub(super) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    pub(super) fn pins(&self) -> &[ChannelPin] {
        &self.pins
    }
}

impl Stream for EventStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The second half of an event goes before everything else, or the event would be torn.
        let signal = match self.next.take() {
            Some(bytes) => return Poll::Ready(Some(Ok(bytes))),
            None => self.lease.poll_signal(cx),
        };
        match signal {
            Poll::Ready(Signal::End) => return Poll::Ready(None),
            Poll::Ready(Signal::Beat) => return Poll::Ready(Some(Ok(Bytes::from_static(b":\n\n")))),
            Poll::Pending => {}
        }
        let now = self.shared.clock.wall();
        let Poll::Ready((bytes, rest)) = self.reader.poll(cx, &self.signer, now) else {
            return Poll::Pending;
        };
        self.next = rest;
        self.shared.metrics.events_sent.add(1);
        Poll::Ready(Some(Ok(bytes)))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.shared.metrics.streams_open.add(-1);
        for pin in &self.pins {
            pin.channel().leave(self.reader.id);
        }
    }
}

/// How many events wait for a reader before it is told to fetch everything.
const QUEUE_LIMIT: usize = 64;
