//! A trace: every step of one resolution, as it really ran.
//!
//! The trace is recorded by the same walk that evaluates, as places in the program; words are made only when
//! somebody reads it.

use std::fmt;

use serde_json::{Value as Json, json};

use super::{
    context::EvalContext,
    predicate::{Number, NumberTest, Test, TextTest},
    program::{Arena, CompiledFlag, EnvId, Node, NodeId, Plan, Program},
    resolve::{Evaluation, Hit, Mismatch, Observer},
    result::{EvalError, EvalOptions, RuleMatched},
};

/// Every step of one resolution.
///
/// `Display` draws it for people; the accessors give it to programs.
///
/// # Examples
/// ```
/// # use leverframe::{EvalContext, EvalOptions, Namespace};
/// # let files = [("flags/a.toml", "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\noff = false\n[flag.environments._]\nvariant = \"off\"\n[[flag.environments._.rules]]\npredicate = { attribute = \"user.plan\", op = \"eq\", value = \"pro\" }\nvariant = \"on\"\n")];
/// # let namespace = Namespace::from_files("shop", &files).unwrap();
/// let ctx = EvalContext::builder().str("user.plan", "free").build();
/// let loaded = namespace.snapshot();
/// let trace = loaded.snapshot.program.trace("a", "production", &ctx, &EvalOptions::new()).unwrap();
/// let rule = trace.rules().next().unwrap();
/// assert!(!rule.matched());
/// assert_eq!(rule.audience(), "user.plan eq \"pro\"");
/// assert_eq!(trace.to_json()["rules"][0]["state"], "not_matched");
/// assert_eq!(trace.outcome().unwrap().variant_key, "off");
/// ```
#[derive(Debug)]
pub struct Trace<'p> {
    program: &'p Program,
    flag: &'p CompiledFlag,
    environment: EnvId,
    environment_name: String,
    include_testing: bool,
    steps: Vec<StepRecord<'p>>,
    /// Where each evaluated rule's steps begin.
    starts: Vec<u32>,
    outcome: Result<Hit<'p>, Mismatch>,
}

#[derive(Clone, Copy, Debug)]
struct StepRecord<'p> {
    arena: &'p Arena,
    node: NodeId,
    depth: u16,
    result: StepResult,
}

/// What one node of a predicate gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepResult {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// An attribute had another type than the manifest infers, which ended the evaluation.
    Mismatch,
}

/// Which block a rule stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Block {
    /// The named environment's own.
    Environment,
    /// The catch-all's, `_`.
    CatchAll,
}

/// Whether and how a rule took part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleState {
    /// It matched and ended the walk.
    Matched,
    /// It was evaluated and did not match.
    NotMatched,
    /// An attribute of the wrong type ended the walk in it.
    Mismatch,
    /// An earlier rule ended the walk.
    NotReached,
    /// Its block is `testing = true` and the caller did not opt in.
    Testing,
    /// The environment declared its own rules, or its own variant, so the catch-all's rules are left aside.
    Overridden,
}

impl StepResult {
    /// Returns the lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Mismatch => "mismatch",
        }
    }
}

impl Block {
    /// Returns the lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::CatchAll => "catchall",
        }
    }
}

impl RuleState {
    /// Returns the lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::NotMatched => "not_matched",
            Self::Mismatch => "mismatch",
            Self::NotReached => "not_reached",
            Self::Testing => "testing",
            Self::Overridden => "overridden",
        }
    }
}

impl Program {
    /// Evaluates a flag and records each step.
    ///
    /// # Errors
    /// `UnknownFlag`, `UnknownEnvironment`. A mismatch of types is part of the trace.
    pub fn trace(
        &self,
        flag: &str,
        environment: &str,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> Result<Trace<'_>, EvalError> {
        let (id, env) =
            self.find(flag, environment).map_err(|failure| self.error(failure, flag, environment))?;
        let mut recorder =
            Recorder { steps: Vec::with_capacity(16), starts: Vec::with_capacity(8), depth: 0 };
        let outcome = self.walk(id, id.plan(env), context, options, &mut recorder);
        Ok(Trace {
            program: self,
            flag: id,
            environment: env,
            environment_name: environment.to_owned(),
            include_testing: options.include_testing(),
            steps: recorder.steps,
            starts: recorder.starts,
            outcome,
        })
    }
}

