//! `launchdarkly-server-sdk-evaluation`: the engine of LaunchDarkly's Rust SDK.
//!
//! The engine takes a flag, not a key; the store that finds it is the caller's. The SDK's in-memory store clones the
//! flag at each look-up; here it is borrowed from a hash map, which is faster.

use std::{collections::HashMap, fmt};

use launchdarkly_server_sdk_evaluation::{
    Context, ContextBuilder, Flag, FlagValue, Segment, Store, evaluate,
};
use serde_json::{Value, json};

use crate::{
    engine::Engine,
    workload::{TARGETED_COUNTRIES, TARGETED_PLAN, Workload},
};

/// The flags by key and a context for each user.
pub struct LaunchDarkly {
    flags: Flags,
    contexts: Vec<Context>,
}

struct Flags(HashMap<String, Flag>);

impl Store for Flags {
    fn flag(&self, key: &str) -> Option<Flag> {
        self.0.get(key).cloned()
    }

    fn segment(&self, _: &str) -> Option<Segment> {
        None
    }
}

impl Engine for LaunchDarkly {
    const NAME: &'static str = "launchdarkly-server-sdk-evaluation 2.2.1";

    fn new(workload: &Workload) -> Self {
        const ON: u8 = 0;
        const OFF: u8 = 1;
        let flag = |key: &String, rules: Value, fallthrough: u8| {
            let flag = json!({
                "key": key,
                "version": 1,
                "on": true,
                "targets": [],
                "rules": rules,
                "prerequisites": [],
                "fallthrough": { "variation": fallthrough },
                "offVariation": OFF,
                "variations": [true, false],
                "salt": key,
                "clientSide": false,
            });
            (key.clone(), serde_json::from_value(flag).expect("the flag follows LaunchDarkly's format"))
        };
        let fixed = workload.static_flags.iter().map(|key| flag(key, json!([]), ON));
        let targeted = workload.targeted_flags.iter().map(|key| {
            let is_in = |attribute, values| {
                json!({ "contextKind": "user", "attribute": attribute, "negate": false, "op": "in", "values": values })
            };
            let half = json!({
                "id": "half",
                "clauses": [is_in("country", &TARGETED_COUNTRIES[..]), is_in("plan", &[TARGETED_PLAN])],
                "rollout": {
                    "contextKind": "user",
                    "variations": [
                        { "variation": ON, "weight": 50_000 },
                        { "variation": OFF, "weight": 50_000 },
                    ],
                },
                "trackEvents": false,
            });
            flag(key, json!([half]), OFF)
        });

        let contexts = workload
            .users
            .iter()
            .map(|user| {
                ContextBuilder::new(&user.id)
                    .set_string("country", user.country)
                    .set_string("plan", user.plan)
                    .build()
                    .expect("a context with a key is complete")
            })
            .collect();
        Self { flags: Flags(fixed.chain(targeted).collect()), contexts }
    }

    fn is_on(&self, flag: &str, user: usize) -> bool {
        let Some(flag) = self.flags.0.get(flag) else { return false };
        let detail = evaluate(&self.flags, flag, &self.contexts[user], None);
        matches!(detail.value, Some(FlagValue::Bool(true)))
    }
}

impl fmt::Debug for LaunchDarkly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchDarkly").finish_non_exhaustive()
    }
}
