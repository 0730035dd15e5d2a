//! Google Cloud: an identity token of the metadata server.

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method};

use super::{AUDIENCE, CredentialSource, Surroundings};
use crate::{Error, ErrorKind, Result, Secret, encoding::percent_encoded};

const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");

/// Asks the metadata server for a token made out for an audience.
#[derive(Debug)]
pub(super) struct Gcp {
    pub(super) around: Surroundings,
    pub(super) audience: Option<String>,
}

/// Returns true where the metadata server answers as one.
pub(super) async fn is_here(around: &Surroundings) -> bool {
    let uri = format!("{}/computeMetadata/v1/", around.gcp);
    let answer = around.ask(Method::GET, &uri, Some((FLAVOR, GOOGLE))).await;
    // A captive portal answers too, but does not say that it is Google's metadata server.
    answer.is_ok_and(|(status, headers, _)| status.is_success() && headers.get(FLAVOR) == Some(&GOOGLE))
}

#[async_trait]
impl CredentialSource for Gcp {
    async fn token(&self) -> Result<Secret> {
        let audience = percent_encoded(self.audience.as_deref().unwrap_or(AUDIENCE));
        let uri = format!(
            "{}/computeMetadata/v1/instance/service-accounts/default/identity?audience={audience}",
            self.around.gcp
        );
        let body = self.around.fetch(Method::GET, &uri, Some((FLAVOR, GOOGLE))).await?;
        let text = std::str::from_utf8(&body)
            .map_err(|_| Error::new(ErrorKind::Invalid, "read the token").with("reason", "it is not text"))?;
        Ok(Secret::new(text))
    }

    fn provider(&self) -> &str {
        "gcp"
    }
}
