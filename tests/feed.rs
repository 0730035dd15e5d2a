//! The feed under faults, on a clock moved by hand: no thread, no waiting, every step looked at.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use leverframe::{
    Error, ErrorKind, Retry, async_trait,
    document::{Content, Document, Revision},
    live::{Feed, Ladder, Outcome, Product, Schedule, Stop, block_on},
    testing::{ManualClock, ScriptedSource},
    traits::{Clock, Load, Source},
};
use proptest::prelude::*;

const INTERVAL: Duration = Duration::from_secs(30);

/// Documents are numbers in text; anything else is refused, and so is a number below the one served.
#[derive(Debug)]
struct Numbers;

#[derive(Debug)]
enum Refused {
    Source(Error),
    NoNumber,
    Smaller,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => fmt::Display::fmt(error, f),
            Self::NoNumber => f.write_str("no number"),
            Self::Smaller => f.write_str("a smaller number"),
        }
    }
}

impl StdError for Refused {}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

impl Product for Numbers {
    type Snapshot = u64;
    type Error = Refused;
    const NAME: &'static str = "numbers";

    fn kind(error: &Refused) -> ErrorKind {
        match error {
            Refused::Source(error) => error.kind(),
            Refused::NoNumber => ErrorKind::Invalid,
            Refused::Smaller => ErrorKind::Conflict,
        }
    }

    fn retry_after(error: &Refused) -> Option<Duration> {
        match error {
            Refused::Source(error) => match error.retry_state() {
                Retry::After(pause) => Some(pause),
                _ => None,
            },
            _ => None,
        }
    }

    fn build(&self, document: Document, previous: Option<&u64>) -> Result<u64, Refused> {
        let Content::Bytes(bytes) = document.into_content() else { return Err(Refused::NoNumber) };
        let number =
            std::str::from_utf8(&bytes).ok().and_then(|t| t.parse().ok()).ok_or(Refused::NoNumber)?;
        if previous.is_some_and(|p| number < *p) { Err(Refused::Smaller) } else { Ok(number) }
    }
}

fn number(n: u64) -> Content {
    Content::Bytes(n.to_string().into())
}

fn open(source: &ScriptedSource, clock: &ManualClock) -> Feed<Numbers> {
    block_on(Feed::open(Numbers, Arc::new(source.clone()), Arc::new(clock.clone()))).unwrap()
}

/// Polls a future by hand, as often as it is woken.
struct Stepper<'f> {
    future: Pin<Box<dyn Future<Output = ()> + 'f>>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<'f> Stepper<'f> {
    fn new(future: impl Future<Output = ()> + 'f) -> Self {
        let woken = Arc::new(Woken(AtomicUsize::new(1)));
        Self { future: Box::pin(future), woken }
    }

    /// Runs until nothing wakes the future any more; true if it ended.
    fn settle(&mut self) -> bool {
        let waker = Waker::from(Arc::clone(&self.woken));
        for _ in 0..10_000 {
            if self.woken.0.swap(0, Ordering::SeqCst) == 0 {
                return false;
            }
            if self.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return true;
            }
        }
        panic!("the future wakes itself without end");
    }
}

fn running<'f>(feed: &'f Feed<Numbers>, stop: &'f Stop) -> Stepper<'f> {
    Stepper::new(feed.run(Schedule::every(INTERVAL), stop, |feed| async move { feed.poll().await }))
}

#[test]
fn a_source_that_fails_at_first_is_the_error_of_opening() {
    let source = ScriptedSource::new(number(1));
    source.fail(ErrorKind::Unavailable);

    let error = block_on(Feed::open(Numbers, Arc::new(source), Arc::new(ManualClock::new()))).unwrap_err();

    assert!(matches!(error, Refused::Source(e) if e.kind() == ErrorKind::Unavailable));
}

