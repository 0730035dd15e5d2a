//! What is counted, once and exactly.

use std::{sync::Arc, time::Duration};

use leverframe::{
    ErrorKind,
    gate::reflex::{Aggregate, Window},
};
use leverframe_server::{
    gate::model::{MOST_SITES, Pulse, SiteId, SiteState, Verdict},
    store::Store,
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use super::fixtures::{counted, kept_pulse, merged, pulse, site, values, window};
use crate::{
    conformance::on_every_engine,
    place::{Place, at},
};

use Verdict::{Counted, CountedBefore, Replayed, TooManySites};

on_every_engine!(
    what_was_counted_comes_back_to_the_last_bit,
    a_pulse_counts_once_whoever_sends_it_again_and_when,
    pulses_of_one_batch_are_looked_at_one_after_the_other,
    instances_and_sites_are_told_apart,
    batches_of_many_stores_at_once_add_up_and_none_counts_twice,
    windows_are_what_was_counted_within_them,
    what_is_old_is_forgotten_and_totals_stay,
    an_org_has_a_hundred_sites_and_no_more_whoever_adds_them,
    a_batch_of_nothing_is_nothing,
    a_batch_for_many_sites_is_counted_for_each,
);

async fn what_was_counted_comes_back_to_the_last_bit(place: Place) {
    let store = place.open().await;
    let mut first = window([("free", 5), ("", 3)]);
    let mut second = window([("free", 1 << 40), ("ünï ' \" \\ €", 1)]);
    // Sums that no decimal of a few digits stands for.
    let depth = |window: &mut Window, values| {
        window.get_mut("free").unwrap().custom.insert("depth".to_owned(), values);
    };
    depth(&mut first, values(-0.1, 0.1 + 0.2, 1.0 / 3.0, 3));
    depth(&mut second, values(f64::MIN_POSITIVE / 7.0, 1e300, 1e-17, u64::MAX));

    store.count_pulses(&[Pulse::new(site(), "a", 1, first.clone())], at(1)).await.unwrap();
    store.count_pulses(&[Pulse::new(site(), "a", 2, second.clone())], at(1)).await.unwrap();

    let sum = merged([&first, &second]);
    assert_eq!(sum["free"].custom["depth"].sum.to_bits(), (1.0_f64 / 3.0 + 1e-17).to_bits());
    assert_eq!(sum["free"].custom["depth"].count, u64::MAX);
    for store in [store, place.open().await] {
        assert_eq!(store.gate_totals(&site()).await.unwrap(), sum);
        assert_eq!(store.gate_window(&site(), 1, at(1)).await.unwrap(), sum);
        let mut state = SiteState::default();
        (state.pulses, state.last_pulse_at) = (2, Some(at(1)));
        assert_eq!(store.gate_site(&site()).await.unwrap(), state);
        assert_eq!(store.gate_sites("acme").await.unwrap(), ["eu"]);
    }
}

async fn a_pulse_counts_once_whoever_sends_it_again_and_when(place: Place) {
    let stores = [place.open().await, place.open().await];
    let count = async |store: &Arc<dyn Store>, pulse: Pulse, when| {
        store.count_pulses(&[pulse], at(when)).await.unwrap()[0]
    };

    assert_eq!(count(&stores[0], kept_pulse("a", 10, "p1", 5), 1).await, Counted);
    assert_eq!(count(&stores[1], kept_pulse("a", 10, "p1", 5), 1).await, CountedBefore);
    assert_eq!(count(&stores[1], kept_pulse("a", 10, "p2", 5), 1).await, Replayed);
    assert_eq!(count(&stores[1], pulse("a", 11, 5), 2).await, Counted);
    assert_eq!(count(&stores[0], pulse("a", 11, 5), 2).await, Replayed);
    for store in stores {
        store.close().await;
    }
    // And after a restart, some days later.
    let store = place.open().await;
    let later = 6 * 24 * 3_600;
    store.prune_gate(at(later)).await.unwrap();
    assert_eq!(count(&store, kept_pulse("a", 10, "p1", 5), later).await, CountedBefore);
    assert_eq!(count(&store, pulse("a", 11, 5), later).await, Replayed);
    // Of many reports only the last are remembered; what is older than those counts no more.
    for ts in 20..30 {
        assert_eq!(count(&store, pulse("a", ts, 1), later).await, Counted);
    }
    assert_eq!(count(&store, kept_pulse("a", 10, "p1", 5), later).await, Replayed);
    assert_eq!(count(&store, pulse("a", 0, 5), later).await, Replayed);

    assert_eq!(store.gate_totals(&site()).await.unwrap()["free"].calls, 20);
    assert_eq!(store.gate_site(&site()).await.unwrap().pulses, 12);
}

async fn pulses_of_one_batch_are_looked_at_one_after_the_other(place: Place) {
    let store = place.open().await;
    let batch = [
        kept_pulse("a", 10, "p", 1),
        kept_pulse("a", 10, "p", 1),
        pulse("a", 10, 1),
        pulse("b", 10, 1),
        kept_pulse("a", 12, "q", 1),
        pulse("a", 11, 1),
    ];

    let verdicts = store.count_pulses(&batch, at(1)).await.unwrap();
    let again = store.count_pulses(&batch, at(1)).await.unwrap();

    assert_eq!(verdicts, [Counted, CountedBefore, Replayed, Counted, Counted, Counted]);
    assert_eq!(again, [CountedBefore, CountedBefore, Replayed, Replayed, CountedBefore, Replayed]);
    assert_eq!(store.gate_totals(&site()).await.unwrap()["free"].calls, 4);
}

async fn instances_and_sites_are_told_apart(place: Place) {
    let store = place.open().await;
    let of = |org: &str, name: &str, instance: &str| {
        Pulse::new(SiteId::new(org, name), instance, 10, window([("free", 1)]))
    };
    let batch =
        [of("a", "x", "i"), of("a", "x", "j"), of("a", "y", "i"), of("b", "x", "i"), of("a", "x", "i")];

    let verdicts = store.count_pulses(&batch, at(100)).await.unwrap();
    store.count_pulses(&[Pulse::new(SiteId::new("a", "x"), "i", 11, Window::new())], at(160)).await.unwrap();

    assert_eq!(verdicts, [Counted, Counted, Counted, Counted, Replayed]);
    assert_eq!(store.gate_sites("a").await.unwrap(), ["x", "y"]);
    let instances = async |within, when| {
        let within = Duration::from_secs(within);
        store.gate_instances(&SiteId::new("a", "x"), within, at(when)).await.unwrap()
    };
    assert_eq!([instances(1, 100).await, instances(61, 160).await, instances(60, 160).await], [2, 2, 1]);
    assert_eq!([instances(60, 220).await, instances(u64::MAX, 220).await], [0, 2]);
}

async fn batches_of_many_stores_at_once_add_up_and_none_counts_twice(place: Place) {
    const WRITERS: usize = 4;
    // As many as are remembered of an instance: whoever is behind is told the same as the others.
    const ROUNDS: u64 = 8;
    let mut stores = Vec::new();
    for _ in 0..WRITERS {
        stores.push(place.open().await);
    }
    // Everybody counts the same pulses, for the same sites, in another order.
    let pulses = |round: u64| -> Vec<Pulse> {
        let pulse = |number: u64| {
            let site = SiteId::new(["acme", "rival"][(number % 2) as usize], format!("s{}", number % 3));
            let mut pulse = Pulse::new(
                site,
                format!("i{number}"),
                round,
                window([("free", number), (["pro", "max"][(round % 2) as usize], 1)]),
            );
            pulse.pulse_id = number.is_multiple_of(2).then(|| format!("p{round} {number}"));
            pulse
        };
        (0..20).map(pulse).collect()
    };

    let writers: Vec<_> = stores
        .iter()
        .enumerate()
        .map(|(writer, store)| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut counted = 0;
                for round in 1..=ROUNDS {
                    let mut batch = pulses(round);
                    batch.rotate_left(writer * 5);
                    let verdicts = store.count_pulses(&batch, at(round)).await.unwrap();
                    counted += verdicts.iter().filter(|verdict| **verdict == Counted).count();
                    for (pulse, verdict) in batch.iter().zip(verdicts) {
                        let otherwise = if pulse.pulse_id.is_some() { CountedBefore } else { Replayed };
                        assert!([Counted, otherwise].contains(&verdict), "{verdict:?} of {pulse:?}");
                    }
                }
                counted as u64
            })
        })
        .collect();
    let mut all = 0;
    for writer in writers {
        all += writer.await.unwrap();
    }

    assert_eq!(all, 20 * ROUNDS);
    let expected: Vec<Pulse> = (1..=ROUNDS).flat_map(pulses).collect();
    for org in ["acme", "rival"] {
        for name in stores[0].gate_sites(org).await.unwrap() {
            let site = SiteId::new(org, name);
            let of_site = || expected.iter().filter(|pulse| pulse.site == site);
            let sum = merged(of_site().map(|pulse| &pulse.window));
            assert_eq!(stores[1].gate_totals(&site).await.unwrap(), sum);
            assert_eq!(stores[2].gate_window(&site, 3_600, at(ROUNDS)).await.unwrap(), sum);
            assert_eq!(stores[3].gate_site(&site).await.unwrap().pulses, of_site().count() as u64);
        }
    }
}

