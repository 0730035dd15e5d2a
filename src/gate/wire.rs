//! What travels between a client and the control plane.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The upper bounds of the latency buckets, in milliseconds; a last bucket takes what is above.
///
/// # Examples
/// ```
/// assert_eq!(leverframe::gate::HISTOGRAM_BOUNDS[0], 50);
/// ```
pub const HISTOGRAM_BOUNDS: [u64; 8] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/// The body of `POST /v1/pulse`: what one instance did since its last report.
///
/// `pulse_id`, and of a tag `denied`, `errors` and `latency_sum`, are what other clients do not send and other control
/// planes ignore.
///
/// # Examples
/// ```
/// use leverframe::gate::types::PulsePayload;
/// let pulse: PulsePayload = serde_json::from_str(
///     r#"{"instanceId":"i","usageDelta":10,"bouncedUnits":0,"metrics":{"latency":0,"errors":0},"tagMetrics":[],"ts":1}"#,
/// )?;
/// assert_eq!(pulse.usage_delta, 10);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PulsePayload {
    /// Names the instance as long as its process lives.
    pub instance_id: String,
    /// The part of the organisation that it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_id: Option<String>,
    /// Calls.
    pub usage_delta: u64,
    /// Refused calls among them.
    pub bounced_units: u64,
    /// Latency and errors over all tags.
    pub metrics: PulseMetrics,
    /// The same by tag.
    #[serde(default)]
    pub tag_metrics: Vec<TagMetric>,
    /// When it was written, in milliseconds since 1970.
    pub ts: u64,
    /// Names the report: one that is sent again has the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulse_id: Option<String>,
}

/// Latency and errors of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PulseMetrics {
    /// The mean of all latencies, in milliseconds.
    #[serde(deserialize_with = "number")]
    pub latency: f64,
    /// How many errors there were.
    #[serde(deserialize_with = "number")]
    pub errors: f64,
}

/// What an instance did under one tag.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TagMetric {
    /// The tag.
    pub tag: String,
    /// The mean latency, in milliseconds.
    #[serde(deserialize_with = "number")]
    pub latency: f64,
    /// Calls, refused ones included.
    pub count: u64,
    /// How many latencies fell into each bucket; see [`HISTOGRAM_BOUNDS`](super::HISTOGRAM_BOUNDS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_buckets: Option<[u64; 8]>,
    /// The values of custom metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_metrics: Option<BTreeMap<String, CustomMetricAggregate>>,
    /// Refused calls.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub denied: u64,
    /// Errors.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub errors: u64,
    /// All latencies together, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub latency_sum: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The values of a custom metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CustomMetricAggregate {
    /// The least.
    #[serde(deserialize_with = "number")]
    pub min: f64,
    /// The greatest.
    #[serde(deserialize_with = "number")]
    pub max: f64,
    /// All together.
    #[serde(deserialize_with = "number")]
    pub sum: f64,
    /// How many.
    pub count: u64,
}

/// Clients write what is no number as `null`.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(0.0))
}

/// The answer to `POST /v1/auth/token`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AuthTokenResponse {
    /// The token.
    pub token: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_at: u64,
    /// The organisation that it speaks for.
    pub org_id: String,
}

impl std::fmt::Debug for AuthTokenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthTokenResponse")
            .field("token", &"***")
            .field("expires_at", &self.expires_at)
            .field("org_id", &self.org_id)
            .finish()
    }
}

/// Tags of more bytes are counted together, as `__other__`, by clients and control planes alike.
///
/// # Examples
/// ```
/// assert_eq!(leverframe::gate::types::LONGEST_TAG, 128);
/// ```
pub const LONGEST_TAG: usize = 128;

/// Returns true if a custom metric may have this name: 1 to 63 characters, a letter first, then letters, digits and
/// `_`, all lower-case, and none of the names that the protocol itself uses.
///
/// # Examples
/// ```
/// use leverframe::gate::types::is_valid_metric_name;
/// assert!(is_valid_metric_name("queue_depth"));
/// assert!(!is_valid_metric_name("latency"));
/// ```
#[must_use]
pub fn is_valid_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    (1..=63).contains(&name.len())
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !["latency", "errors", "p50_latency", "p95_latency", "p99_latency"].contains(&name)
}