#[test]
fn a_poll_comes_with_every_interval_and_not_before() {
    let (source, clock, stop) = (ScriptedSource::new(number(1)), ManualClock::new(), Stop::new());
    let feed = open(&source, &clock);
    let mut run = running(&feed, &stop);

    run.settle();
    assert_eq!(source.loads(), 1);
    for polls in 1..5 {
        clock.advance(INTERVAL - Duration::from_millis(1));
        run.settle();
        assert_eq!(source.loads(), polls);
        clock.advance(Duration::from_millis(1));
        run.settle();
        assert_eq!(source.loads(), polls + 1);
    }
    assert_eq!(feed.version(), 1, "an unchanged source brings no new version");
}

#[test]
fn a_notice_of_change_is_followed_at_once() {
    let (source, clock, stop) = (ScriptedSource::new(number(1)), ManualClock::new(), Stop::new());
    let feed = open(&source, &clock);
    let mut run = running(&feed, &stop);
    run.settle();

    source.set(number(2));
    run.settle();

    assert_eq!((feed.load().snapshot, feed.version()), (2, 2));
}

#[test]
fn a_document_that_is_refused_leaves_what_is_served_and_says_why_until_a_good_one_comes() {
    let (source, clock, stop) = (ScriptedSource::new(number(5)), ManualClock::new(), Stop::new());
    let feed = open(&source, &clock);
    let mut run = running(&feed, &stop);
    run.settle();

    for (bad, why) in [(Content::Bytes("five".into()), "no number"), (number(4), "a smaller number")] {
        source.set(bad);
        run.settle();
        clock.advance(INTERVAL);
        run.settle();
        assert_eq!((feed.load().snapshot, feed.version()), (5, 1));
        assert_eq!(feed.status().last_error.as_deref(), Some(why));
    }
    source.set(number(6));
    clock.advance(INTERVAL);
    run.settle();

    assert_eq!((feed.load().snapshot, feed.version()), (6, 2));
    assert_eq!((feed.status().last_error, feed.status().consecutive_failures), (None, 0));
}

#[test]
fn failures_are_retried_sooner_than_the_interval_with_growing_pauses_and_end_with_the_first_success() {
    let (source, clock, stop) = (ScriptedSource::new(number(1)), ManualClock::new(), Stop::new());
    let feed = open(&source, &clock);
    let mut run = running(&feed, &stop);
    run.settle();
    source.fail(ErrorKind::Unavailable);
    clock.advance(INTERVAL);
    run.settle();

    let mut pauses = Vec::new();
    for _ in 0..8 {
        let (before, mut waited) = (source.loads(), Duration::ZERO);
        while source.loads() == before {
            clock.advance(Duration::from_millis(50));
            waited += Duration::from_millis(50);
            run.settle();
            assert!(
                waited <= INTERVAL + Duration::from_millis(50),
                "a pause is never longer than the interval"
            );
        }
        pauses.push(waited);
    }
    // Pauses double from 1 s and lose up to a half to jitter.
    for (n, pause) in pauses.iter().enumerate().take(5) {
        let whole = Duration::from_secs(1 << n);
        assert!(
            *pause + Duration::from_millis(50) >= whole / 2 && *pause <= whole + Duration::from_millis(50),
            "{pauses:?}"
        );
    }
    assert!(feed.status().consecutive_failures >= 8);

    source.mend();
    clock.advance(INTERVAL);
    run.settle();
    let polls = source.loads();
    clock.advance(INTERVAL - Duration::from_millis(1));
    run.settle();
    assert_eq!(source.loads(), polls, "after a success the interval holds again");
    assert_eq!(feed.status().consecutive_failures, 0);
}

/// A source that asks to be left alone while it is busy.
#[derive(Debug)]
struct Busy {
    loads: AtomicUsize,
    is_busy: AtomicBool,
}

