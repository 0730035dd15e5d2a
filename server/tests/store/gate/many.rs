//! Many instances.

use std::time::Duration;

use leverframe_server::gate::model::{Pulse, SiteId, Verdict};

use super::fixtures::window;
use crate::{
    conformance::on_every_engine,
    place::{Place, at},
};

on_every_engine!(pulses_of_ten_thousand_instances_are_counted_each_once);

/// Pulses of that many instances, with three tags each.
fn batch(size: u64, number: u64, sites: u64) -> Vec<Pulse> {
    let pulse = |place| {
        let ts = number * size + place;
        let instance = ts * 7_919 % 10_000;
        let site = SiteId::new("acme", format!("s{}", instance % sites));
        Pulse::new(site, format!("instance {instance}"), ts, window([("free", 5), ("pro", 7), ("max", 1)]))
    };
    (1..=size).map(pulse).collect()
}

async fn pulses_of_ten_thousand_instances_are_counted_each_once(place: Place) {
    let store = place.open().await;
    let sites = 3;
    for number in 0..50 {
        let verdicts = store.count_pulses(&batch(200, number, sites), at(number)).await.unwrap();
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Counted));
    }
    assert!(
        store
            .count_pulses(&batch(200, 49, sites), at(50))
            .await
            .unwrap()
            .iter()
            .all(|verdict| { [Verdict::Replayed, Verdict::CountedBefore].contains(verdict) })
    );

    let (mut instances, mut calls) = (0, 0);
    for site in 0..sites {
        let site = SiteId::new("acme", format!("s{site}"));
        instances += store.gate_instances(&site, Duration::from_secs(3_600), at(50)).await.unwrap();
        calls += store.gate_window(&site, 3_600, at(50)).await.unwrap()["free"].calls;
    }
    assert_eq!((instances, calls), (10_000, 5 * 10_000));
}
