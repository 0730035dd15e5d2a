//! One test a promise of the trait, run on every engine.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use leverframe::{ErrorKind, testing::ManualClock};
use leverframe_server::{
    model::{AuditEvent, PageRequest, Stored, TokenRecord, TokenType},
    store::Notice,
};

use crate::place::{Place, accepted, at, heard, namespace, tenant, version, with_namespace};

/// Makes a test of each function for each engine.
macro_rules! on_every_engine {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::place::Place::on_sqlite().await).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::place::Place::on_postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_every_engine;

on_every_engine!(
    a_tenant_comes_back_as_it_was_and_counts_its_namespaces,
    what_exists_already_is_a_conflict,
    what_belongs_to_nothing_is_not_found,
    text_with_a_nul_is_refused_and_never_found,
    a_version_comes_back_as_it_was,
    the_content_that_is_current_is_not_stored_again,
    a_wrong_expectation_is_told_the_current_version,
    of_thirty_two_calls_with_one_expectation_exactly_one_wins,
    without_an_expectation_every_one_of_many_calls_gets_its_own_version,
    an_archive_that_two_versions_share_is_kept_once,
    an_archive_under_a_wrong_address_is_refused,
    a_damaged_archive_is_corrupt_until_it_is_uploaded_again,
    a_token_is_found_by_its_secret_and_by_its_id,
    a_token_is_revoked_once,
    changes_are_told,
    a_change_of_another_store_is_told_within_five_seconds,
    what_was_written_is_there_after_a_restart,
    migrating_again_takes_no_step,
    a_changed_step_and_a_newer_database_are_refused,
    many_open_an_empty_place_at_once,
    a_closed_store_refuses,
    a_thousand_namespaces_are_ready_and_no_archive_is_read,
    the_signing_key_is_one_for_all_who_open_the_store_now_and_later,
);

macro_rules! without_settings {
    () => {
        "DROP TABLE settings_requests; DROP TABLE settings_secret_versions; DROP TABLE settings_entries; \
         DROP TABLE settings_keys; DROP TABLE settings_trusts; DROP TABLE settings_services; \
         ALTER TABLE changes DROP COLUMN environment; DELETE FROM schema_migrations WHERE number = 4; "
    };
}

/// Makes a database what it was before there were settings.
pub(crate) const WITHOUT_SETTINGS: &str = without_settings!();
/// Makes a database what it was before there was a gate.
pub(crate) const WITHOUT_GATE: &str = concat!(
    without_settings!(),
    "DROP TABLE gate_rules; DROP TABLE gate_sites; DROP TABLE gate_keys; DROP TABLE gate_settings; \
     DROP TABLE gate_orgs; DROP TABLE gate_instances; DROP TABLE gate_cells; DROP TABLE gate_totals; \
     DROP TABLE gate_batches; DELETE FROM schema_migrations WHERE number = 3",
);

async fn a_tenant_comes_back_as_it_was_and_counts_its_namespaces(place: Place) {
    let store = place.open().await;
    let mut acme = tenant("acme");
    acme.display_name = "Acme “& Co”".to_owned();
    acme.sso_provider = Some("okta".to_owned());

    store.create_tenant(&acme).await.unwrap();
    let mut payments = namespace("acme", "payments");
    payments.description = "money".to_owned();
    payments.created_by = "tok_1".to_owned();
    store.create_namespace(&payments).await.unwrap();

    acme.namespace_count = 1;
    assert_eq!(store.tenant("acme").await.unwrap(), Some(acme));
    assert_eq!(store.tenant("other").await.unwrap(), None);
    assert_eq!(store.namespace("acme", "payments").await.unwrap(), Some(payments));
    assert_eq!(store.namespace("acme", "other").await.unwrap(), None);
    store.ping().await.unwrap();
}

async fn what_exists_already_is_a_conflict(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let token = TokenRecord::new("tok_1", TokenType::Superadmin, at(0));
    store.create_token(&token, &[1; 32]).await.unwrap();

    let refused = [
        store.create_tenant(&tenant("acme")).await,
        store.create_namespace(&namespace("acme", "payments")).await,
        store.create_token(&token, &[2; 32]).await,
        store.create_token(&TokenRecord::new("tok_2", TokenType::Superadmin, at(0)), &[1; 32]).await,
    ];

    for refused in refused {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    }
}

