//! A process that is killed at any moment loses nothing that it was told is stored.

use std::{collections::BTreeMap, sync::Arc};

use leverframe_server::{
    model::{PageRequest, archive_address},
    store::Store,
};

use crate::{
    conformance::on_every_engine,
    place::{Place, accepted, at, namespace, tenant, version},
    victim::{acknowledge, kill_after, store_to_work_on},
};

on_every_engine!(no_acknowledged_version_is_lost_and_none_is_half_there_after_kill_9);

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const ROUNDS: usize = 12;
const IN_ANOTHER_PROCESS: &str =
    "killed::on_sqlite::no_acknowledged_version_is_lost_and_none_is_half_there_after_kill_9";

async fn no_acknowledged_version_is_lost_and_none_is_half_there_after_kill_9(place: Place) {
    if let Some(store) = store_to_work_on().await {
        // Nobody cleans up after a process that is killed.
        drop(place);
        return write_until_killed(&store).await;
    }
    let store = place.open().await;
    store.create_tenant(&tenant("acme")).await.unwrap();
    for slug in NAMESPACES {
        store.create_namespace(&namespace("acme", slug)).await.unwrap();
    }
    store.close().await;
    let mut acknowledged = BTreeMap::new();

    for round in 0..ROUNDS {
        // Another moment each time: right after an acknowledgement, when the next writes are under way.
        acknowledged.extend(killed_after(&place, 1 + round * 3));

        let store = place.open().await;
        for slug in NAMESPACES {
            let head = store.namespace("acme", slug).await.unwrap().unwrap().version;
            let mut expected = head;
            let mut page = PageRequest::first(500);
            loop {
                let part = store.versions("acme", slug, &page).await.unwrap();
                for record in part.items {
                    assert_eq!(record.version, expected, "a version is missing");
                    let archive = store.archive(&record.sha256).await.unwrap().expect("its archive");
                    assert_eq!(archive_address(&archive), record.sha256);
                    assert_eq!(archive.len() as u64, record.size);
                    if let Some(address) = acknowledged.get(&(slug.to_owned(), record.version)) {
                        assert_eq!(&record.sha256, address, "another content than was acknowledged");
                    }
                    expected -= 1;
                }
                let Some(next) = part.next else { break };
                page = PageRequest::after(500, next);
            }
            assert_eq!(expected, 0);
            let last = acknowledged.keys().filter(|(name, _)| name == slug).map(|(_, number)| *number).max();
            assert!(last.unwrap_or(0) <= head, "{last:?} was acknowledged, and {head} is there");
        }
        store.close().await;
    }
    assert!(acknowledged.len() >= ROUNDS, "{}", acknowledged.len());
}

/// Has another process write, and kills it after so many acknowledgements; returns all that it gave.
fn killed_after(place: &Place, count: usize) -> BTreeMap<(String, u64), String> {
    let given = kill_after(place, IN_ANOTHER_PROCESS, count);
    let read = given.iter().map(|line| {
        let [slug, version, address] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        ((String::from(slug), version.parse().unwrap()), String::from(address))
    });
    read.collect()
}

async fn write_until_killed(store: &Arc<dyn Store>) {
    let writers: Vec<_> = NAMESPACES
        .into_iter()
        .map(|slug| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                // Of some pages, so that a write takes more than one step; another in each process.
                let filler = "x".repeat(40_000);
                for number in 0.. {
                    let new = version(&format!("{slug} {number} {} {filler}", std::process::id()), None);
                    let record = accepted(store.put_version("acme", slug, &new, at(number)).await.unwrap());
                    acknowledge(&format!("{slug} {} {}", record.version, record.sha256));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}