#[async_trait]
impl Source for Busy {
    fn name(&self) -> &'static str {
        "busy"
    }

    async fn load<'a>(&self, _: Option<&'a Revision>) -> leverframe::Result<Load> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        if self.is_busy.load(Ordering::SeqCst) {
            let pause = Retry::After(Duration::from_secs(120));
            return Err(Error::new(ErrorKind::Unavailable, "load from a busy source").retry(pause));
        }
        Ok(Load::Snapshot(Document::new(Revision::new("1"), number(7))))
    }

    async fn changed(&self) -> leverframe::Result<()> {
        std::future::pending().await
    }

    async fn close(&self) -> leverframe::Result<()> {
        Ok(())
    }
}

#[test]
fn a_source_that_asks_to_be_left_alone_is_from_its_first_answer_on() {
    let source = Arc::new(Busy { loads: AtomicUsize::new(0), is_busy: AtomicBool::new(true) });
    let (clock, stop) = (ManualClock::new(), Stop::new());
    let ladder = Ladder::new().with_baseline(Document::new(Revision::new("0"), number(1)));
    let asked = Arc::clone(&source) as Arc<dyn Source>;
    let feed = block_on(Feed::open_with(Numbers, asked, Arc::new(clock.clone()), ladder)).unwrap();
    let mut run = running(&feed, &stop);
    let mut loads_after = |seconds: u64| {
        run.settle();
        clock.advance(Duration::from_secs(seconds));
        run.settle();
        source.loads.load(Ordering::SeqCst)
    };

    assert_eq!([119, 1, 119].map(&mut loads_after), [1, 2, 2]);
    source.is_busy.store(false, Ordering::SeqCst);
    assert_eq!((loads_after(1), feed.load().snapshot), (3, 7));
    assert_eq!([29, 1].map(&mut loads_after), [3, 4], "what it asked for once is over");

    // Somebody else is told.
    source.is_busy.store(true, Ordering::SeqCst);
    assert!(block_on(feed.refresh()).is_err());
    assert_eq!([30, 89, 1].map(&mut loads_after), [5, 5, 6]);
}

#[test]
fn staleness_counts_from_the_last_time_that_the_source_confirmed_the_state() {
    let (source, clock) = (ScriptedSource::new(number(1)), ManualClock::new());
    let feed = open(&source, &clock);

    clock.advance(Duration::from_secs(7));
    assert_eq!(feed.status().staleness, Duration::from_secs(7));
    assert_eq!(block_on(feed.poll()).unwrap(), Outcome::Unchanged);
    assert_eq!(feed.status().staleness, Duration::ZERO);

    source.fail(ErrorKind::Timeout);
    clock.advance(Duration::from_secs(3));
    block_on(feed.poll()).unwrap_err();
    assert_eq!(feed.status().staleness, Duration::from_secs(3));
}

#[test]
fn the_time_of_day_may_jump_either_way_and_nothing_follows_from_it() {
    let (source, clock, stop) = (ScriptedSource::new(number(1)), ManualClock::new(), Stop::new());
    let feed = open(&source, &clock);
    let mut run = running(&feed, &stop);
    run.settle();

    for years in [0_u64, 100] {
        clock.set_wall(std::time::UNIX_EPOCH + Duration::from_secs(years * 31_557_600));
        run.settle();
        assert_eq!((source.loads(), feed.status().staleness), (1, Duration::ZERO));
    }
    clock.advance(INTERVAL);
    run.settle();
    assert_eq!(source.loads(), 2);
}

#[test]
fn a_refresh_serves_the_state_anew_even_if_it_is_the_same() {
    let (source, clock) = (ScriptedSource::new(number(1)), ManualClock::new());
    let feed = open(&source, &clock);

    assert_eq!(block_on(feed.refresh()).unwrap(), Outcome::Swapped(2));
    assert_eq!(block_on(feed.poll()).unwrap(), Outcome::Unchanged);
}

#[test]
fn the_signal_to_stop_ends_the_run_at_once_and_what_was_loaded_stays() {
    let (source, clock, stop) = (ScriptedSource::new(number(1)), ManualClock::new(), Stop::new());
    let feed = open(&source, &clock);
    let mut run = running(&feed, &stop);
    assert!(!run.settle());

    stop.stop();

    assert!(run.settle());
    assert_eq!(feed.load().snapshot, 1);
    drop(run);
    assert_eq!(clock.sleepers(), 0, "nothing waits behind a stopped run");
}