async fn windows_are_what_was_counted_within_them(place: Place) {
    let store = place.open().await;
    let site = site();
    let mut runner = TestRunner::deterministic();
    let events = proptest::collection::vec((0_u64..4_000, 0_u64..9, "[a-c]"), 1..25);
    let asked = proptest::collection::vec((0_u64..4_200, 0_u32..4_000), 1..6);

    let strategy = (events, asked);
    for case in 1..=12 {
        let (events, asked) = strategy.new_tree(&mut runner).unwrap().current();
        // Far from all others.
        let begin = case * 20_000;
        for (number, (second, calls, tag)) in events.iter().enumerate() {
            let window = [(tag.clone(), counted(*calls))].into_iter().collect();
            let pulse = Pulse::new(site.clone(), format!("{case}"), number as u64, window);
            // Whatever the order of the times: clocks of servers differ.
            store.count_pulses(&[pulse], at(begin + second)).await.unwrap();
        }
        for (now, seconds) in asked {
            let after = now as i64 - i64::from(seconds.min(3_600));
            let within = |second: u64| second <= now && second as i64 > after;
            let mut expected = Window::new();
            for (_, calls, tag) in events.iter().filter(|(second, calls, _)| within(*second) && *calls > 0) {
                expected.entry(tag.clone()).or_default().merge(&counted(*calls));
            }
            let found = store.gate_window(&site, seconds, at(begin + now)).await.unwrap();
            assert_eq!(found, expected, "{seconds} seconds to {now} of {events:?}");
        }
    }
}

