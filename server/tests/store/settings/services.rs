//! Services, who inherits from whom, and whose workloads they believe.

use std::{sync::Arc, time::UNIX_EPOCH};

use bytes::Bytes;
use leverframe::ErrorKind;
use leverframe_server::{
    model::PageRequest,
    settings::model::{Kind, Quarantine, Service, ServiceId, Trust},
    store::Store,
};

use super::fixtures::{id, service, trusting_services, with_service};
use crate::{
    conformance::on_every_engine,
    place::{Place, at, namespace, tenant, with_namespace},
};

on_every_engine!(
    a_service_comes_back_as_it_was,
    what_a_service_is_never_changes,
    a_service_that_was_changed_meanwhile_is_not_changed,
    a_service_belongs_to_a_namespace,
    a_slug_is_of_one_service,
    only_an_umbrella_of_the_same_tenant_is_inherited_from,
    services_are_found_by_whom_they_believe,
    those_who_believe_an_issuer_are_listed_part_by_part,
    services_are_listed_part_by_part,
    services_that_cannot_be_kept_are_refused,
    of_twenty_who_create_the_same_service_exactly_one_does,
    of_twenty_who_want_the_same_slug_exactly_one_gets_it,
    of_twenty_who_change_a_service_exactly_one_does,
    data_keys_are_replaced_all_or_none,
);

/// With something in every field.
fn whole(id: ServiceId) -> Service {
    let mut whole = service(id, Kind::Backend);
    whole.slug = "Payments \u{20ac}".to_owned();
    whole.ab_enabled = false;
    whole.billing_overdue = true;
    whole.quarantine = Some(Quarantine::new("bulk_delete", at(9)));
    let mut trust = Trust::new("t1", "https://issuer.example", "aud", "repo:*");
    trust.claims.insert("environment\0".to_owned(), "“prod”".to_owned());
    whole.trusts = vec![trust, Trust::new("t2", "aws_iam", "1234", "arn:*")];
    whole.created_by = "tok_1".to_owned();
    whole.updated_by = "tok_2".to_owned();
    whole.updated_at = at(3);
    whole
}

async fn a_service_comes_back_as_it_was(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let umbrella = ServiceId::new("acme", "payments", "shared");
    store.put_settings_service(&service(umbrella.clone(), Kind::Umbrella)).await.unwrap().unwrap();
    let mut expected = whole(id());
    expected.inherits = Some(umbrella);

    let kept = store.put_settings_service(&expected).await.unwrap().unwrap();

    expected.revision = 1;
    assert_eq!(kept, expected);
    assert_eq!(store.settings_service(&id()).await.unwrap(), Some(expected.clone()));
    assert_eq!(store.settings_held(&id()).await.unwrap().unwrap().service, expected);
    for none in [ServiceId::new("acme", "payments", "x"), ServiceId::new("\0", "", "\0")] {
        assert_eq!(store.settings_service(&none).await.unwrap(), None);
        assert!(store.settings_held(&none).await.unwrap().is_none());
    }
    // Times that no column holds are kept as near as can be.
    let mut early = service(ServiceId::new("acme", "payments", "early"), Kind::Frontend);
    early.quarantine = Some(Quarantine::new("x", UNIX_EPOCH - std::time::Duration::from_nanos(1_500)));
    let early = store.put_settings_service(&early).await.unwrap().unwrap();
    assert_eq!(store.settings_service(&early.id).await.unwrap(), Some(early));
}

async fn what_a_service_is_never_changes(place: Place) {
    let store = place.open().await;
    let first = with_service(&*store, Kind::Backend).await;
    let mut other = whole(id());
    other.kind = Kind::Umbrella;
    other.revision = 1;
    other.data_key = Bytes::from_static(b"another");
    other.created_at = at(8);
    other.created_by = "somebody".to_owned();

    let changed = store.put_settings_service(&other).await.unwrap().unwrap();

    assert_eq!((changed.kind, &changed.data_key), (Kind::Backend, &first.data_key));
    assert_eq!((changed.created_at, &changed.created_by), (first.created_at, &first.created_by));
    assert_eq!((changed.revision, &changed.slug, changed.updated_at), (2, &other.slug, other.updated_at));
    assert_eq!(changed.trusts, other.trusts);
    assert_eq!(store.settings_service(&id()).await.unwrap(), Some(changed));
}

