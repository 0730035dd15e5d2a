//! What is decided of a site's rules.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use leverframe::gate::reflex::{RuleState, Window};
use leverframe_server::{
    gate::{
        Evaluate,
        model::{SiteId, SiteState},
    },
    store::{Notice, Store},
};

use super::fixtures::{counted, pulse, site, window};
use crate::{
    conformance::on_every_engine,
    place::{Place, at, heard},
};

on_every_engine!(
    a_decision_is_made_upon_what_was_counted_and_comes_back,
    decisions_at_once_are_made_one_after_the_other_and_none_is_lost,
    only_what_comes_into_force_or_ceases_is_told,
    a_site_that_never_reported_stands_as_by_default,
    decisions_and_counting_at_once_lose_nothing,
);

/// Decides by a function.
struct By<F>(Vec<u32>, F);

impl<F> std::fmt::Debug for By<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("By").field(&self.0).finish()
    }
}

impl<F> Evaluate for By<F>
where
    F: Fn(&BTreeMap<String, RuleState>, &BTreeMap<u32, Window>) -> BTreeMap<String, RuleState>
        + Send
        + Sync
        + 'static,
{
    fn windows(&self) -> Vec<u32> {
        self.0.clone()
    }

    fn evaluate(
        &self,
        states: &BTreeMap<String, RuleState>,
        windows: &BTreeMap<u32, Window>,
        _now: SystemTime,
    ) -> BTreeMap<String, RuleState> {
        (self.1)(states, windows)
    }
}

fn in_force(since: u64, value: f64) -> RuleState {
    let mut state = RuleState::default();
    (state.in_force_since_ms, state.value) = (Some(since), Some(value));
    state
}

/// Lets a rule come into force.
pub(super) async fn trip(store: &dyn Store, site: &SiteId, now: SystemTime) -> SiteState {
    let state = BTreeMap::from([("payments/shed".to_owned(), in_force(7, 0.1 + 0.2))]);
    let by = By(vec![60], move |_: &_, _: &_| state.clone());
    store.evaluate_gate_site(site, Arc::new(by), now).await.unwrap()
}

async fn a_decision_is_made_upon_what_was_counted_and_comes_back(place: Place) {
    let store = place.open().await;
    store.count_pulses(&[pulse("i", 1, 5)], at(0)).await.unwrap();
    store.count_pulses(&[pulse("i", 2, 7)], at(100)).await.unwrap();
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let by = By(vec![1, 3_600, 60, 60], {
        let seen = Arc::clone(&seen);
        move |states: &BTreeMap<_, _>, windows: &BTreeMap<_, _>| {
            assert!(states.is_empty());
            *seen.lock().unwrap() = windows.clone();
            BTreeMap::from([("a".to_owned(), in_force(7, 1.0 / 3.0)), ("b".to_owned(), RuleState::default())])
        }
    });

    let state = store.evaluate_gate_site(&site(), Arc::new(by), at(100)).await.unwrap();

    let mut both = counted(5);
    both.merge(&counted(7));
    let all = BTreeMap::from([("free".to_owned(), both)]);
    let last = window([("free", 7)]);
    assert_eq!(*seen.lock().unwrap(), BTreeMap::from([(1, last.clone()), (60, last), (3_600, all)]));
    assert_eq!((state.revision, state.pulses, state.last_pulse_at), (1, 2, Some(at(100))));
    assert_eq!(state.rules["a"], in_force(7, 1.0 / 3.0));
    assert_eq!(place.open().await.gate_site(&site()).await.unwrap(), state);
}

async fn decisions_at_once_are_made_one_after_the_other_and_none_is_lost(place: Place) {
    let stores = [place.open().await, place.open().await];
    stores[0].count_pulses(&[pulse("i", 1, 5)], at(0)).await.unwrap();
    // Each adds one to what it finds.
    let count = |states: &BTreeMap<String, RuleState>, _: &BTreeMap<u32, Window>| {
        let before = states.get("count").and_then(|state| state.value).unwrap_or_default();
        BTreeMap::from([("count".to_owned(), in_force(7, before + 1.0))])
    };

    let calls: Vec<_> = (0..32)
        .map(|number| {
            let store = Arc::clone(&stores[number % 2]);
            let by = Arc::new(By(vec![30], count));
            tokio::spawn(async move { store.evaluate_gate_site(&site(), by, at(1)).await.unwrap() })
        })
        .collect();
    let mut values = Vec::new();
    for call in calls {
        values.push(call.await.unwrap().rules["count"].value.unwrap() as u64);
    }

    values.sort_unstable();
    assert_eq!(values, (1..=32).collect::<Vec<_>>());
    let state = stores[1].gate_site(&site()).await.unwrap();
    assert_eq!((state.rules["count"].value, state.revision), (Some(32.0), 1));
}

