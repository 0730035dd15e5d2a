//! Whatever is written in whatever order comes to what a few maps in memory come to.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use leverframe::ErrorKind;
use leverframe_server::{
    settings::model::{
        Change, EntryKind, Kind, REMEMBERED_FOR, SecretForm, ServiceId, Standing, Write, Written,
    },
    store::Store,
};
use proptest::{
    collection::vec,
    option::weighted,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::fixtures::{service, versions as versions_of};
use crate::{
    conformance::on_every_engine,
    place::{Place, at, with_namespace},
};

on_every_engine!(any_order_of_writes_comes_to_what_a_map_comes_to,);

const CASES: usize = 24;
const KINDS: [EntryKind; 3] = [EntryKind::Config, EntryKind::Flag, EntryKind::Secret];
const KEYS: [&str; 3] = ["a", "B", "a.b"];

/// One write, some hours after the one before.
#[derive(Clone, Debug)]
struct Step {
    kind: EntryKind,
    key: &'static str,
    change: Change,
    /// Whether it expects what stands; and if not, what.
    stale: Option<Standing>,
    request: Option<[u8; 32]>,
    hours: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        4 => "[a-z]{0,5}".prop_map(|content| Change::Put { content }),
        4 => "[a-z]{0,5}".prop_map(|text| Change::PutSecret { form: SecretForm::File, sealed: text.into() }),
        2 => Just(Change::Delete),
        2 => (0..5_u64).prop_map(Change::DeleteVersion),
    ];
    let stale = (0..4_u64, weighted(0.5, 0..4_u64)).prop_map(|(last, current)| Standing::new(last, current));
    let step = (
        prop::sample::select(&KINDS[..]),
        prop::sample::select(&KEYS[..]),
        change,
        weighted(0.1, stale),
        weighted(0.4, (0..6_u8).prop_map(|number| [number; 32])),
        0..6_u64,
    );
    let step = step.prop_map(|(kind, key, change, stale, request, hours)| Step {
        kind,
        key,
        change,
        stale,
        request,
        hours,
    });
    vec(step, 1..40)
}

/// The last version of a name, and those that exist.
type Named = (u64, BTreeMap<u64, String>);

/// What there is, as simple as can be.
#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<(EntryKind, &'static str), Named>,
    requests: BTreeMap<[u8; 32], (u64, SystemTime)>,
    revision: u64,
}

impl Model {
    fn standing(&self, kind: EntryKind, key: &'static str) -> Standing {
        let Some((last, versions)) = self.entries.get(&(kind, key)) else { return Standing::default() };
        Standing::new(*last, versions.keys().next_back().copied())
    }

    fn write(&mut self, step: &Step, expected: Standing, now: SystemTime) -> Result<Written, ErrorKind> {
        if let Some((version, at)) = step.request.and_then(|request| self.requests.get(&request))
            && now < *at + REMEMBERED_FOR
        {
            return Ok(Written::Before(*version));
        }
        let is_secret = step.kind == EntryKind::Secret;
        let fits = match &step.change {
            Change::Put { .. } => !is_secret,
            Change::PutSecret { .. } | Change::DeleteVersion(_) => is_secret,
            _ => true,
        };
        if !fits {
            return Err(ErrorKind::Invalid);
        }
        let standing = self.standing(step.kind, step.key);
        if standing != expected {
            return Ok(Written::Moved);
        }
        let text = match &step.change {
            Change::Put { content } => Some(content.clone()),
            Change::PutSecret { sealed, .. } => Some(String::from_utf8(sealed.to_vec()).unwrap()),
            _ => None,
        };
        let (last, versions) = self.entries.entry((step.kind, step.key)).or_default();
        let version = match (text, &step.change) {
            (Some(text), _) => {
                *last += 1;
                if !is_secret {
                    versions.clear();
                }
                versions.insert(*last, text);
                Some(*last)
            }
            (None, Change::DeleteVersion(version)) => versions.remove(version).map(|_| *version),
            (None, _) => {
                versions.clear();
                standing.current
            }
        };
        let Some(version) = version else { return Ok(Written::Absent) };
        self.revision += 1;
        if let Some(request) = step.request {
            self.requests.insert(request, (version, now));
        }
        Ok(Written::Done(version))
    }
}

async fn any_order_of_writes_comes_to_what_a_map_comes_to(place: Place) {
    let store = place.open().await;
    with_namespace(&*store).await;
    // The same ones each time: what fails once fails again.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);

    for case in 0..CASES {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let id = ServiceId::new("acme", "payments", format!("case{case}"));
        store.put_settings_service(&service(id.clone(), Kind::Backend)).await.unwrap().unwrap();
        let mut model = Model::default();
        let mut now = at(0);
        for step in &steps {
            now += Duration::from_secs(step.hours * 3_600);
            let expected = step.stale.unwrap_or_else(|| model.standing(step.kind, step.key));
            let mut write = Write::new(step.kind, step.key, step.change.clone(), expected);
            write.request = step.request;

            let written = store.write_settings(&id, &write, now).await.map_err(|error| error.kind());

            assert_eq!(written, model.write(step, expected, now), "{step:?} of {steps:#?}");
        }
        assert_same(&*store, &id, &model).await;
    }
}

async fn assert_same(store: &dyn Store, id: &ServiceId, model: &Model) {
    let held = store.settings_held(id).await.unwrap().unwrap();
    assert_eq!(held.revision, model.revision);
    let (mut live, mut expected) = (BTreeMap::new(), BTreeMap::new());
    for (kind, entries) in [(EntryKind::Config, held.configs), (EntryKind::Flag, held.flags)] {
        for entry in entries {
            live.insert((kind, entry.key), (entry.version, Bytes::from(entry.content)));
        }
    }
    for secret in held.secrets {
        live.insert((EntryKind::Secret, secret.key), (secret.version, secret.sealed));
    }
    for kind in KINDS {
        for key in KEYS {
            let standing = store.settings_standing(id, kind, key).await.unwrap();
            assert_eq!(standing, model.standing(kind, key), "{kind:?} {key}");
            let Some((_, versions)) = model.entries.get(&(kind, key)) else { continue };
            if let Some((version, text)) = versions.last_key_value() {
                expected.insert((kind, key.to_owned()), (*version, Bytes::from(text.clone())));
            }
            if kind == EntryKind::Secret {
                let kept = versions_of(store, id, key).await;
                let kept = kept.into_iter().rev().map(|version| (version.version, version.sealed));
                let versions = versions.iter().map(|(version, text)| (*version, Bytes::from(text.clone())));
                assert_eq!(kept.collect::<Vec<_>>(), versions.collect::<Vec<_>>());
            }
        }
    }
    assert_eq!(live, expected);
}