async fn a_service_that_was_changed_meanwhile_is_not_changed(place: Place) {
    let store = place.open().await;
    let first = with_service(&*store, Kind::Backend).await;
    let second = store.put_settings_service(&first).await.unwrap().unwrap();

    for revision in [0, 1, 3, u64::MAX] {
        let mut late = second.clone();
        (late.revision, late.slug) = (revision, "late".to_owned());
        assert_eq!(store.put_settings_service(&late).await.unwrap(), None, "{revision}");
    }
    // What does not exist has no later revision, and asking for one makes nothing.
    let mut nobody = service(ServiceId::new("acme", "payments", "nobody"), Kind::Backend);
    nobody.revision = 7;
    assert_eq!(store.put_settings_service(&nobody).await.unwrap(), None);

    assert_eq!(second.revision, 2);
    assert_eq!(store.settings_service(&id()).await.unwrap(), Some(second));
    assert_eq!(store.settings_service(&nobody.id).await.unwrap(), None);
}

async fn a_service_belongs_to_a_namespace(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;

    for (tenant, namespace) in [("acme", "nothing"), ("nobody", "payments")] {
        let homeless = service(ServiceId::new(tenant, namespace, "production"), Kind::Backend);
        let refused = store.put_settings_service(&homeless).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
    }

    let page = PageRequest::default();
    assert_eq!(store.settings_services(None, None, &page).await.unwrap().items, []);
}

async fn a_slug_is_of_one_service(place: Place) {
    let store = place.open().await;
    let first = with_service(&*store, Kind::Backend).await;
    let mut second = service(ServiceId::new("acme", "payments", "staging"), Kind::Backend);
    second.slug.clone_from(&first.slug);

    let refused = store.put_settings_service(&second).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(store.settings_service(&second.id).await.unwrap(), None);
    second.slug = "other".to_owned();
    let mut second = store.put_settings_service(&second).await.unwrap().unwrap();
    second.slug.clone_from(&first.slug);
    let refused = store.put_settings_service(&second).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(store.settings_service(&second.id).await.unwrap().unwrap().slug, "other");

    // Once it is free, it may be had.
    let mut first = first;
    first.slug = "third".to_owned();
    store.put_settings_service(&first).await.unwrap().unwrap();
    assert_eq!(store.put_settings_service(&second).await.unwrap().unwrap().slug, second.slug);
}

