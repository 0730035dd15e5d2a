//! Services, and writes to their entries.

use bytes::Bytes;
use leverframe_server::{
    model::PageRequest,
    settings::model::{Change, EntryKind, Kind, SecretForm, Service, ServiceId, Standing, Write, Written},
    store::Store,
};

use crate::place::{at, with_namespace};

/// `acme/payments/production`.
pub(super) fn id() -> ServiceId {
    ServiceId::new("acme", "payments", "production")
}

pub(super) fn service(id: ServiceId, kind: Kind) -> Service {
    Service::new(id, kind, Bytes::from_static(b"a sealed data key"), at(1))
}

/// Makes `acme/payments/production`, of that kind.
pub(super) async fn with_service(store: &dyn Store, kind: Kind) -> Service {
    with_namespace(store).await;
    store.put_settings_service(&service(id(), kind)).await.unwrap().unwrap()
}

pub(super) fn put(content: &str) -> Change {
    Change::Put { content: content.to_owned() }
}

pub(super) fn put_secret(sealed: &str) -> Change {
    Change::PutSecret { form: SecretForm::Text, sealed: Bytes::from(sealed.to_owned()) }
}

/// Writes with whatever stands as the expectation.
pub(super) async fn write(store: &dyn Store, kind: EntryKind, key: &str, change: Change) -> Written {
    let expected = standing(store, kind, key).await;
    let mut write = Write::new(kind, key, change, expected);
    write.by = "tok_1".to_owned();
    store.write_settings(&id(), &write, at(2)).await.unwrap()
}

pub(super) async fn standing(store: &dyn Store, kind: EntryKind, key: &str) -> Standing {
    store.settings_standing(&id(), kind, key).await.unwrap()
}

/// All services that believe an issuer.
pub(super) async fn trusting_services(store: &dyn Store, issuer: &str) -> Vec<Service> {
    let (mut page, mut all) = (PageRequest::first(1), Vec::new());
    loop {
        let part = store.settings_services_trusting(issuer, &page).await.unwrap();
        all.extend(part.items);
        match part.next {
            Some(next) => page.after = Some(next),
            None => return all,
        }
    }
}