struct Recorder<'p> {
    steps: Vec<StepRecord<'p>>,
    starts: Vec<u32>,
    depth: u16,
}

impl<'p> Observer<'p> for Recorder<'p> {
    fn rule(&mut self, _index: u32) {
        self.starts.push(self.steps.len() as u32);
    }

    fn enter(&mut self, arena: &'p Arena, node: NodeId) -> usize {
        self.steps.push(StepRecord { arena, node, depth: self.depth, result: StepResult::False });
        self.depth += 1;
        self.steps.len() - 1
    }

    fn leave(&mut self, token: usize, result: Result<bool, Mismatch>) {
        self.depth -= 1;
        self.steps[token].result = match result {
            Ok(true) => StepResult::True,
            Ok(false) => StepResult::False,
            Err(_) => StepResult::Mismatch,
        };
    }
}

impl Trace<'_> {
    /// Returns the flag's key.
    #[must_use]
    pub fn flag(&self) -> &str {
        self.flag.key()
    }

    /// Returns the environment.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.environment_name
    }

    /// Returns the result.
    ///
    /// # Errors
    /// The mismatch of types that ended the evaluation.
    pub fn outcome(&self) -> Result<Evaluation<'_>, RuleMatched> {
        self.outcome.map(Hit::evaluation).map_err(|mismatch| self.program.mismatch(mismatch))
    }

    /// Returns whether the flag has a block for the environment.
    #[must_use]
    pub fn has_block(&self) -> bool {
        self.plan().shape.block
    }

    /// Returns the block that the resulting variant comes from: of the rule, or of the default.
    #[must_use]
    pub fn decided_by(&self) -> Block {
        let shape = self.plan().shape;
        let own = match self.outcome {
            Ok(hit) if hit.rule().is_none() => shape.declares_variant,
            _ => shape.declares_rules,
        };
        if own { Block::Environment } else { Block::CatchAll }
    }

    /// Returns the environment's rules, then the catch-all's, each in declared order.
    pub fn rules(&self) -> impl Iterator<Item = RuleTrace<'_>> {
        let shape = self.plan().shape;
        let named = self.environment != self.program.catch_all();
        let own = (named && shape.declares_rules).then(|| *self.plan());
        let catch_all = *self.flag.plan(self.program.catch_all());
        let overridden = named && (shape.declares_rules || shape.declares_variant);
        let own = own.into_iter().flat_map(move |plan| self.rules_of(Block::Environment, plan, false));
        own.chain(self.rules_of(Block::CatchAll, catch_all, overridden))
    }

    /// Returns the keys of the segments that were evaluated and hold for the context, in the order they were met.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| step.result == StepResult::True).filter_map(|step| {
            match &step.arena.nodes[step.node as usize] {
                Node::Segment(segment) => Some(&*self.program.segments.get(*segment).key),
                _ => None,
            }
        })
    }

    /// Returns the rules with their steps as JSON: `{rules: [{block, rule, audience, variant, state, steps: [{depth,
    /// text, result}]}]}`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let step = |s: Step<'_>| json!({"depth": s.depth(), "text": s.text(), "result": s.result().as_str()});
        let rule = |rule: RuleTrace<'_>| {
            json!({
                "block": rule.block().as_str(),
                "rule": format!("rule:{}", rule.index()),
                "audience": rule.audience(),
                "variant": rule.variant_key(),
                "state": rule.state().as_str(),
                "steps": rule.steps().map(step).collect::<Vec<_>>(),
            })
        };
        json!({"rules": self.rules().map(rule).collect::<Vec<_>>()})
    }

    fn rules_of(&self, block: Block, plan: Plan, overridden: bool) -> impl Iterator<Item = RuleTrace<'_>> {
        (0..plan.rules).map(move |index| RuleTrace {
            trace: self,
            block,
            index,
            rule: plan.first_rule + index,
            state: self.state(index, overridden),
        })
    }

    fn state(&self, index: u32, overridden: bool) -> RuleState {
        if overridden {
            return RuleState::Overridden;
        }
        if self.plan().shape.gated && !self.include_testing {
            return RuleState::Testing;
        }
        let last = self.starts.len() as u32;
        if index >= last {
            return RuleState::NotReached;
        }
        match self.outcome {
            Ok(hit) if hit.rule() == Some(index) => RuleState::Matched,
            Err(_) if index + 1 == last => RuleState::Mismatch,
            _ => RuleState::NotMatched,
        }
    }

    fn plan(&self) -> &Plan {
        self.flag.plan(self.environment)
    }
}