async fn what_is_old_is_forgotten_and_totals_stay(place: Place) {
    let store = place.open().await;
    let week = 7 * 24 * 3_600;
    store.count_pulses(&[pulse("old", 1, 1), pulse("kept", 1, 1)], at(0)).await.unwrap();
    store.count_pulses(&[pulse("kept", 2, 2)], at(1)).await.unwrap();
    store.count_pulses(&[pulse("kept", 3, 4)], at(3_600)).await.unwrap();

    store.prune_gate(at(3_600)).await.unwrap();
    let hour = store.gate_window(&site(), 3_600, at(3_600)).await.unwrap();
    store.prune_gate(at(week)).await.unwrap();

    assert_eq!(hour["free"].calls, 6);
    assert_eq!(store.gate_window(&site(), 3_600, at(3_600)).await.unwrap(), Window::new());
    assert_eq!(store.gate_totals(&site()).await.unwrap()["free"].calls, 8);
    let all = Duration::from_secs(2 * week);
    assert_eq!(store.gate_instances(&site(), all, at(week)).await.unwrap(), 1);
    // Who was forgotten is new; who was not, is not.
    let verdicts = store.count_pulses(&[pulse("old", 1, 1), pulse("kept", 1, 1)], at(week)).await.unwrap();
    assert_eq!(verdicts, [Counted, Replayed]);
    // Refused if there were any cells but those of the last second and minute.
    place.tamper("CREATE UNIQUE INDEX few ON gate_cells (span)").await;
}

