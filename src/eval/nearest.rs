//! Why a context does not get a variant, and the smallest change after which it does.
//!
//! The change is the smallest there is, not the first that is found: the cells of the context space are products
//! of conditions on single attributes, so the distance of a context to a cell is the number of attributes whose
//! condition it breaks, and cells are looked at in order of that number.

use std::{fmt, ops::ControlFlow};

use super::{
    EvalContext, EvalError, EvalOptions, Evaluation, Program, RuleMatched,
    context::AttrValue,
    space::{
        Limits, Reason,
        ask::{Given, Held, Verdict},
        case::{Case, Space},
        plan::Plan,
        walk::{Cell, Walk},
        witness, words,
    },
};
use crate::{
    error::{Error, ErrorKind, Result},
    manifest::Manifest,
};

/// One flag, one environment and one context, to be asked why it resolves as it does.
///
/// # Examples
/// ```
/// use leverframe::{EvalContext, EvalOptions, eval::{Program, WhyNot}, manifest::{Manifest, model::*}};
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
/// let program = Program::compile(&manifest);
///
/// let context = EvalContext::builder().str("user.country", "DE").build();
/// let why = WhyNot::of(&manifest, &program, "banner", "production", &context, &EvalOptions::new()).unwrap();
/// assert_eq!(why.rules()[0].reasons[0].fact, r#"user.country is not "US""#);
///
/// let change = why.nearest(Some("on")).unwrap().unwrap();
/// assert_eq!(change.to_string(), r#"user.country: "DE" → "US" gives `on` (rule:0)"#);
/// let there = program.evaluate("banner", "production", &change.context, &EvalOptions::new()).unwrap();
/// assert_eq!(there.variant_key, "on");
/// ```
#[derive(Debug)]
pub struct WhyNot<'a> {
    program: &'a Program,
    environment: &'a str,
    context: &'a EvalContext,
    options: EvalOptions,
    limits: Limits,
    space: Space,
    case: Case<'a>,
}

/// A smallest change of context.
///
/// # Examples
/// See [`WhyNot`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// What changes, by attribute name in the order in which rules read them; empty where nothing has to.
    pub steps: Vec<AttributeChange>,
    /// The changed context.
    pub context: EvalContext,
    /// The variant that it gets.
    pub variant: String,
    /// How it comes to it.
    pub rule_matched: RuleMatched,
    /// Whether no smaller change exists for certain; false where an attribute is both compared as a version and
    /// matched as text.
    pub exact: bool,
}

/// The change of one attribute.
///
/// # Examples
/// See [`WhyNot`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttributeChange {
    /// The attribute.
    pub attribute: String,
    /// Its value now; `None` where it is absent.
    pub from: Option<AttrValue>,
    /// A value that does it; `None` where it has to be absent.
    pub to: Option<AttrValue>,
    /// Where the attribute is an entity id: the buckets that any id must fall into to do it, in words.
    pub buckets: Vec<String>,
}

/// What became of one rule.
///
/// # Examples
/// See [`WhyNot`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RuleReason {
    /// The zero-based index of the rule.
    pub index: usize,
    /// The rule's description, possibly empty.
    pub description: String,
    /// Who the rule is about, in words.
    pub audience: String,
    /// The variant it gives.
    pub variant: String,
    /// What became of it.
    pub status: RuleStatus,
    /// The tests and buckets that decided it; empty for rules that were not looked at.
    pub reasons: Vec<Reason>,
}

/// What became of a rule.
///
/// # Examples
/// ```
/// use leverframe::eval::RuleStatus;
/// assert_eq!(RuleStatus::NotReached.to_string(), "not reached");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleStatus {
    /// It waits for callers that opt in to testing.
    Gated,
    /// It matched and gave its variant.
    Matched,
    /// An attribute that it reads has another type than the manifest infers, which ended the evaluation.
    Mismatch(String),
    /// It did not match.
    NotMatched,
    /// An earlier rule ended the evaluation.
    NotReached,
}

