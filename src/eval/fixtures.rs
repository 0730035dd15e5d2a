//! Contexts that show what a flag does: one for each rule, one for the default, one for each end of a bucket range.
//!
//! Made from the manifest alone, and each one evaluated before it is given out. The same manifest and seed give the
//! same bytes: entity ids are the first of `{seed}-1`, `{seed}-2`, … that fit.

mod render;

use std::{fmt, ops::ControlFlow};

use super::{
    EvalContext, EvalOptions, Program, RuleMatched,
    context::AttrValue,
    space::{
        Limits, Reason,
        ask::{Given, Verdict},
        case::{Case, Expr, Space},
        plan::Plan,
        ranges::Ranges,
        solve::{Fact, Identity},
        walk::{Cell, Walk},
        witness, words,
    },
};
use crate::{
    error::{Error, ErrorKind, Result},
    manifest::{
        Manifest,
        model::{Bucket, FlagValue},
    },
};

/// How much of a flag fixtures show.
///
/// # Examples
/// ```
/// use leverframe::eval::Coverage;
/// assert_eq!(Coverage::parse("rules+fallthrough"), Some(Coverage::default()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the command line's contract fixes the three")]
pub enum Coverage {
    /// One context for each rule.
    Rules,
    /// One context for each rule, and one that no rule matches.
    #[default]
    RulesAndFallthrough,
    /// That, and for each bucket range of each rule an id at either end and one outside.
    Exhaustive,
}

impl Coverage {
    /// The three, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Rules, Self::RulesAndFallthrough, Self::Exhaustive];

    /// Returns the spelling of the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::RulesAndFallthrough => "rules+fallthrough",
            Self::Exhaustive => "exhaustive",
        }
    }

    /// Returns the coverage of that spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == text)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What fixtures to make.
///
/// # Examples
/// ```
/// use leverframe::eval::{Coverage, FixtureOptions};
/// let options = FixtureOptions::new().with_coverage(Coverage::Exhaustive).with_seed("user");
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until fixtures are made with them"]
pub struct FixtureOptions {
    coverage: Coverage,
    seed: String,
    evaluation: EvalOptions,
    limits: Limits,
}

impl Default for FixtureOptions {
    fn default() -> Self {
        Self {
            coverage: Coverage::default(),
            seed: "u".to_owned(),
            evaluation: EvalOptions::new(),
            limits: Limits::default(),
        }
    }
}

impl FixtureOptions {
    /// Makes the default options: rules and fall-through, ids `u-1`, `u-2`, …, no testing rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how much of the flag is shown.
    pub fn with_coverage(mut self, coverage: Coverage) -> Self {
        self.coverage = coverage;
        self
    }

    /// Sets what stands before the number of an entity id.
    pub fn with_seed(mut self, seed: impl Into<String>) -> Self {
        self.seed = seed.into();
        self
    }

    /// Sets how fixtures are evaluated, testing rules included or not.
    pub fn with_evaluation(mut self, options: EvalOptions) -> Self {
        self.evaluation = options;
        self
    }

    /// Sets how much work a search may do.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// A context, and what the flag gives for it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fixture {
    /// What it shows: `rule 0`, `rule 0, first bucket of first`, `fall-through`.
    pub name: String,
    /// The attributes by name.
    pub attributes: Vec<(String, AttrValue)>,
    /// The context.
    pub context: EvalContext,
    /// The variant that the flag gives.
    pub variant: String,
    /// The value of that variant.
    pub value: FlagValue,
    /// How the flag comes to it.
    pub rule_matched: RuleMatched,
    /// Why, in words.
    pub why: String,
}

/// A rule for which there is no fixture.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreached {
    /// The zero-based index of the rule; `None` for the fall-through.
    pub rule: Option<usize>,
    /// Whether no context reaches it for certain, as long as attributes have the types that the manifest infers; lists
    /// of strings may stand in for strings. False where no entity id was found, and where an attribute that is both
    /// compared as a version and matched as text takes part.
    pub certain: bool,
    /// Why, in words.
    pub why: String,
}

