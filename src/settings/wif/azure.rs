//! Azure: an access token of the instance metadata service.

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;

use super::{CredentialSource, Surroundings};
use crate::{Error, ErrorKind, Result, Secret, encoding::percent_encoded};

const METADATA: HeaderName = HeaderName::from_static("metadata");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Asks the metadata service for a token for an application.
#[derive(Debug)]
pub(super) struct Azure {
    pub(super) around: Surroundings,
    pub(super) audience: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
}

/// Returns true where the metadata service answers.
pub(super) async fn is_here(around: &Surroundings) -> bool {
    let uri = format!("{}/metadata/instance?api-version=2018-02-01", around.link_local);
    around.ask(Method::GET, &uri, Some((METADATA, TRUE))).await.is_ok_and(|(status, ..)| status.is_success())
}

#[async_trait]
impl CredentialSource for Azure {
    async fn token(&self) -> Result<Secret> {
        // There is no audience that every directory knows.
        let audience = self.audience.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Config, "ask the metadata service")
                .with("setting", "audience")
                .hint("set it to the application's id, `api://<client id>`")
        })?;
        let uri = format!(
            "{}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={}",
            self.around.link_local,
            percent_encoded(audience)
        );
        let body = self.around.fetch(Method::GET, &uri, Some((METADATA, TRUE))).await?;
        // The cause is left out: it may quote the token.
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| {
            Error::new(ErrorKind::Invalid, "read the token")
                .with("reason", "the answer holds no `access_token`")
        })?;
        Ok(answer.access_token)
    }

    fn provider(&self) -> &str {
        "azure"
    }
}