impl<'a> WhyNot<'a> {
    /// Prepares the questions.
    ///
    /// `program` is `manifest`, compiled.
    ///
    /// # Errors
    /// `NotFound` for an unknown flag or environment.
    pub fn of(
        manifest: &'a Manifest,
        program: &'a Program,
        flag: &str,
        environment: &'a str,
        context: &'a EvalContext,
        options: &EvalOptions,
    ) -> Result<Self> {
        let plan = Plan::of(manifest, flag, environment)?;
        let mut space = Space::over([manifest]);
        let case = space.case(manifest, plan, options);
        Ok(Self { program, environment, context, options: *options, limits: Limits::default(), space, case })
    }

    /// Sets how much work a search may do.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Evaluates the flag for the context as it is.
    ///
    /// # Errors
    /// As [`Program::evaluate`].
    pub fn current(&self) -> Result<Evaluation<'a>, EvalError> {
        self.evaluate(self.context)
    }

    /// Returns what became of each rule that is in force, in order.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleReason> {
        let mut given = Given { space: &self.space, context: self.context };
        let mut ended = false;
        let mut found = Vec::with_capacity(self.case.plan.rules.len());
        for (index, rule) in self.case.plan.rules.iter().enumerate() {
            let (status, reasons) = match self.case.rules.get(index) {
                None => (RuleStatus::Gated, Vec::new()),
                Some(_) if ended => (RuleStatus::NotReached, Vec::new()),
                Some(audience) => {
                    let status = match audience.holds(&self.space, &mut given, true) {
                        Ok(Held::True) => RuleStatus::Matched,
                        Ok(Held::Mismatch(at)) => {
                            RuleStatus::Mismatch(self.space.attributes[at].name.clone())
                        }
                        // A given context answers everything, so the walk never stops early.
                        Ok(Held::False) | Err(_) => RuleStatus::NotMatched,
                    };
                    (status, words::reasons(audience, &mut given, true))
                }
            };
            ended |= !matches!(status, RuleStatus::NotMatched | RuleStatus::Gated);
            found.push(RuleReason {
                index,
                description: rule.description.clone(),
                audience: words::audience(&rule.audience),
                variant: rule.variant.clone(),
                status,
                reasons,
            });
        }
        found
    }

    /// Finds a change of the fewest attributes after which the flag gives `wanted`, or, with `None`, any variant
    /// other than now. `Ok(None)` where no context gets there.
    ///
    /// Among changes of equally many attributes those that keep the entity's identity come first, then those that
    /// reach an earlier rule, then those of attributes that sort first. Evaluating the changed context has been
    /// tried: it does give the variant.
    ///
    /// # Errors
    /// `NotFound` where the flag declares no such variant, `LimitExceeded` where there are too many cases.
    pub fn nearest(&self, wanted: Option<&str>) -> Result<Option<Change>> {
        let flag = self.case.plan.flag;
        if let Some(key) = wanted
            && flag.variant(key).is_none()
        {
            let declared: Vec<&str> = flag.variants.iter().map(|v| v.key.as_str()).collect();
            return Err(Error::new(ErrorKind::NotFound, "find variant")
                .with("variant", key)
                .with("flag", &flag.key)
                .with("declared", declared.join(", ")));
        }
        let now = self.current().ok();
        let now = now.as_ref().map(|e| e.variant_key);
        if let (Some(now), Some(wanted)) = (now, wanted)
            && now == wanted
        {
            return Ok(self.change(&Cell::whole(&self.space), &[]));
        }
        for most in 1..=self.space.attributes.len() {
            let mut best: Option<(Rank, Change)> = None;
            Walk::explore_near(&self.space, self.context, most, self.limits, |walk| {
                let verdict = self.case.resolve(&self.space, walk, None)?;
                let variant = match verdict {
                    Verdict::Mismatch(_) => None,
                    other => self.case.variant(other.rule()).map(|v| v.key.as_str()),
                };
                let is_goal = variant.is_some_and(|v| wanted.map_or(Some(v) != now, |w| v == w));
                if is_goal {
                    let changed = self.changed(walk.cell());
                    let rank = self.rank(verdict, &changed);
                    if best.as_ref().is_none_or(|(b, _)| rank < *b)
                        && let Some(change) = self.change(walk.cell(), &changed)
                        && Some(change.variant.as_str()) == variant
                    {
                        best = Some((rank, change));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })?;
            if let Some((_, change)) = best {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    fn evaluate(&self, context: &EvalContext) -> Result<Evaluation<'a>, EvalError> {
        self.program.evaluate(&self.case.plan.flag.key, self.environment, context, &self.options)
    }

    /// Returns the attributes whose present value does not fit the cell.
    fn changed(&self, cell: &Cell) -> Vec<usize> {
        let fits =
            |at: &usize| cell.admits(&self.space, *at, self.context.get(&self.space.attributes[*at].name));
        (0..self.space.attributes.len()).filter(|at| !fits(at)).collect()
    }

    fn rank<'s>(&'s self, verdict: Verdict, changed: &[usize]) -> Rank<'s> {
        let mut names: Vec<&str> =
            changed.iter().map(|at| self.space.attributes[*at].name.as_str()).collect();
        names.sort_unstable();
        Rank {
            count: changed.len(),
            identities: changed.iter().filter(|at| self.space.attributes[**at].is_id).count(),
            rule: verdict.rule().unwrap_or(usize::MAX),
            names,
        }
    }

    /// Changes the context so that it lies in the cell, and evaluates it; `None` where no entity id was found.
    fn change(&self, cell: &Cell, changed: &[usize]) -> Option<Change> {
        let mut builder = self.context.to_builder();
        let mut steps = Vec::with_capacity(changed.len());
        for &at in changed {
            let attribute = &self.space.attributes[at];
            let to = witness::value(&self.space, cell, at, ID_PREFIX)?;
            builder = match &to {
                Some(value) => builder.attr(&attribute.name, value.clone()),
                None => builder.without(&attribute.name),
            };
            let limited = attribute.dims.iter().filter(|d| !cell.buckets[**d].is_all());
            let in_words = |d: &usize| {
                format!("bucket({}, {:?}) in {}", attribute.name, self.space.dims[*d].salt, cell.buckets[*d])
            };
            steps.push(AttributeChange {
                attribute: attribute.name.clone(),
                from: self.context.get(&attribute.name).cloned(),
                to,
                buckets: limited.map(in_words).collect(),
            });
        }
        let context = builder.build();
        let there = self.evaluate(&context).ok()?;
        Some(Change {
            steps,
            variant: there.variant_key.to_owned(),
            rule_matched: there.rule_matched,
            context,
            exact: self.space.inexact().is_empty(),
        })
    }
}

/// What makes one change better than another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'s> {
    count: usize,
    identities: usize,
    rule: usize,
    names: Vec<&'s str>,
}

/// Stands before the number of an entity id that is made up.
const ID_PREFIX: &str = "u";

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            f.write_str("no change")?;
        }
        for (i, step) in self.steps.iter().enumerate() {
            write!(f, "{}{step}", if i == 0 { "" } else { "; " })?;
        }
        write!(f, " gives `{}` ({})", self.variant, self.rule_matched)
    }
}

impl fmt::Display for AttributeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → ", self.attribute, words::value(self.from.as_ref()))?;
        if self.buckets.is_empty() {
            return f.write_str(&words::value(self.to.as_ref()));
        }
        write!(
            f,
            "any id with {}, for example {}",
            self.buckets.join(" and "),
            words::value(self.to.as_ref())
        )
    }
}

impl fmt::Display for RuleStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gated => f.write_str("waits for `testing`"),
            Self::Matched => f.write_str("matched"),
            Self::Mismatch(attribute) => write!(f, "stopped: `{attribute}` has the wrong type"),
            Self::NotMatched => f.write_str("did not match"),
            Self::NotReached => f.write_str("not reached"),
        }
    }
}
