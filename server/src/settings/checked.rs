//! What may be kept of a service: the checks that the routes and the command line share.

use std::collections::BTreeSet;

use super::model::{Kind, Quarantine, Service, ServiceId, Trust};
use crate::checked::{Bad, LONGEST_NAME, environment, is_label, required, slug, text};

/// Rules by which one service's workloads are believed.
pub(crate) const MOST_TRUSTS: usize = 50;
/// Further claims of one rule.
const MOST_CLAIMS: usize = 20;
/// Characters of an issuer, an audience, a subject or a claim.
const LONGEST_CLAIM: usize = 1_024;

/// Checks the name of a service.
pub(crate) fn service_id(id: &ServiceId) -> Result<(), Bad> {
    slug("tenant", &id.tenant)?;
    slug("namespace", &id.namespace)?;
    environment(&id.environment)
}

/// Checks a service.
pub(crate) fn service(service: &Service) -> Result<(), Bad> {
    service_id(&service.id)?;
    if !is_label(&service.slug) {
        return Err(Bad(
            "`slug` must have 1 to 63 lower-case letters, digits and `-`, and neither begin nor end with `-`"
                .into(),
        ));
    }
    if let Some(umbrella) = &service.inherits {
        service_id(umbrella)?;
        if service.kind == Kind::Umbrella {
            return Err(Bad("an umbrella service inherits from nothing: leave `inherits` out".into()));
        }
        if umbrella.tenant != service.id.tenant {
            return Err(Bad("a service inherits from an umbrella service of its own tenant".into()));
        }
    }
    service.quarantine.iter().try_for_each(quarantine)?;
    trusts(service)
}

/// Checks the name of a key, for people.
pub(crate) fn key_name(name: &str) -> Result<(), Bad> {
    text("name", name, LONGEST_NAME)
}

/// Says why a service of this kind has no keys.
pub(crate) fn keyed(kind: Kind) -> Result<(), Bad> {
    if kind == Kind::Umbrella {
        return Err(Bad(
            "an umbrella service has no keys: make a key of a service that inherits from it".into()
        ));
    }
    Ok(())
}

fn quarantine(quarantine: &Quarantine) -> Result<(), Bad> {
    if is_word(&quarantine.reason) {
        return Ok(());
    }
    Err(Bad("`quarantine.reason` must be a word of at most 64 lower-case letters, digits and `_`".into()))
}

fn trusts(service: &Service) -> Result<(), Bad> {
    let trusts = &service.trusts;
    if service.kind == Kind::Umbrella && !trusts.is_empty() {
        return Err(Bad("nobody is an umbrella service: leave `trusts` out".into()));
    }
    if trusts.len() > MOST_TRUSTS {
        return Err(Bad(format!("`trusts` may have at most {MOST_TRUSTS} entries")));
    }
    let mut ids = BTreeSet::new();
    for rule in trusts {
        trust(rule)?;
        if !ids.insert(&rule.id) {
            return Err(Bad(format!("two of `trusts` have the id `{}`", rule.id)));
        }
    }
    Ok(())
}

fn trust(trust: &Trust) -> Result<(), Bad> {
    let is_id = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if trust.id.is_empty() || trust.id.len() > 64 || !trust.id.bytes().all(is_id) {
        return Err(Bad("`trusts.id` must have 1 to 64 letters, digits, `.`, `_` and `-`".into()));
    }
    required("trusts.issuer", &trust.issuer, LONGEST_CLAIM)?;
    required("trusts.audience", &trust.audience, LONGEST_CLAIM)?;
    required("trusts.subject", &trust.subject, LONGEST_CLAIM)?;
    // Whoever the issuer knows would be the service.
    if trust.subject.chars().all(|c| c == '*') && trust.claims.is_empty() {
        return Err(Bad(
            "`trusts.subject` must name something besides `*`, unless `claims` tell who is meant".into(),
        ));
    }
    if trust.claims.len() > MOST_CLAIMS {
        return Err(Bad(format!("`trusts.claims` may have at most {MOST_CLAIMS} entries")));
    }
    trust.claims.iter().try_for_each(|(claim, value)| {
        required("trusts.claims", claim, LONGEST_NAME)?;
        required("trusts.claims", value, LONGEST_CLAIM)
    })
}

