//! Holds the compiled evaluator against one that is written from the specification and nothing else.

#[path = "support/naive.rs"]
mod naive;
#[path = "support/random.rs"]
mod random;

use leverframe::{
    EvalContext, EvalError, EvalOptions, RuleMatched,
    eval::{Limits, Program, bucket, paths},
    flags::FlagValue,
};
use proptest::prelude::*;

use self::naive::{Answer, naive_bucket};

fn program_answer(program: &Program, environment: &str, context: &EvalContext, testing: bool) -> Answer {
    let options = EvalOptions::new().with_include_testing(testing);
    match program.evaluate(random::FLAG, environment, context, &options) {
        Ok(e) => Answer::Resolved {
            value: FlagValue::clone(e.value),
            variant: e.variant_key.to_owned(),
            rule: if let RuleMatched::Rule(index) = e.rule_matched { Some(index) } else { None },
        },
        Err(EvalError::AttrTypeMismatch { attribute, expected, actual }) => {
            Answer::Mismatch { attribute: attribute.to_string(), expected, actual }
        }
        Err(EvalError::UnknownEnvironment { .. }) => Answer::UnknownEnvironment,
        Err(EvalError::UnknownFlag { .. }) => Answer::UnknownFlag,
        Err(other) => panic!("unexpected: {other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_evaluator_agrees_with_the_naive_one(
        manifest in random::manifest(),
        contexts in prop::collection::vec(random::context(false), 1..24),
    ) {
        let program = Program::compile(&manifest);

        for context in &contexts {
            for environment in random::ENVIRONMENTS {
                for testing in [false, true] {
                    let expected = naive::evaluate(&manifest, random::FLAG, environment, context, testing);
                    let actual = program_answer(&program, environment, context, testing);
                    let values: Vec<_> = context.iter().collect();
                    prop_assert_eq!(actual, expected, "{} testing={} {:?}", environment, testing, values);
                }
            }
        }
    }

    #[test]
    fn buckets_agree_with_a_byte_by_byte_hash(id in "\\PC{0,24}", salt in "\\PC{0,12}") {
        prop_assert_eq!(bucket(&id, &salt), naive_bucket(&id, &salt));
    }

    #[test]
    fn every_way_through_a_flag_resolves_as_it_says(manifest in random::manifest(), testing in any::<bool>()) {
        let program = Program::compile(&manifest);
        let options = EvalOptions::new().with_include_testing(testing);
        let limits = Limits::default();

        let Ok(found) = paths(&manifest, random::FLAG, "production", &options, limits) else { return Ok(()) };

        prop_assert!(!found.paths.is_empty());
        for path in &found.paths {
            let Some(witness) = &path.witness else { continue };
            let there = program.evaluate(random::FLAG, "production", witness, &options);
            let there = there.map(|e| (e.variant_key.to_owned(), e.rule_matched.to_string()));
            let values: Vec<_> = witness.iter().collect();
            let expected = path.variant.clone().map(|v| (v, path.outcome.to_string()));
            prop_assert_eq!(there.ok(), expected, "{:?} {:?} {:?}", path.conditions, path.buckets, values);
        }
    }

    #[test]
    fn a_well_typed_context_only_ends_where_some_way_ends(
        manifest in random::manifest(),
        contexts in prop::collection::vec(random::context(true), 1..40),
    ) {
        let program = Program::compile(&manifest);
        let options = EvalOptions::new();
        let Ok(found) = paths(&manifest, random::FLAG, "staging", &options, Limits::default()) else { return Ok(()) };

        for context in &contexts {
            let there = program.evaluate(random::FLAG, "staging", context, &options);
            let there = there.map(|e| e.rule_matched.to_string());
            let there = there.expect("well-typed contexts evaluate");
            let values: Vec<_> = context.iter().collect();
            prop_assert!(found.paths.iter().any(|p| p.outcome.to_string() == there), "{} {:?}", there, values);
        }
    }
}
