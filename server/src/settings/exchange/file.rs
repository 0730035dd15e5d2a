//! The operator's file: whose tokens are believed.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::Uri;
use leverframe::{
    Error, ErrorKind, Result, Secret,
    backends::{http_client::HttpClientConfig, transport_reqwest::ReqwestTransport},
    durable,
    traits::{Clock, Transport},
};
use serde::Deserialize;

use super::{
    Inner, Issuer,
    algorithm::Algorithm,
    aws::{self, Aws},
    keys::{Keys, Origin},
};

/// How long sessions last unless the file says otherwise, and what it may say.
const LASTS: u64 = 3_600;
const LEAST: u64 = 600;
const MOST: u64 = 86_400;
/// Issuers of one installation.
const MOST_ISSUERS: usize = 100;
/// Bytes of the file.
const LARGEST: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    session_seconds: Option<u64>,
    /// Authorities that are trusted besides the platform's where keys are fetched.
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    issuer: Vec<Named>,
    #[serde(default)]
    aws_iam: Option<AwsIam>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    issuer: String,
    provider: String,
    #[serde(default)]
    jwks_file: Option<PathBuf>,
    #[serde(default)]
    jwks_url: Option<String>,
    #[serde(default)]
    algorithms: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AwsIam {
    regions: Vec<String>,
    hosts: Vec<String>,
    #[serde(default)]
    endpoint: Option<String>,
}

