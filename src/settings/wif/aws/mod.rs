//! AWS without a token: a signed request that only its signer could have made, for ECS, Lambda and EC2.
//!
//! The request asks STS who its signer is. It is not sent there but to the service, which sends it on and believes the
//! answer. The service's own name is signed with it, so that no other service can use it.

#[cfg(feature = "aws-iam")]
mod credentials;
#[cfg(feature = "aws-iam")]
mod identity;
#[cfg(feature = "aws-iam")]
mod sigv4;

use std::sync::Arc;

use super::{CredentialSource, Surroundings, Wishes};
use crate::Result;

/// Returns the source.
///
/// # Errors
/// `Unsupported` where it is compiled out.
#[cfg(feature = "aws-iam")]
pub(super) fn source(around: &Surroundings, wishes: &Wishes) -> Result<Arc<dyn CredentialSource>> {
    Ok(Arc::new(identity::CallerIdentity::new(around, wishes)?))
}

#[cfg(not(feature = "aws-iam"))]
pub(super) fn source(_around: &Surroundings, _wishes: &Wishes) -> Result<Arc<dyn CredentialSource>> {
    Err(crate::Error::new(crate::ErrorKind::Unsupported, "set up workload identity")
        .with("provider", "aws_iam")
        .hint("enable the cargo feature `aws-iam` of `leverframe`"))
}
