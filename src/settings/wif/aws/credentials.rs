//! The keys that a role's bearer signs with: of Lambda by variable, of ECS and EC2 by their metadata services.

use std::{fmt, path::Path};

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::{Deserialize, de::DeserializeOwned};

use super::super::{Surroundings, surroundings::token_in};
use crate::{Error, ErrorKind, Result, Secret};

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// Keys to sign with.
#[derive(Deserialize)]
pub(super) struct Credentials {
    #[serde(rename = "AccessKeyId")]
    pub(super) access_key_id: String,
    #[serde(rename = "SecretAccessKey")]
    pub(super) secret_access_key: Secret,
    #[serde(rename = "Token")]
    pub(super) session_token: Option<Secret>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Finds the keys: those of the variables, of the container, of the instance. Asked anew for each signature, so that
/// keys that were replaced are never used.
pub(super) async fn find(around: &Surroundings) -> Result<Credentials> {
    if let (Some(id), Some(key)) =
        (around.variable("AWS_ACCESS_KEY_ID"), around.variable("AWS_SECRET_ACCESS_KEY"))
    {
        return Ok(Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: Secret::new(key),
            session_token: around.variable("AWS_SESSION_TOKEN").map(Secret::new),
        });
    }
    if let Some(path) = around.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        return of_container(around, &format!("{}{path}", around.ecs)).await;
    }
    if let Some(uri) = around.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
        if !is_near(uri) {
            return Err(Error::new(ErrorKind::PermissionDenied, "ask for the container's credentials")
                .with("variable", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
                .with("reason", "it leads off this machine without TLS"));
        }
        return of_container(around, uri).await;
    }
    of_instance(around).await
}

async fn of_container(around: &Surroundings, uri: &str) -> Result<Credentials> {
    let token = match around.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => Some(token_in(Path::new(file))?),
        None => around.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::new),
    };
    let header = token.map(|token| Ok::<_, Error>((header::AUTHORIZATION, value(&token)?))).transpose()?;
    parsed(&around.fetch(Method::GET, uri, header).await?)
}

async fn of_instance(around: &Surroundings) -> Result<Credentials> {
    let token = session(around).await?;
    let roles = format!("{}/latest/meta-data/iam/security-credentials/", around.link_local);
    let role = text(&around.fetch(Method::GET, &roles, Some((TOKEN, token.clone()))).await?)?;
    parsed(&around.fetch(Method::GET, &format!("{roles}{role}"), Some((TOKEN, token))).await?)
}

/// Returns the region that the instance is in.
pub(super) async fn region_of_instance(around: &Surroundings) -> Result<String> {
    let uri = format!("{}/latest/meta-data/placement/region", around.link_local);
    let token = session(around).await?;
    text(&around.fetch(Method::GET, &uri, Some((TOKEN, token))).await?)
}

/// Begins a session with the instance's metadata service, which answers to nothing else (version 2).
async fn session(around: &Surroundings) -> Result<HeaderValue> {
    let uri = format!("{}/latest/api/token", around.link_local);
    let lasts = (TOKEN_TTL, HeaderValue::from_static("60"));
    let (status, _, body) = around.ask(Method::PUT, &uri, Some(lasts)).await?;
    if status != StatusCode::OK {
        return Err(Error::new(ErrorKind::NotFound, "find the keys of an AWS role")
            .with("status", status.as_u16())
            .hint("assign a role to the task, function or instance"));
    }
    value(&Secret::new(text(&body)?))
}

fn value(token: &Secret) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(token.expose()).map_err(|_| {
        Error::new(ErrorKind::Invalid, "ask for the keys of an AWS role")
            .with("reason", "the token holds characters that no header has")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a name or a token, which become part of the next request.
fn text(body: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'<');
    if text.is_empty() || text.len() > 1_024 || !text.bytes().all(plain) {
        return Err(Error::new(ErrorKind::Invalid, "read the metadata service's answer")
            .with("reason", "it is not the one word that was asked for"));
    }
    Ok(text.to_owned())
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    // The cause is left out: it may quote a key.
    serde_json::from_slice(body).map_err(|_| {
        Error::new(ErrorKind::Invalid, "read the keys of an AWS role")
            .with("reason", "the answer is not of the form that it has")
    })
}

/// Returns true for what is on this machine, or reached over TLS.
fn is_near(uri: &str) -> bool {
    let Ok(uri) = uri.parse::<Uri>() else { return false };
    let near = ["127.0.0.1", "localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => uri.host().is_some_and(|host| near.contains(&host)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_asked_for_off_the_machine_in_clear() {
        for (uri, near) in [
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://localhost:1234/x", true),
            ("https://credentials.example.com/x", true),
            ("http://credentials.example.com/x", false),
            ("http://127.0.0.1.example.com/x", false),
            ("ftp://localhost/x", false),
            ("", false),
        ] {
            assert_eq!(is_near(uri), near, "{uri}");
        }
    }

    #[test]
    fn pages_are_not_taken_for_names() {
        for body in ["", "<html>", "role?x", "a b", "ä", "a\nb"] {
            assert!(text(body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(text(b" my-role\n").unwrap(), "my-role");
    }
}
