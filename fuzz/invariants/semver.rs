//! Versions, alone and in predicates.

use std::cmp::Ordering;

use leverframe::{
    EvalContext, EvalOptions,
    eval::{Program, Semver},
    manifest::{
        Manifest,
        model::{Atom, AttrType, Audience, Flag, FlagType, Operator, Predicate, Rule, Scalar, Variant},
    },
};

/// Versions, one a line: what is read is written and read back, is ordered totally, and predicates order it alike.
pub fn semver(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.lines().take(4).collect();
    let versions: Vec<Option<Semver>> = lines.iter().map(|line| Semver::parse(line)).collect();
    for (line, version) in lines.iter().zip(&versions) {
        let Some(version) = version else { continue };
        assert_eq!(
            Semver::parse(&version.to_string()).as_ref(),
            Some(version),
            "{line:?} does not round-trip"
        );
        assert!(version.to_string().is_ascii());
        if !line.starts_with('v') {
            assert_eq!(Semver::parse(&format!("v{line}")).as_ref(), Some(version));
        }
        if !line.contains('+') {
            assert_eq!(Semver::parse(&format!("{line}+build.7")).as_ref(), Some(version));
        }
    }
    let good: Vec<&Semver> = versions.iter().flatten().collect();
    for a in &good {
        for b in &good {
            assert_eq!(a.cmp(b), b.cmp(a).reverse(), "{a} and {b}");
            assert_eq!(a == b, a.cmp(b) == Ordering::Equal, "{a} and {b}");
            for c in &good {
                assert!(!(a <= b && b <= c) || a <= c, "{a}, {b}, {c}");
            }
        }
    }
    if let [Some(literal), context, ..] = &versions[..] {
        let order = context.as_ref().map(|context| context.cmp(literal));
        for (op, holds) in OPERATORS {
            let there = answer(op, lines[0], lines[1]);
            assert_eq!(there, order.is_some_and(holds), "{:?} {op} {:?}", lines[1], lines[0]);
        }
    }
}

/// Whether an order satisfies an operator.
type Holds = fn(Ordering) -> bool;

const OPERATORS: [(Operator, Holds); 5] = [
    (Operator::SemverEq, Ordering::is_eq),
    (Operator::SemverGt, Ordering::is_gt),
    (Operator::SemverGte, Ordering::is_ge),
    (Operator::SemverLt, Ordering::is_lt),
    (Operator::SemverLte, Ordering::is_le),
];

/// Evaluates a flag that asks how the version of the context compares with the literal.
fn answer(op: Operator, literal: &str, context: &str) -> bool {
    let variants =
        [("off", false), ("on", true)].map(|(key, v)| Variant { key: key.into(), value: v.into() });
    let mut flag = Flag::new("f", FlagType::Boolean, variants.into()).expect("two variants");
    let operands = vec![Scalar::String(literal.to_owned())];
    flag.catch_all.rules = Some(vec![Rule {
        description: String::new(),
        audience: Audience::Predicate(Predicate::Atom(Atom { attribute: "v".into(), op, operands })),
        variant: "on".into(),
    }]);
    let mut manifest = Manifest::new("fuzz");
    manifest.attributes.insert("v".into(), AttrType::String);
    manifest.flags.insert("f".into(), flag);
    let program = Program::compile(&manifest);
    let context = EvalContext::builder().str("v", context).build();
    let there = program.evaluate("f", "production", &context, &EvalOptions::new());
    there.expect("the attribute is text").value.as_bool().expect("a boolean flag")
}