/// Reads the file, and makes ready what it names.
pub(super) fn read(path: &Path, clock: &Arc<dyn Clock>) -> Result<Inner> {
    let failed = |error| Error::from_io("read the issuers", error).with("file", path.display());
    if fs::metadata(path).map_err(failed)?.len() > LARGEST {
        return Err(Error::new(ErrorKind::LimitExceeded, "read the issuers")
            .with("file", path.display())
            .with("most bytes", LARGEST));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    made(&text, durable::parent(path), clock).map_err(|error| error.with("file", path.display()))
}

fn made(text: &str, dir: &Path, clock: &Arc<dyn Clock>) -> Result<Inner> {
    let content: Content = toml::from_str(text)
        .map_err(|error| Error::new(ErrorKind::Config, "read the issuers").with("reason", error.message()))?;
    let lasts = content.session_seconds.unwrap_or(LASTS);
    if !(LEAST..=MOST).contains(&lasts) {
        return Err(refused("session_seconds", "must be between 600 and 86400"));
    }
    if content.issuer.is_empty() && content.aws_iam.is_none() {
        return Err(refused("issuer", "must be there, unless `aws_iam` is"));
    }
    if content.issuer.len() > MOST_ISSUERS {
        return Err(refused("issuer", "may be there at most 100 times"));
    }
    let mut client = HttpClientConfig::default();
    // What is believed because of where it comes from takes no detour that a variable names.
    client.proxy = Secret::new("none");
    client.gzip = false;
    // A host that is signed goes along in the request, which is a matter of HTTP/1.
    client.http2 = false;
    if let Some(ca_file) = &content.ca_file {
        client.ca_file = dir.join(ca_file);
    }
    let transport = ReqwestTransport::open_with_clock(&client, Arc::clone(clock))?;
    let transport: Arc<dyn Transport> = Arc::new(transport);
    let mut names = BTreeSet::new();
    let mut issuers = Vec::new();
    for named in content.issuer {
        if !names.insert(named.issuer.clone()) {
            return Err(refused("issuer", "must not be there twice").with("issuer", &named.issuer));
        }
        let name = named.issuer.clone();
        issuers.push(issuer(named, dir, &transport, clock).map_err(|error| error.with("issuer", name))?);
    }
    let aws = content.aws_iam.map(|aws| aws_of(aws, &transport)).transpose()?;
    Ok(Inner { issuers, aws, lasts: Duration::from_secs(lasts) })
}

fn issuer(
    named: Named,
    dir: &Path,
    transport: &Arc<dyn Transport>,
    clock: &Arc<dyn Clock>,
) -> Result<Issuer> {
    if named.issuer.is_empty() || named.issuer.len() > 1_024 || named.issuer == aws::PROVIDER {
        return Err(refused("issuer", "must be what tokens name in `iss`"));
    }
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let provider = named.provider;
    if provider.is_empty() || provider.len() > 32 || !provider.bytes().all(is_word) {
        return Err(refused("provider", "must be a word, such as `kubernetes`"));
    }
    let origin = match (named.jwks_file, named.jwks_url) {
        (Some(file), None) => Origin::File(dir.join(file)),
        (None, Some(url)) => Origin::Url(near_or_encrypted("jwks_url", &url)?, Arc::clone(transport)),
        _ => return Err(refused("jwks_file", "must be there, or else `jwks_url`")),
    };
    let algorithms = match named.algorithms {
        None => Algorithm::ALL.to_vec(),
        Some(names) => {
            let named: Option<Vec<_>> = names.iter().map(|name| Algorithm::named(name)).collect();
            let all = Algorithm::ALL.map(Algorithm::name).join(", ");
            let refused = || refused("algorithms", "must be some that public keys sign with").hint(all);
            named.filter(|named| !named.is_empty()).ok_or_else(refused)?
        }
    };
    Ok(Issuer { name: named.issuer, provider, keys: Keys::new(origin, algorithms, Arc::clone(clock)) })
}

fn aws_of(aws: AwsIam, transport: &Arc<dyn Transport>) -> Result<Aws> {
    let is_region = |region: &String| {
        (1..=32).contains(&region.len())
            && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if aws.regions.is_empty() || !aws.regions.iter().all(is_region) {
        return Err(refused("aws_iam.regions", "must name regions, such as `eu-central-1`"));
    }
    // With any host, whatever a client signs for somebody else could be used here.
    let is_host = |host: &String| host.bytes().any(|b| b.is_ascii_alphanumeric()) && host.len() <= 256;
    if aws.hosts.is_empty() || !aws.hosts.iter().all(is_host) {
        return Err(refused("aws_iam.hosts", "must name the hosts that clients know this server by")
            .hint("as in `hosts = [\"*.settings.example.com\"]`; with a port where it is not 443"));
    }
    let endpoint = aws.endpoint.map(|url| near_or_encrypted("aws_iam.endpoint", &url)).transpose()?;
    Ok(Aws::new(aws.regions, aws.hosts, endpoint, Arc::clone(transport)))
}

/// Reads a URL that is encrypted, or of this machine.
fn near_or_encrypted(setting: &'static str, url: &str) -> Result<Uri> {
    let wrong = || refused(setting, "must be `https://…`, or `http://…` of this machine");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let near = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let named =
        uri.authority().is_some_and(|authority| !authority.as_str().contains('@')) && !host.is_empty();
    match uri.scheme_str() {
        Some("https") if named => Ok(uri),
        Some("http") if named && near => Ok(uri),
        _ => Err(wrong()),
    }
}

fn refused(setting: &'static str, reason: &'static str) -> Error {
    Error::new(ErrorKind::Config, "read the issuers").with("setting", setting).with("reason", reason)
}

#[cfg(test)]
mod tests {
    use leverframe::backends::clock_system::SystemClock;

    use super::*;

    const ISSUER: &str = "[[issuer]]\nissuer = \"https://a\"\nprovider = \"kubernetes\"\njwks_file = \"k\"\n";

    fn made_of(text: &str) -> Result<Inner> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        made(text, Path::new("/etc/leverframe"), &clock)
    }

    #[test]
    fn a_file_names_issuers_and_regions() {
        let aws = "[aws_iam]\nregions = [\"eu-central-1\"]\nhosts = [\"*.a.example\"]\n";
        let url = ISSUER
            .replace("https://a", "https://b")
            .replace("jwks_file = \"k\"", "jwks_url = \"https://b/k\"");

        let inner =
            made_of(&format!("session_seconds = 600\n{ISSUER}{url}algorithms = [\"RS256\"]\n{aws}")).unwrap();

        assert_eq!((inner.issuers.len(), inner.aws.is_some(), inner.lasts.as_secs()), (2, true, 600));
        assert_eq!(made_of(ISSUER).unwrap().lasts.as_secs(), 3_600);
        assert!(made_of(aws).is_ok());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let with = |from: &str, to: &str| ISSUER.replace(from, to);
        let url = |url: &str| with("jwks_file = \"k\"", &format!("jwks_url = \"{url}\""));
        assert!(made_of(&url("http://127.0.0.1:1/k")).is_ok() && made_of(&url("http://[::1]:1/k")).is_ok());
        let aws = |from: &str, to: &str| {
            "[aws_iam]\nregions = [\"eu-central-1\"]\nhosts = [\"*.a.example\"]\nendpoint = \"https://b\""
                .replace(from, to)
        };
        assert!(made_of(&aws("", "")).is_ok());
        for text in [
            String::new(),
            format!("session_seconds = 599\n{ISSUER}"),
            format!("session_seconds = 86401\n{ISSUER}"),
            format!("{ISSUER}{ISSUER}"),
            with("https://a", ""),
            with("https://a", "aws_iam"),
            with("kubernetes", "Kubernetes!"),
            with("jwks_file = \"k\"\n", ""),
            format!("{ISSUER}jwks_url = \"https://a/k\"\n"),
            format!("{ISSUER}algorithms = [\"HS256\"]\n"),
            format!("{ISSUER}algorithms = []\n"),
            format!("{ISSUER}trust = 1\n"),
            url("http://issuer.example/k"),
            url("http://127.0.0.1.example/k"),
            url("https://user:hunter2@a/k"),
            url("file:///etc/passwd"),
            url("/k"),
            aws("eu-central-1", "eu central"),
            aws("\"eu-central-1\"", ""),
            aws("*.a.example", "*"),
            aws("https://b", "http://b"),
        ] {
            let error = made_of(&text).err().unwrap_or_else(|| panic!("{text}"));

            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(!error.chain().contains("hunter2"));
        }
    }
}