fn is_word(word: &str) -> bool {
    (1..=64).contains(&word.len())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;

    fn of(kind: Kind) -> Service {
        Service::new(ServiceId::new("acme", "web", "prod"), kind, Bytes::new(), SystemTime::UNIX_EPOCH)
    }

    fn refused(kind: Kind, change: impl FnOnce(&mut Service)) -> String {
        let mut changed = of(kind);
        change(&mut changed);
        service(&changed).unwrap_err().0
    }

    #[test]
    fn services_have_names_that_hosts_may_have() {
        assert!(service(&of(Kind::Backend)).is_ok());
        for slug in ["", "A", "a.b", "-a", "a-", "a_b", &"a".repeat(64)] {
            assert!(refused(Kind::Backend, |s| s.slug = slug.into()).contains("`slug`"), "{slug}");
        }
        assert!(refused(Kind::Backend, |s| s.id.environment = "Prod".into()).contains("`environment`"));
    }

    #[test]
    fn services_inherit_within_their_tenant_and_umbrellas_from_nothing() {
        let base = ServiceId::new("acme", "shared", "base");
        let mut inherits = of(Kind::Frontend);
        inherits.inherits = Some(base.clone());

        assert!(service(&inherits).is_ok());
        assert!(refused(Kind::Umbrella, |s| s.inherits = Some(base)).contains("umbrella"));
        let theirs = ServiceId::new("rival", "shared", "base");
        assert!(refused(Kind::Backend, |s| s.inherits = Some(theirs)).contains("own tenant"));
    }

    #[test]
    fn trust_names_whom() {
        let with = |change: fn(&mut Trust)| {
            let mut trust = Trust::new("ci", "https://issuer.example", "leverframe", "repo:acme/*");
            change(&mut trust);
            let mut service = of(Kind::Backend);
            service.trusts = vec![trust];
            super::service(&service).map_err(|bad| bad.0)
        };

        assert_eq!(with(|_| {}), Ok(()));
        for subject in ["*", "**"] {
            let mut service = of(Kind::Backend);
            service.trusts = vec![Trust::new("ci", "https://issuer.example", "leverframe", subject)];
            assert!(super::service(&service).unwrap_err().0.contains("subject"));
        }
        assert!(with(|t| t.subject.clear()).unwrap_err().contains("subject"));
        assert!(with(|t| t.audience.clear()).unwrap_err().contains("audience"));
        assert!(with(|t| t.issuer = "x".repeat(1_025)).unwrap_err().contains("issuer"));
        assert!(with(|t| t.id = "a b".into()).unwrap_err().contains("id"));
        let claims = |n: usize| (0..n).map(|at| (at.to_string(), "x".to_owned())).collect();
        let mut service = of(Kind::Backend);
        service.trusts = vec![Trust::new("a", "b", "c", "d"); 2];
        assert!(super::service(&service).unwrap_err().0.contains("two"));
        service.trusts.truncate(1);
        service.trusts[0].claims = claims(21);
        assert!(super::service(&service).unwrap_err().0.contains("claims"));
    }

    #[test]
    fn umbrellas_have_neither_keys_nor_workloads() {
        assert!(keyed(Kind::Umbrella).is_err() && keyed(Kind::Backend).is_ok());
        let trust = Trust::new("a", "b", "c", "d");
        assert!(refused(Kind::Umbrella, |s| s.trusts = vec![trust]).contains("trusts"));
        let reason = |s: &mut Service| s.quarantine = Some(Quarantine::new("Bulk delete", s.created_at));
        assert!(refused(Kind::Backend, reason).contains("reason"));
    }
}
