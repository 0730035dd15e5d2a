//! `growthbook-rust`: GrowthBook's SDK.
//!
//! Called through `GrowthBook::check`; the client's `is_on` first clones the whole feature set, 100 features an
//! evaluation. A force rule with coverage is the cheapest of its ways to split in two.

use std::{collections::HashMap, fmt};

use growthbook_rust::{
    dto::GrowthBookFeature,
    growthbook::GrowthBook,
    model_public::{GrowthBookAttribute, GrowthBookAttributeValue},
};
use serde_json::json;

use crate::{
    engine::Engine,
    workload::{TARGETED_COUNTRIES, TARGETED_PLAN, Workload},
};

/// The features and the attributes of each user.
pub struct Growthbook {
    features: GrowthBook,
    users: Vec<Option<Vec<GrowthBookAttribute>>>,
}

impl Engine for Growthbook {
    const NAME: &'static str = "growthbook-rust 0.4";

    fn new(workload: &Workload) -> Self {
        let fixed = workload.static_flags.iter().map(|key| (key, json!({ "defaultValue": true })));
        let targeted = workload.targeted_flags.iter().map(|key| {
            let feature = json!({
                "defaultValue": false,
                "rules": [{
                    "condition": { "country": { "$in": TARGETED_COUNTRIES }, "plan": TARGETED_PLAN },
                    "force": true,
                    "coverage": 0.5,
                    "hashAttribute": "id",
                    "seed": key,
                }],
            });
            (key, feature)
        });
        let features: HashMap<String, GrowthBookFeature> = fixed
            .chain(targeted)
            .map(|(key, feature)| {
                let feature =
                    serde_json::from_value(feature).expect("the feature follows GrowthBook's format");
                (key.clone(), feature)
            })
            .collect();

        let text = |key: &str, value: &str| {
            GrowthBookAttribute::new(key.to_owned(), GrowthBookAttributeValue::String(value.to_owned()))
        };
        let users = workload
            .users
            .iter()
            .map(|user| {
                Some(vec![text("id", &user.id), text("country", user.country), text("plan", user.plan)])
            })
            .collect();
        let features = GrowthBook {
            forced_variations: None,
            features,
            attributes: None,
            sticky_bucket_service: None,
            saved_groups: HashMap::new(),
        };
        Self { features, users }
    }

    fn is_on(&self, flag: &str, user: usize) -> bool {
        self.features.check(flag, &self.users[user]).on
    }
}

impl fmt::Debug for Growthbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Growthbook").finish_non_exhaustive()
    }
}
