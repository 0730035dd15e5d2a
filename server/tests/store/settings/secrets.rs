//! Versions of secrets.

use bytes::Bytes;
use leverframe_server::settings::model::{
    Change, EntryKind, KeptVersion, Kind, MOST_SECRET_VERSIONS, SecretForm, SecretVersion, Standing, Write,
    Written,
};

use super::fixtures::{id, put, put_secret, standing, with_service, write};
use crate::{
    conformance::on_every_engine,
    place::{Place, at},
};

on_every_engine!(
    a_secret_has_versions_of_which_the_newest_is_handed_out,
    one_version_or_all_are_deleted_and_no_number_comes_back,
    the_oldest_versions_go,
    nothing_that_is_shown_tells_a_secret,
    a_secret_that_lost_its_version_is_corrupt,
);

const SECRET: EntryKind = EntryKind::Secret;

async fn a_secret_has_versions_of_which_the_newest_is_handed_out(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let mut versions = Vec::new();

    for (number, form) in [SecretForm::Text, SecretForm::File, SecretForm::FileBase64].into_iter().enumerate()
    {
        let (last, sealed) = (number as u64, Bytes::from(vec![0, 255, number as u8]));
        let change = Change::PutSecret { form, sealed: sealed.clone() };
        let mut put = Write::new(SECRET, "token", change, standing(&*store, SECRET, "token").await);
        put.by = format!("tok_{number}");
        let moment = at(last * 60);
        assert_eq!(store.write_settings(&id(), &put, moment).await.unwrap(), Written::Done(last + 1));
        let mut version = SecretVersion::new("token", last + 1, form, sealed, moment);
        version.created_by = put.by;
        versions.insert(0, version);
    }

    let kept = versions.iter().map(|version| {
        let mut kept = KeptVersion::new(version.version, version.form, version.created_at);
        kept.created_by.clone_from(&version.created_by);
        kept
    });
    let kept: Vec<_> = kept.collect();
    assert_eq!(store.settings_secret_versions(&id(), "token").await.unwrap(), kept);
    let one = async |key, version| store.settings_secret_version(&id(), key, version).await.unwrap();
    for version in &versions {
        assert_eq!(one("token", Some(version.version)).await.as_ref(), Some(version));
    }
    assert_eq!(one("token", None).await.as_ref(), versions.first(), "the current one");
    for (key, version) in
        [("token", Some(0)), ("token", Some(4)), ("token", Some(u64::MAX)), ("other", None), ("\0", None)]
    {
        assert_eq!(one(key, version).await, None, "{key:?} {version:?}");
    }
    assert_eq!(store.settings_held(&id()).await.unwrap().unwrap().secrets, versions[..1]);
    for none in ["other", "\0", ""] {
        assert_eq!(store.settings_secret_versions(&id(), none).await.unwrap(), []);
    }
}