/// One rule's part in a trace.
#[derive(Clone, Copy, Debug)]
pub struct RuleTrace<'t> {
    trace: &'t Trace<'t>,
    block: Block,
    index: u32,
    rule: u32,
    state: RuleState,
}

impl<'t> RuleTrace<'t> {
    /// Returns the block that the rule stands in.
    #[must_use]
    pub fn block(&self) -> Block {
        self.block
    }

    /// Returns the rule's zero-based place in its block.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index as usize
    }

    /// Returns whether and how the rule took part.
    #[must_use]
    pub fn state(&self) -> RuleState {
        self.state
    }

    /// Returns true if the rule decided the outcome.
    #[must_use]
    pub fn matched(&self) -> bool {
        self.state == RuleState::Matched
    }

    /// Returns the key of the variant that the rule gives.
    #[must_use]
    pub fn variant_key(&self) -> &'t str {
        let flag = self.trace.flag;
        &flag.variants[flag.rules[self.rule as usize].variant as usize].key
    }

    /// Returns who the rule is about, in words.
    #[must_use]
    pub fn audience(&self) -> String {
        let flag = self.trace.flag;
        self.trace.program.describe(&flag.arena, flag.rules[self.rule as usize].audience)
    }

    /// Returns the nodes that were evaluated for this rule, parents before their parts; none if it was not reached.
    pub fn steps(&self) -> impl Iterator<Item = Step<'t>> {
        let trace = self.trace;
        let evaluated =
            matches!(self.state, RuleState::Matched | RuleState::NotMatched | RuleState::Mismatch);
        let range = if evaluated {
            let at = self.index as usize;
            let end = trace.starts.get(at + 1).map_or(trace.steps.len(), |s| *s as usize);
            trace.starts[at] as usize..end
        } else {
            0..0
        };
        trace.steps[range].iter().map(move |record| Step { program: trace.program, record: *record })
    }
}

/// One evaluated node of a predicate.
#[derive(Clone, Copy, Debug)]
pub struct Step<'t> {
    program: &'t Program,
    record: StepRecord<'t>,
}

impl Step<'_> {
    /// Returns how deep the node stands below its rule's audience.
    #[must_use]
    pub fn depth(&self) -> usize {
        usize::from(self.record.depth)
    }

    /// Returns what the node gave.
    #[must_use]
    pub fn result(&self) -> StepResult {
        self.record.result
    }

    /// Returns the node in words.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.record.arena.nodes[self.record.node as usize] {
            Node::And { .. } => "all of".to_owned(),
            Node::Or { .. } => "any of".to_owned(),
            Node::Not(_) => "not".to_owned(),
            _ => self.program.describe(self.record.arena, self.record.node),
        }
    }
}

impl fmt::Display for Trace<'_> {
    /// Draws blocks, rules and steps, then the outcome.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut block = None;
        for rule in self.rules() {
            if block != Some(rule.block()) {
                block = Some(rule.block());
                let name = if rule.block() == Block::Environment { &self.environment_name } else { "_" };
                writeln!(f, "[flag.environments.{name}].rules")?;
            }
            write!(f, "  rule[{}] {} ", rule.index(), rule.audience())?;
            match rule.state() {
                RuleState::Matched => writeln!(f, "MATCHES → {}", rule.variant_key())?,
                RuleState::NotMatched => writeln!(f, "does not match")?,
                RuleState::Mismatch => writeln!(f, "TYPE MISMATCH")?,
                RuleState::NotReached => writeln!(f, "(not reached)")?,
                RuleState::Testing => writeln!(f, "SKIPPED — testing block, caller did not opt in")?,
                RuleState::Overridden => writeln!(f, "SKIPPED — {}", self.override_reason())?,
            }
            for step in rule.steps() {
                let mark = match step.result() {
                    StepResult::True => "✓",
                    StepResult::False => "✗",
                    StepResult::Mismatch => "!",
                };
                writeln!(f, "    {:indent$}{mark} {}", "", step.text(), indent = step.depth() * 2)?;
            }
        }
        match self.outcome() {
            Ok(evaluation) => {
                writeln!(f, "outcome: {} = {}", evaluation.variant_key, evaluation.value)?;
                writeln!(f, "via:     {} ({})", evaluation.rule_matched, self.via())
            }
            Err(RuleMatched::AttrTypeMismatch { attribute, expected, actual }) => {
                writeln!(f, "outcome: the caller's default")?;
                writeln!(
                    f,
                    "via:     attr_type_mismatch (`{attribute}` is {actual}, the manifest reads it as {expected})"
                )
            }
            Err(other) => writeln!(f, "outcome: the caller's default\nvia:     {other}"),
        }
    }
}

