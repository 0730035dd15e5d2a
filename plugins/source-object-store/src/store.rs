//! The client of a provider, made of settings and of what the platform hands over.

use std::{sync::Arc, time::Duration};

use http::Uri;
use leverframe::{Error, ErrorKind, Result, Secret, UriAuth, config::ambient_environment};
use object_store::{
    BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder,
};

use crate::{
    config::ObjectStoreConfig,
    location::{Location, Provider},
    observed::Observing,
};

/// The variables that are read, as the providers' own tools name them: credentials and regions. Others could turn the
/// verification of certificates off or send requests elsewhere.
const AWS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];
const AWS_REGION: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION"];
const AZURE: &[&str] = &[
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_TENANT_ID",
];
const AZURE_ACCOUNT: &[&str] = &["AZURE_STORAGE_ACCOUNT_NAME"];
const GOOGLE: &[&str] =
    &["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY"];

/// Makes the client for a location.
pub(crate) fn open(
    location: &Location,
    config: &ObjectStoreConfig,
    auth: Option<&UriAuth>,
) -> Result<Arc<dyn ObjectStore>> {
    check_endpoint(config)?;
    let made = match location.provider {
        Provider::Azure => azure(location, config, auth)?,
        Provider::Google => google(location, config, auth)?,
        Provider::S3 => s3(location, config, auth)?,
    };
    // The library's reason may quote the credentials that it could not read.
    made.map_err(|_| {
        refuse("the provider's client cannot be made of these settings and credentials")
            .with("uri", location.uri())
            .hint("are keys base64 where they must be, files there, and account and region set?")
    })
}

type Made = object_store::Result<Arc<dyn ObjectStore>>;

fn s3(location: &Location, config: &ObjectStoreConfig, auth: Option<&UriAuth>) -> Result<Made> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&location.bucket)
        .with_http_connector(Observing)
        .with_client_options(client(config)?)
        .with_retry(no_retry(config))
        .with_skip_signature(config.anonymous);
    if let Some(region) = given(&config.region).map(str::to_owned).or_else(|| first(AWS_REGION)) {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = given(&config.endpoint) {
        builder = builder.with_endpoint(endpoint);
    }
    let keys = match auth {
        Some(UriAuth::Basic { user, pass }) => Some((user.as_str(), pass.as_str())),
        Some(_) => return Err(unusable("an access key's id and secret")),
        None => Some((config.access_key_id.expose(), config.secret_access_key.expose()))
            .filter(|(id, secret)| !(id.is_empty() && secret.is_empty())),
    };
    builder = match keys {
        Some((id, secret)) if id.is_empty() || secret.is_empty() => {
            return Err(refuse("one half of the access key is missing")
                .hint("set both `access_key_id` and `secret_access_key`"));
        }
        Some((id, secret)) => builder.with_access_key_id(id).with_secret_access_key(secret),
        None => {
            ambient(AWS, builder, |builder, key, value| Some(builder.with_config(key.parse().ok()?, value)))
        }
    };
    Ok(builder.build().map(|store| Arc::new(store) as _))
}

fn google(location: &Location, config: &ObjectStoreConfig, auth: Option<&UriAuth>) -> Result<Made> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&location.bucket)
        .with_http_connector(Observing)
        .with_client_options(client(config)?)
        .with_retry(no_retry(config))
        .with_skip_signature(config.anonymous);
    if let Some(endpoint) = given(&config.endpoint) {
        builder = builder.with_base_url(endpoint);
    }
    builder = match auth {
        Some(UriAuth::Bearer(token)) => builder.with_bearer_token(token),
        Some(_) => return Err(unusable("a bearer token")),
        None if !config.credentials_file.as_os_str().is_empty() => {
            builder.with_service_account_path(config.credentials_file.to_string_lossy())
        }
        None if config.anonymous => builder.with_bearer_token(""),
        None => ambient(GOOGLE, builder, |builder, key, value| {
            Some(builder.with_config(key.parse().ok()?, value))
        }),
    };
    Ok(builder.build().map(|store| Arc::new(store) as _))
}

fn azure(location: &Location, config: &ObjectStoreConfig, auth: Option<&UriAuth>) -> Result<Made> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(&location.bucket)
        .with_http_connector(Observing)
        .with_client_options(client(config)?)
        .with_retry(no_retry(config))
        .with_skip_signature(config.anonymous);
    if let Some(account) = given(&config.account).map(str::to_owned).or_else(|| first(AZURE_ACCOUNT)) {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = given(&config.endpoint) {
        builder = builder.with_endpoint(endpoint.to_owned());
    }
    builder = match auth {
        Some(UriAuth::Bearer(token)) => builder.with_bearer_token_authorization(token),
        Some(UriAuth::Basic { user, pass }) => builder.with_account(user).with_access_key(pass),
        Some(_) => return Err(unusable("a bearer token, or an account and its key")),
        None if !config.secret_access_key.expose().is_empty() => {
            builder.with_access_key(config.secret_access_key.expose())
        }
        None => {
            ambient(AZURE, builder, |builder, key, value| Some(builder.with_config(key.parse().ok()?, value)))
        }
    };
    Ok(builder.build().map(|store| Arc::new(store) as _))
}