async fn only_what_comes_into_force_or_ceases_is_told(place: Place) {
    let store = place.open().await;
    store.count_pulses(&[pulse("i", 1, 5)], at(0)).await.unwrap();
    let there = place.open().await;
    let mut notices = there.notices();
    let decide = async |states: Vec<(&'static str, RuleState)>| {
        let states: BTreeMap<_, _> =
            states.into_iter().map(|(name, state)| (name.to_owned(), state)).collect();
        let by = By(Vec::new(), move |_: &_, _: &_| states.clone());
        store.evaluate_gate_site(&site(), Arc::new(by), at(1)).await.unwrap().revision
    };
    let mut calm = RuleState::default();
    calm.value = Some(f64::NAN);

    // Nothing, a value, no number, into force, another value, the same, no more, gone.
    let revisions = [
        decide(vec![]).await,
        decide(vec![("a", RuleState::default())]).await,
        decide(vec![("a", calm)]).await,
        decide(vec![("a", in_force(7, 1.0))]).await,
        decide(vec![("a", in_force(7, 2.0)), ("b", RuleState::default())]).await,
        decide(vec![("a", in_force(7, 2.0)), ("b", RuleState::default())]).await,
        decide(vec![("a", RuleState::default())]).await,
        decide(vec![]).await,
    ];
    store.put_gate_settings("end", None, &Default::default()).await.unwrap().unwrap();

    assert_eq!(revisions, [0, 0, 0, 1, 1, 1, 2, 2]);
    for org in ["acme", "acme", "end"] {
        assert_eq!(heard(&mut notices).await, Notice::Gate { org: org.to_owned() });
    }
}

async fn a_site_that_never_reported_stands_as_by_default(place: Place) {
    let store = place.open().await;

    let state = trip(&*store, &site(), at(1)).await;

    assert_eq!(state, SiteState::default());
    assert_eq!(store.gate_site(&site()).await.unwrap(), SiteState::default());
    assert_eq!(store.gate_window(&site(), 60, at(1)).await.unwrap(), Window::new());
    assert_eq!(store.gate_totals(&site()).await.unwrap(), Window::new());
    assert_eq!(store.gate_sites("acme").await.unwrap(), [""; 0]);
}

async fn decisions_and_counting_at_once_lose_nothing(place: Place) {
    let stores = [place.open().await, place.open().await];
    stores[0].count_pulses(&[pulse("first", 1, 1)], at(0)).await.unwrap();
    let highest = Arc::new(AtomicU64::new(0));
    let watch = Arc::new(By(vec![3_600], {
        let highest = Arc::clone(&highest);
        move |states: &BTreeMap<String, RuleState>, windows: &BTreeMap<u32, Window>| {
            // What one decision has seen the next sees too.
            let calls = windows[&3_600]["free"].calls;
            let before = states.get("seen").and_then(|state| state.value).unwrap_or_default();
            assert!(calls as f64 >= before, "{calls} after {before}");
            highest.fetch_max(calls, Ordering::Relaxed);
            BTreeMap::from([("seen".to_owned(), in_force(7, calls as f64))])
        }
    }));

    let counting: Vec<_> = (0..4_usize)
        .map(|writer| {
            let store = Arc::clone(&stores[writer % 2]);
            tokio::spawn(async move {
                for ts in 0..20 {
                    let pulses: Vec<_> =
                        (0..5).map(|number| pulse(&format!("{writer} {number}"), ts, 1)).collect();
                    store.count_pulses(&pulses, at(1)).await.unwrap();
                }
            })
        })
        .collect();
    for number in 0..30 {
        let watch = Arc::clone(&watch);
        stores[number % 2].evaluate_gate_site(&site(), watch, at(1)).await.unwrap();
    }
    for counting in counting {
        counting.await.unwrap();
    }
    stores[0].evaluate_gate_site(&site(), watch, at(1)).await.unwrap();

    assert_eq!(highest.load(Ordering::Relaxed), 401);
    assert_eq!(stores[1].gate_totals(&site()).await.unwrap()["free"].calls, 401);
}
