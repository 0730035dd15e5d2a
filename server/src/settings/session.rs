//! Sessions of workloads: handed out for a proof, and nothing is kept of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use leverframe::Secret;
use sha2::{Digest, Sha256};

use super::{
    model::{Kind, Service, ServiceId, Trust},
    signers::Signers,
};
use crate::gate::millis;

/// What sessions begin with.
pub(crate) const PREFIX: &str = "wxt_";
/// More than the longest one has.
const LONGEST: usize = 1_024;

/// What a session says of whoever holds it: that it is a service, by one of the rules that the service believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) service: ServiceId,
    /// The id of the rule.
    pub(crate) trust: String,
    /// The rule's digest, so that it ends with what the rule said.
    rule: String,
    /// What vouched: `kubernetes`, `aws`, `aws_iam` and so on.
    pub(crate) provider: String,
    expires_at_ms: u64,
    /// Tells this session from others by the same rule.
    pub(crate) id: String,
}

impl Session {
    /// Begins a session. The provider and the id are made of letters, digits and `_`.
    pub(crate) fn new(
        service: &ServiceId,
        trust: &Trust,
        provider: &str,
        expires_at: SystemTime,
        id: String,
    ) -> Self {
        Self {
            service: service.clone(),
            trust: trust.id.clone(),
            rule: digest(trust),
            provider: provider.to_owned(),
            expires_at_ms: millis(expires_at),
            id,
        }
    }

    /// Writes the session.
    pub(crate) fn sign(&self, signers: &Signers) -> Secret {
        let text = self.text();
        let seal = signers.seal(&text);
        Secret::new(format!("{PREFIX}{}.{seal}", URL_SAFE_NO_PAD.encode(&text)))
    }

    /// Reads a session; `None` unless it is one of ours and its time is not over. Whether the service still believes
    /// its rule says [`is_of`](Self::is_of).
    pub(super) fn read(token: &str, signers: &Signers, now: SystemTime) -> Option<Self> {
        let (text, seal) = token.strip_prefix(PREFIX).filter(|_| token.len() <= LONGEST)?.split_once('.')?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        // Nothing is read of what nobody signed.
        if !signers.is_sealed(&text, seal) {
            return None;
        }
        let parts: Vec<&str> = text.split('/').collect();
        let [tenant, namespace, environment, trust, rule, provider, expires_at_ms, id] = parts[..] else {
            return None;
        };
        let session = Self {
            service: ServiceId::new(tenant, namespace, environment),
            trust: trust.to_owned(),
            rule: rule.to_owned(),
            provider: provider.to_owned(),
            expires_at_ms: expires_at_ms.parse().ok()?,
            id: id.to_owned(),
        };
        (millis(now) < session.expires_at_ms).then_some(session)
    }

    /// Returns true if it is a session of this service, which still believes the rule that it was given by.
    pub(crate) fn is_of(&self, service: &Service) -> bool {
        self.service == service.id
            && service.kind == Kind::Backend
            && service.trusts.iter().any(|trust| trust.id == self.trust && digest(trust) == self.rule)
    }

    /// Returns when it ends.
    pub(crate) fn expires_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.expires_at_ms)
    }

    /// None of the parts may hold a slash: names and ids are checked before they are kept.
    fn text(&self) -> String {
        let Self { service: ServiceId { tenant, namespace, environment }, trust, rule, provider, .. } = self;
        format!(
            "{tenant}/{namespace}/{environment}/{trust}/{rule}/{provider}/{}/{}",
            self.expires_at_ms, self.id
        )
    }
}

/// Tells what a rule says from what it said before.
fn digest(trust: &Trust) -> String {
    let mut digest = Sha256::new();
    let claims = trust.claims.iter().flat_map(|(name, value)| [name, value]);
    for part in [&trust.issuer, &trust.audience, &trust.subject].into_iter().chain(claims) {
        // With its length, so that no two rules are written alike.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    URL_SAFE_NO_PAD.encode(&digest.finalize()[..12])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn signers(byte: u8) -> Signers {
        Signers::for_tests(byte)
    }

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    fn service() -> Service {
        let id = ServiceId::new("acme", "billing", "production");
        let mut service = Service::new(id, Kind::Backend, Bytes::new(), UNIX_EPOCH);
        service.trusts = vec![Trust::new("ci", "https://issuer.example", "leverframe", "repo:acme/*")];
        service
    }

    fn session() -> Session {
        let service = service();
        Session::new(&service.id, &service.trusts[0], "kubernetes", at(2_000), "x".to_owned())
    }

    #[test]
    fn a_session_says_what_was_signed_until_its_time_is_over() {
        let (signed, signers) = (session(), signers(1));
        let token = signed.sign(&signers);

        assert!(token.expose().starts_with(PREFIX) && token.expose().len() < 400);
        assert_eq!(Session::read(token.expose(), &signers, at(1_999)), Some(signed));
        assert_eq!(Session::read(token.expose(), &signers, at(2_000)), None);
        assert_eq!(Session::read(token.expose(), &self::signers(2), at(0)), None);
        assert_eq!(session().expires_at(), at(2_000));
    }

    #[test]
    fn a_session_ends_with_the_rule_that_it_was_given_by() {
        let (session, service) = (session(), service());

        assert!(session.is_of(&service));
        let with = |change: fn(&mut Service)| {
            let mut changed = service.clone();
            change(&mut changed);
            session.is_of(&changed)
        };
        assert!(with(|s| s.trusts.insert(0, Trust::new("other", "a", "b", "c"))));
        assert!(!with(|s| s.trusts.clear()));
        assert!(!with(|s| s.trusts[0].id = "other".into()));
        assert!(!with(|s| s.trusts[0].issuer = "https://other.example".into()));
        assert!(!with(|s| s.trusts[0].audience = "other".into()));
        assert!(!with(|s| s.trusts[0].subject = "repo:acme/one".into()));
        assert!(!with(|s| s.trusts[0].claims = [("a".to_owned(), "b".to_owned())].into()));
        assert!(!with(|s| s.kind = Kind::Frontend));
        assert!(!with(|s| s.id.environment = "staging".into()));
    }

    #[test]
    fn what_nobody_signed_is_no_session() {
        let signers = signers(1);
        let token = session().sign(&signers).expose().to_owned();
        let (text, seal) = token.split_once('.').unwrap();
        let longer = URL_SAFE_NO_PAD.encode(session().text().replace("2000", "9000"));
        let elsewhere = format!("wst_{}", token.strip_prefix(PREFIX).unwrap());

        for forged in [
            "",
            PREFIX,
            "wxt_.",
            text,
            &format!("{text}."),
            &format!("{PREFIX}{longer}.{seal}"),
            &elsewhere,
            &format!("{token}{}", "A".repeat(1_024)),
        ] {
            assert_eq!(Session::read(forged, &signers, at(0)), None, "{forged}");
        }
    }

    #[test]
    fn the_longest_names_make_a_session_that_is_read() {
        let long = |n: usize| "a".repeat(n);
        let id = ServiceId::new(long(63), long(63), long(63));
        let session = Session::new(
            &id,
            &Trust::new(long(64), "i", "a", "s"),
            &long(32),
            at(u64::MAX / 1_000_000),
            long(26),
        );

        assert!(Session::read(session.sign(&signers(1)).expose(), &signers(1), at(0)).is_some());
    }
}
