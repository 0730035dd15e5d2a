//! `waitstate`: the published client of the same protocol.
//!
//! It syncs once, with a control plane on loopback, so that it looks at its lease as it does in service. From then on
//! its background tasks stand still: what they cost is not held against it, and they take none of the locks that
//! its calls need.

use std::{fmt, thread, time::Duration};

use tokio::runtime::{Builder, Runtime};
use waitstate::WaitStateConfig;

use super::{Gate, Measured, stub::Stub};

/// A client that has its policy, and the runtime that its tasks are kept in.
pub struct WaitState {
    client: waitstate::WaitState,
    _runtime: Runtime,
}

impl WaitState {
    /// Starts one and waits for the policy.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn synced() -> Self {
        let stub = Stub::start();
        // One thread, the caller's, and only while it waits.
        let runtime =
            Builder::new_current_thread().enable_all().build().expect("the system has a runtime left");
        let client = {
            let _inside = runtime.enter();
            waitstate::WaitState::start(WaitStateConfig {
                publish_key: "wpk_benches".into(),
                secret_key: "wsk_benches".into(),
                base_url: stub.url(),
                pulse_interval_secs: 1,
                sync_interval_secs: 1,
                ..Default::default()
            })
        };
        for _ in 0..2_000 {
            if !client.gate(Some("free"), Some(11.0)).allowed {
                return Self { client, _runtime: runtime };
            }
            // Lets the tasks run for a little.
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
            thread::yield_now();
        }
        panic!("the published client did not get its policy");
    }
}

impl Gate for WaitState {
    const NAME: &'static str = "waitstate 0.1.0";

    #[inline]
    fn passes(&self, tag: &str, weight: f64) -> bool {
        self.client.gate(Some(tag), Some(weight)).allowed
    }
}

impl Measured for WaitState {
    #[inline]
    fn took(&self, tag: &str, milliseconds: f64) {
        self.client.report_latency(milliseconds, Some(tag));
    }
}

impl fmt::Debug for WaitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitState").finish_non_exhaustive()
    }
}