impl Trace<'_> {
    fn override_reason(&self) -> String {
        let name = &self.environment_name;
        if self.plan().shape.declares_rules {
            format!("`{name}` declared its own rules")
        } else {
            format!("`{name}` declared its own variant and no rules")
        }
    }

    fn via(&self) -> String {
        match self.decided_by() {
            Block::Environment => format!("[flag.environments.{}]", self.environment_name),
            Block::CatchAll => "[flag.environments._]".to_owned(),
        }
    }
}

impl Program {
    /// Returns a node in words, as one line.
    fn describe(&self, arena: &Arena, node: NodeId) -> String {
        match &arena.nodes[node as usize] {
            Node::And { first, count } => self.describe_group(arena, *first, *count, " and "),
            Node::Or { count: 0, .. } => "nobody".to_owned(),
            Node::Or { first, count } => self.describe_group(arena, *first, *count, " or "),
            Node::Not(inner) => format!("not ({})", self.describe(arena, *inner)),
            Node::Segment(segment) => format!("segment `{}`", self.segments.get(*segment).key),
            Node::Bucket { attribute, start, end, .. } => {
                format!("bucket of {} in [{start},{end}]", self.attributes[*attribute as usize].key.as_str())
            }
            Node::Test { attribute, test } => {
                format!("{} {test}", self.attributes[*attribute as usize].key.as_str())
            }
        }
    }

    fn describe_group(&self, arena: &Arena, first: u32, count: u32, word: &str) -> String {
        let parts: Vec<String> = arena.children[first as usize..(first + count) as usize]
            .iter()
            .map(|child| match &arena.nodes[*child as usize] {
                Node::And { count: 2.., .. } | Node::Or { count: 2.., .. } => {
                    format!("({})", self.describe(arena, *child))
                }
                _ => self.describe(arena, *child),
            })
            .collect();
        parts.join(word)
    }
}

impl fmt::Display for Test {
    /// Prints operator and operand as manifests spell them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |negated: &bool| if *negated { "not_in" } else { "in" };
        match self {
            Self::IsSet => f.write_str("is_set"),
            Self::IsNotSet => f.write_str("is_not_set"),
            Self::Never => f.write_str("never"),
            Self::Bool { when_true: true, when_false: true, .. } => f.write_str("in [true, false]"),
            Self::Bool { when_true: false, when_false: false, .. } => f.write_str("not_in [true, false]"),
            Self::Bool { when_true, .. } => write!(f, "eq {when_true}"),
            Self::Number { kind, operand, .. } => write!(f, "{} {operand}", kind.as_str()),
            Self::NumberIn { values, negated, .. } => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "{} [{}]", not(negated), values.join(", "))
            }
            Self::Semver { kind, operand } => write!(f, "semver_{} \"{operand}\"", kind.as_str()),
            Self::Text { kind, operand } => write!(f, "{} {operand:?}", kind.as_str()),
            Self::TextIn { values, negated, .. } => write!(f, "{} {values:?}", not(negated)),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v:?}"),
        }
    }
}

impl NumberTest {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Neq => "neq",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
        }
    }
}

impl TextTest {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Equals => "eq",
            Self::NotEquals => "neq",
            Self::Contains => "contains",
            Self::NotContains => "not_contains",
            Self::StartsWith => "starts_with",
            Self::EndsWith => "ends_with",
        }
    }
}
