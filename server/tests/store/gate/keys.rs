//! Keys, settings, lists and backups.

use std::sync::Arc;

use leverframe::ErrorKind;
use leverframe_server::{
    gate::model::{GateKey, MOST_SITES, Settings, SiteId, Verdict},
    model::PageRequest,
    store::{Notice, Store},
};

use super::fixtures::{kept_pulse, pulse, site};
use crate::{
    conformance::{WITHOUT_GATE, on_every_engine},
    place::{Place, at, heard, tenant},
};

on_every_engine!(
    a_key_comes_back_as_it_was_with_the_digest_of_its_secret,
    a_key_is_revoked_once_and_only_by_its_own_org,
    keys_and_orgs_are_listed_part_by_part,
    settings_come_back_to_the_last_bit,
    of_many_changes_of_the_same_settings_exactly_one_wins,
    settings_that_cannot_be_kept_are_refused,
    settings_make_a_site_as_long_as_there_is_room,
    changes_of_keys_and_settings_are_told_and_pulses_are_not,
    a_backup_carries_the_gate_into_the_other_engine,
    a_backup_from_before_the_gate_restores,
);

fn settings() -> Settings {
    let mut settings = Settings::default();
    // None of these is a short decimal, and one is no decimal at all.
    settings.global_max_weight = Some(0.1 + 0.2);
    settings.tag_max_weights =
        [("free", 1.0 / 3.0), ("none", -1.0), ("small", f64::MIN_POSITIVE / 3.0), ("a\0b", f64::MAX)]
            .map(|(tag, weight)| (tag.to_owned(), weight))
            .into();
    settings.kill_signal = true;
    settings.status = Some("“busy”".to_owned());
    settings.lease_duration_seconds = Some(300);
    settings.pulse_interval = Some(u64::MAX);
    settings.updated_at = Some(at(5));
    settings.updated_by = Some("tok_1".to_owned());
    settings
}

async fn a_key_comes_back_as_it_was_with_the_digest_of_its_secret(place: Place) {
    let store = place.open().await;
    let mut key = GateKey::new("acme", "wpk_1", at(1));
    key.site = Some("eu".to_owned());
    key.name = "the “shop”".to_owned();
    key.created_by = "tok_1".to_owned();

    store.create_gate_key(&key, &[7; 32]).await.unwrap();
    let again = store.create_gate_key(&key, &[8; 32]).await.unwrap_err();

    assert_eq!(again.kind(), ErrorKind::Conflict);
    assert_eq!(store.gate_key("wpk_1").await.unwrap(), Some((key, [7; 32])));
    for none in ["wpk_2", "", "\0"] {
        assert_eq!(store.gate_key(none).await.unwrap(), None);
    }
    let mut bad = GateKey::new("acme", "wpk_3", at(1));
    bad.name = "a\0b".to_owned();
    assert_eq!(store.create_gate_key(&bad, &[7; 32]).await.unwrap_err().kind(), ErrorKind::Invalid);
}

async fn a_key_is_revoked_once_and_only_by_its_own_org(place: Place) {
    let store = place.open().await;
    store.create_gate_key(&GateKey::new("acme", "wpk_1", at(1)), &[7; 32]).await.unwrap();

    assert!(!store.revoke_gate_key("rival", "wpk_1", at(2)).await.unwrap());
    assert!(store.revoke_gate_key("acme", "wpk_1", at(3)).await.unwrap());
    assert!(!store.revoke_gate_key("acme", "wpk_1", at(3)).await.unwrap());
    assert!(!store.revoke_gate_key("acme", "wpk_2", at(3)).await.unwrap());
    assert_eq!(store.gate_key("wpk_1").await.unwrap().unwrap().0.revoked_at, Some(at(3)));
}

async fn keys_and_orgs_are_listed_part_by_part(place: Place) {
    let store = place.open().await;
    for org in ["b", "a-c", "a"] {
        for key in 0..3 {
            let key = GateKey::new(org, format!("wpk_{org}_{key}"), at(key));
            store.create_gate_key(&key, &[7; 32]).await.unwrap();
        }
    }
    store.put_gate_settings("set", None, &settings()).await.unwrap().unwrap();
    store.count_pulses(&[pulse("i", 1, 1)], at(1)).await.unwrap();

    let mut orgs = Vec::new();
    let mut page = PageRequest::first(2);
    loop {
        let part = store.gate_orgs(&page).await.unwrap();
        orgs.extend(part.items);
        let Some(next) = part.next else { break };
        page = PageRequest::after(2, next);
    }
    let first = store.gate_keys("a", &PageRequest::first(2)).await.unwrap();
    let cursor = first.next.unwrap();
    let second = store.gate_keys("a", &PageRequest::after(2, cursor.clone())).await.unwrap();

    assert_eq!(orgs, ["a", "a-c", "acme", "b", "set"]);
    let names: Vec<_> = first.items.iter().chain(&second.items).map(|key| key.publish_key.as_str()).collect();
    assert_eq!((names, second.next), (vec!["wpk_a_0", "wpk_a_1", "wpk_a_2"], None));
    assert_eq!(store.gate_keys("nobody", &PageRequest::default()).await.unwrap().items, []);
    let wrong = store.gate_orgs(&PageRequest::after(2, cursor)).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Invalid);
}

