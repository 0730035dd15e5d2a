//! `flagd-evaluation-engine`: the in-process engine of OpenFeature's flagd provider.
//!
//! The engine parses flags and applies a targeting rule given as text, which it compiles at each call; picking the
//! variant is the provider's part and done here as the provider does it. The provider prints the rule to text at
//! each call; here that is done once.

use std::{collections::HashMap, fmt};

use flagd_evaluation_engine::{FlagParser, Operator};
use open_feature::EvaluationContext;
use serde_json::{Value, json};

use crate::{
    engine::Engine,
    workload::{TARGETED_COUNTRIES, TARGETED_PLAN, Workload},
};

/// The flags by key, the operator that applies rules, and a context for each user.
pub struct Flagd {
    flags: HashMap<String, Flag>,
    operator: Operator,
    contexts: Vec<EvaluationContext>,
}

struct Flag {
    enabled: bool,
    targeting: Option<String>,
    default_variant: String,
    variants: HashMap<String, Value>,
}

impl Engine for Flagd {
    const NAME: &'static str = "flagd-evaluation-engine 0.1";

    fn new(workload: &Workload) -> Self {
        let variants = json!({ "on": true, "off": false });
        let fixed = workload.static_flags.iter().map(|key| {
            (key.clone(), json!({ "state": "ENABLED", "variants": variants, "defaultVariant": "on" }))
        });
        let targeted = workload.targeted_flags.iter().map(|key| {
            let flag = json!({
                "state": "ENABLED",
                "variants": variants,
                "defaultVariant": "off",
                "targeting": { "if": [
                    { "and": [
                        { "in": [{ "var": "country" }, TARGETED_COUNTRIES] },
                        { "==": [{ "var": "plan" }, TARGETED_PLAN] },
                    ] },
                    { "fractional": [["on", 50], ["off", 50]] },
                    "off",
                ] },
            });
            (key.clone(), flag)
        });
        let flags: serde_json::Map<String, Value> = fixed.chain(targeted).collect();
        let parsed = FlagParser::parse_string(&json!({ "flags": flags }).to_string())
            .expect("the document follows flagd's format");
        let flags = parsed
            .flags
            .into_iter()
            .map(|(key, flag)| {
                let flag = Flag {
                    enabled: flag.state == "ENABLED",
                    targeting: flag.targeting.is_some().then(|| flag.get_targeting()),
                    default_variant: flag.default_variant,
                    variants: flag.variants,
                };
                (key, flag)
            })
            .collect();

        let contexts = workload
            .users
            .iter()
            .map(|user| {
                EvaluationContext::default()
                    .with_targeting_key(&user.id)
                    .with_custom_field("country", user.country)
                    .with_custom_field("plan", user.plan)
            })
            .collect();
        Self { flags, operator: Operator::new(), contexts }
    }

    fn is_on(&self, key: &str, user: usize) -> bool {
        let Some(flag) = self.flags.get(key).filter(|f| f.enabled) else { return false };
        let chosen = match &flag.targeting {
            Some(rule) => self.operator.apply(key, rule, &self.contexts[user]).ok().flatten(),
            None => None,
        };
        let variant = chosen.as_deref().unwrap_or(&flag.default_variant);
        flag.variants.get(variant).and_then(Value::as_bool).unwrap_or(false)
    }
}

impl fmt::Debug for Flagd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flagd").finish_non_exhaustive()
    }
}
