//! Gates calls under a policy that a control plane gives, and reports what became of them.
//!
//! The control plane is played by a transport inside this program, so that nothing else has to run; with a server,
//! leave `transport` out and set `base_url`.
//!
//! ```sh
//! cargo run --example gate
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    error::Error,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leverframe::{
    ErrorKind, Result, async_trait,
    gate::{Policy, WaitState, types::PulsePayload},
    live::block_on,
    traits::{Body, Request, Response, Transport},
};

/// Answers each report with the policy, and counts what it says.
#[derive(Debug, Default)]
struct ControlPlane {
    policy: Mutex<Policy>,
    down: AtomicBool,
    counted: Mutex<(u64, u64)>,
}

impl ControlPlane {
    fn set(&self, policy: Policy) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn counted(&self) -> (u64, u64) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for ControlPlane {
    fn name(&self) -> &'static str {
        "example"
    }

    async fn send(&self, request: Request) -> Result<Response> {
        if self.down.load(Ordering::Relaxed) {
            return Err(leverframe::Error::new(ErrorKind::Unavailable, "reach the control plane"));
        }
        let unreadable = |error| leverframe::Error::new(ErrorKind::Invalid, "read the report").source(error);
        let pulse: PulsePayload = serde_json::from_slice(&request.body).map_err(unreadable)?;
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.0 += pulse.usage_delta;
        counted.1 += pulse.bounced_units;
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = serde_json::to_vec(&*policy).map_err(unreadable)?;
        Ok(Response::new(http::StatusCode::OK, http::HeaderMap::new(), Body::from_bytes(answer)))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let plane = Arc::new(ControlPlane::default());
    plane.set(Policy { tag_max_weights: [("free", 10.0)].into(), ..Policy::default() });

    // No async runtime is needed: the client has a thread of its own.
    let ws = WaitState::builder()
        .publish_key("wpk_example")
        .secret_key("wsk_example")
        .base_url("https://gate.example.com")
        .transport(Arc::<ControlPlane>::clone(&plane))
        .build()?;
    println!("synced: {}", block_on(ws.ready(Duration::from_secs(10))));

    // A call has a tag and a weight. Limits are by tag and for all calls.
    for (tag, weight) in [("free", 5.0), ("free", 20.0), ("pro", 20.0)] {
        let result = ws.gate(Some(tag), Some(weight));
        println!("{tag}, weight {weight}: {}", result.reason);
    }

    // How the calls went is reported with the counts.
    {
        let mut timer = ws.timer(Some("pro"));
        timer.failed();
    }
    ws.report("queue_depth", 12.0, Some("pro"));
    block_on(ws.flush())?;
    let (calls, denied) = plane.counted();
    println!("the control plane counted {calls} calls, {denied} of them denied");

    // While the control plane is away, calls go by the last policy, and nothing that is counted is lost.
    plane.down.store(true, Ordering::Relaxed);
    ws.gate(Some("free"), None);
    println!("down: {}", block_on(ws.flush()).is_err());
    println!("free, weight 20: {}", ws.gate(Some("free"), Some(20.0)).reason);

    // It comes back, and wants everything to stop.
    plane.down.store(false, Ordering::Relaxed);
    plane.set(Policy { kill_signal: true, ..Policy::default() });
    block_on(ws.flush())?;
    println!("pro, weight 20: {}", ws.gate(Some("pro"), Some(20.0)).reason);

    // What is left is reported at the end.
    block_on(ws.close())?;
    let (calls, denied) = plane.counted();
    println!("the control plane counted {calls} calls, {denied} of them denied");
    Ok(())
}
