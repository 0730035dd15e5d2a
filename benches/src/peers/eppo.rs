//! `eppo_core`: the core of Eppo's server SDKs.
//!
//! Called as its own benchmark does, `get_assignment` over a configuration at hand and with the time given, which
//! spares it the lock of the configuration store and the clock that its `Evaluator` adds. Allocations are not
//! logged, so that no event is built. The split lists one range and lets the rest fall to the next allocation: one
//! MD5 an evaluation instead of one a variation.

use std::sync::Arc;

use eppo_core::{
    Attributes, Configuration, SdkMetadata, Str,
    eval::get_assignment,
    timestamp::Timestamp,
    timestamp::now,
    ufc::{UniversalFlagConfig, VariationType},
};
use serde_json::{Value, json};

use crate::{
    engine::Engine,
    workload::{ENVIRONMENT, TARGETED_COUNTRIES, TARGETED_PLAN, Workload},
};

/// The configuration, and key and attributes of each user.
#[derive(Debug)]
pub struct Eppo {
    configuration: Configuration,
    subjects: Vec<(Str, Arc<Attributes>)>,
    now: Timestamp,
}

impl Engine for Eppo {
    const NAME: &'static str = "eppo_core 10.0.0";

    fn new(workload: &Workload) -> Self {
        let everyone = |variation| json!({ "key": "everyone", "rules": [], "doLog": false, "splits": [{ "variationKey": variation, "shards": [] }] });
        let fixed = workload.static_flags.iter().map(|key| (key, vec![everyone("on")]));
        let targeted = workload.targeted_flags.iter().map(|key| {
            let one_of =
                |attribute, values| json!({ "attribute": attribute, "operator": "ONE_OF", "value": values });
            let half = json!({
                "key": "half",
                "doLog": false,
                "rules": [{
                    "conditions": [
                        one_of("country", &TARGETED_COUNTRIES[..]),
                        one_of("plan", &[TARGETED_PLAN]),
                    ],
                }],
                "splits": [{
                    "variationKey": "on",
                    "shards": [{ "salt": key, "ranges": [{ "start": 0, "end": 5000 }] }],
                }],
            });
            (key, vec![half, everyone("off")])
        });
        let flags: serde_json::Map<String, Value> = fixed
            .chain(targeted)
            .map(|(key, allocations)| {
                let flag = json!({
                    "key": key,
                    "enabled": true,
                    "variationType": "BOOLEAN",
                    "variations": {
                        "on": { "key": "on", "value": true },
                        "off": { "key": "off", "value": false },
                    },
                    "allocations": allocations,
                    "totalShards": 10_000,
                });
                (key.clone(), flag)
            })
            .collect();
        let document = json!({
            "createdAt": "2026-01-01T00:00:00Z",
            "environment": { "name": ENVIRONMENT },
            "flags": flags,
        });
        let flags = UniversalFlagConfig::from_json(
            SdkMetadata { name: "benches", version: "0" },
            document.to_string().into_bytes(),
        )
        .expect("the document follows Eppo's universal flag configuration");

        let subjects = workload
            .users
            .iter()
            .map(|user| {
                let attributes: Attributes =
                    [("country".into(), user.country.into()), ("plan".into(), user.plan.into())]
                        .into_iter()
                        .collect();
                (Str::from(user.id.as_str()), Arc::new(attributes))
            })
            .collect();
        Self { configuration: Configuration::from_server_response(flags, None), subjects, now: now() }
    }

    fn is_on(&self, flag: &str, user: usize) -> bool {
        let (key, attributes) = &self.subjects[user];
        let assigned = get_assignment(
            Some(&self.configuration),
            flag,
            key,
            attributes,
            Some(VariationType::Boolean),
            self.now,
        );
        assigned.ok().flatten().and_then(|a| a.value.as_boolean()).unwrap_or(false)
    }
}