async fn an_org_has_a_hundred_sites_and_no_more_whoever_adds_them(place: Place) {
    let stores = [place.open().await, place.open().await];
    let calls: Vec<_> = (0..8_usize)
        .map(|writer| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                let pulses: Vec<_> = (0..20)
                    .map(|number| {
                        // Half of them are added by two.
                        let site = SiteId::new("acme", format!("{} {number}", writer / (1 + number % 2)));
                        Pulse::new(site, format!("{writer}"), 1, window([("free", 1)]))
                    })
                    .collect();
                store.count_pulses(&pulses, at(1)).await.unwrap()
            })
        })
        .collect();
    let mut verdicts = Vec::new();
    for call in calls {
        verdicts.extend(call.await.unwrap());
    }

    let names = stores[0].gate_sites("acme").await.unwrap();
    assert_eq!(names.len() as u64, MOST_SITES);
    assert!(verdicts.iter().all(|verdict| [Counted, TooManySites].contains(verdict)));
    let mut pulses = 0;
    for name in names {
        pulses += stores[1].gate_site(&SiteId::new("acme", name)).await.unwrap().pulses;
    }
    assert_eq!(pulses, verdicts.iter().filter(|verdict| **verdict == Counted).count() as u64);
}

async fn a_batch_of_nothing_is_nothing(place: Place) {
    let store = place.open().await;

    assert_eq!(store.count_pulses(&[], at(1)).await.unwrap(), []);
    // A pulse that adds nothing is a pulse all the same.
    let empty = [("free".to_owned(), Aggregate::default())].into_iter().collect();
    let pulses = [Pulse::new(site(), "a", 1, Window::new()), Pulse::new(site(), "a", 2, empty)];
    assert_eq!(store.count_pulses(&pulses, at(1)).await.unwrap(), [Counted; 2]);
    for bad in [SiteId::new("", "eu"), SiteId::new("acme", "\0"), SiteId::new("acme", "x".repeat(65))] {
        let pulses = [pulse("a", 3, 1), Pulse::new(bad, "a", 3, Window::new())];
        let refused = store.count_pulses(&pulses, at(1)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }

    assert_eq!(store.gate_site(&site()).await.unwrap().pulses, 2);
    assert_eq!(store.gate_totals(&site()).await.unwrap(), Window::new());
}

async fn a_batch_for_many_sites_is_counted_for_each(place: Place) {
    let store = place.open().await;
    // More rows than one statement has.
    let pulses: Vec<_> = (0..200_u64)
        .map(|number| {
            let site = SiteId::new(format!("org{}", number % 7), format!("s{}", number % 29));
            Pulse::new(site, format!("{number}"), 1, window([("free", 1 + number), ("pro", 1)]))
        })
        .collect();

    let verdicts = store.count_pulses(&pulses, at(1)).await.unwrap();

    assert_eq!(verdicts, [Counted; 200]);
    for pulse in &pulses {
        let of_site = pulses.iter().filter(|other| other.site == pulse.site).map(|other| &other.window);
        assert_eq!(store.gate_totals(&pulse.site).await.unwrap(), merged(of_site));
    }
}
