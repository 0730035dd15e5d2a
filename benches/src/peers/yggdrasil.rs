//! `unleash-yggdrasil`: the engine of Unleash's own clients and edge.
//!
//! Rules are compiled to closures when the state is applied. A 50 % `flexibleRollout` with constraints is one hash
//! and `is_enabled`; asking for a variant instead would evaluate the constraints twice. No metrics are counted:
//! `is_enabled` leaves that to the caller.

use std::{collections::HashMap, fmt};

use serde_json::json;
use unleash_yggdrasil::{ClientFeatures, Context, EngineState};

use crate::{
    engine::Engine,
    workload::{ENVIRONMENT, TARGETED_COUNTRIES, TARGETED_PLAN, Workload},
};

/// The engine and a context for each user.
pub struct Yggdrasil {
    engine: EngineState,
    contexts: Vec<Context>,
}

impl Engine for Yggdrasil {
    const NAME: &'static str = "unleash-yggdrasil 0.21";

    fn new(workload: &Workload) -> Self {
        let feature =
            |key: &String, strategy| json!({ "name": key, "enabled": true, "strategies": [strategy] });
        let features: Vec<_> = workload
            .static_flags
            .iter()
            .map(|key| feature(key, json!({ "name": "default" })))
            .chain(workload.targeted_flags.iter().map(|key| {
                let constraint =
                    |name, values| json!({ "contextName": name, "operator": "IN", "values": values });
                feature(
                    key,
                    json!({
                        "name": "flexibleRollout",
                        "parameters": { "rollout": "50", "stickiness": "userId", "groupId": key },
                        "constraints": [
                            constraint("country", &TARGETED_COUNTRIES[..]),
                            constraint("plan", &[TARGETED_PLAN]),
                        ],
                    }),
                )
            }))
            .collect();
        let state: ClientFeatures = serde_json::from_value(json!({ "version": 2, "features": features }))
            .expect("the state follows Unleash's client format");
        let engine = EngineState::default();
        let warnings = engine.apply_client_features(state);
        assert!(warnings.is_none(), "yggdrasil compiles every flag: {warnings:?}");

        let contexts = workload
            .users
            .iter()
            .map(|user| Context {
                user_id: Some(user.id.clone()),
                environment: Some(ENVIRONMENT.to_owned()),
                properties: Some(HashMap::from([
                    ("country".to_owned(), user.country.to_owned()),
                    ("plan".to_owned(), user.plan.to_owned()),
                ])),
                ..Context::default()
            })
            .collect();
        Self { engine, contexts }
    }

    fn is_on(&self, flag: &str, user: usize) -> bool {
        self.engine.is_enabled(flag, &self.contexts[user], &None)
    }
}

impl fmt::Debug for Yggdrasil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yggdrasil").finish_non_exhaustive()
    }
}
