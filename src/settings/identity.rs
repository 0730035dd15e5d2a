//! Chooses what a client proves its identity by.

use std::sync::Arc;

use super::{NexusError, WifConfig, credentials::Credentials};
use crate::traits::{Clock, Transport};

/// Makes the credentials of a workload; `key` is what is left where no session can be had.
pub(super) fn credentials(
    wif: WifConfig,
    key: Option<Arc<dyn Credentials>>,
    endpoint: &str,
    transport: &Arc<dyn Transport>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Credentials>, NexusError> {
    let _ = (wif, key, endpoint, transport, clock);
    Err(NexusError::WifNotConfigured)
}
