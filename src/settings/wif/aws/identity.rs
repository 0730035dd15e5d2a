//! The signed question who one is.

use std::fmt;

use async_trait::async_trait;
use http::Uri;
use serde_json::json;

use super::{
    super::{CredentialSource, Surroundings, Wishes},
    credentials::{self, Credentials},
    sigv4::{Signable, Signed},
};
use crate::{Error, ErrorKind, Result, Secret};

const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const FORM: &str = "application/x-www-form-urlencoded";

/// Signs a `GetCallerIdentity` request for one service, anew for each exchange.
pub(super) struct CallerIdentity {
    around: Surroundings,
    region: Option<String>,
    /// `host[:port]` of the service that the signature is good for.
    server: String,
}

impl CallerIdentity {
    pub(super) fn new(around: &Surroundings, wishes: &Wishes) -> Result<Self> {
        let uri: Option<Uri> = wishes.endpoint.parse().ok();
        let server = uri.as_ref().and_then(Uri::authority).map(|authority| authority.as_str().to_owned());
        let server = server.filter(|server| !server.contains('@')).ok_or_else(|| {
            Error::new(ErrorKind::Config, "set up workload identity")
                .with("setting", "endpoint")
                .hint("write it as `https://host` or `https://host:port`")
        })?;
        let named = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| around.variable(name));
        let region = wishes.aws_region.as_deref().or(named).map(|region| region.trim().to_owned());
        Ok(Self { around: around.clone(), region, server })
    }

    fn payload(&self, credentials: &Credentials, region: &str) -> Secret {
        let (host, length) = (format!("sts.{region}.amazonaws.com"), BODY.len().to_string());
        let signable = Signable {
            method: "POST",
            region,
            service: "sts",
            headers: vec![
                ("host", &host),
                ("content-type", FORM),
                ("content-length", &length),
                ("x-nexus-server-id", &self.server),
            ],
            body: BODY,
        };
        let Signed { date, authorization } = signable.sign(credentials, self.around.clock.wall());
        let mut headers = json!({
            "Host": host,
            "Content-Type": FORM,
            "Content-Length": length,
            "X-Nexus-Server-ID": self.server,
            "X-Amz-Date": date,
            "Authorization": authorization,
        });
        if let Some(token) = &credentials.session_token {
            headers["X-Amz-Security-Token"] = token.expose().into();
        }
        let request = json!({ "headers": headers, "body": BODY });
        Secret::new(json!({ "provider": "aws_iam", "aws_sts_request": request }).to_string())
    }
}

#[async_trait]
impl CredentialSource for CallerIdentity {
    async fn token(&self) -> Result<Secret> {
        Err(Error::new(ErrorKind::Unsupported, "give a token")
            .with("reason", "the proof is a signed request")
            .hint("use `exchange_payload`"))
    }

    async fn exchange_payload(&self) -> Result<Secret> {
        let region = match &self.region {
            Some(region) => region.clone(),
            None => credentials::region_of_instance(&self.around).await.map_err(|error| {
                error.with("setting", "aws_region").hint("set it, or the variable `AWS_REGION`")
            })?,
        };
        // It becomes a part of a host name.
        if region.is_empty()
            || !region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return Err(Error::new(ErrorKind::Config, "sign the request to AWS")
                .with("setting", "aws_region")
                .hint("write it as `eu-central-1`"));
        }
        Ok(self.payload(&credentials::find(&self.around).await?, &region))
    }

    fn provider(&self) -> &str {
        "aws_iam"
    }
}

impl fmt::Debug for CallerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerIdentity").field("server", &self.server).finish_non_exhaustive()
    }
}