async fn settings_come_back_to_the_last_bit(place: Place) {
    let store = place.open().await;
    assert_eq!(store.gate_settings("acme", None).await.unwrap(), Settings::default());

    let set = store.put_gate_settings("acme", None, &settings()).await.unwrap().unwrap();
    let of_site = store.put_gate_settings("acme", Some("eu"), &Settings::default()).await.unwrap().unwrap();

    let mut expected = settings();
    expected.revision = 1;
    assert_eq!(set, expected);
    assert_eq!(store.gate_settings("acme", None).await.unwrap(), expected);
    assert_eq!((of_site.revision, store.gate_settings("acme", Some("eu")).await.unwrap()), (1, of_site));
    assert_eq!(store.gate_settings("acme", Some("us")).await.unwrap(), Settings::default());
    let next = store.put_gate_settings("acme", None, &set).await.unwrap().unwrap();
    assert_eq!(next.revision, 2);
}

async fn of_many_changes_of_the_same_settings_exactly_one_wins(place: Place) {
    let stores = [place.open().await, place.open().await];
    let mut revision = 0;

    // The first change and a later one are written in different ways.
    for round in 0..3 {
        let calls: Vec<_> = (0..16)
            .map(|number| {
                let store = Arc::clone(&stores[number % 2]);
                let mut settings = settings();
                (settings.revision, settings.global_max_weight) = (revision, Some(number as f64));
                tokio::spawn(
                    async move { store.put_gate_settings("acme", Some("eu"), &settings).await.unwrap() },
                )
            })
            .collect();
        let mut winners = Vec::new();
        for call in calls {
            winners.extend(call.await.unwrap());
        }

        assert_eq!(winners.len(), 1, "in round {round}");
        assert_eq!(stores[1].gate_settings("acme", Some("eu")).await.unwrap(), winners[0]);
        revision = winners[0].revision;
    }
    assert_eq!(revision, 3);
    // What nobody has set has no later revision, and asking for one makes nothing.
    let mut later = settings();
    later.revision = 7;
    assert_eq!(stores[0].put_gate_settings("nobody", None, &later).await.unwrap(), None);
    assert_eq!(stores[0].gate_orgs(&PageRequest::default()).await.unwrap().items, ["acme"]);
}

