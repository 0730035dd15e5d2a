//! Leverframe's client, with a control plane that answers without a network.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use leverframe::{
    async_trait,
    gate::{GateMode, Policy, WaitState},
    live::block_on,
    traits::{Body, Request, Response, Transport},
};

use super::{Gate, Measured, POLICY};

/// A client that has its policy.
#[derive(Debug)]
pub struct Leverframe(WaitState);

impl Leverframe {
    /// Starts one and waits for the policy.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn synced() -> Self {
        let client = WaitState::builder()
            .publish_key("wpk_benches")
            .secret_key("wsk_benches")
            .base_url("http://plane.benches")
            .transport(Arc::new(Plane))
            .build()
            .expect("the settings are sound");
        assert!(block_on(client.ready(Duration::from_secs(20))), "the policy is there at once");
        assert_eq!(client.state().mode, GateMode::InForce);
        Self(client)
    }
}

impl Gate for Leverframe {
    const NAME: &'static str = "leverframe";

    #[inline]
    fn passes(&self, tag: &str, weight: f64) -> bool {
        self.0.gate(Some(tag), Some(weight)).allowed
    }
}

impl Measured for Leverframe {
    #[inline]
    fn took(&self, tag: &str, milliseconds: f64) {
        self.0.report_latency(milliseconds, Some(tag));
    }
}

/// The policy that the control plane answers, by itself.
///
/// # Panics
/// Never: it is a constant.
#[must_use]
pub fn pure_policy() -> Policy {
    serde_json::from_str(POLICY).expect("the policy is one")
}

#[derive(Debug)]
struct Plane;

#[async_trait]
impl Transport for Plane {
    fn name(&self) -> &'static str {
        "plane"
    }

    async fn send(&self, _: Request) -> leverframe::Result<Response> {
        Ok(Response::new(StatusCode::OK, HeaderMap::new(), Body::from_bytes(POLICY)))
    }

    async fn close(&self) -> leverframe::Result<()> {
        Ok(())
    }
}