async fn only_an_umbrella_of_the_same_tenant_is_inherited_from(place: Place) {
    let store = place.open().await;
    let backend = with_service(&*store, Kind::Backend).await;
    store.create_tenant(&tenant("rival")).await.unwrap();
    store.create_namespace(&namespace("rival", "payments")).await.unwrap();
    let umbrella = |tenant| service(ServiceId::new(tenant, "payments", "shared"), Kind::Umbrella);
    let ours = store.put_settings_service(&umbrella("acme")).await.unwrap().unwrap();
    let theirs = store.put_settings_service(&umbrella("rival")).await.unwrap().unwrap();
    let nothing = ServiceId::new("acme", "payments", "nothing");
    let inheriting = |of: &Service, from: &ServiceId| {
        let mut inheriting = of.clone();
        inheriting.inherits = Some(from.clone());
        inheriting
    };

    let fresh = service(ServiceId::new("acme", "payments", "fresh"), Kind::Frontend);
    let second_umbrella = service(ServiceId::new("acme", "payments", "second"), Kind::Umbrella);
    let mut disguised = inheriting(&ours, &ours.id);
    disguised.kind = Kind::Backend;
    for refused in [
        inheriting(&backend, &theirs.id),
        inheriting(&backend, &nothing),
        inheriting(&backend, &backend.id),
        inheriting(&ours, &ours.id),
        // What it is counts, not what it says.
        disguised,
        inheriting(&fresh, &theirs.id),
        inheriting(&fresh, &backend.id),
        inheriting(&fresh, &nothing),
        inheriting(&second_umbrella, &ours.id),
    ] {
        let refused = store.put_settings_service(&refused).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
    let inherits = store.put_settings_service(&inheriting(&backend, &ours.id)).await.unwrap().unwrap();
    let created = store.put_settings_service(&inheriting(&fresh, &ours.id)).await.unwrap().unwrap();

    assert_eq!([inherits.inherits, created.inherits], [Some(ours.id.clone()), Some(ours.id)]);
}

async fn those_who_believe_an_issuer_are_listed_part_by_part(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    for number in 0..7 {
        let mut believing = service(ServiceId::new("acme", "payments", format!("e{number}")), Kind::Backend);
        let issuer = if number == 3 { "other" } else { "issuer" };
        believing.trusts = vec![Trust::new("t", issuer, "a", "s")];
        store.put_settings_service(&believing).await.unwrap().unwrap();
    }

    for size in [1, 2, 3, 6, 7] {
        let (mut page, mut parts) = (PageRequest::first(size), Vec::new());
        loop {
            let part = store.settings_services_trusting("issuer", &page).await.unwrap();
            parts.push(part.items.into_iter().map(|service| service.id.environment).collect::<Vec<_>>());
            match part.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        assert!(parts[..parts.len() - 1].iter().all(|part| part.len() == size), "{size}: {parts:?}");
        assert_eq!(parts.concat(), ["e0", "e1", "e2", "e4", "e5", "e6"], "{size}");
    }
    let of_another_list = store.settings_services(None, None, &PageRequest::first(1)).await.unwrap().next;
    let mut page = PageRequest::first(1);
    page.after = of_another_list;
    let refused = store.settings_services_trusting("issuer", &page).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

async fn services_are_found_by_whom_they_believe(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let trusting = |environment: &str, issuers: &[&str]| {
        let mut trusting = service(ServiceId::new("acme", "payments", environment), Kind::Backend);
        let rules = issuers.iter().enumerate();
        trusting.trusts =
            rules.map(|(number, issuer)| Trust::new(number.to_string(), *issuer, "a", "s")).collect();
        trusting
    };
    let named = async |issuer: &str| {
        let found = trusting_services(&*store, issuer).await;
        found.into_iter().map(|service| service.id.environment).collect::<Vec<_>>()
    };

    let b = store.put_settings_service(&trusting("b", &["x", "y", "x"])).await.unwrap().unwrap();
    store.put_settings_service(&trusting("a", &["x"])).await.unwrap().unwrap();
    store.put_settings_service(&trusting("c", &[])).await.unwrap().unwrap();
    assert_eq!((named("x").await, named("y").await), (vec!["a".into(), "b".into()], vec!["b".to_owned()]));
    assert_eq!(trusting_services(&*store, "y").await, std::slice::from_ref(&b));
    assert_eq!(store.settings_service_by_slug(&b.slug).await.unwrap().as_ref(), Some(&b));
    for nobody in ["", "B", "\0", "acme-payments-"] {
        assert_eq!(store.settings_service_by_slug(nobody).await.unwrap(), None, "{nobody:?}");
    }

    let mut b = b;
    b.trusts.retain(|trust| trust.issuer == "y");
    b.trusts.push(Trust::new("z", "z", "a", "s"));
    let stale = b.clone();
    store.put_settings_service(&b).await.unwrap().unwrap();
    assert_eq!(store.put_settings_service(&stale).await.unwrap(), None);
    assert_eq!(named("x").await, ["a"]);
    assert_eq!((named("y").await, named("z").await), (vec!["b".to_owned()], vec!["b".to_owned()]));
    for nobody in ["", "X", "\0", "x "] {
        assert_eq!(named(nobody).await, [""; 0]);
    }
}

async fn services_are_listed_part_by_part(place: Place) {
    let store = place.open().await;
    let mut all = Vec::new();
    for owner in ["a", "a-b", "b"] {
        store.create_tenant(&tenant(owner)).await.unwrap();
        for slug in ["m", "m-n", "n"] {
            store.create_namespace(&namespace(owner, slug)).await.unwrap();
            for environment in ["p", "p_q", "s"] {
                let mut service = service(ServiceId::new(owner, slug, environment), Kind::Backend);
                service.slug = format!("{}", all.len());
                store.put_settings_service(&service).await.unwrap().unwrap();
                all.push(service.id);
            }
        }
    }
    let listed = async |tenant: Option<&str>, namespace: Option<&str>| {
        let mut page = PageRequest::first(2);
        let mut listed = Vec::new();
        loop {
            let part = store.settings_services(tenant, namespace, &page).await.unwrap();
            assert!(part.items.len() <= 2);
            listed.extend(part.items.into_iter().map(|service| service.id));
            let Some(next) = part.next else { return listed };
            page = PageRequest::after(2, next);
        }
    };

    assert_eq!(listed(None, None).await, all);
    assert_eq!(listed(Some("a-b"), None).await, all[9..18]);
    assert_eq!(listed(Some("a-b"), Some("m-n")).await, all[12..15]);
    for (tenant, namespace) in [(Some("c"), None), (Some("a"), Some("x")), (None, Some("m"))] {
        assert_eq!(listed(tenant, namespace).await, []);
    }
    let elsewhere = store.tenants(&PageRequest::first(1)).await.unwrap().next.unwrap();
    let wrong = store.settings_services(None, None, &PageRequest::after(2, elsewhere)).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Invalid);
}

async fn services_that_cannot_be_kept_are_refused(place: Place) {
    let store = place.open().await;
    let kept = with_service(&*store, Kind::Backend).await;
    let with = |change: fn(&mut Service)| {
        let mut service = service(ServiceId::new("acme", "payments", "bad"), Kind::Backend);
        change(&mut service);
        service
    };

    let large = |service: &mut Service| {
        service.trusts = (0..1_000).map(|_| Trust::new("t", "i", "a", "s".repeat(300))).collect();
    };
    let mut grown = kept.clone();
    large(&mut grown);
    for refused in [
        grown,
        with(large),
        with(|service| service.quarantine = Some(Quarantine::new("r".repeat(300_000), at(1)))),
        with(|service| service.updated_by = "x".repeat(300_000)),
        with(|service| service.data_key = vec![0; 300_000].into()),
        with(|service| service.id.environment = "x".repeat(256)),
        with(|service| service.id.environment = String::new()),
        with(|service| service.id.environment = "a\0".to_owned()),
        with(|service| service.slug = "x".repeat(256)),
        with(|service| service.slug = String::new()),
        with(|service| service.slug = "a\0".to_owned()),
        with(|service| service.trusts = vec![Trust::new("t", "i".repeat(1_025), "a", "s")]),
        with(|service| service.trusts = vec![Trust::new("t", "\0", "a", "s")]),
    ] {
        let refused = store.put_settings_service(&refused).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }

    let listed = store.settings_services(None, None, &PageRequest::default()).await.unwrap();
    assert_eq!(listed.items, [kept]);
    // The longest that there may be, of letters that no index can make shorter.
    let mut state = 1_u32;
    let mut any = |length| {
        let letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b' ' + (state >> 24) as u8 % 90)
        };
        std::iter::repeat_with(letter).take(length).collect::<String>()
    };
    let mut longest = service(ServiceId::new("acme", "payments", any(255)), Kind::Backend);
    (longest.slug, longest.trusts) = (any(255), vec![Trust::new("t", any(1_024), "a", "s")]);
    let kept = store.put_settings_service(&longest).await.unwrap().unwrap();
    assert_eq!(trusting_services(&*store, &longest.trusts[0].issuer).await, [kept]);
}

