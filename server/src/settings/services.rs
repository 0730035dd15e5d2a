//! How services are set up, by the route and by an operator on the machine itself.

use std::fmt::Write;

use leverframe::{ErrorKind, Result};
use sha2::{Digest, Sha256};

use super::{
    SettingsStore,
    model::{Service, ServiceId},
};
use crate::{checked::is_label, model::PageRequest};

/// Gives a service the slug that is asked for, or one of its name, or, where that makes no part of a host name, what is
/// left of it and a digest.
pub(crate) fn name(service: &mut Service, slug: Option<&str>) {
    service.slug = slug.map_or_else(|| slug_of(&service.id), str::to_owned);
}

/// Keeps a new service, which was named and checked; `None` if it was created in the meantime. Where its slug is
/// another's and was not asked for, it gets one with a digest.
///
/// # Errors
/// As of [`SettingsStore::put_settings_service`].
pub(crate) async fn create(
    store: &dyn SettingsStore,
    mut service: Service,
    slug: Option<&str>,
) -> Result<Option<Service>> {
    match store.put_settings_service(&service).await {
        Err(error) if slug.is_none() && error.kind() == ErrorKind::Conflict => {
            service.slug = digest_slug(&service.id);
            store.put_settings_service(&service).await
        }
        created => created,
    }
}

/// Returns true if the service has a key of that id, live or not.
///
/// # Errors
/// What the store fails with.
pub(crate) async fn has_key(store: &dyn SettingsStore, id: &ServiceId, key: &str) -> Result<bool> {
    let mut page = PageRequest::first(500);
    loop {
        let keys = store.settings_keys(id, &page).await?;
        if keys.items.iter().any(|held| held.id == key) {
            return Ok(true);
        }
        match keys.next {
            Some(next) => page.after = Some(next),
            None => return Ok(false),
        }
    }
}

fn slug_of(id: &ServiceId) -> String {
    let whole = readable(id);
    if is_label(&whole) { whole } else { digest_slug(id) }
}

/// Returns a slug that no other service gets: names joined by `-` may be split in more than one way.
fn digest_slug(id: &ServiceId) -> String {
    let mut slug: String = readable(id).chars().take(50).collect();
    slug.truncate(slug.trim_end_matches('-').len());
    slug.push('-');
    for byte in &Sha256::digest(id.to_string().as_bytes())[..6] {
        // Writing to a string cannot fail.
        let _ = write!(slug, "{byte:02x}");
    }
    slug
}

fn readable(id: &ServiceId) -> String {
    format!("{}-{}-{}", id.tenant, id.namespace, id.environment).replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_a_slug_that_hosts_may_have() {
        let long = "a".repeat(63);
        for [tenant, namespace, environment] in
            [["acme", "web", "prod"], ["acme", "web", "prod_eu"], [&long, &long, &long], ["a-", "b-", "c-"]]
        {
            let id = ServiceId::new(tenant, namespace, environment);
            assert!(is_label(&slug_of(&id)) && is_label(&digest_slug(&id)), "{id}");
        }
        assert_eq!(slug_of(&ServiceId::new("acme", "web", "prod")), "acme-web-prod");
    }

    #[test]
    fn names_that_join_to_the_same_get_slugs_apart() {
        let (one, other) = (ServiceId::new("a", "b-c", "d"), ServiceId::new("a-b", "c", "d"));

        assert_eq!(slug_of(&one), slug_of(&other));
        assert_ne!(digest_slug(&one), digest_slug(&other));
    }
}