/// The fixtures of a flag in an environment.
///
/// # Examples
/// ```
/// use leverframe::{eval::{FixtureOptions, Fixtures, Program}, manifest::{Manifest, model::*}};
///
/// let on = Variant { key: "on".into(), value: true.into() };
/// let off = Variant { key: "off".into(), value: false.into() };
/// let mut flag = Flag::new("banner", FlagType::Boolean, vec![off, on]).unwrap();
/// flag.catch_all.rules = Some(vec![Rule {
///     description: String::new(),
///     audience: Audience::Segment("first".into()),
///     variant: "on".into(),
/// }]);
/// let bucket = Bucket { entity_id_attribute: "user.id".into(), salt: None, start: 0, end: 999 };
/// let first = Segment { key: "first".into(), description: String::new(), predicate: None, bucket: Some(bucket) };
/// let mut manifest = Manifest::new("site");
/// manifest.attributes.insert("user.id".into(), AttrType::String);
/// manifest.flags.insert("banner".into(), flag);
/// manifest.segments.insert("first".into(), first);
///
/// let program = Program::compile(&manifest);
/// let made = Fixtures::of(&manifest, &program, "banner", "production", &FixtureOptions::new()).unwrap();
/// let variants: Vec<&str> = made.fixtures().iter().map(|f| f.variant.as_str()).collect();
/// assert_eq!(variants, ["on", "off"]);
/// assert!(made.fixtures()[0].why.ends_with("∈ [0,999] satisfies first"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Fixtures {
    flag: String,
    environment: String,
    include_testing: bool,
    coverage: Coverage,
    fixtures: Vec<Fixture>,
    unreached: Vec<Unreached>,
    inexact: Vec<String>,
}

impl Fixtures {
    /// Makes the fixtures of `flag` in `environment`; `program` is `manifest`, compiled.
    ///
    /// # Errors
    /// `NotFound` for an unknown flag or environment, `LimitExceeded` where there are too many cases.
    pub fn of(
        manifest: &Manifest,
        program: &Program,
        flag: &str,
        environment: &str,
        options: &FixtureOptions,
    ) -> Result<Self> {
        let plan = Plan::of(manifest, flag, environment)?;
        let mut space = Space::over([manifest]);
        let case = space.case(manifest, plan, &options.evaluation);
        let made = Self {
            flag: flag.to_owned(),
            environment: environment.to_owned(),
            include_testing: options.evaluation.include_testing(),
            coverage: options.coverage,
            fixtures: Vec::new(),
            unreached: Vec::new(),
            inexact: space.inexact().into_iter().map(str::to_owned).collect(),
        };
        Maker { program, environment, options, space: &space, case: &case, made }.make()
    }

    /// Returns the fixtures: by rule, then the fall-through.
    #[must_use]
    pub fn fixtures(&self) -> &[Fixture] {
        &self.fixtures
    }

    /// Returns the rules for which there is no fixture, with the reason.
    #[must_use]
    pub fn unreached(&self) -> &[Unreached] {
        &self.unreached
    }
}

struct Maker<'a, 'm> {
    program: &'a Program,
    environment: &'a str,
    options: &'a FixtureOptions,
    space: &'a Space,
    case: &'a Case<'m>,
    made: Fixtures,
}

impl Maker<'_, '_> {
    fn make(mut self) -> Result<Fixtures> {
        for index in 0..self.case.plan.rules.len() {
            if self.case.rules.is_empty() {
                let why = "the rules wait for callers that opt in to testing".to_owned();
                self.made.unreached.push(Unreached { rule: Some(index), certain: true, why });
                continue;
            }
            self.add(Some(index))?;
            if self.options.coverage == Coverage::Exhaustive {
                self.add_ends(index)?;
            }
        }
        if self.options.coverage != Coverage::Rules {
            self.add(None)?;
        }
        Ok(self.made)
    }