/// Has twenty calls made at once by two stores; returns what they came to.
async fn twenty<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    place: &Place,
    call: impl Fn(Arc<dyn Store>, usize) -> F,
) -> Vec<T> {
    let stores = [place.open().await, place.open().await];
    let calls: Vec<_> =
        (0..20).map(|number| tokio::spawn(call(Arc::clone(&stores[number % 2]), number))).collect();
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    results
}

async fn of_twenty_who_create_the_same_service_exactly_one_does(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;

    let created = twenty(&place, |store, number| async move {
        let mut service = whole(id());
        service.slug = format!("slug-{number}");
        service.trusts = vec![Trust::new("t", format!("issuer-{number}"), "a", "s")];
        store.put_settings_service(&service).await.unwrap()
    })
    .await;

    let winners: Vec<_> = created.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.settings_service(&id()).await.unwrap().as_ref(), winners.first());
    for number in 0..20 {
        let found = trusting_services(&*store, &format!("issuer-{number}")).await;
        assert_eq!(found.len(), usize::from(winners[0].slug == format!("slug-{number}")));
    }
}

async fn of_twenty_who_want_the_same_slug_exactly_one_gets_it(place: Place) {
    with_namespace(&*place.open().await).await;

    let created = twenty(&place, |store, number| async move {
        let mut service = whole(ServiceId::new("acme", "payments", format!("e{number}")));
        service.slug = "wanted".to_owned();
        store.put_settings_service(&service).await
    })
    .await;

    let (kept, refused): (Vec<_>, Vec<_>) = created.into_iter().partition(Result::is_ok);
    assert_eq!(kept.len(), 1);
    assert!(refused.into_iter().all(|refused| refused.unwrap_err().kind() == ErrorKind::Conflict));
}

