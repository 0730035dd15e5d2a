//! What hostile reports cost, and what comes of them.

use leverframe::gate::reflex::{Aggregate, Window};
use leverframe_server::gate::model::{Pulse, Verdict};

use super::fixtures::{counted, pulse, site, values, window};
use crate::{
    conformance::on_every_engine,
    place::{Place, at},
};

on_every_engine!(
    tags_without_end_are_bounded_and_every_call_is_counted,
    tags_and_instances_may_be_anything,
    counts_stay_at_the_largest_number,
    metrics_without_end_are_bounded_and_every_value_is_counted,
    times_may_be_anything,
    damaged_counts_are_told_and_not_believed,
);

fn calls(window: &Window) -> u64 {
    window.values().map(|counted| counted.calls).sum()
}

async fn tags_without_end_are_bounded_and_every_call_is_counted(place: Place) {
    let store = place.open().await;

    // 12,000 tags, of which each second knows a thousand, and the site ten thousand.
    for batch in 0..16 {
        let tags: Window = (0..750).map(|tag| (format!("tag {}", batch * 750 + tag), counted(1))).collect();
        let pulses = [Pulse::new(site(), "a", batch, tags)];
        assert_eq!(store.count_pulses(&pulses, at(batch / 2)).await.unwrap(), [Verdict::Counted]);
    }

    let second = store.gate_window(&site(), 1, at(7)).await.unwrap();
    assert_eq!((calls(&second), second.len(), second["__other__"].calls), (1_500, 1_001, 500));
    let totals = store.gate_totals(&site()).await.unwrap();
    assert_eq!((calls(&totals), totals.len()), (12_000, 10_001));
    assert_eq!(totals["__other__"].calls, 2_000);
    let minute = store.gate_window(&site(), 60, at(9)).await.unwrap();
    assert_eq!((calls(&minute), minute.len() <= 10_001), (12_000, true), "{}", minute.len());
    // One that is known goes on being told apart, by whichever process.
    let known = Pulse::new(site(), "b", 1, window([("tag 0", 1), ("new", 1)]));
    place.open().await.count_pulses(&[known], at(9)).await.unwrap();
    let totals = store.gate_totals(&site()).await.unwrap();
    assert_eq!((totals["tag 0"].calls, totals["__other__"].calls, totals.len()), (2, 2_001, 10_001));
}

async fn tags_and_instances_may_be_anything(place: Place) {
    let store = place.open().await;
    let long = "€".repeat(10_000);
    let strange = [("a\0b", 1), (&long, 2), ("'; DROP TABLE gate_totals; --", 4), ("$1 ?1", 8), ("", 16)];

    let mut pulses = Vec::new();
    for instance in ["", "\0", &long, "'", "\u{feff}"] {
        pulses.push(Pulse::new(site(), instance, 1, window(strange)));
        pulses.push(Pulse::new(site(), instance, 1, window(strange)));
        let mut kept = Pulse::new(site(), instance, 2, Window::new());
        kept.pulse_id = Some(instance.to_owned());
        pulses.extend([kept.clone(), kept]);
    }
    let verdicts = store.count_pulses(&pulses, at(1)).await.unwrap();

    use Verdict::{Counted, CountedBefore, Replayed};
    assert_eq!(verdicts, [Counted, Replayed, Counted, CountedBefore].repeat(5));
    let totals = store.gate_totals(&site()).await.unwrap();
    let found: Vec<_> = totals.iter().map(|(tag, counted)| (tag.as_str(), counted.calls)).collect();
    let expected = [("", 80), ("$1 ?1", 40), ("'; DROP TABLE gate_totals; --", 20), ("__other__", 15)];
    assert_eq!(found, expected);
    assert_eq!(store.gate_window(&site(), 60, at(1)).await.unwrap(), totals);
}