    /// Adds a fixture for one outcome, or says why there is none.
    fn add(&mut self, rule: Option<usize>) -> Result<()> {
        let name = rule.map_or_else(|| "fall-through".to_owned(), |index| format!("rule {index}"));
        let wanted = rule.map_or(RuleMatched::Default, RuleMatched::Rule);
        let mut is_possible = false;
        let context = self.first(rule, |space, cell, seed| {
            is_possible = true;
            witness::context(space, cell, seed)
        })?;
        match context {
            Some(context) => {
                let fixture = self.fixture(name, context)?;
                if fixture.rule_matched != wanted {
                    return Err(Error::new(ErrorKind::Corrupt, "verify fixture")
                        .with("wanted", wanted)
                        .with("got", fixture.rule_matched)
                        .hint("the compiled program is not of this manifest"));
                }
                self.push(fixture);
            }
            None => {
                let certain = !is_possible && self.made.inexact.is_empty();
                let why = match (is_possible, rule) {
                    (true, _) => "no entity id was found in so small a share of the buckets",
                    (false, Some(_)) => {
                        "no context reaches it: its conditions contradict each other or earlier rules match first"
                    }
                    (false, None) => "no context reaches it: some rule always matches",
                };
                self.made.unreached.push(Unreached { rule, certain, why: why.to_owned() });
            }
        }
        Ok(())
    }

    /// Adds, for each bucket range that a rule asks about, ids at both ends and one outside.
    fn add_ends(&mut self, index: usize) -> Result<()> {
        let mut ranges = Vec::new();
        bucket_ranges(&self.case.rules[index], None, &mut ranges);
        for BucketRange { dim, start, end, segment } in ranges {
            let attribute = self.space.dims[dim].attribute;
            let inside = |cell: &Cell| {
                let facts = &cell.facts[attribute];
                facts.contains(&Fact::Identity(Identity::Free))
                    && !cell.buckets[dim].within(start, end).is_empty()
            };
            let cell = self.first(Some(index), |_, cell, _| inside(cell).then(|| cell.clone()))?;
            // Without an id in the range that takes this rule, the ends are shown on what can be said of an id.
            let Some(cell) = cell else { continue };
            let outside = Ranges::all().without(start, end);
            // The bucket after the end says most: it is the first that a wider range would take in.
            let miss = if end + 1 < Bucket::COUNT { end + 1 } else { start.saturating_sub(1) };
            let of = segment.as_deref().unwrap_or(&self.space.dims[dim].salt).to_owned();
            let places = [("first bucket of", Some(start)), ("last bucket of", Some(end))];
            let miss = ("next to", (!outside.is_empty()).then_some(miss));
            for (place, bucket) in places.into_iter().chain([miss]) {
                let Some(bucket) = bucket else { continue };
                if let Some(context) = self.at_bucket(&cell, dim, bucket) {
                    let fixture = self.fixture(format!("rule {index}, {place} {of}"), context)?;
                    self.push(fixture);
                }
            }
        }
        Ok(())
    }

    /// Makes a context of the cell whose id falls into one bucket; other salts are kept if that can be.
    fn at_bucket(&self, cell: &Cell, dim: usize, bucket: u16) -> Option<EvalContext> {
        let mut cell = cell.clone();
        let attribute = self.space.dims[dim].attribute;
        cell.buckets[dim] = Ranges::all().within(bucket, bucket);
        if let Some(context) = witness::context(self.space, &cell, &self.options.seed) {
            return Some(context);
        }
        for other in &self.space.attributes[attribute].dims {
            if *other != dim {
                cell.buckets[*other] = Ranges::all();
            }
        }
        witness::context(self.space, &cell, &self.options.seed)
    }

