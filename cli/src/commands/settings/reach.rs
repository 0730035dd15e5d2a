//! Which settings service a command asks, and as whom.

use leverframe::{
    Secret, WifConfig,
    config::ambient_environment,
    settings::{NexusClientBuilder, SERVICE_ENDPOINT_ENV},
};

use crate::{args::ServiceArgs, commands::secret_file, failure::Failure};

/// The variable that holds the key.
pub(in crate::commands) const KEY: &str = "LEVERFRAME_SETTINGS_KEY";
const ENDPOINT: &str = "LEVERFRAME_SETTINGS_ENDPOINT";

/// Takes what is given as arguments, or else what the environment says; returns the address, and what is to become the
/// client.
pub(in crate::commands) fn reach(args: &ServiceArgs) -> Result<(String, NexusClientBuilder), Failure> {
    let endpoint =
        args.server.clone().or_else(|| variable(ENDPOINT)).or_else(|| variable(SERVICE_ENDPOINT_ENV));
    let endpoint = endpoint.ok_or_else(|| {
        Failure::usage("no settings service is named")
            .with_hint(format!("give its address with `--server`, or set {ENDPOINT}"))
    })?;
    let builder = leverframe::NexusClient::builder().endpoint(&endpoint);
    let builder = match (&args.wif, &args.key, &args.key_file) {
        (Some(provider), ..) => {
            builder.wif(WifConfig { enabled: true, provider: provider.clone(), token_source: None })
        }
        (None, Some(key), _) => builder.api_key(key),
        (None, None, Some(path)) => builder.api_key(secret_file("read the key", path)?.expose()),
        (None, None, None) => builder.api_key(of_environment()?.expose()),
    };
    Ok((
        endpoint,
        args.http_backend.iter().fold(builder, |builder, backend| builder.http_backend((*backend).into())),
    ))
}

fn of_environment() -> Result<Secret, Failure> {
    variable(KEY).map(Secret::new).ok_or_else(|| {
        Failure::usage("no key is given").with_hint(format!(
            "name a file that holds it with `--key-file`, or set {KEY}; `leverframe admin settings-key create` makes \
             one, and `--wif` goes without"
        ))
    })
}

fn variable(name: &str) -> Option<String> {
    let set = ambient_environment(&[name]);
    set.into_iter().map(|(_, value)| value.expose().trim().to_owned()).find(|value| !value.is_empty())
}
