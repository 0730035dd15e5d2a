//! The clauses of the five traits as functions, and macros that make one test of each.
//!
//! A backend's tests call a macro with the name of a module and a function that makes a fixture:
//!
//! ```
//! use leverframe::{backends::cache_memory::MemoryCache, testing::conformance::cache::Fixture};
//!
//! fn memory() -> Fixture<MemoryCache> {
//!     Fixture::new(MemoryCache::default())
//! }
//!
//! leverframe::cache_conformance!(memory_cache, memory);
//! # fn main() {}
//! ```
//!
//! Each clause runs twice: on the type, and through a second `Arc<dyn …>`. What a fixture cannot arrange is skipped
//! and said so.

#![expect(missing_debug_implementations, reason = "fixtures and cases are consumed by one clause each")]

pub mod cache;
pub mod clock;
pub mod sink;
pub mod source;
pub mod transport;

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{backends::clock_system::SystemClock, traits::Clock};

/// Runs a clause to its end. Called by the macros.
#[doc(hidden)]
pub fn run(clause: impl Future<Output = ()>) {
    crate::live::block_on(clause);
}

/// Says that a clause was left out because the fixture cannot arrange it.
#[expect(clippy::print_stderr, reason = "a skipped clause must be seen in the test's output")]
fn skipped(clause: &str, reason: &str) {
    eprintln!("{clause}: skipped by capability: {reason}");
}

/// The longest that anything may take before a clause fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `future`, and panics if it does not come.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let clock = SystemClock::new();
    let mut future = pin!(future);
    let mut limit = clock.sleep_until(clock.now() + PATIENCE);
    let outcome = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => limit.as_mut().poll(cx).map(|()| None),
    })
    .await;
    match outcome {
        Some(output) => output,
        None => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// Polls once, with a waker that nobody listens to.
fn poll_once<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Checks a registered name.
fn check_name(names: [&str; 2]) {
    let [name, again] = names;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    assert_eq!(name, again, "the name changes from call to call");
    assert!(
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(plain) && !name.contains("__"),
        "`{name}` is not `[a-z][a-z0-9_]*` without `__`"
    );
}

/// Makes a module with two tests for each clause. Used by the macros of the kinds.
#[doc(hidden)]
#[macro_export]
macro_rules! __clauses {
    ($module:ident, $make:expr, $kind:ident, [$($clause:ident),+ $(,)?]) => {
        mod $module {
            $(
                mod $clause {
                    #[allow(unused_imports, reason = "the maker may be a full path")]
                    use super::super::*;

                    #[test]
                    fn on_the_type() {
                        let case = $crate::testing::conformance::$kind::on_the_type(($make)());
                        $crate::testing::conformance::run($crate::testing::conformance::$kind::$clause(case));
                    }

                    #[test]
                    fn through_arc_dyn() {
                        let case = $crate::testing::conformance::$kind::through_arc_dyn(($make)());
                        $crate::testing::conformance::run($crate::testing::conformance::$kind::$clause(case));
                    }
                }
            )+
        }
    };
}

/// Makes the tests of every clause of `Clock`: `clock_conformance!(module_name, make_fixture)`.
#[macro_export]
macro_rules! clock_conformance {
    ($module:ident, $make:expr) => {
        $crate::__clauses!(
            $module,
            $make,
            clock,
            [k1_never_goes_back, k2_wakes_no_earlier, k3_forgets_dropped_sleeps, k4_handles_share_time]
        );
    };
}

/// Makes the tests of every clause of `Source`: `source_conformance!(module_name, make_fixture)`.
#[macro_export]
macro_rules! source_conformance {
    ($module:ident, $make:expr) => {
        $crate::__clauses!(
            $module,
            $make,
            source,
            [
                s1_first_load_is_whole,
                s2_same_revision_is_unchanged,
                s3_equal_state_equal_document,
                s4_change_is_brought,
                s5_failure_is_clean_and_passes,
                s6_change_is_told,
                s7_dropped_futures_do_no_harm,
                s8_close_ends_it,
                s9_name_is_fixed,
            ]
        );
    };
}

/// Makes the tests of every clause of `CacheStore`: `cache_conformance!(module_name, make_fixture)`.
#[macro_export]
macro_rules! cache_conformance {
    ($module:ident, $make:expr) => {
        $crate::__clauses!(
            $module,
            $make,
            cache,
            [
                c1_absent_is_none,
                c2_entries_come_back,
                c3_put_replaces,
                c4_put_is_atomic,
                c5_damage_is_corrupt,
                c6_remove_forgets,
                c7_keys_keep_apart,
                c8_close_ends_it,
                c9_name_is_fixed,
            ]
        );
    };
}

/// Makes the tests of every clause of `Transport`: `transport_conformance!(module_name, make_fixture)`.
#[macro_export]
macro_rules! transport_conformance {
    ($module:ident, $make:expr) => {
        $crate::__clauses!(
            $module,
            $make,
            transport,
            [
                t1_every_status_is_a_response,
                t2_answers_arrive_unaltered,
                t3_deadline_covers_the_exchange,
                t4_body_is_limited_while_read,
                t5_no_credential_shows,
                t6_unreachable_is_unavailable,
                t7_cut_body_is_an_error,
                t8_dropped_futures_do_no_harm,
                t9_close_ends_it,
                t10_name_is_fixed,
            ]
        );
    };
}

/// Makes the tests of every clause of `TelemetrySink`: `sink_conformance!(module_name, make_fixture)`.
#[macro_export]
macro_rules! sink_conformance {
    ($module:ident, $make:expr) => {
        $crate::__clauses!(
            $module,
            $make,
            sink,
            [
                e1_record_returns_at_once,
                e2_records_arrive_unaltered_or_counted,
                e3_flush_reports_each_once,
                e4_flush_keeps_its_deadline,
                e5_broken_downstream_only_reports,
                e6_close_ends_it,
                e7_name_is_fixed,
            ]
        );
    };
}
