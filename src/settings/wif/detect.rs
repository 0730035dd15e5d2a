//! Which platform this is.

use std::{path::PathBuf, sync::Arc};

use super::{
    CredentialSource, Surroundings, WifProvider, Wishes, aws,
    azure::{self, Azure},
    developer::Developer,
    file::TokenFile,
    gcp::{self, Gcp},
};
use crate::{Error, ErrorKind, Result};

/// Where a session comes from.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// It is given in exchange for what a source gets.
    Exchange(Arc<dyn CredentialSource>),
    /// It is there already.
    Developer(Developer),
}

/// Finds what a provider proves identity with.
///
/// # Errors
/// `NotFound` where there is nothing of that provider, or of any; `Config` for a setting that it lacks; `Unsupported` for
/// one that was compiled out.
pub(crate) async fn find(provider: WifProvider, around: &Surroundings, wishes: &Wishes) -> Result<Proof> {
    if wishes.aws_region.is_some() && provider != WifProvider::AwsIam {
        return Err(Error::new(ErrorKind::Config, "set up workload identity")
            .with("setting", "aws_region")
            .with("provider", provider)
            .hint("it is for `aws_iam`; leave it out, or name that provider"));
    }
    match provider {
        WifProvider::Auto => any(around, wishes).await,
        WifProvider::Kubernetes => kubernetes(around, wishes)
            .ok_or_else(|| nothing(provider, "run in a pod, or name the file of a projected token")),
        WifProvider::Aws => named_file(around, AWS).ok_or_else(|| {
            nothing(provider, "annotate the service account with a role, which sets the variable")
        }),
        WifProvider::AwsIam => aws::source(around, wishes).map(Proof::Exchange),
        WifProvider::Gcp => Ok(by_gcp(around, wishes)),
        WifProvider::Azure => Ok(named_file(around, AZURE).unwrap_or_else(|| by_azure(around, wishes))),
        WifProvider::Developer => Ok(Proof::Developer(Developer::new(around, wishes))),
    }
}

/// The first that is there. What proves the workload's own identity comes before what every pod and every machine has.
async fn any(around: &Surroundings, wishes: &Wishes) -> Result<Proof> {
    if let Some(found) = named_file(around, AWS).or_else(|| named_file(around, AZURE)) {
        return Ok(found);
    }
    if let Some(found) = kubernetes(around, wishes) {
        return Ok(found);
    }
    if gcp::is_here(around).await {
        return Ok(by_gcp(around, wishes));
    }
    if azure::is_here(around).await {
        return Ok(by_azure(around, wishes));
    }
    let developer = Developer::new(around, wishes);
    if developer.is_here() {
        return Ok(Proof::Developer(developer));
    }
    Err(nothing(WifProvider::Auto, "name the provider, or run where the platform gives an identity"))
}

/// The variable that names a provider's token file, and the provider.
const AWS: (&str, &str) = ("AWS_WEB_IDENTITY_TOKEN_FILE", "aws");
const AZURE: (&str, &str) = ("AZURE_FEDERATED_TOKEN_FILE", "azure");

fn named_file(around: &Surroundings, (variable, provider): (&str, &'static str)) -> Option<Proof> {
    let path = PathBuf::from(around.variable(variable)?);
    path.is_file().then(|| Proof::Exchange(Arc::new(TokenFile { path, provider })))
}

fn kubernetes(around: &Surroundings, wishes: &Wishes) -> Option<Proof> {
    // One that was made out for this service is better than the one that the cluster's own API takes.
    let paths = wishes.kubernetes_token.iter().chain([&around.kubernetes_token]);
    let path = paths.into_iter().find(|path| path.is_file())?.clone();
    Some(Proof::Exchange(Arc::new(TokenFile { path, provider: "kubernetes" })))
}

fn by_gcp(around: &Surroundings, wishes: &Wishes) -> Proof {
    Proof::Exchange(Arc::new(Gcp { around: around.clone(), audience: wishes.audience.clone() }))
}

fn by_azure(around: &Surroundings, wishes: &Wishes) -> Proof {
    Proof::Exchange(Arc::new(Azure { around: around.clone(), audience: wishes.audience.clone() }))
}

fn nothing(provider: WifProvider, hint: &'static str) -> Error {
    Error::new(ErrorKind::NotFound, "find a workload identity").with("provider", provider).hint(hint)
}