async fn what_belongs_to_nothing_is_not_found(place: Place) {
    let store = place.open().await;
    store.create_tenant(&tenant("acme")).await.unwrap();
    let mut of_nobody = TokenRecord::new("tok_1", TokenType::TenantAdmin, at(0));
    of_nobody.tenant = Some("nobody".to_owned());
    let mut of_nothing = TokenRecord::new("tok_2", TokenType::NamespaceRead, at(0));
    of_nothing.tenant = Some("acme".to_owned());
    of_nothing.namespace = Some("nothing".to_owned());

    let refused = [
        store.create_namespace(&namespace("nobody", "payments")).await,
        store.create_token(&of_nobody, &[1; 32]).await,
        store.create_token(&of_nothing, &[2; 32]).await,
        store.put_version("acme", "nothing", &version("a", None), at(2)).await.map(drop),
        store.put_version("nobody", "nothing", &version("a", Some(0)), at(2)).await.map(drop),
    ];

    for refused in refused {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(store.version("acme", "nothing", None).await.unwrap(), None);
    assert_eq!(store.versions("acme", "nothing", &PageRequest::default()).await.unwrap().items, []);
    assert_eq!(store.namespaces(Some("nobody"), &PageRequest::default()).await.unwrap().items, []);
    assert_eq!(store.archive("00").await.unwrap(), None);
    assert!(!store.revoke_token("tok_1", at(1)).await.unwrap());
}

async fn text_with_a_nul_is_refused_and_never_found(place: Place) {
    let store = place.open().await;
    let mut acme = tenant("acme");
    acme.display_name = "a\0b".to_owned();

    assert_eq!(store.create_tenant(&acme).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(store.tenant("a\0b").await.unwrap(), None);
    assert_eq!(store.version("a\0", "b", None).await.unwrap(), None);
    assert_eq!(store.token("\0").await.unwrap(), None);
    let refused = store.put_version("a\0", "b", &version("a", None), at(2)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn a_version_comes_back_as_it_was(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let new = version("a", Some(0));

    let record = accepted(store.put_version("acme", "payments", &new, at(2)).await.unwrap());

    assert_eq!((record.version, record.uploaded_at), (1, at(2)));
    assert_eq!((record.flag_count, record.segment_count), (3, 2));
    assert_eq!((&record.sha256, &record.fingerprint), (&new.sha256, &new.fingerprint));
    assert_eq!((record.uploaded_by.as_str(), record.size), ("tok_1", new.archive.len() as u64));
    assert_eq!(store.version("acme", "payments", None).await.unwrap(), Some(record.clone()));
    assert_eq!(store.version("acme", "payments", Some(1)).await.unwrap(), Some(record));
    for none in [0, 2, u64::MAX] {
        assert_eq!(store.version("acme", "payments", Some(none)).await.unwrap(), None);
    }
    assert_eq!(store.archive(&new.sha256).await.unwrap(), Some(new.archive));
    assert_eq!(store.namespace("acme", "payments").await.unwrap().unwrap().version, 1);
}

async fn the_content_that_is_current_is_not_stored_again(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let first = accepted(store.put_version("acme", "payments", &version("a", None), at(2)).await.unwrap());
    let mut packed_otherwise = version("b", Some(1));
    packed_otherwise.fingerprint.clone_from(&first.fingerprint);

    let same = store.put_version("acme", "payments", &packed_otherwise, at(3)).await.unwrap();
    let again = store.put_version("acme", "payments", &version("a", None), at(2)).await.unwrap();

    assert_eq!([same, again], [Stored::Same(first.clone()), Stored::Same(first.clone())]);
    assert_eq!(store.archive(&packed_otherwise.sha256).await.unwrap(), None);
    // An earlier content is a new version.
    accepted(store.put_version("acme", "payments", &version("c", None), at(4)).await.unwrap());
    let back = accepted(store.put_version("acme", "payments", &version("a", None), at(5)).await.unwrap());
    assert_eq!((back.version, back.sha256), (3, first.sha256));
}

async fn a_wrong_expectation_is_told_the_current_version(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let put = async |content, expected| {
        store.put_version("acme", "payments", &version(content, expected), at(2)).await.unwrap()
    };

    assert_eq!(put("a", Some(1)).await, Stored::Conflict(0));
    accepted(put("a", Some(0)).await);
    // Even with the content that is current: the caller knows another state.
    assert_eq!(put("a", Some(0)).await, Stored::Conflict(1));
    assert_eq!(put("b", Some(u64::MAX)).await, Stored::Conflict(1));
    accepted(put("b", Some(1)).await);
    assert_eq!(put("c", Some(1)).await, Stored::Conflict(2));
}

async fn of_thirty_two_calls_with_one_expectation_exactly_one_wins(place: Place) {
    // Through two stores, as two servers would.
    let stores = [place.open().await, place.open().await];
    with_namespace(&*stores[0]).await;
    accepted(stores[0].put_version("acme", "payments", &version("first", None), at(2)).await.unwrap());

    let calls: Vec<_> = (0..32)
        .map(|number| {
            let store = Arc::clone(&stores[number % 2]);
            let new = version(&format!("content {number}"), Some(1));
            tokio::spawn(async move { store.put_version("acme", "payments", &new, at(3)).await.unwrap() })
        })
        .collect();
    let mut winners = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Stored::Accepted(record) => winners.push(record),
            other => assert_eq!(other, Stored::Conflict(2)),
        }
    }

    assert_eq!(winners.len(), 1);
    assert_eq!(stores[1].version("acme", "payments", None).await.unwrap().as_ref(), winners.first());
}

async fn without_an_expectation_every_one_of_many_calls_gets_its_own_version(place: Place) {
    let stores = [place.open().await, place.open().await];
    with_namespace(&*stores[0]).await;

    let calls: Vec<_> = (0..16)
        .map(|number| {
            let store = Arc::clone(&stores[number % 2]);
            let new = version(&format!("content {number}"), None);
            tokio::spawn(async move { store.put_version("acme", "payments", &new, at(3)).await.unwrap() })
        })
        .collect();
    let mut versions = Vec::new();
    for call in calls {
        versions.push(accepted(call.await.unwrap()).version);
    }

    versions.sort_unstable();
    assert_eq!(versions, (1..=16).collect::<Vec<_>>());
}

async fn an_archive_that_two_versions_share_is_kept_once(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    store.create_namespace(&namespace("acme", "other")).await.unwrap();
    let new = version("a", None);

    accepted(store.put_version("acme", "payments", &new, at(2)).await.unwrap());
    accepted(store.put_version("acme", "other", &new, at(2)).await.unwrap());

    // Refused if it were there twice, since the address alone is the key.
    place.tamper("CREATE UNIQUE INDEX once ON archives (content)").await;
    assert_eq!(store.archive(&new.sha256).await.unwrap(), Some(new.archive));
}

async fn an_archive_under_a_wrong_address_is_refused(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let mut new = version("a", None);
    new.archive = Bytes::from_static(b"something else");

    let refused = store.put_version("acme", "payments", &new, at(2)).await;

    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(store.version("acme", "payments", None).await.unwrap(), None);
}

async fn a_damaged_archive_is_corrupt_until_it_is_uploaded_again(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let new = version("a", None);
    accepted(store.put_version("acme", "payments", &new, at(2)).await.unwrap());
    place.tamper("UPDATE archives SET content = substr(content, 2)").await;

    assert_eq!(store.archive(&new.sha256).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.backup(&place.dir.path().join("backup")).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!place.dir.path().join("backup").exists());

    accepted(store.put_version("acme", "payments", &version("b", None), at(3)).await.unwrap());
    accepted(store.put_version("acme", "payments", &new, at(4)).await.unwrap());
    assert_eq!(store.archive(&new.sha256).await.unwrap(), Some(new.archive));
}

async fn a_token_is_found_by_its_secret_and_by_its_id(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let mut token = TokenRecord::new("tok_1", TokenType::NamespaceClient, at(0));
    token.tenant = Some("acme".to_owned());
    token.namespace = Some("payments".to_owned());
    token.environment = Some("production".to_owned());
    token.name = "web \"shop\"".to_owned();
    token.allowed_origins = vec!["https://a.example".to_owned(), "https://b.example".to_owned()];
    token.created_by = "tok_0".to_owned();
    token.expires_at = Some(at(9));

    store.create_token(&token, &[7; 32]).await.unwrap();

    assert_eq!(store.token_by_secret(&[7; 32]).await.unwrap(), Some(token.clone()));
    assert_eq!(store.token_by_secret(&[8; 32]).await.unwrap(), None);
    assert_eq!(store.token("tok_1").await.unwrap(), Some(token));
    assert_eq!(store.token("tok_2").await.unwrap(), None);
}

async fn a_token_is_revoked_once(place: Place) {
    let store = place.open().await;
    store.create_token(&TokenRecord::new("tok_1", TokenType::Superadmin, at(0)), &[1; 32]).await.unwrap();

    assert!(store.revoke_token("tok_1", at(5)).await.unwrap());
    assert!(!store.revoke_token("tok_1", at(5)).await.unwrap());
    assert!(!store.revoke_token("tok_1", at(6)).await.unwrap());
    assert!(!store.revoke_token("tok_2", at(6)).await.unwrap());
    assert_eq!(store.token_by_secret(&[1; 32]).await.unwrap().unwrap().revoked_at, Some(at(5)));
}

async fn changes_are_told(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    store.create_token(&TokenRecord::new("tok_1", TokenType::Superadmin, at(0)), &[1; 32]).await.unwrap();
    let mut notices = store.notices();

    store.put_version("acme", "payments", &version("a", None), at(2)).await.unwrap();
    store.put_version("acme", "payments", &version("a", None), at(2)).await.unwrap();
    store.put_version("acme", "payments", &version("b", Some(7)), at(2)).await.unwrap();
    store.put_version("acme", "payments", &version("b", None), at(2)).await.unwrap();
    store.revoke_token("tok_2", at(3)).await.unwrap();
    store.revoke_token("tok_1", at(3)).await.unwrap();
    store.record(&AuditEvent::new(at(3), "token.revoke", "tok_1")).await.unwrap();

    for version in [1, 2] {
        let (tenant, namespace) = ("acme".to_owned(), "payments".to_owned());
        assert_eq!(heard(&mut notices).await, Notice::Manifest { tenant, namespace, version });
    }
    assert_eq!(heard(&mut notices).await, Notice::TokenRevoked { id: "tok_1".to_owned() });
    assert!(notices.try_recv().is_err());
}

async fn a_change_of_another_store_is_told_within_five_seconds(place: Place) {
    let clock = ManualClock::new();
    let here = place.open_with(Arc::new(clock.clone())).await;
    let there = place.open().await;
    let mut notices = here.notices();
    with_namespace(&*there).await;

    // Five at once: each is told, in order.
    for content in ["a", "b", "c", "d", "e"] {
        accepted(there.put_version("acme", "payments", &version(content, None), at(2)).await.unwrap());
    }
    clock.advance(Duration::from_secs(5));

    for version in 1..=5 {
        let (tenant, namespace) = ("acme".to_owned(), "payments".to_owned());
        assert_eq!(heard(&mut notices).await, Notice::Manifest { tenant, namespace, version });
    }
}

async fn what_was_written_is_there_after_a_restart(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    let record = accepted(store.put_version("acme", "payments", &version("a", None), at(2)).await.unwrap());
    store.record(&AuditEvent::new(at(2), "manifest.upload", "acme/payments")).await.unwrap();
    store.close().await;
    drop(store);

    let store = place.open().await;

    assert_eq!(store.version("acme", "payments", None).await.unwrap(), Some(record));
    assert_eq!(store.audit(None, &PageRequest::default()).await.unwrap().items.len(), 1);
    let mut notices = store.notices();
    store.put_version("acme", "payments", &version("b", None), at(2)).await.unwrap();
    assert!(matches!(heard(&mut notices).await, Notice::Manifest { version: 2, .. }));
}

async fn migrating_again_takes_no_step(place: Place) {
    let first = place.open().await;
    let store = place.open().await;

    assert_eq!(first.migrate().await.unwrap(), 4);
    assert_eq!(first.migrate().await.unwrap(), 0);
    assert_eq!(store.migrate().await.unwrap(), 0);
    // Steps that were not recorded are taken.
    place.tamper(WITHOUT_GATE).await;
    assert_eq!(store.migrate().await.unwrap(), 2);
    store.ping().await.unwrap();
}

async fn a_changed_step_and_a_newer_database_are_refused(place: Place) {
    let store = place.open().await;

    place.tamper("INSERT INTO schema_migrations (number, name, checksum) VALUES (900, 'later', 'x')").await;
    let newer = store.migrate().await.unwrap_err();
    place.tamper("DELETE FROM schema_migrations WHERE number = 900").await;
    place.tamper("UPDATE schema_migrations SET checksum = 'x' WHERE number = 1").await;
    let changed = store.migrate().await.unwrap_err();

    assert_eq!((newer.kind(), newer.hint_text().is_some()), (ErrorKind::Unsupported, true));
    assert!(newer.to_string().contains("newer than this program"), "{newer}");
    assert_eq!(changed.kind(), ErrorKind::Corrupt);
    assert_eq!(place.try_open().await.unwrap_err().kind(), ErrorKind::Corrupt);
}

async fn many_open_an_empty_place_at_once(place: Place) {
    let place = Arc::new(place);

    let opening: Vec<_> = (0..8)
        .map(|_| {
            let place = Arc::clone(&place);
            tokio::spawn(async move { place.open().await })
        })
        .collect();

    // Each step was taken once, by whichever.
    let mut steps = 0;
    for store in opening {
        steps += store.await.unwrap().migrate().await.unwrap();
    }
    assert_eq!(steps, 4);
}

async fn a_closed_store_refuses(place: Place) {
    let store = place.open().await;

    store.close().await;
    store.close().await;

    assert_eq!(store.ping().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let refused = store.create_tenant(&tenant("acme")).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
}

async fn a_thousand_namespaces_are_ready_and_no_archive_is_read(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    accepted(store.put_version("acme", "payments", &version("a", None), at(2)).await.unwrap());
    place
        .tamper(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
             INSERT INTO namespaces SELECT 'acme', 'n' || CAST(i AS TEXT), '', '', 0, '', 1 FROM n;
             INSERT INTO versions SELECT tenant, slug, 1, 0, '', 1, 1, sha256, slug, 1
                 FROM namespaces, archives WHERE slug <> 'payments'",
        )
        .await;
    store.close().await;
    // Whoever read archives now would fail.
    place.tamper("ALTER TABLE archives RENAME TO hidden").await;

    let store = place.open().await;
    let mut namespaces = store.namespaces(None, &PageRequest::first(500)).await.unwrap();
    let rest = PageRequest::after(500, namespaces.next.unwrap());
    namespaces.items.extend(store.namespaces(None, &rest).await.unwrap().items);
    let heads = namespaces.items.iter().map(|namespace| store.version("acme", &namespace.slug, None));
    let heads = futures_util::future::try_join_all(heads).await.unwrap();

    assert_eq!(heads.len(), 1000);
    for (namespace, head) in namespaces.items.iter().zip(heads) {
        assert!(head.unwrap().fingerprint == namespace.slug || namespace.slug == "payments");
    }
}

async fn the_signing_key_is_one_for_all_who_open_the_store_now_and_later(place: Place) {
    let stores = [place.open().await, place.open().await];

    let (first, second) = tokio::join!(stores[0].signing_key(), stores[1].signing_key());
    for store in &stores {
        store.close().await;
    }
    let later = place.open().await.signing_key().await.unwrap();

    assert_eq!(first.unwrap(), later);
    assert_eq!(second.unwrap(), later);
    assert_ne!(later.expose(), &[0; 32]);
}
