//! Every way through one flag in one environment.

use std::{fmt, ops::ControlFlow};

use super::{
    ask::Verdict,
    case::Space,
    plan::Plan,
    walk::{Limits, Walk},
    witness, words,
};
use crate::{
    error::Result,
    eval::{EvalContext, EvalOptions},
    manifest::Manifest,
};

/// How a flag resolves on a path.
///
/// # Examples
/// ```
/// use leverframe::eval::Outcome;
/// assert_eq!(Outcome::Rule(1).to_string(), "rule:1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// No rule matches.
    Default,
    /// An attribute has another type than the manifest infers; only hand-built models reach this.
    Mismatch(String),
    /// The rule at this zero-based index matches.
    Rule(usize),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Mismatch(attribute) => write!(f, "attr_type_mismatch on `{attribute}`"),
            Self::Rule(index) => write!(f, "rule:{index}"),
        }
    }
}

/// One way through the rules: the contexts that answer every question alike.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Path {
    /// What holds of the attributes, in words, without what follows from the rest.
    pub conditions: Vec<String>,
    /// Which buckets the entities are in, in words; empty where buckets do not matter.
    pub buckets: Vec<String>,
    /// The attributes that are read.
    pub reads: Vec<String>,
    /// How the flag resolves.
    pub outcome: Outcome,
    /// The variant given; `None` on a mismatch.
    pub variant: Option<String>,
    /// A context that goes this way; `None` where no entity id was found in so small a share of buckets.
    pub witness: Option<EvalContext>,
}

/// Every way through a flag in an environment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Paths {
    /// The ways, in the order in which they were found; together they cover every context, none twice.
    pub paths: Vec<Path>,
    /// Attributes for which ways may be missing: compared as versions and matched as text.
    pub inexact: Vec<String>,
}

/// Finds every way through `flag` in `environment`, each with a context that goes it.
///
/// # Errors
/// `NotFound` for an unknown flag or environment, `LimitExceeded` where there are more ways than `limits` allow.
///
/// # Examples
/// ```
/// use leverframe::{EvalOptions, eval::{Limits, Outcome, paths}, manifest::{Manifest, model::*}};
///
/// let on = Variant { key: "on".into(), value: true.into() };
/// let off = Variant { key: "off".into(), value: false.into() };
/// let mut flag = Flag::new("banner", FlagType::Boolean, vec![off, on]).unwrap();
/// flag.catch_all.rules = Some(vec![Rule {
///     description: String::new(),
///     audience: Audience::Predicate(Predicate::Atom(Atom {
///         attribute: "user.country".into(),
///         op: Operator::Eq,
///         operands: vec![Scalar::String("US".into())],
///     })),
///     variant: "on".into(),
/// }]);
/// let mut manifest = Manifest::new("site");
/// manifest.attributes.insert("user.country".into(), AttrType::String);
/// manifest.flags.insert("banner".into(), flag);
///
/// let found = paths(&manifest, "banner", "production", &EvalOptions::new(), Limits::default()).unwrap();
/// let rule = found.paths.iter().find(|p| p.outcome == Outcome::Rule(0)).unwrap();
/// assert_eq!(rule.conditions, [r#"user.country = "US""#]);
/// assert_eq!(found.paths.len(), 2);
/// ```
pub fn paths(
    manifest: &Manifest,
    flag: &str,
    environment: &str,
    options: &EvalOptions,
    limits: Limits,
) -> Result<Paths> {
    let plan = Plan::of(manifest, flag, environment)?;
    let mut space = Space::over([manifest]);
    let case = space.case(manifest, plan, options);
    let mut paths = Vec::new();
    Walk::explore(&space, limits, |walk| {
        let verdict = case.resolve(&space, walk, None)?;
        let cell = walk.cell();
        let outcome = match verdict {
            Verdict::Default => Outcome::Default,
            Verdict::Rule(index) => Outcome::Rule(index),
            Verdict::Mismatch(at) => Outcome::Mismatch(space.attributes[at].name.clone()),
        };
        let variant = match verdict {
            Verdict::Mismatch(_) => None,
            other => case.variant(other.rule()).map(|v| v.key.clone()),
        };
        let reads = space.attributes.iter().zip(&cell.facts).filter(|(_, facts)| !facts.is_empty());
        paths.push(Path {
            conditions: words::facts(&space, cell),
            buckets: words::buckets(&space, cell),
            reads: reads.map(|(a, _)| a.name.clone()).collect(),
            outcome,
            variant,
            witness: witness::context(&space, cell, "u"),
        });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Paths { paths, inexact: space.inexact().into_iter().map(str::to_owned).collect() })
}
