//! Workload identity: proving who a process is by what its platform gives it, with no key of one's own.
//!
//! A [`CredentialSource`] gets a token from the platform (Kubernetes, AWS, Google Cloud, Azure); the service takes it in
//! exchange for a session, which is renewed ahead of its end. Whatever cannot be proven fails the request: there is no
//! going on with an old session or without one.

mod aws;
mod azure;
mod config;
mod detect;
mod developer;
mod exchanger;
mod file;
mod gcp;
#[cfg(test)]
mod hostile;
mod session;
mod surroundings;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use async_trait::async_trait;

pub use self::config::{TokenSource, WifConfig};
pub(crate) use self::{config::Function, detect::Proof, session::Sessions, surroundings::Surroundings};
use crate::{Error, ErrorKind, Result, Secret};

/// What tokens are made out for, where nothing else is asked for.
pub(crate) const AUDIENCE: &str = "westyx-nexus";

/// Gets tokens that prove who the process is.
///
/// Asked anew for each exchange, so it keeps nothing; on a thread of its own, so it may block. One that panics has failed.
///
/// # Examples
/// ```
/// use leverframe::{Result, Secret, settings::CredentialSource};
/// #[derive(Debug)]
/// struct Vault;
/// #[async_trait::async_trait]
/// impl CredentialSource for Vault {
///     async fn token(&self) -> Result<Secret> {
///         Ok(Secret::new("eyJhbGciOi.x.y\n"))
///     }
/// }
/// let payload = leverframe::live::block_on(Vault.exchange_payload())?;
/// assert_eq!(payload.expose(), r#"{"oidc_token":"eyJhbGciOi.x.y"}"#);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[async_trait]
pub trait CredentialSource: fmt::Debug + Send + Sync + 'static {
    /// Returns a token. Whitespace around it is cut off by the caller.
    ///
    /// # Errors
    /// Whatever keeps it from being had.
    async fn token(&self) -> Result<Secret>;

    /// Returns the JSON that is given for a session: the token, unless the proof is of another kind.
    ///
    /// # Errors
    /// As of [`token`](Self::token), and `Invalid` for a token that is empty or too long to be one.
    async fn exchange_payload(&self) -> Result<Secret> {
        let token = self.token().await?;
        let token = checked(token.expose(), "read the token")?;
        // What a token is made of needs no escapes in JSON; and what grows leaves copies behind.
        const FRAME: (&str, &str) = (r#"{"oidc_token":""#, r#""}"#);
        let mut json = String::with_capacity(FRAME.0.len() + token.expose().len() + FRAME.1.len());
        for part in [FRAME.0, token.expose(), FRAME.1] {
            json.push_str(part);
        }
        Ok(Secret::new(json))
    }

    /// Returns the word for it in log lines.
    fn provider(&self) -> &str {
        "custom"
    }
}

/// Longer than any platform's tokens.
const LONGEST_TOKEN: usize = 64 * 1024;

/// Cuts off whitespace, and refuses what cannot be a token: an error page, for one.
fn checked(text: &str, operation: &'static str) -> Result<Secret> {
    let token = text.trim();
    let reason = if token.is_empty() {
        "it is empty"
    } else if token.len() > LONGEST_TOKEN {
        "it is longer than 64 KiB"
    } else if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
        "it holds characters that no token has"
    } else {
        return Ok(Secret::new(token));
    };
    Err(Error::new(ErrorKind::Invalid, operation)
        .with("reason", reason)
        .hint("see what the platform gives in its place"))
}

/// Where the proof comes from.
///
/// # Examples
/// ```
/// use leverframe::settings::WifProvider;
/// assert_eq!("Kubernetes".parse::<WifProvider>()?, WifProvider::Kubernetes);
/// assert_eq!(WifProvider::default().to_string(), "auto");
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WifProvider {
    /// The first of these that is there: `aws`, `azure` by file, `kubernetes`, `gcp`, `azure` by metadata, `developer`.
    #[default]
    Auto,
    /// A service account's token, mounted into the pod.
    Kubernetes,
    /// The file that `AWS_WEB_IDENTITY_TOKEN_FILE` names (IRSA).
    Aws,
    /// A signed `GetCallerIdentity` request, for ECS, Lambda and EC2. Only when it is named.
    AwsIam,
    /// The identity token of Google Cloud's metadata server.
    Gcp,
    /// The file that `AZURE_FEDERATED_TOKEN_FILE` names, or the metadata service.
    Azure,
    /// The session of a developer on their own machine.
    Developer,
}

impl WifProvider {
    const ALL: [Self; 7] =
        [Self::Auto, Self::Kubernetes, Self::Aws, Self::AwsIam, Self::Gcp, Self::Azure, Self::Developer];

    /// Returns the name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kubernetes => "kubernetes",
            Self::Aws => "aws",
            Self::AwsIam => "aws_iam",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
            Self::Developer => "developer",
        }
    }
}

impl fmt::Display for WifProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WifProvider {
    type Err = Error;

    /// Reads a name in upper or lower case; nothing stands for `auto`.
    fn from_str(name: &str) -> Result<Self> {
        let name = name.trim();
        if name.is_empty() {
            return Ok(Self::Auto);
        }
        Self::ALL.into_iter().find(|provider| provider.as_str().eq_ignore_ascii_case(name)).ok_or_else(|| {
            Error::new(ErrorKind::Config, "choose the provider of workload identity")
                .with("provider", name)
                .hint("write `auto`, `kubernetes`, `aws`, `aws_iam`, `gcp`, `azure` or `developer`")
        })
    }
}

/// What a provider needs to know beyond where it runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// What tokens are to be made out for.
    pub(crate) audience: Option<String>,
    /// The region of the STS endpoint, for `aws_iam`.
    pub(crate) aws_region: Option<String>,
    /// The token that is looked at before the default one, for `kubernetes`.
    pub(crate) kubernetes_token: Option<std::path::PathBuf>,
    /// The base URL of the service.
    pub(crate) endpoint: String,
}

#[cfg(test)]
mod token_tests {
    use super::*;
    use crate::live::block_on;

    #[derive(Debug)]
    struct Given(&'static str);

    #[async_trait]
    impl CredentialSource for Given {
        async fn token(&self) -> Result<Secret> {
            Ok(Secret::new(self.0))
        }
    }

    #[test]
    fn whitespace_around_a_token_is_cut_off() {
        let payload = block_on(Given(" \teyJ.x.y\r\n").exchange_payload()).unwrap();
        assert_eq!(payload.expose(), r#"{"oidc_token":"eyJ.x.y"}"#);
    }

    #[test]
    fn what_is_no_token_is_not_sent_and_not_shown() {
        for text in ["", " \n", "<html>s3cret page</html>", "s3cret\ntwice"] {
            let error = block_on(Given(text).exchange_payload()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!format!("{error:?}").contains("s3cret"));
        }
    }

    #[test]
    fn providers_are_read_as_they_are_written() {
        for provider in WifProvider::ALL {
            assert_eq!(provider.to_string().to_uppercase().parse::<WifProvider>().unwrap(), provider);
        }
        assert_eq!("".parse::<WifProvider>().unwrap(), WifProvider::Auto);
        assert_eq!("gpc".parse::<WifProvider>().unwrap_err().kind(), ErrorKind::Config);
    }
}