    /// Goes through the cells with that outcome until `take` gives something.
    fn first<T>(
        &self,
        rule: Option<usize>,
        mut take: impl FnMut(&Space, &Cell, &str) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut taken = None;
        let mut misses = 0;
        Walk::explore(self.space, self.options.limits, |walk| {
            let verdict = self.case.resolve(self.space, walk, rule)?;
            let is_wanted = match (verdict, rule) {
                (Verdict::Rule(index), Some(rule)) => index == rule,
                (Verdict::Default, None) => true,
                _ => false,
            };
            if is_wanted {
                taken = take(self.space, walk.cell(), &self.options.seed);
                misses += 1;
            }
            // Searches for ids in tiny shares cost the most, so only the first few cells are tried.
            let stop = taken.is_some() || misses == MOST_MISSES;
            Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(taken)
    }

    fn push(&mut self, fixture: Fixture) {
        if !self.made.fixtures.iter().any(|f| f.context == fixture.context) {
            self.made.fixtures.push(fixture);
        }
    }

    /// Evaluates the context and says why it gets what it gets.
    fn fixture(&self, name: String, context: EvalContext) -> Result<Fixture> {
        let flag = &self.case.plan.flag.key;
        let there = self
            .program
            .evaluate(flag, self.environment, &context, &self.options.evaluation)
            .map_err(|e| {
                Error::new(ErrorKind::Corrupt, "verify fixture")
                    .source(e)
                    .hint("the compiled program is not of this manifest")
            })?;
        let mut given = Given { space: self.space, context: &context };
        let why = match &there.rule_matched {
            RuleMatched::Rule(index) => {
                satisfied(&words::reasons(&self.case.rules[*index], &mut given, true))
            }
            _ if self.case.rules.is_empty() => "no rules are in force".to_owned(),
            _ => self.fall_through(&mut given),
        };
        let mut attributes: Vec<_> = context.iter().map(|(n, v)| (n.to_owned(), v.clone())).collect();
        attributes.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Fixture {
            name,
            attributes,
            variant: there.variant_key.to_owned(),
            value: there.value.clone(),
            rule_matched: there.rule_matched,
            why,
            context,
        })
    }

    fn fall_through(&self, given: &mut Given<'_>) -> String {
        let mut facts: Vec<String> = Vec::new();
        for audience in &self.case.rules {
            if let Some(reason) = words::reasons(audience, given, true).first()
                && !facts.contains(&reason.fact)
            {
                facts.push(reason.fact.clone());
            }
        }
        let more = facts.len().saturating_sub(SHOWN);
        facts.truncate(SHOWN);
        let more = if more > 0 { format!(", … {more} more") } else { String::new() };
        format!("no rule matches: {}{more}", facts.join(", "))
    }
}

/// Joins the reasons of a match: what holds, then the segments that it satisfies.
fn satisfied(reasons: &[Reason]) -> String {
    let facts: Vec<&str> = reasons.iter().map(|r| r.fact.as_str()).collect();
    let mut segments: Vec<&str> = reasons.iter().filter_map(|r| r.segment.as_deref()).collect();
    segments.dedup();
    match segments.is_empty() {
        true => facts.join(", "),
        false => format!("{} satisfies {}", facts.join(", "), segments.join(", ")),
    }
}

struct BucketRange {
    dim: usize,
    start: u16,
    end: u16,
    segment: Option<String>,
}

/// Lists the bucket ranges that an audience asks about, each once.
fn bucket_ranges(expr: &Expr, segment: Option<&str>, found: &mut Vec<BucketRange>) {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|p| bucket_ranges(p, segment, found)),
        Expr::Not(part) => bucket_ranges(part, segment, found),
        Expr::Segment(inner) => bucket_ranges(&inner.1, Some(&inner.0), found),
        Expr::Test(_) => {}
        Expr::Bucket { dim, start, end } => {
            if !found.iter().any(|f| (f.dim, f.start, f.end) == (*dim, *start, *end)) {
                let segment = segment.map(str::to_owned);
                found.push(BucketRange { dim: *dim, start: *start, end: *end, segment });
            }
        }
    }
}

/// More reasons than these are not printed for a fall-through.
const SHOWN: usize = 3;

/// Cells in which no fitting id was found, after which the search ends.
const MOST_MISSES: usize = 8;