#[test]
fn a_feed_without_a_source_never_changes_and_is_never_stale() {
    let clock = ManualClock::new();
    let feed = Feed::fixed(Numbers, 9, Arc::new(clock.clone()));

    clock.advance(Duration::from_secs(3_600));

    assert_eq!(block_on(feed.refresh()).unwrap(), Outcome::Unchanged);
    assert_eq!((feed.version(), feed.status().staleness, feed.is_live()), (1, Duration::ZERO, false));
    assert!(
        Stepper::new(feed.run(Schedule::every(INTERVAL), &Stop::new(), |f| async move { f.poll().await }))
            .settle()
    );
}

/// Cries without a change, without end, or breaks, as the test says.
#[derive(Debug)]
struct Crier {
    inner: ScriptedSource,
    broken: bool,
}

#[async_trait]
impl Source for Crier {
    fn name(&self) -> &'static str {
        "crier"
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> leverframe::Result<Load> {
        self.inner.load(since).await
    }

    async fn changed(&self) -> leverframe::Result<()> {
        if self.broken { Err(Error::new(ErrorKind::Io, "watch")) } else { Ok(()) }
    }

    async fn close(&self) -> leverframe::Result<()> {
        Ok(())
    }
}

#[test]
fn a_notifier_that_cries_without_end_costs_a_bounded_number_of_loads() {
    let (source, clock, stop) = (ScriptedSource::new(number(1)), ManualClock::new(), Stop::new());
    let crier = Crier { inner: source.clone(), broken: false };
    let feed = block_on(Feed::open(Numbers, Arc::new(crier), Arc::new(clock.clone()))).unwrap();
    let mut run = running(&feed, &stop);

    for _ in 0..100 {
        run.settle();
        clock.advance(Duration::from_millis(10));
    }

    assert!(source.loads() <= 60, "{} loads in a second", source.loads());
}

#[test]
fn a_notifier_that_is_broken_leaves_polling() {
    let (source, clock, stop) = (ScriptedSource::new(number(1)), ManualClock::new(), Stop::new());
    let crier = Crier { inner: source.clone(), broken: true };
    let feed = block_on(Feed::open(Numbers, Arc::new(crier), Arc::new(clock.clone()))).unwrap();
    let mut run = running(&feed, &stop);
    run.settle();
    assert_eq!(source.loads(), 1);

    source.set(number(2));
    clock.advance(INTERVAL);
    run.settle();

    assert_eq!(feed.load().snapshot, 2);
}

/// A source whose loads end when, and as, the test says.
#[derive(Debug, Default)]
struct Gated {
    loads: Mutex<Vec<Option<Result<Content, ErrorKind>>>>,
    begun: AtomicUsize,
}

impl Gated {
    fn end(&self, load: usize, with: Result<Content, ErrorKind>) {
        let mut loads = self.loads.lock().unwrap();
        if loads.len() <= load {
            loads.resize(load + 1, None);
        }
        loads[load] = Some(with);
    }
}

