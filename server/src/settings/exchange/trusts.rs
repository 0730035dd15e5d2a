//! Which service somebody is, by what they have proven.

use leverframe::Result;

use super::{Proof, Refusal};
use crate::{
    model::PageRequest,
    settings::{
        SettingsStore,
        host::{Host, Names},
        model::{Kind, Service, Trust},
    },
};

/// Services that are looked at together: each may have 256 KiB.
const PAGE: usize = 64;

/// Finds the one service that believes the proof: of the host that was asked, where its name says which; else the only
/// one that does, whatever else trusts the issuer.
///
/// # Errors
/// What the store fails with; and why there is none, if there is none: `Rejected` if no service believes the proof,
/// `Ambiguous` if several do.
pub(crate) async fn choose(
    store: &dyn SettingsStore,
    proof: &Proof,
    host: &Host,
) -> Result<std::result::Result<(Service, Trust), Refusal>> {
    let mut choice = Choice::new(proof);
    match host.names() {
        Names::None => {}
        Names::Slug(slug) => choice.weigh(store.settings_service_by_slug(slug).await?),
        Names::Any => {
            let mut page = PageRequest::first(PAGE);
            loop {
                let services = store.settings_services_trusting(&proof.issuer, &page).await?;
                choice.weigh(services.items);
                match services.next.filter(|_| !choice.is_ambiguous) {
                    Some(next) => page.after = Some(next),
                    None => break,
                }
            }
        }
    }
    Ok(choice.made())
}

/// What is known after some of the services.
struct Choice<'p> {
    proof: &'p Proof,
    found: Option<(Service, Trust)>,
    is_ambiguous: bool,
}

impl<'p> Choice<'p> {
    fn new(proof: &'p Proof) -> Self {
        Self { proof, found: None, is_ambiguous: false }
    }

    fn weigh(&mut self, services: impl IntoIterator<Item = Service>) {
        for service in services.into_iter().filter(|service| service.kind == Kind::Backend) {
            let Some(trust) = service.trusts.iter().find(|trust| believes(trust, self.proof)) else {
                continue;
            };
            self.is_ambiguous = self.found.is_some();
            if self.is_ambiguous {
                return;
            }
            let trust = trust.clone();
            self.found = Some((service, trust));
        }
    }

    fn made(self) -> std::result::Result<(Service, Trust), Refusal> {
        let issuer = &self.proof.issuer;
        match self.found {
            _ if self.is_ambiguous => Err(Refusal::ambiguous(issuer)),
            Some(found) => Ok(found),
            None => Err(Refusal::rejected(issuer, "no service of this host trusts this identity")),
        }
    }
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
    use crate::settings::{exchange::refusal::Refused, model::ServiceId};

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

    fn chosen(services: &[Service]) -> std::result::Result<String, &'static str> {
        let proof = proof();
        let mut choice = Choice::new(&proof);
        // In parts of one, which decide as the whole does.
        services.iter().for_each(|service| choice.weigh([service.clone()]));
        match choice.made() {
            Ok((service, trust)) => Ok(format!("{} by {}", service.id, trust.id)),
            Err(Refusal { kind: Refused::Ambiguous, .. }) => Err("several"),
            Err(_) => Err("none"),
        }
    }

    const ALL: &str = "system:serviceaccount:*";

    #[test]
    fn the_one_service_that_believes_it_is_it() {
        let api = service("api", Kind::Backend, "system:serviceaccount:billing:*");

        assert_eq!(chosen(std::slice::from_ref(&api)), Ok("acme/api/prod by k".into()));
        let others = [api.clone(), service("web", Kind::Backend, "system:serviceaccount:web:*")];
        assert_eq!(chosen(&others), Ok("acme/api/prod by k".into()));
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
            assert_eq!(chosen(&[changed]), Err("none"));
        }
        let mut with_claim = api;
        with_claim.trusts[0].claims = [("env".to_owned(), "prod".to_owned())].into();
        assert!(chosen(&[with_claim]).is_ok());
    }

    #[test]
    fn several_that_believe_it_are_too_many_wherever_they_stand() {
        let [one, other, none] = [("api", ALL), ("web", ALL), ("x", "nobody")]
            .map(|(namespace, subject)| service(namespace, Kind::Backend, subject));

        for services in [[&one, &other, &none], [&none, &one, &other], [&one, &none, &other]] {
            assert_eq!(chosen(&services.map(Clone::clone)), Err("several"));
        }
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
