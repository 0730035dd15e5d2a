//! Sessions for workloads: a token that somebody else has issued, or a signed request to AWS, is taken for a session.
//!
//! Whose tokens are believed is the operator's choice, in a file. Tenants choose which of these issuers speak for which of
//! their services ([`Trust`](super::model::Trust)); nothing that a tenant or a token says is ever asked for over the
//! network.

mod algorithm;
mod aws;
mod file;
mod key;
mod keys;
mod proof;
mod refusal;
mod signed;
mod sts;
mod token;
mod trusts;

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use leverframe::{Result, Secret, traits::Clock};
use serde::Deserialize;

use self::{aws::Aws, keys::Keys, token::Token};
pub(crate) use self::{proof::Proof, refusal::Refusal, signed::SignedRequest, trusts::choose};
use super::host::Host;

/// The issuers whose tokens are believed; clones share them.
#[derive(Clone)]
pub struct Federation {
    inner: Arc<Inner>,
}

struct Inner {
    issuers: Vec<Issuer>,
    aws: Option<Aws>,
    lasts: Duration,
}

struct Issuer {
    name: String,
    provider: String,
    keys: Arc<Keys>,
}

/// What a session is asked for with.
#[derive(Deserialize)]
pub(crate) struct Ask {
    #[serde(default)]
    oidc_token: Option<Secret>,
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    aws_sts_request: Option<SignedRequest>,
}

/// Bytes of a token.
const LONGEST_TOKEN: usize = 16 * 1_024;

impl Federation {
    /// Reads whose tokens are believed from a TOML file; key files are named relative to its folder. Keys that are
    /// fetched are fetched when the first token comes.
    ///
    /// # Errors
    /// `Config` for a file that cannot be understood, and for URLs that are neither encrypted nor of this machine; what
    /// reading fails with.
    pub fn from_file(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        file::read(path, &clock).map(|inner| Self { inner: Arc::new(inner) })
    }

    /// Returns how long sessions last.
    pub(crate) fn lasts(&self) -> Duration {
        self.inner.lasts
    }

    /// Finds out who asks. `host` is the one that was asked.
    ///
    /// # Errors
    /// Why they are not believed, or could not be for now.
    pub(crate) async fn prove(&self, ask: Ask, host: &Host, now: SystemTime) -> Result<Proof, Refusal> {
        match ask {
            Ask { oidc_token: Some(token), aws_sts_request: None, provider }
                if provider.as_deref() != Some(aws::PROVIDER) =>
            {
                self.of_token(token.expose(), now).await
            }
            Ask { oidc_token: None, aws_sts_request: Some(request), provider: Some(provider) }
                if provider == aws::PROVIDER =>
            {
                let Some(aws) = &self.inner.aws else {
                    return Err(Refusal::rejected(aws::PROVIDER, "`aws_iam` is not set up"));
                };
                aws.prove(&request, host, now).await
            }
            _ => Err(Refusal::malformed(
                "the body must have either `oidc_token`, or `provider` as `aws_iam` and `aws_sts_request`",
            )),
        }
    }

    async fn of_token(&self, token: &str, now: SystemTime) -> Result<Proof, Refusal> {
        let token = token.trim();
        if token.is_empty() || token.len() > LONGEST_TOKEN {
            return Err(Refusal::malformed("`oidc_token` must be a token of at most 16 KiB"));
        }
        let token = Token::read(token).map_err(|reason| Refusal::rejected(UNKNOWN, reason))?;
        // Whoever is not configured is not asked for keys.
        let issuer = self.inner.issuers.iter().find(|issuer| issuer.name == token.issuer());
        let issuer = issuer.ok_or_else(|| Refusal::rejected(UNKNOWN, "the issuer is not configured"))?;
        let rejected = |reason| Refusal::rejected(&issuer.name, reason);
        let key = issuer.keys.find(token.key_id(), token.algorithm()).await.map_err(|error| {
            tracing::warn!(error = %error.chain(), issuer = issuer.name, "an issuer's keys are not at hand");
            Refusal::unavailable(&issuer.name)
        })?;
        let key = key.ok_or_else(|| rejected("the issuer has no such key, or not for this algorithm"))?;
        let claims = token.verified(&key, now).map_err(rejected)?;
        Proof::of_claims(&issuer.name, &issuer.provider, claims).map_err(rejected)
    }
}

/// Stands in the log for an issuer that is none of the configured ones: what a stranger calls it is not written down.
const UNKNOWN: &str = "unknown";

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers: Vec<&str> = self.inner.issuers.iter().map(|issuer| &*issuer.name).collect();
        f.debug_struct("Federation").field("issuers", &issuers).finish_non_exhaustive()
    }
}
