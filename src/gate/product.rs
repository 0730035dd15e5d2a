//! Policies as a product of the feed.

use std::{sync::Arc, time::Duration};

use super::Policy;
use crate::{
    Error, ErrorKind, Result, Retry,
    document::{Content, Document},
    live::Product,
};

/// The revision of the policy that stands in until there is one.
pub(super) const NONE_YET: &str = "none yet";

/// The longest and shortest that a control plane may wish between two reports.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// A policy and whether anybody gave it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) policy: Arc<Policy>,
    pub(super) by_control_plane: bool,
}

/// Reads a policy as the control plane gives it.
///
/// # Errors
/// `Invalid` where it is none.
pub(super) fn read_policy(json: &[u8]) -> Result<Policy> {
    let refused = |reason: String| {
        Error::new(ErrorKind::Invalid, "read the policy")
            .with("reason", reason)
            .hint("the policy before stays in force; have the control plane looked at")
    };
    // A list of numbers would be taken for one as well.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(refused("it is no JSON object".to_owned()));
    }
    serde_json::from_slice(json).map_err(|error| {
        // What it says may quote the answer, which may be long.
        refused(error.to_string().chars().take(LONGEST_REASON).collect())
    })
}

/// So many characters of what is wrong with a policy are told.
const LONGEST_REASON: usize = 200;

/// How documents become policies.
#[derive(Debug)]
pub(super) struct GateProduct;

impl Product for GateProduct {
    type Snapshot = Given;
    type Error = Error;
    const NAME: &'static str = "gate";

    fn build(&self, document: Document, _previous: Option<&Given>) -> Result<Given> {
        let by_control_plane = document.revision().as_str() != NONE_YET;
        let Content::Bytes(json) = document.content() else {
            return Err(
                Error::new(ErrorKind::Invalid, "read the policy").with("reason", "it is made of files")
            );
        };
        let policy = read_policy(json)?;
        Ok(Given { policy: Arc::new(policy), by_control_plane })
    }

    fn kind(error: &Error) -> ErrorKind {
        error.kind()
    }

    fn retry_after(error: &Error) -> Option<Duration> {
        match error.retry_state() {
            Retry::After(pause) => Some(pause),
            _ => None,
        }
    }

    fn interval(&self, served: &Given) -> Option<Duration> {
        let wished = Duration::from_millis(served.policy.pulse_interval);
        served.by_control_plane.then(|| wished.clamp(INTERVALS.0, INTERVALS.1))
    }
}
