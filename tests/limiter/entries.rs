//! The policy of the fleet and the limiter together: what either refuses is counted, and what passes is measured.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use leverframe::{
    Result, async_trait,
    gate::{
        GateReason, Policy, WaitState,
        limiter::{AdaptiveLimiter, Priority},
        types::PulsePayload,
    },
    live::block_on,
    testing::ManualClock,
    traits::{Body, Request, Response, Transport},
};

/// A control plane that lets everything pass, and keeps the reports.
#[derive(Clone, Debug, Default)]
struct Plane(Arc<Mutex<Vec<PulsePayload>>>);

#[async_trait]
impl Transport for Plane {
    fn name(&self) -> &'static str {
        "plane"
    }

    async fn send(&self, request: Request) -> Result<Response> {
        if request.uri.path().ends_with("/pulse") {
            self.0.lock().unwrap().push(serde_json::from_slice(&request.body).unwrap());
        }
        let policy = r#"{"globalMaxWeight":100,"tagMaxWeights":{"heavy":1}}"#;
        Ok(Response::new(StatusCode::OK, HeaderMap::new(), Body::from_bytes(policy)))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

impl Plane {
    fn client(&self, clock: &ManualClock) -> WaitState {
        let builder = WaitState::builder().publish_key("pk").secret_key("sk").base_url("http://127.0.0.1:9");
        builder.transport(Arc::new(self.clone())).clock(Arc::new(clock.clone())).build().unwrap()
    }

    /// Calls, denials and errors, and the latency in microseconds, of all reports.
    fn counted(&self) -> (u64, u64, f64, u64) {
        let pulses = self.0.lock().unwrap();
        let latency = pulses.iter().flat_map(|pulse| &pulse.tag_metrics).map(|tag| tag.latency_sum).sum();
        (
            pulses.iter().map(|pulse| pulse.usage_delta).sum(),
            pulses.iter().map(|pulse| pulse.bounced_units).sum(),
            pulses.iter().map(|pulse| f64::from(pulse.metrics.errors as u32)).sum(),
            latency,
        )
    }
}

fn limiter(clock: &ManualClock) -> AdaptiveLimiter {
    AdaptiveLimiter::builder()
        .initial(2)
        .priority("crawl", Priority::Low)
        .clock(Arc::new(clock.clone()))
        .build()
        .unwrap()
}

#[test]
fn the_policy_decides_first_then_the_limiter_and_every_denial_is_reported() {
    let (plane, clock) = (Plane::default(), ManualClock::new());
    let plain = plane.client(&clock);
    plain.set_policy(Policy { tag_max_weights: [("heavy", 1.0)].into(), ..Policy::default() });
    let ws = plain.limited(limiter(&clock));

    let refused = ws.enter(Some("heavy"), Some(2.0)).unwrap_err();
    assert_eq!(refused.reason, GateReason::TagBlocked);
    assert_eq!(ws.limiter().unwrap().snapshot().in_flight, 0, "the limiter was not asked");
    let mut first = ws.enter(Some("heavy"), Some(1.0)).unwrap();
    let second = ws.enter(None, None).unwrap();
    let refused = ws.enter(Some("new"), None).unwrap_err();
    assert_eq!((refused.allowed, refused.reason), (false, GateReason::OverLimit));
    assert!(plain.enter(Some("new"), None).is_ok(), "the same client without the limiter");
    clock.advance(Duration::from_millis(30));
    first.failed();
    drop((first, second));
    assert_eq!(ws.limiter().unwrap().snapshot().in_flight, 0);
    block_on(ws.flush()).unwrap();
    block_on(ws.close()).unwrap();

    let (calls, denied, errors, latency) = plane.counted();
    assert_eq!((calls, denied, latency), (5, 2, 60_000));
    assert!((errors - 1.0).abs() < f64::EPSILON);
}

#[test]
fn tags_have_the_priority_that_the_limiter_gives_them() {
    let (plane, clock) = (Plane::default(), ManualClock::new());
    let ws = plane.client(&clock).limited(limiter(&clock));

    assert_eq!(ws.limiter().unwrap().priority_of(Some("crawl")), Priority::Low);
    drop(ws.enter(Some("crawl"), None));
    let priorities = ws.limiter().unwrap().snapshot().priorities;
    assert_eq!(priorities.map(|priority| priority.admitted), [1, 0, 0, 0]);
}

#[test]
fn the_limiter_learns_from_entries() {
    let (plane, clock) = (Plane::default(), ManualClock::new());
    let ws = plane.client(&clock).limited(limiter(&clock));
    let run = |calls: usize, mark: fn(&mut leverframe::gate::Entry)| {
        for _ in 0..calls {
            let mut entry = ws.enter(None, None).unwrap();
            clock.advance(Duration::from_millis(10));
            mark(&mut entry);
        }
        ws.limiter().unwrap().snapshot()
    };

    let answered = run(60, |_| {});
    assert!(answered.baseline.unwrap() > Duration::from_millis(9));
    let ignored = run(60, |entry| {
        entry.failed();
        entry.ignore();
    });
    assert_eq!(ignored.limit, answered.limit, "errors that say nothing of the load change nothing");
    let failed = run(200, leverframe::gate::Entry::failed);
    assert_eq!(failed.limit, 1);
    assert_eq!(failed.baseline, answered.baseline);
}
