//! Which service somebody is, by what they have proven.

use super::{Proof, Refusal};
use crate::settings::{
    host::Host,
    model::{Kind, Service, Trust},
};

/// Finds the one service that believes the proof: of the host that was asked, where its name says which; else the only
/// one that does.
///
/// # Errors
/// `Rejected` if none does, `Ambiguous` if several do.
pub(crate) fn choose(
    services: Vec<Service>,
    proof: &Proof,
    host: &Host,
) -> Result<(Service, Trust), Refusal> {
    let mut believing = services.into_iter().filter_map(|service| {
        let may = service.kind == Kind::Backend && host.may_be(&service.slug);
        let trust = service.trusts.iter().find(|trust| may && believes(trust, proof)).cloned();
        trust.map(|trust| (service, trust))
    });
    let first = believing
        .next()
        .ok_or_else(|| Refusal::rejected(&proof.issuer, "no service of this host trusts this identity"))?;
    if believing.next().is_some() { Err(Refusal::ambiguous(&proof.issuer)) } else { Ok(first) }
}

fn believes(trust: &Trust, proof: &Proof) -> bool {
    trust.issuer == proof.issuer
        && proof.audiences.contains(&trust.audience)
        && matches(&trust.subject, &proof.subject)
        && trust.claims.iter().all(|(claim, value)| proof.says(claim, value))
}

/// Returns true if the text is of the pattern, in which `*` stands for any characters.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let (middle, end) = rest.rsplit_once('*').map_or((None, rest), |(middle, end)| (Some(middle), end));
    // Each part is looked for once, behind the one before: the first place where it fits leaves the most for the others.
    for part in middle.into_iter().flat_map(|middle| middle.split('*')) {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::settings::{exchange::Refused, model::ServiceId};

    fn proof() -> Proof {
        let claims =
            json!({ "aud": ["x", "leverframe"], "sub": "system:serviceaccount:billing:api", "env": "prod" });
        Proof::of_claims("https://issuer", "kubernetes", claims.as_object().unwrap().clone()).unwrap()
    }

    fn service(namespace: &str, kind: Kind, subject: &str) -> Service {
        let mut service =
            Service::new(ServiceId::new("acme", namespace, "prod"), kind, Bytes::new(), UNIX_EPOCH);
        service.trusts = vec![Trust::new("k", "https://issuer", "leverframe", subject)];
        service
    }

    fn chosen(services: &[Service], host: &str) -> Result<String, &'static str> {
        match choose(services.to_vec(), &proof(), &Host::new(host)) {
            Ok((service, trust)) => Ok(format!("{} by {}", service.id, trust.id)),
            Err(Refusal { kind: Refused::Ambiguous, .. }) => Err("several"),
            Err(_) => Err("none"),
        }
    }

    const ALL: &str = "system:serviceaccount:*";

    #[test]
    fn the_one_service_that_believes_it_is_it() {
        let api = service("api", Kind::Backend, "system:serviceaccount:billing:*");

        assert_eq!(chosen(std::slice::from_ref(&api), "127.0.0.1:1"), Ok("acme/api/prod by k".into()));
        let others = [api.clone(), service("web", Kind::Backend, "system:serviceaccount:web:*")];
        assert_eq!(chosen(&others, "localhost"), Ok("acme/api/prod by k".into()));
        for change in [
            (|s| s.trusts[0].issuer = "https://other".into()) as fn(&mut Service),
            |s| s.trusts[0].audience = "lever".into(),
            |s| s.trusts[0].subject = "system:serviceaccount:billing".into(),
            |s| s.trusts[0].claims = [("env".to_owned(), "test".to_owned())].into(),
            |s| s.trusts.clear(),
            |s| s.kind = Kind::Frontend,
            |s| s.kind = Kind::Umbrella,
        ] {
            let mut changed = api.clone();
            change(&mut changed);
            assert_eq!(chosen(&[changed], "127.0.0.1"), Err("none"));
        }
        let mut with_claim = api;
        with_claim.trusts[0].claims = [("env".to_owned(), "prod".to_owned())].into();
        assert!(chosen(&[with_claim], "127.0.0.1").is_ok());
    }

    #[test]
    fn of_several_the_host_says_which() {
        let both = [service("api", Kind::Backend, ALL), service("web", Kind::Backend, ALL)];

        assert_eq!(chosen(&both, "127.0.0.1"), Err("several"));
        assert_eq!(chosen(&both, "acme-web-prod.example.com:8443"), Ok("acme/web/prod by k".into()));
        assert_eq!(chosen(&both, "acme-other-prod.example.com"), Err("none"));
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("a**b", "ab", true),
            ("*a*a*", "a", false),
            ("*ab*b", "aab", false),
            ("é*", "éa", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    /// The plain way, which takes long for some patterns.
    fn plainly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => plainly(rest, text) || !text.is_empty() && plainly(pattern, &text[1..]),
            ([a, pattern @ ..], [b, text @ ..]) => a == b && plainly(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_the_plain_way_says(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            prop_assert_eq!(matches(&pattern, &text), plainly(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
