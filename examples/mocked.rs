//! Tests of code that reads flags: flags in memory, a scripted source, a clock moved by hand, mocks.
//!
//! Each function stands for a test; in a project they carry `#[test]`. Nothing here sleeps or touches a file.
//!
//! ```sh
//! cargo run --example mocked --features testing
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error as StdError, sync::Arc, time::Duration};

use leverframe::{
    Error, ErrorKind, EvalContext, LoadOptions, Namespace,
    document::{Content, Document, Revision, Tree},
    testing::{ManualClock, MockSource, ScriptedSource},
    traits::Load,
};

type Outcome = Result<(), Box<dyn StdError>>;

/// The code under test: what an order costs to send.
fn shipping(flags: &Namespace, country: &str) -> f64 {
    let ctx = EvalContext::builder().str("user.country", country).build();
    if flags.eval_bool("free-shipping", "production", &ctx).unwrap_or(false) { 0.0 } else { 4.9 }
}

/// A flag that is on for one country.
fn free_shipping_in(country: &str) -> String {
    format!(
        r#"
schema_version = "0.1"
[flag]
type = "boolean"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "off"
[[flag.environments._.rules]]
predicate = {{ attribute = "user.country", op = "eq", value = "{country}" }}
variant = "on"
"#
    )
}

fn content(flag: String) -> Content {
    Content::Tree([("flags/free-shipping.toml", flag)].into_iter().collect::<Tree>())
}

/// The simplest way: flags from memory.
fn shipping_is_free_where_the_flag_says_so() -> Outcome {
    let flags = Namespace::from_files("shop", [("flags/free-shipping.toml", free_shipping_in("DE"))])?;

    assert_eq!(shipping(&flags, "DE"), 0.0);
    assert_eq!(shipping(&flags, "US"), 4.9);
    Ok(())
}

/// A source that the test holds, and time that stands still until it is told to move.
fn a_change_is_picked_up_without_waiting_for_the_interval() -> Outcome {
    let source = ScriptedSource::new(content(free_shipping_in("DE"))).named("shop");
    let clock = ManualClock::new();
    let options = LoadOptions::new().with_clock(Arc::new(clock.clone()));
    let flags = Namespace::from_source(Arc::new(source.clone()), &options)?;
    let refresh = flags.start_periodic_refresh(Duration::from_secs(30));
    assert_eq!(shipping(&flags, "US"), 4.9);

    // The source tells of the change, so the refresh does not wait for the interval.
    source.set(content(free_shipping_in("US")));
    let settled = flags.wait_for_refresh(0);

    assert_eq!(shipping(&flags, "US"), 0.0);
    assert_eq!(flags.flag_version(), 2);
    assert!(settled >= 1);
    refresh.stop().map_err(|_| "the refresh thread panicked")?;
    Ok(())
}

/// Faults on demand: what is served stays, and the status says since when it is out of date.
fn an_outage_changes_nothing_that_is_served() -> Outcome {
    let source = ScriptedSource::new(content(free_shipping_in("DE"))).named("shop");
    let clock = ManualClock::new();
    let options = LoadOptions::new().with_clock(Arc::new(clock.clone()));
    let flags = Namespace::from_source(Arc::new(source.clone()), &options)?;

    source.fail(ErrorKind::Unavailable);
    clock.advance(Duration::from_secs(45));
    let outcome = flags.refresh();

    assert!(outcome.is_err());
    assert_eq!(shipping(&flags, "DE"), 0.0);
    let status = flags.status();
    assert_eq!(status.staleness, Duration::from_secs(45));
    assert_eq!(status.consecutive_failures, 1);
    Ok(())
}

/// A mock, where the calls themselves are what the test is about. Each of the five traits has one.
fn a_refresh_asks_the_source_once_and_for_everything() -> Outcome {
    let mut source = MockSource::new();
    source.expect_name().return_const("mock");
    let mut answers = mockall::Sequence::new();
    source.expect_load().withf(|since| since.is_none()).times(1).in_sequence(&mut answers).returning(|_| {
        Ok(Load::Snapshot(Document::new(Revision::new("1"), content(free_shipping_in("DE"))).named("shop")))
    });
    source
        .expect_load()
        .withf(|since| since.is_none())
        .times(1)
        .in_sequence(&mut answers)
        .returning(|_| Err(Error::new(ErrorKind::Timeout, "reach the source")));

    let flags = Namespace::from_source(Arc::new(source), &LoadOptions::new())?;
    let outcome = flags.refresh();

    assert!(outcome.is_err());
    assert_eq!(flags.last_refresh_error().as_deref(), Some("failed to reach the source"));
    assert_eq!(shipping(&flags, "DE"), 0.0);
    Ok(())
}

fn main() -> Outcome {
    shipping_is_free_where_the_flag_says_so()?;
    println!("ok: shipping is free where the flag says so");
    a_change_is_picked_up_without_waiting_for_the_interval()?;
    println!("ok: a change is picked up without waiting for the interval");
    an_outage_changes_nothing_that_is_served()?;
    println!("ok: an outage changes nothing that is served");
    a_refresh_asks_the_source_once_and_for_everything()?;
    println!("ok: a refresh asks the source once and for everything");
    Ok(())
}
