//! Writes that are sent again.

use std::{sync::Arc, time::Duration};

use leverframe::ErrorKind;
use leverframe_server::settings::model::{
    Change, EntryKind, Kind, REMEMBERED_FOR, ServiceId, Standing, Write, Written,
};

use super::fixtures::{id, put, service, standing, with_service};
use crate::{
    conformance::on_every_engine,
    place::{Place, at},
};

on_every_engine!(
    a_request_is_done_once_and_recognised_before_anything_else,
    a_request_is_forgotten_after_a_day,
    what_was_not_done_is_not_remembered,
    of_twenty_who_send_the_same_request_one_does_it_and_all_are_told_the_same,
);

const CONFIG: EntryKind = EntryKind::Config;

fn request(number: u8, change: Change, expected: Standing) -> Write {
    let mut write = Write::new(CONFIG, "a", change, expected);
    write.request = Some([number; 32]);
    write
}

async fn a_request_is_done_once_and_recognised_before_anything_else(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let there = place.open().await;
    let first = request(1, put("1"), Standing::default());

    assert_eq!(store.write_settings(&id(), &first, at(1)).await.unwrap(), Written::Done(1));
    assert_eq!(there.write_settings(&id(), &first, at(2)).await.unwrap(), Written::Before(1));
    let delete = request(2, Change::Delete, Standing::new(1, Some(1)));
    assert_eq!(store.write_settings(&id(), &delete, at(3)).await.unwrap(), Written::Done(1));
    let next = request(3, put("2"), Standing::new(1, None));
    assert_eq!(store.write_settings(&id(), &next, at(4)).await.unwrap(), Written::Done(2));

    // Whatever else it says, and wherever the entry stands.
    let mut invalid = Write::new(EntryKind::Flag, "\0", Change::DeleteVersion(9), Standing::new(9, None));
    for (number, version) in [(1, 1), (2, 1), (3, 2)] {
        invalid.request = Some([number; 32]);
        let again = there.write_settings(&id(), &invalid, at(5)).await.unwrap();
        assert_eq!(again, Written::Before(version));
    }
    invalid.request = Some([4; 32]);
    let refused = there.write_settings(&id(), &invalid, at(5)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    // Of another service it is another request.
    let other = ServiceId::new("acme", "payments", "other");
    store.put_settings_service(&service(other.clone(), Kind::Backend)).await.unwrap().unwrap();
    assert_eq!(store.write_settings(&other, &first, at(6)).await.unwrap(), Written::Done(1));
    assert_eq!(store.settings_held(&id()).await.unwrap().unwrap().revision, 3);
}

async fn a_request_is_forgotten_after_a_day(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let first = request(1, put("1"), Standing::default());
    store.write_settings(&id(), &first, at(0)).await.unwrap();
    let (day, moment) = (at(0) + REMEMBERED_FOR, Duration::from_micros(1));

    assert_eq!(store.write_settings(&id(), &first, day - moment).await.unwrap(), Written::Before(1));
    assert_eq!(store.write_settings(&id(), &first, day).await.unwrap(), Written::Moved);
    // It may be used for something else then, and is remembered anew.
    let second = request(1, put("2"), Standing::new(1, Some(1)));
    assert_eq!(store.write_settings(&id(), &second, day).await.unwrap(), Written::Done(2));
    assert_eq!(store.write_settings(&id(), &first, day + moment).await.unwrap(), Written::Before(2));
    // What nobody can ask for any more is no longer there.
    let quiet = Write::new(CONFIG, "a", put("3"), Standing::new(2, Some(2)));
    store.write_settings(&id(), &quiet, day + REMEMBERED_FOR).await.unwrap();
    place.tamper("CREATE UNIQUE INDEX one_at_most ON settings_requests (tenant)").await;
}

async fn what_was_not_done_is_not_remembered(place: Place) {
    let store = place.open().await;
    with_service(&*store, Kind::Backend).await;
    let send = async |change, expected| {
        store.write_settings(&id(), &request(1, change, expected), at(1)).await.unwrap()
    };

    assert_eq!(send(Change::Delete, Standing::default()).await, Written::Absent);
    assert_eq!(send(put("1"), Standing::new(1, Some(1))).await, Written::Moved);
    let large = request(1, put(&"x".repeat(2 << 20)), Standing::default());
    assert_eq!(store.write_settings(&id(), &large, at(1)).await.unwrap_err().kind(), ErrorKind::Invalid);

    assert_eq!(send(put("1"), Standing::default()).await, Written::Done(1));
}

async fn of_twenty_who_send_the_same_request_one_does_it_and_all_are_told_the_same(place: Place) {
    let stores = [place.open().await, place.open().await];
    with_service(&*stores[0], Kind::Backend).await;

    let calls: Vec<_> = (0..20)
        .map(|number| {
            let store = Arc::clone(&stores[number % 2]);
            let write = request(1, put("1"), Standing::default());
            tokio::spawn(async move { store.write_settings(&id(), &write, at(1)).await.unwrap() })
        })
        .collect();
    let mut done = 0;
    for call in calls {
        match call.await.unwrap() {
            Written::Done(1) => done += 1,
            other => assert_eq!(other, Written::Before(1)),
        }
    }

    assert_eq!(done, 1);
    assert_eq!(standing(&*stores[1], CONFIG, "a").await, Standing::new(1, Some(1)));
}