#[async_trait]
impl Source for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    async fn load<'a>(&self, _: Option<&'a Revision>) -> leverframe::Result<Load> {
        let mine = self.begun.fetch_add(1, Ordering::SeqCst);
        let ended = std::future::poll_fn(|_| {
            // The test polls by hand, so nobody needs to be woken.
            let ended = self.loads.lock().unwrap().get(mine).cloned().flatten();
            ended.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        let content = ended.map_err(|kind| Error::new(kind, "load"))?;
        Ok(Load::Snapshot(Document::new(Revision::new(mine.to_string()), content)))
    }

    async fn changed(&self) -> leverframe::Result<()> {
        std::future::pending().await
    }

    async fn close(&self) -> leverframe::Result<()> {
        Ok(())
    }
}

fn gated() -> (Arc<Gated>, Feed<Numbers>) {
    let source = Arc::new(Gated::default());
    source.end(0, Ok(number(0)));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
    let feed = block_on(Feed::open(Numbers, Arc::clone(&source) as Arc<dyn Source>, clock)).unwrap();
    (source, feed)
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn of_two_refreshes_that_overlap_the_one_that_began_last_wins_whichever_ends_first() {
    let (source, feed) = gated();
    let (mut first, mut second) = (pin!(feed.refresh()), pin!(feed.refresh()));
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());

    source.end(2, Ok(number(20)));
    assert!(matches!(poll_once(second.as_mut()), Poll::Ready(Ok(Outcome::Swapped(2)))));
    source.end(1, Ok(number(10)));
    assert!(poll_once(first.as_mut()).is_ready());

    assert_eq!((feed.load().snapshot, feed.version()), (20, 2));
}

#[test]
fn a_failure_that_arrives_late_does_not_hide_a_later_success() {
    let (source, feed) = gated();
    let (mut first, mut second) = (pin!(feed.refresh()), pin!(feed.refresh()));
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());

    source.end(2, Ok(number(20)));
    assert!(poll_once(second.as_mut()).is_ready());
    source.end(1, Err(ErrorKind::Timeout));
    assert!(poll_once(first.as_mut()).is_ready());

    assert_eq!(feed.status().last_error, None);
}

#[test]
fn a_refresh_that_is_dropped_half_way_leaves_the_feed_as_it_was() {
    let (source, feed) = gated();
    {
        let mut dropped = pin!(feed.refresh());
        assert!(poll_once(dropped.as_mut()).is_pending());
    }
    assert_eq!((feed.load().snapshot, feed.version(), feed.settled()), (0, 1, 0));

    source.end(2, Ok(number(2)));
    assert_eq!(block_on(feed.refresh()).unwrap(), Outcome::Swapped(2));
}

/// What happens to a running feed.
#[derive(Clone, Debug)]
enum Event {
    Publish(u64),
    PublishGarbage,
    Fail,
    Mend,
    Advance(u64),
    Poll,
    Refresh,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0_u64..50).prop_map(Event::Publish),
        Just(Event::PublishGarbage),
        Just(Event::Fail),
        Just(Event::Mend),
        (1_u64..40_000).prop_map(Event::Advance),
        Just(Event::Poll),
        Just(Event::Refresh),
    ]
}

proptest! {
    /// Whatever happens: only good documents are served, in the order of their publication, versions count by one,
    /// and once all is well the latest good document is served within one interval.
    #[test]
    fn any_sequence_of_faults_serves_only_good_states_and_recovers(events in prop::collection::vec(event(), 0..60)) {
        let (source, clock, stop) = (ScriptedSource::new(number(0)), ManualClock::new(), Stop::new());
        let feed = open(&source, &clock);
        let mut run = running(&feed, &stop);
        let mut last = (feed.load().snapshot, feed.version());
        for event in events {
            match event {
                Event::Publish(n) => source.set(number(n)),
                Event::PublishGarbage => source.set(Content::Bytes("garbage".into())),
                Event::Fail => source.fail(ErrorKind::Unavailable),
                Event::Mend => source.mend(),
                Event::Advance(ms) => clock.advance(Duration::from_millis(ms)),
                Event::Poll => drop(block_on(feed.poll())),
                Event::Refresh => drop(block_on(feed.refresh())),
            }
            run.settle();
            let now = (feed.load().snapshot, feed.version());
            prop_assert!(now.0 >= last.0 && now.1 >= last.1 && now.1 <= last.1 + 2);
            last = now;
        }
        source.mend();
        source.set(number(1_000));
        run.settle();
        clock.advance(INTERVAL);
        run.settle();
        prop_assert_eq!(feed.load().snapshot, 1_000);
        prop_assert_eq!(feed.status().last_error, None);
    }
}