async fn settings_that_cannot_be_kept_are_refused(place: Place) {
    let store = place.open().await;
    let with = |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        settings
    };

    for settings in [
        with(|settings| settings.global_max_weight = Some(f64::NAN)),
        with(|settings| settings.tag_max_weights = [("x".to_owned(), f64::INFINITY)].into()),
        with(|settings| settings.status = Some("x".repeat(300_000))),
        with(|settings| settings.updated_by = Some("\0".to_owned())),
    ] {
        let refused = store.put_gate_settings("acme", None, &settings).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
    for (org, site) in [("a\0", None), ("acme", Some("a\0")), ("acme", Some(""))] {
        let refused = store.put_gate_settings(org, site, &settings()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
    assert_eq!(store.gate_settings("acme", None).await.unwrap(), Settings::default());
    assert_eq!(store.gate_orgs(&PageRequest::default()).await.unwrap().items, [""; 0]);
}

async fn settings_make_a_site_as_long_as_there_is_room(place: Place) {
    let store = place.open().await;
    for number in 0..MOST_SITES {
        let site = format!("site {number:03}");
        store.put_gate_settings("acme", Some(&site), &settings()).await.unwrap().unwrap();
    }

    let refused = store.put_gate_settings("acme", Some("eu"), &settings()).await.unwrap_err();

    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    assert_eq!(store.gate_sites("acme").await.unwrap().len() as u64, MOST_SITES);
    store.put_gate_settings("rival", Some("eu"), &settings()).await.unwrap().unwrap();
    assert_eq!(store.count_pulses(&[pulse("i", 1, 1)], at(1)).await.unwrap(), [Verdict::TooManySites]);
    let mut known = pulse("i", 1, 1);
    known.site = SiteId::new("acme", "site 000");
    assert_eq!(store.count_pulses(&[known], at(1)).await.unwrap(), [Verdict::Counted]);
}

async fn changes_of_keys_and_settings_are_told_and_pulses_are_not(place: Place) {
    let store = place.open().await;
    let there = place.open().await;
    let mut notices = there.notices();

    store.count_pulses(&[pulse("i", 1, 1)], at(1)).await.unwrap();
    store.create_gate_key(&GateKey::new("a", "wpk_1", at(1)), &[7; 32]).await.unwrap();
    store.put_gate_settings("b", None, &settings()).await.unwrap().unwrap();
    assert_eq!(store.put_gate_settings("b", None, &settings()).await.unwrap(), None);
    assert!(!store.revoke_gate_key("c", "wpk_1", at(2)).await.unwrap());
    assert!(store.revoke_gate_key("a", "wpk_1", at(2)).await.unwrap());
    store.prune_gate(at(3)).await.unwrap();

    for org in ["a", "b", "a"] {
        assert_eq!(heard(&mut notices).await, Notice::Gate { org: org.to_owned() });
    }
}

/// Everything about `acme` that a backup carries.
async fn all_of(store: &dyn Store) -> String {
    let page = PageRequest::first(500);
    let keys = store.gate_keys("acme", &page).await.unwrap().items;
    let mut all = format!("{keys:?} {:?}", store.gate_orgs(&page).await.unwrap());
    for key in keys {
        all += &format!("{:?}", store.gate_key(&key.publish_key).await.unwrap());
    }
    for name in store.gate_sites("acme").await.unwrap() {
        let site = SiteId::new("acme", &name);
        all += &format!("{:?}", store.gate_settings("acme", Some(&name)).await.unwrap());
        all += &format!("{:?}", store.gate_site(&site).await.unwrap());
        all += &format!("{:?}", store.gate_totals(&site).await.unwrap());
        all += &format!("{:?}", store.gate_instances(&site, std::time::Duration::from_secs(60), at(9)).await);
    }
    all + &format!("{:?}", store.gate_settings("acme", None).await.unwrap())
}

async fn a_backup_carries_the_gate_into_the_other_engine(place: Place) {
    let store = place.open().await;
    let mut key = GateKey::new("acme", "wpk_1", at(1));
    key.revoked_at = Some(at(2));
    store.create_gate_key(&key, &[7; 32]).await.unwrap();
    store.put_gate_settings("acme", None, &settings()).await.unwrap().unwrap();
    store.put_gate_settings("acme", Some("us"), &settings()).await.unwrap().unwrap();
    // More than is carried at once.
    let pulses: Vec<_> = (0..600).map(|number| kept_pulse(&format!("i{number}"), 5, "p", number)).collect();
    store.count_pulses(&pulses, at(8)).await.unwrap();
    super::decisions::trip(&*store, &site(), at(8)).await;

    let path = place.dir.path().join("backup.db");
    store.backup(&path).await.unwrap();
    let other = place.another().await;
    let restored = other.open().await;
    restored.restore(&path).await.unwrap();

    assert_eq!(all_of(&*restored).await, all_of(&*store).await);
    assert_eq!(restored.gate_site(&site()).await.unwrap().rules.len(), 1);
    // And it goes on from there: what was counted before is known.
    let again = [kept_pulse("i0", 5, "p", 1), pulse("i0", 5, 1), pulse("i0", 6, 1)];
    let verdicts = restored.count_pulses(&again, at(9)).await.unwrap();
    assert_eq!(verdicts, [Verdict::CountedBefore, Verdict::Replayed, Verdict::Counted]);
    assert_eq!(restored.gate_site(&site()).await.unwrap().pulses, 601);
    let refused = restored.restore(&path).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
}

async fn a_backup_from_before_the_gate_restores(place: Place) {
    let source = Place::on_sqlite().await;
    let old = source.open().await;
    old.create_tenant(&tenant("acme")).await.unwrap();
    let path = source.dir.path().join("backup.db");
    old.backup(&path).await.unwrap();
    let handle = rusqlite::Connection::open(&path).unwrap();
    handle.execute_batch(WITHOUT_GATE).unwrap();
    drop(handle);
    let store = place.open().await;

    store.restore(&path).await.unwrap();

    assert!(store.tenant("acme").await.unwrap().is_some());
    assert_eq!(store.gate_orgs(&PageRequest::default()).await.unwrap().items, [""; 0]);
    assert_eq!(store.count_pulses(&[pulse("i", 1, 1)], at(1)).await.unwrap(), [Verdict::Counted]);
}