async fn of_twenty_who_change_a_service_exactly_one_does(place: Place) {
    let store = place.open().await;
    let first = with_service(&*store, Kind::Backend).await;

    let changed = twenty(&place, |store, number| {
        let mut service = first.clone();
        service.updated_by = format!("tok_{number}");
        async move { store.put_settings_service(&service).await.unwrap() }
    })
    .await;

    let winners: Vec<_> = changed.into_iter().flatten().collect();
    assert_eq!((winners.len(), winners[0].revision), (1, 2));
    assert_eq!(store.settings_service(&id()).await.unwrap().as_ref(), winners.first());
}

async fn data_keys_are_replaced_all_or_none(place: Place) {
    let store = place.open().await;
    let first = with_service(&*store, Kind::Backend).await;
    let mut second = service(ServiceId::new("acme", "payments", "a"), Kind::Umbrella);
    second.data_key = Bytes::from_static(b"two");
    let second = store.put_settings_service(&second).await.unwrap().unwrap();
    let key = |text: &'static str| Bytes::from_static(text.as_bytes());
    let before = vec![(second.id.clone(), key("two")), (first.id.clone(), first.data_key.clone())];
    assert_eq!(store.settings_data_keys().await.unwrap(), before);

    let ours = (first.id.clone(), first.data_key.clone(), key("1"));
    for wrong in [
        (second.id.clone(), key("TWO"), key("2")),
        (second.id.clone(), key("2"), key("2")),
        (ServiceId::new("acme", "payments", "nobody"), key("two"), key("2")),
    ] {
        assert!(!store.replace_settings_data_keys(&[ours.clone(), wrong]).await.unwrap());
        assert_eq!(store.settings_data_keys().await.unwrap(), before);
    }
    let both = [ours, (second.id.clone(), key("two"), key("2"))];
    assert!(store.replace_settings_data_keys(&both).await.unwrap());
    assert!(!store.replace_settings_data_keys(&both).await.unwrap());
    assert!(store.replace_settings_data_keys(&[]).await.unwrap());

    let after = [(second.id, key("2")), (first.id.clone(), key("1"))];
    assert_eq!(store.settings_data_keys().await.unwrap(), after);
    // It is no change of the service, and none that was read before undoes it.
    let next = store.put_settings_service(&first).await.unwrap().unwrap();
    assert_eq!((next.revision, next.data_key), (2, key("1")));
}