async fn counts_stay_at_the_largest_number(place: Place) {
    let store = place.open().await;
    let mut most = Aggregate::default();
    (most.calls, most.denied, most.errors, most.latency_micros) = (u64::MAX, u64::MAX - 1, u64::MAX, 1);
    most.buckets = [u64::MAX; 8];
    most.custom.insert("depth".to_owned(), values(-f64::MAX, f64::MAX, f64::MAX, u64::MAX));
    let all: Window = [("free".to_owned(), most)].into_iter().collect();

    for ts in [1, 2, 3] {
        let pulses = [Pulse::new(site(), "a", ts, all.clone())];
        assert_eq!(store.count_pulses(&pulses, at(ts * 60)).await.unwrap(), [Verdict::Counted]);
    }

    let totals = store.gate_totals(&site()).await.unwrap();
    for found in [&totals["free"], &store.gate_window(&site(), 300, at(180)).await.unwrap()["free"]] {
        assert_eq!((found.calls, found.denied, found.latency_micros), (u64::MAX, u64::MAX, 3));
        assert_eq!((found.buckets, found.custom["depth"].count), ([u64::MAX; 8], u64::MAX));
        // What is added up stays a number, so that what comes later still counts.
        assert_eq!((found.custom["depth"].min, found.custom["depth"].sum), (-f64::MAX, f64::MAX));
    }
}

async fn metrics_without_end_are_bounded_and_every_value_is_counted(place: Place) {
    let store = place.open().await;
    let window: Window = (0..100)
        .map(|tag| {
            let mut counted = counted(1);
            counted.custom =
                (0..100).map(|name| (format!("metric_{name}"), values(1.0, 1.0, 1.0, 1))).collect();
            counted.custom.insert("broken".to_owned(), values(f64::NAN, 1.0, 1.0, 1));
            (format!("tag {tag}"), counted)
        })
        .collect();

    store.count_pulses(&[Pulse::new(site(), "a", 1, window)], at(1)).await.unwrap();

    let count = |window: &Window| {
        let all = || window.values().flat_map(|counted| counted.custom.values());
        (all().map(|values| values.count).sum::<u64>(), all().count())
    };
    let (values, kept) = count(&store.gate_window(&site(), 1, at(1)).await.unwrap());
    assert_eq!((values, kept <= 2_002), (10_000, true), "{kept}");
    let (values, kept) = count(&store.gate_totals(&site()).await.unwrap());
    assert_eq!((values, kept <= 3_300), (10_000, true), "{kept}");
}

async fn times_may_be_anything(place: Place) {
    let store = place.open().await;

    let pulses: Vec<_> = [u64::MAX, 0, u64::MAX - 1, 1, 0].into_iter().map(|ts| pulse("a", ts, 1)).collect();
    let verdicts = store.count_pulses(&pulses, std::time::UNIX_EPOCH).await.unwrap();
    // A clock that went back, and one that is far ahead.
    store.count_pulses(&[pulse("b", 1, 1)], at(100)).await.unwrap();
    store.count_pulses(&[pulse("b", 2, 1)], at(0)).await.unwrap();

    assert_eq!(verdicts[..4], [Verdict::Counted; 4]);
    assert_eq!(verdicts[4], Verdict::Replayed);
    assert_eq!(store.gate_totals(&site()).await.unwrap()["free"].calls, 6);
    assert_eq!(store.gate_site(&site()).await.unwrap().last_pulse_at, Some(at(100)));
    assert_eq!(store.gate_window(&site(), 60, at(0)).await.unwrap()["free"].calls, 1);
    store.prune_gate(std::time::UNIX_EPOCH).await.unwrap();
    assert_eq!(store.gate_window(&site(), 3_600, at(100)).await.unwrap()["free"].calls, 2);
}

async fn damaged_counts_are_told_and_not_believed(place: Place) {
    let store = place.open().await;
    store.count_pulses(&[pulse("a", 1, 1)], at(1)).await.unwrap();

    place.tamper("UPDATE gate_totals SET counts = substr(counts, 1, 3)").await;

    let refused = store.gate_totals(&site()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.hint_text().is_some()), (leverframe::ErrorKind::Corrupt, true));
    let refused = store.count_pulses(&[pulse("a", 2, 1)], at(1)).await.unwrap_err();
    assert_eq!(refused.kind(), leverframe::ErrorKind::Corrupt);
    // Nothing of it was written.
    assert_eq!(store.gate_site(&site()).await.unwrap().pulses, 1);
    place.tamper("DELETE FROM gate_totals").await;
    assert_eq!(store.count_pulses(&[pulse("a", 2, 1)], at(1)).await.unwrap(), [Verdict::Counted]);
}