async fn one_version_or_all_are_deleted_and_no_number_comes_back(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let numbers = async || {
        let versions = store.settings_secret_versions(&id(), "a").await.unwrap();
        let current = store.settings_secret_version(&id(), "a", None).await.unwrap();
        assert_eq!(current.map(|current| current.version), versions.first().map(|first| first.version));
        versions.into_iter().map(|version| version.version).collect::<Vec<_>>()
    };
    let held = async || store.settings_held(&id()).await.unwrap().unwrap().secrets;
    for sealed in ["1", "2", "3", "4"] {
        write(&*store, SECRET, "a", put_secret(sealed)).await;
    }

    // From the middle, then the newest.
    assert_eq!(write(&*store, SECRET, "a", Change::DeleteVersion(2)).await, Written::Done(2));
    assert_eq!(standing(&*store, SECRET, "a").await, Standing::new(4, Some(4)));
    assert_eq!(write(&*store, SECRET, "a", Change::DeleteVersion(4)).await, Written::Done(4));
    assert_eq!(standing(&*store, SECRET, "a").await, Standing::new(4, Some(3)));
    assert_eq!((numbers().await, &held().await[0].sealed[..]), (vec![3, 1], &b"3"[..]));
    for gone in [0, 2, 4, 5, u64::MAX] {
        assert_eq!(write(&*store, SECRET, "a", Change::DeleteVersion(gone)).await, Written::Absent);
    }
    assert_eq!(write(&*store, SECRET, "a", put_secret("5")).await, Written::Done(5));
    assert_eq!(numbers().await, [5, 3, 1]);

    // All at once; and one by one.
    assert_eq!(write(&*store, SECRET, "a", Change::Delete).await, Written::Done(5));
    assert_eq!((numbers().await, held().await), (vec![], vec![]));
    assert_eq!(standing(&*store, SECRET, "a").await, Standing::new(5, None));
    assert_eq!(write(&*store, SECRET, "a", put_secret("6")).await, Written::Done(6));
    assert_eq!(write(&*store, SECRET, "a", Change::DeleteVersion(6)).await, Written::Done(6));
    assert_eq!(standing(&*store, SECRET, "a").await, Standing::new(6, None));
    assert_eq!(write(&*store, SECRET, "a", Change::Delete).await, Written::Absent);
    assert_eq!((numbers().await, held().await), (vec![], vec![]));
    assert_eq!(write(&*store, SECRET, "a", put_secret("7")).await, Written::Done(7));
    assert_eq!(numbers().await, [7]);
}

async fn the_oldest_versions_go(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let last = MOST_SECRET_VERSIONS + 3;
    write(&*store, SECRET, "other", put_secret("x")).await;

    for number in 0..last {
        write(&*store, SECRET, "a", put_secret(&number.to_string())).await;
    }

    let versions = store.settings_secret_versions(&id(), "a").await.unwrap();
    let numbers: Vec<_> = versions.iter().map(|version| version.version).collect();
    assert_eq!(numbers, (4..=last).rev().collect::<Vec<_>>());
    assert_eq!(write(&*store, SECRET, "a", Change::DeleteVersion(3)).await, Written::Absent);
    assert_eq!(store.settings_secret_versions(&id(), "other").await.unwrap().len(), 1);
}

async fn nothing_that_is_shown_tells_a_secret(place: Place) {
    let store = place.open().await;
    let service = with_service(&*store, Kind::Backend).await;
    let change = put_secret("hunter2");
    write(&*store, SECRET, "a", change.clone()).await;
    // What a config was made of may be one.
    write(&*store, EntryKind::Config, "a", put("hunter2")).await;
    let config = Write::new(EntryKind::Config, "a", put("hunter2"), Standing::default());

    let held = store.settings_held(&id()).await.unwrap();
    let versions = store.settings_secret_versions(&id(), "a").await.unwrap();
    let current = store.settings_secret_version(&id(), "a", None).await.unwrap().unwrap();
    assert_eq!(current.sealed, &b"hunter2"[..]);
    let put = Write::new(SECRET, "a", change, Standing::default());
    let shown = format!("{held:?} {versions:?} {current:?} {put:?} {config:?} {service:?} {store:?}");
    let too_large = put_secret(&"hunter2".repeat(200_000));
    let too_large = Write::new(SECRET, "a", too_large, Standing::new(1, Some(1)));
    let refused = store.write_settings(&id(), &too_large, at(2)).await.unwrap_err();

    for text in [shown, format!("{refused:?} {}", refused.chain())] {
        assert!(!text.contains("hunter2") && !text.contains("sealed data key"), "{text}");
    }
}

async fn a_secret_that_lost_its_version_is_corrupt(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    write(&*store, SECRET, "a", put_secret("1")).await;

    place.tamper("DELETE FROM settings_secret_versions").await;

    let refused = store.settings_held(&id()).await.unwrap_err();
    assert_eq!(refused.kind(), leverframe::ErrorKind::Corrupt);
}
