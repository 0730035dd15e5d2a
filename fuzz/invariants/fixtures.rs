//! What is made from a manifest: fixtures, paths, nearest changes.

use leverframe::{
    ErrorKind, EvalContext, EvalOptions,
    eval::{Coverage, FixtureOptions, Fixtures, Limits, Outcome, Program, RuleMatched, WhyNot, paths},
    manifest::{LintOptions, Manifest, lint_tree},
};

use super::{manifest::environments, tree::tree};

/// Enough for any manifest that is worth a look; a fuzzer finds those that need millions.
const CELLS: usize = 500;
const QUESTIONS: u64 = 50_000;

/// Every fixture gives what it says it gives, every way's witness goes that way, and what cannot be told apart
/// within the limits is said to be so.
pub fn fixtures(data: &[u8]) {
    let Some(manifest) = lint_tree(&tree(data), &LintOptions::new()).manifest else { return };
    let program = Program::compile(&manifest);
    for flag in manifest.flags.keys() {
        for environment in environments(&manifest) {
            for testing in [false, true] {
                let options = EvalOptions::new().with_include_testing(testing);
                check(&manifest, &program, flag, environment, &options);
            }
        }
    }
}

fn check(manifest: &Manifest, program: &Program, flag: &str, environment: &str, options: &EvalOptions) {
    let limits = Limits::new().with_cells(CELLS).with_questions(QUESTIONS);
    let wanted = FixtureOptions::new()
        .with_coverage(Coverage::Exhaustive)
        .with_evaluation(*options)
        .with_limits(limits);
    let evaluate = |context: &EvalContext| program.evaluate(flag, environment, context, options);

    match Fixtures::of(manifest, program, flag, environment, &wanted) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain()),
        Ok(made) => {
            for fixture in made.fixtures() {
                let there = evaluate(&fixture.context).expect("a fixture evaluates");
                assert_eq!(there.variant_key, fixture.variant, "{}", fixture.name);
                assert_eq!(there.rule_matched, fixture.rule_matched, "{}", fixture.name);
                assert_eq!(*there.value, fixture.value, "{}", fixture.name);
                assert!(!fixture.why.contains('\n'), "{}", fixture.why);
            }
            let again = Fixtures::of(manifest, program, flag, environment, &wanted).expect("as before");
            assert_eq!(again.to_json(), made.to_json(), "fixtures are not deterministic");
            assert_eq!(again.to_rust("m"), made.to_rust("m"));
            assert!(!made.to_human().is_empty() && !made.to_typescript().is_empty());
        }
    }
    match paths(manifest, flag, environment, options, limits) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain()),
        Ok(found) => {
            for path in &found.paths {
                let Some(witness) = &path.witness else { continue };
                match (&path.outcome, evaluate(witness)) {
                    (Outcome::Rule(index), Ok(there)) => {
                        assert_eq!(there.rule_matched, RuleMatched::Rule(*index), "{witness:?}");
                    }
                    (Outcome::Default, Ok(there)) => {
                        assert_eq!(there.rule_matched, RuleMatched::Default, "{witness:?}");
                    }
                    (Outcome::Mismatch(_), Err(_)) => {}
                    (outcome, there) => panic!("{outcome:?}, but {there:?} for {witness:?}"),
                }
            }
        }
    }
    let empty = EvalContext::new();
    let why = WhyNot::of(manifest, program, flag, environment, &empty, options).expect("both are known");
    let why = why.with_limits(limits);
    assert!(why.rules().iter().enumerate().all(|(at, rule)| rule.index == at));
    for variant in &manifest.flags[flag].variants {
        match why.nearest(Some(&variant.key)) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{}", error.chain()),
            Ok(None) => {}
            Ok(Some(change)) => {
                let there = evaluate(&change.context).expect("a change that was tried");
                assert_eq!(there.variant_key, variant.key);
            }
        }
    }
}