/// Hands the variables that are set to a builder; their names in lower case are its keys.
fn ambient<B: Clone>(names: &[&str], builder: B, set: impl Fn(B, &str, &str) -> Option<B>) -> B {
    ambient_environment(names).into_iter().fold(builder, |builder, (name, value): (String, Secret)| {
        set(builder.clone(), &name.to_ascii_lowercase(), value.expose()).unwrap_or(builder)
    })
}

/// Returns the first of the named variables that is set.
fn first(names: &[&str]) -> Option<String> {
    let set = ambient_environment(names);
    names
        .iter()
        .find_map(|name| set.iter().find(|(key, _)| key == name))
        .map(|(_, value)| value.expose().to_owned())
}

fn client(config: &ObjectStoreConfig) -> Result<ClientOptions> {
    let mut options = ClientOptions::new()
        .with_timeout(Duration::from_millis(config.timeout_ms))
        .with_connect_timeout(Duration::from_millis(config.connect_timeout_ms))
        .with_allow_http(config.endpoint.starts_with("http://"));
    if !config.ca_file.as_os_str().is_empty() {
        let failed = |reason: String| {
            refuse("the certificate authorities cannot be read")
                .with("ca_file", config.ca_file.display())
                .with("cause", reason)
                .hint("set `source.object_store.ca_file` to a PEM file of certificates")
        };
        let pem = std::fs::read(&config.ca_file).map_err(|e| failed(e.to_string()))?;
        let found = Certificate::from_pem_bundle(&pem).map_err(|e| failed(e.to_string()))?;
        if found.is_empty() {
            return Err(failed("it holds no certificate".to_owned()));
        }
        options = found.into_iter().fold(options, ClientOptions::with_root_certificate);
    }
    Ok(options)
}

/// The feed retries, and knows better when.
fn no_retry(config: &ObjectStoreConfig) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: Duration::from_millis(config.timeout_ms),
    }
}

/// Without TLS a request's signature and the object travel in the clear.
fn check_endpoint(config: &ObjectStoreConfig) -> Result<()> {
    let Some(endpoint) = given(&config.endpoint) else { return Ok(()) };
    // Not shown until it is known to hold no credential.
    let uri: Uri = endpoint.parse().map_err(|_| refuse("`endpoint` is no URL"))?;
    if uri.authority().is_none_or(|a| a.as_str().contains('@')) || uri.query().is_some() {
        return Err(refuse("`endpoint` has user-info or a query, or no host"));
    }
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), _) => Ok(()),
        (Some("http"), Some(host)) if config.allow_http || is_loopback(host) => Ok(()),
        (Some("http"), _) => Err(refuse("`endpoint` is on another host and has no TLS")
            .with("endpoint", endpoint)
            .hint("write `https://`, or set `source.object_store.allow_http`")),
        _ => Err(refuse("`endpoint` is neither `https://` nor `http://`")),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|a| a.is_loopback())
}

fn given(setting: &str) -> Option<&str> {
    Some(setting).filter(|s| !s.is_empty())
}

fn refuse(reason: &'static str) -> Error {
    Error::new(ErrorKind::Config, "open the object_store source").with("reason", reason)
}

fn unusable(wanted: &'static str) -> Error {
    refuse("the credentials are of a kind that this provider does not take").with("wanted", wanted)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use object_store::{aws::AmazonS3ConfigKey, azure::AzureConfigKey, gcp::GoogleConfigKey};

    use super::*;

    #[test]
    fn every_variable_that_is_read_is_one_that_the_library_knows() {
        for name in AWS {
            AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase()).unwrap();
        }
        for name in AZURE {
            AzureConfigKey::from_str(&name.to_ascii_lowercase()).unwrap();
        }
        for name in GOOGLE {
            let key = name.to_ascii_lowercase();
            GoogleConfigKey::from_str(&key).unwrap_or_else(|_| panic!("{key}"));
        }
    }

    #[test]
    fn endpoints_without_tls_are_for_loopback_or_for_who_asks() {
        let check = |endpoint: &str, allow_http: bool| {
            let endpoint = endpoint.to_owned();
            check_endpoint(&ObjectStoreConfig { endpoint, allow_http, ..ObjectStoreConfig::default() })
        };

        for good in
            ["", "https://minio.example.com", "http://127.0.0.1:9000", "http://[::1]:9", "http://localhost"]
        {
            assert!(check(good, false).is_ok(), "{good}");
        }
        for bad in ["http://minio.example.com", "ftp://host", "minio", "http://127.0.0.1.example.com"] {
            assert_eq!(check(bad, false).unwrap_err().kind(), ErrorKind::Config, "{bad}");
        }
        assert!(check("http://minio.example.com", true).is_ok());
        let error = check("https://me:hunter2@host", false).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
