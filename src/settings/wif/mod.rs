//! Workload identity: a session instead of a static key.

use std::fmt;

use super::NexusError;

/// How a workload proves its identity.
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
    /// Where the token comes from: `kubernetes`, `aws`, `gcp`, `azure`, `aws_iam`, `developer`; `auto` or empty finds
    /// out.
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
pub type TokenSource = Box<dyn Fn() -> Result<String, NexusError> + Send + Sync>;

impl fmt::Debug for WifConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WifConfig")
            .field("enabled", &self.enabled)
            .field("provider", &self.provider)
            .field("token_source", &self.token_source.as_ref().map(|_| "…"))
            .finish()
    }
}
