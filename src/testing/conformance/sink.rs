//! The clauses of [`TelemetrySink`].

use std::{sync::Arc, time::Duration};

use super::{check_name, within};
use crate::{
    backends::clock_system::SystemClock,
    traits::{Clock, EvaluationReason, EvaluationRecord, FlushReport, TelemetrySink},
};

/// Where the records of a sink arrive.
pub trait Downstream: Send + Sync {
    /// Returns the flag keys of the records that arrived, in order.
    fn received(&self) -> Vec<String>;

    /// Breaks the way there, or mends it.
    fn set_broken(&mut self, broken: bool);
}

/// A sink with what stands behind it.
pub struct Fixture<S> {
    sink: Arc<S>,
    downstream: Box<dyn Downstream>,
}

impl<S: TelemetrySink> Fixture<S> {
    /// Takes a sink and what stands behind it.
    #[must_use]
    pub fn new(sink: S, downstream: impl Downstream + 'static) -> Self {
        Self { sink: Arc::new(sink), downstream: Box::new(downstream) }
    }
}

/// What a clause works on.
pub struct Case {
    sink: Arc<dyn TelemetrySink>,
    downstream: Box<dyn Downstream>,
}

#[doc(hidden)]
pub fn on_the_type<S: TelemetrySink>(fixture: Fixture<S>) -> Case {
    Case { sink: fixture.sink, downstream: fixture.downstream }
}

#[doc(hidden)]
pub fn through_arc_dyn<S: TelemetrySink>(fixture: Fixture<S>) -> Case {
    let erased: Arc<dyn TelemetrySink> = fixture.sink;
    Case { sink: Arc::new(erased), downstream: fixture.downstream }
}

const DEADLINE: Duration = Duration::from_millis(200);
/// What a busy machine may add to a deadline.
const GRACE: Duration = Duration::from_secs(20);

impl Case {
    fn record(&self, count: usize) {
        for i in 0..count {
            self.sink.record(&EvaluationRecord::new(
                "shop",
                "production",
                &format!("flag-{i}"),
                EvaluationReason::Default,
            ));
        }
    }

    async fn flush(&self) -> FlushReport {
        within("a flush", self.sink.flush(DEADLINE)).await
    }
}

/// E1: `record` returns at once, also while everything downstream is broken.
pub async fn e1_record_returns_at_once(mut case: Case) {
    case.downstream.set_broken(true);
    let clock = SystemClock::new();
    let start = clock.now();
    case.record(2_000);
    let took = clock.now() - start;
    assert!(took < GRACE, "2,000 records took {took:?}");
}

/// E2: what is recorded arrives unaltered, or is counted as dropped.
pub async fn e2_records_arrive_unaltered_or_counted(case: Case) {
    case.record(50);
    let report = case.flush().await;
    let received = case.downstream.received();
    assert_eq!(received.len() as u64, report.sent, "the report and what arrived differ");
    assert_eq!(report.sent + report.dropped + report.pending, 50, "records are unaccounted for");
    let expected: Vec<String> = (0..received.len()).map(|i| format!("flag-{i}")).collect();
    assert_eq!(received, expected, "records were altered or reordered");
}

/// E3: every record is reported exactly once.
pub async fn e3_flush_reports_each_once(case: Case) {
    case.record(10);
    let first = case.flush().await;
    let second = case.flush().await;
    case.record(5);
    let third = case.flush().await;
    assert_eq!(first.sent + first.dropped + first.pending, 10, "the first report");
    assert_eq!(
        second.sent + second.dropped + second.pending,
        first.pending,
        "the second report tells old records again"
    );
    let waiting = second.pending;
    assert_eq!(third.sent + third.dropped + third.pending, 5 + waiting, "the third report");
}

/// E4: `flush` returns by its deadline.
pub async fn e4_flush_keeps_its_deadline(mut case: Case) {
    case.downstream.set_broken(true);
    case.record(10);
    let clock = SystemClock::new();
    let start = clock.now();
    let _ = case.flush().await;
    let took = clock.now() - start;
    assert!(took < DEADLINE + GRACE, "a flush of {DEADLINE:?} took {took:?}");
}

/// E5: a broken downstream shows in reports, nowhere else.
pub async fn e5_broken_downstream_only_reports(mut case: Case) {
    case.downstream.set_broken(true);
    case.record(10);
    let broken = case.flush().await;
    assert_eq!(broken.sent, 0, "records were reported as sent into nowhere");
    assert!(!broken.is_complete(), "a broken downstream does not show in the report");
    case.downstream.set_broken(false);
    let mended = case.flush().await;
    assert_eq!(mended.sent + broken.dropped + mended.dropped, 10, "records are unaccounted for");
    assert_eq!(case.downstream.received().len() as u64, mended.sent, "the report and what arrived differ");
}

/// E6: `close` may be called more than once; records after it are dropped and counted.
pub async fn e6_close_ends_it(case: Case) {
    for _ in 0..2 {
        if let Err(error) = within("closing", case.sink.close()).await {
            panic!("closing failed: {}", error.chain());
        }
    }
    let arrived = case.downstream.received().len();
    case.record(3);
    let report = case.flush().await;
    assert_eq!((report.sent, report.dropped, report.pending), (0, 3, 0), "records after `close`");
    assert_eq!(case.downstream.received().len(), arrived, "records arrived after `close`");
}

/// E7: `name` is well-formed and the same on every call.
pub async fn e7_name_is_fixed(case: Case) {
    check_name([case.sink.name(), case.sink.name()]);
}
