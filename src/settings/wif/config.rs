//! How a workload says that it has an identity.

use std::fmt;

use async_trait::async_trait;

use super::CredentialSource;
use crate::{Error, ErrorKind, Result, Secret, settings::NexusError};

/// How a workload proves its identity. What a provider needs beyond that is set on
/// [`NexusClientBuilder`](crate::settings::NexusClientBuilder).
///
/// # Examples
/// ```
/// use leverframe::WifConfig;
/// let wif = WifConfig { enabled: true, provider: "kubernetes".to_string(), token_source: None };
/// assert!(format!("{wif:?}").contains("kubernetes"));
/// ```
#[derive(Default)]
#[expect(clippy::exhaustive_structs, reason = "written as a literal by callers")]
pub struct WifConfig {
    /// Whether a session is had for the workload's token; false: the API key alone speaks for the client.
    pub enabled: bool,
    /// Where the token comes from, by the name of a [`WifProvider`](super::WifProvider); `auto` or empty finds out.
    pub provider: String,
    /// Gives the token, in place of a provider.
    pub token_source: Option<TokenSource>,
}

/// A function that gives a token.
///
/// # Examples
/// ```
/// use leverframe::settings::TokenSource;
/// let source: TokenSource = Box::new(|| Ok(std::fs::read_to_string("/var/run/token")?));
/// assert!(source().is_err());
/// ```
pub type TokenSource = Box<dyn Fn() -> std::result::Result<String, NexusError> + Send + Sync>;

impl fmt::Debug for WifConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WifConfig")
            .field("enabled", &self.enabled)
            .field("provider", &self.provider)
            .field("token_source", &self.token_source.as_ref().map(|_| "…"))
            .finish()
    }
}

/// A function in the place of a provider.
pub(crate) struct Function(pub(crate) TokenSource);

#[async_trait]
impl CredentialSource for Function {
    async fn token(&self) -> Result<Secret> {
        self.0().map(Secret::new).map_err(|error| {
            Error::new(ErrorKind::Unauthenticated, "ask the token source for a token").source(error)
        })
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function(…)")
    }
}
