//! Chooses what a client proves its identity by.

use std::sync::Arc;

use super::{
    NexusError, WifConfig,
    credentials::Credentials,
    standing::Standing,
    wif::{CredentialSource, Function, Proof, Sessions, Surroundings, WifProvider, Wishes},
};
use crate::{
    Result, Secret,
    backends::http_client::HttpClientConfig,
    traits::{Clock, Transport},
};

/// Makes the credentials of a workload. The source goes before the function, and both before the provider.
pub(super) fn credentials(
    wif: WifConfig,
    wishes: Wishes,
    source: Option<Arc<dyn CredentialSource>>,
    transport: &Arc<dyn Transport>,
    standing: &Arc<Standing>,
    clock: &Arc<dyn Clock>,
) -> std::result::Result<Arc<dyn Credentials>, NexusError> {
    let provider: WifProvider = wif.provider.parse()?;
    let function = wif.token_source.map(|function| Arc::new(Function(function)) as Arc<dyn CredentialSource>);
    let around = Surroundings::of_process(direct(clock)?, Arc::clone(clock));
    let proof = source.or(function).map(Proof::Exchange);
    let sessions =
        Sessions::new(provider, proof, wishes, around, Arc::clone(transport), Arc::clone(standing))?;
    Ok(Arc::new(sessions))
}

/// Makes a transport that goes to metadata services without a proxy, whatever the environment names.
pub(super) fn direct(clock: &Arc<dyn Clock>) -> Result<Arc<dyn Transport>> {
    let config = HttpClientConfig { proxy: Secret::new("none"), ..HttpClientConfig::default() };
    let clock = Arc::clone(clock);
    #[cfg(feature = "http-in-process")]
    let transport = crate::backends::transport_reqwest::ReqwestTransport::open_with_clock(&config, clock)?;
    #[cfg(not(feature = "http-in-process"))]
    let transport = crate::backends::transport_curl_cli::CurlCliTransport::open_with_clock(&config, clock)?;
    Ok(Arc::new(transport))
}
