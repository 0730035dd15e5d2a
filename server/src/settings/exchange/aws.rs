//! AWS without a token: a signed request is sent on to AWS, which says whose it is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use leverframe::traits::{Request, Transport};

use super::{
    Proof, Refusal,
    signed::{BODY, LIFE, Signed, SignedRequest},
    sts, trusts,
};
use crate::settings::host::{Host, plain};

/// What trusts and clients call it.
pub(super) const PROVIDER: &str = "aws_iam";
/// How long AWS may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Signatures that are remembered.
const MOST_SEEN: usize = 100_000;

pub(super) struct Aws {
    regions: Vec<String>,
    /// Patterns of the hosts that clients know this server by.
    hosts: Vec<String>,
    /// In place of AWS's own.
    endpoint: Option<Uri>,
    transport: Arc<dyn Transport>,
    /// Signatures that AWS knew, or is being asked about, with when their life ends.
    seen: Mutex<HashMap<[u8; 32], SystemTime>>,
}

/// A signature that AWS is being asked about. Unless AWS knows it, it is forgotten, also if whoever sent it waits no longer:
/// strangers would fill the memory with what they make up.
struct Noted<'a> {
    aws: &'a Aws,
    signature: [u8; 32],
    is_known: bool,
}

impl Aws {
    pub(super) fn new(
        regions: Vec<String>,
        hosts: Vec<String>,
        endpoint: Option<Uri>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        let hosts = hosts.iter().map(|host| plain(&host.to_ascii_lowercase()).to_owned()).collect();
        Self { regions, hosts, endpoint, transport, seen: Mutex::default() }
    }

    /// Finds out who has signed a request for the host that was asked.
    pub(super) async fn prove(
        &self,
        request: &SignedRequest,
        host: &Host,
        now: SystemTime,
    ) -> Result<Proof, Refusal> {
        let rejected = |reason| Refusal::rejected(PROVIDER, reason);
        let signed = request.checked(&self.regions, now).map_err(rejected)?;
        // The host that was asked proves nothing by itself: whoever asks writes it down. It has to be one of ours.
        if plain(&signed.server) != host.plain()
            || !self.hosts.iter().any(|ours| trusts::matches(ours, host.plain()))
        {
            return Err(rejected("it is signed for another server"));
        }
        let mut noted = self.note(&signed, now)?;
        let answer = self.ask(&signed).await?;
        noted.is_known = true;
        let claims = sts::claims_in(&answer).map_err(rejected)?;
        Proof::of_claims(PROVIDER, PROVIDER, claims).map_err(rejected)
    }

    /// Takes note of a signature that is about to be sent on.
    fn note(&self, signed: &Signed<'_>, now: SystemTime) -> Result<Noted<'_>, Refusal> {
        let mut seen = self.seen();
        if seen.get(&signed.signature).is_some_and(|until| *until >= now) {
            return Err(Refusal::rejected(PROVIDER, "it was used before"));
        }
        if seen.len() >= MOST_SEEN {
            seen.retain(|_, until| *until >= now);
        }
        if seen.len() >= MOST_SEEN {
            tracing::warn!("more signed requests are in use than can be remembered");
            return Err(Refusal::unavailable(PROVIDER));
        }
        seen.insert(signed.signature, signed.at + LIFE);
        Ok(Noted { aws: self, signature: signed.signature, is_known: false })
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<[u8; 32], SystemTime>> {
        // Under the lock there is nothing that panics half-way.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, signed: &Signed<'_>) -> Result<bytes::Bytes, Refusal> {
        let unavailable = |_| Refusal::unavailable(PROVIDER);
        let uri = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            // Made of a region that is on the operator's list.
            None => format!("https://sts.{}.amazonaws.com/", signed.region)
                .parse()
                .map_err(|_| unavailable(()))?,
        };
        let mut request = Request::new(Method::POST, uri)
            .deadline(DEADLINE)
            .body_limit(sts::LARGEST)
            .attempts(1)
            .without_redirects();
        for (name, value) in &signed.headers {
            // The length is written by whoever sends the body.
            if name == header::CONTENT_LENGTH.as_str() {
                continue;
            }
            let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            let (name, mut value) =
                parsed.ok_or_else(|| Refusal::rejected(PROVIDER, "it holds a header that it must not"))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        request.body = BODY.into();
        let answer = async {
            let response = self.transport.send(request).await?;
            let status = response.status;
            response.body.read_all(sts::LARGEST).await.map(|body| (status, body))
        };
        let (status, body) = answer.await.map_err(|error| {
            tracing::warn!(error = %error.chain(), "AWS cannot be asked whose signature it is");
            unavailable(())
        })?;
        match status {
            StatusCode::OK => Ok(body),
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                Err(Refusal::rejected(PROVIDER, "AWS does not know the signature"))
            }
            status => {
                tracing::warn!(status = status.as_u16(), "AWS does not say whose signature it is");
                Err(unavailable(()))
            }
        }
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if !self.is_known {
            self.aws.seen().remove(&self.signature);
        }
    }
}
