//! What a process can learn of the platform that it runs on: variables, files, and metadata services.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::checked;
use crate::{
    Error, ErrorKind, Result, Secret,
    config::ambient_environment,
    traits::{Clock, Request, Transport, redacted},
};

/// A metadata service answers at once or is not there.
const DEADLINE: Duration = Duration::from_secs(2);
/// The most that is read of a file or an answer.
const MOST: u64 = 64 * 1024;

/// The variables in which platforms say something.
const VARIABLES: [&str; 14] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_FEDERATED_TOKEN_FILE",
    "HOME",
    "WESTYX_DEV_TOKEN",
    "XDG_CONFIG_HOME",
];

/// The platform, as far as it shows.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) variables: BTreeMap<String, Secret>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Sends without a proxy: a metadata service is on this machine, and a proxy is another.
    pub(crate) direct: Arc<dyn Transport>,
    /// The token that Kubernetes mounts into every pod.
    pub(crate) kubernetes_token: PathBuf,
    pub(crate) gcp: String,
    /// Where Azure and EC2 have their metadata services.
    pub(crate) link_local: String,
    /// Where ECS has its credentials.
    #[cfg(feature = "aws-iam")]
    pub(crate) ecs: String,
}

impl Surroundings {
    /// Looks around with a transport that uses no proxy.
    pub(crate) fn of_process(direct: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self {
            variables: ambient_environment(&VARIABLES).into_iter().collect(),
            clock,
            direct,
            kubernetes_token: "/var/run/secrets/kubernetes.io/serviceaccount/token".into(),
            gcp: "http://metadata.google.internal".to_owned(),
            link_local: "http://169.254.169.254".to_owned(),
            #[cfg(feature = "aws-iam")]
            ecs: "http://169.254.170.2".to_owned(),
        }
    }

    /// Returns a variable that is set to something.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        debug_assert!(VARIABLES.contains(&name), "`{name}` is not read from the process");
        self.variables.get(name).map(|value| value.expose().trim()).filter(|value| !value.is_empty())
    }

    /// Asks a metadata service: two seconds, no redirects, at most 64 KiB.
    pub(crate) async fn ask(
        &self,
        method: Method,
        uri: &str,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Result<(StatusCode, HeaderMap, Bytes)> {
        let uri: Uri = uri.parse().map_err(|_| {
            Error::new(ErrorKind::Config, "ask the metadata service").with("reason", "its address is no URI")
        })?;
        let mut request =
            Request::new(method, uri).deadline(DEADLINE).body_limit(MOST).attempts(1).without_redirects();
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let response = self.direct.send(request).await?;
        let body = response.body.read_all(MOST).await?;
        Ok((response.status, response.headers, body))
    }

    /// Asks a metadata service for something that must be there.
    pub(crate) async fn fetch(
        &self,
        method: Method,
        uri: &str,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Bytes> {
        let (status, _, body) = self.ask(method, uri, header).await?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        // The answer is not shown: it may quote what was asked with.
        let shown = uri.parse::<Uri>().map(|uri| redacted(&uri).to_string()).unwrap_or_default();
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::PermissionDenied,
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                ErrorKind::Unavailable
            }
            _ => ErrorKind::Invalid,
        };
        Err(Error::new(kind, "ask the metadata service")
            .with("uri", shown)
            .with("status", status.as_u16())
            .hint("see whether an identity is assigned to this machine"))
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables hold keys.
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// Reads a token from a file.
pub(crate) fn token_in(path: &Path) -> Result<Secret> {
    let text = read(path, MOST)
        .map_err(|error| Error::from_io("read the token", error).with("file", path.display()))?;
    checked(text.expose(), "read the token").map_err(|error| error.with("file", path.display()))
}

/// Reads a text that may be secret, up to so many bytes.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Secret> {
    let mut text = zeroize::Zeroizing::new(String::new());
    File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than it should be"));
    }
    Ok(Secret::new(std::mem::take(&mut *text)))
}
