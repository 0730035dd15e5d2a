//! Explores every way through a piece of code that asks questions of an unknown context.
//!
//! The code runs again and again; each run answers its questions from a trail of earlier choices and opens a new
//! choice where the trail ends. Only questions that are really asked branch, and only into answers that some value
//! can give, so the cells of a run partition the contexts: none is missed, none counted twice.

use std::ops::ControlFlow;

use super::{
    case::{Case, Dim, Expr, Space},
    ranges::Ranges,
    solve::{Answer, Fact, Identity, agrees, answer, solve},
};
use crate::{
    error::{Error, ErrorKind, Result},
    eval::{EvalContext, bucket::bucket_seeded, context::AttrValue},
};

/// How much work an exploration may do before it says "too many cases".
///
/// # Examples
/// ```
/// use leverframe::eval::Limits;
/// assert!(Limits::default().cells > 1_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most cells, that is ways through the rules, that are told apart. Default: 50,000.
    pub cells: usize,
    /// Most questions that are asked on all of them together. Default: 20,000,000.
    pub questions: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cells: 50_000, questions: 20_000_000 }
    }
}

impl Limits {
    pub(crate) fn exceeded(&self) -> Error {
        Error::new(ErrorKind::LimitExceeded, "tell all cases apart: too many cases")
            .with("cells", self.cells)
            .with("questions", self.questions)
            .hint("name one flag and one environment, or split rules that combine many attributes")
    }
}

/// The exploration cannot go on along this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// No answer is left; happens only where changes to a given context are limited.
    DeadEnd,
    /// The bound on questions is reached.
    Exhausted,
}

/// Answers questions.
pub(crate) trait Oracle {
    /// Answers a test; `wanted` is the answer to try first.
    fn test(&mut self, test: usize, wanted: bool) -> Result<Answer, Stop>;
    /// Answers whether the entity is in these buckets.
    fn bucket(&mut self, dim: usize, start: u16, end: u16, wanted: bool) -> Result<bool, Stop>;
}

/// How a flag resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Default,
    Rule(usize),
    /// The attribute has another type than the manifest infers.
    Mismatch(usize),
}

impl Verdict {
    pub(crate) fn rule(self) -> Option<usize> {
        if let Self::Rule(index) = self { Some(index) } else { None }
    }
}

impl Case<'_> {
    /// Resolves the flag; `target` is the rule that ought to match first, all others ought not.
    pub(crate) fn resolve<O: Oracle>(
        &self,
        space: &Space,
        oracle: &mut O,
        target: Option<usize>,
    ) -> Result<Verdict, Stop> {
        for (index, audience) in self.rules.iter().enumerate() {
            match audience.holds(space, oracle, target == Some(index))? {
                Held::True => return Ok(Verdict::Rule(index)),
                Held::False => {}
                Held::Mismatch(attribute) => return Ok(Verdict::Mismatch(attribute)),
            }
        }
        Ok(Verdict::Default)
    }
}

/// Whether an audience holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    False,
    True,
    Mismatch(usize),
}

impl Expr {
    /// Asks as evaluation does: in order, stopping as soon as the answer is certain.
    pub(crate) fn holds<O: Oracle>(&self, space: &Space, oracle: &mut O, wanted: bool) -> Result<Held, Stop> {
        match self {
            Self::All(parts) => {
                for part in parts {
                    match part.holds(space, oracle, wanted)? {
                        Held::True => {}
                        other => return Ok(other),
                    }
                }
                Ok(Held::True)
            }
            Self::Any(parts) => {
                for part in parts {
                    match part.holds(space, oracle, wanted)? {
                        Held::False => {}
                        other => return Ok(other),
                    }
                }
                Ok(Held::False)
            }
            Self::Not(part) => Ok(match part.holds(space, oracle, !wanted)? {
                Held::True => Held::False,
                Held::False => Held::True,
                mismatch => mismatch,
            }),
            Self::Segment(segment) => segment.1.holds(space, oracle, wanted),
            Self::Test(test) => Ok(match oracle.test(*test, wanted)? {
                Answer::True => Held::True,
                Answer::False => Held::False,
                Answer::Mismatch => Held::Mismatch(space.tests[*test].attribute),
            }),
            Self::Bucket { dim, start, end } => {
                Ok(if oracle.bucket(*dim, *start, *end, wanted)? { Held::True } else { Held::False })
            }
        }
    }
}

/// A given context as an oracle.
#[derive(Debug)]
pub(crate) struct Given<'s> {
    pub(crate) space: &'s Space,
    pub(crate) context: &'s EvalContext,
}

impl Given<'_> {
    pub(crate) fn value(&self, attribute: usize) -> Option<&AttrValue> {
        self.context.get(&self.space.attributes[attribute].name)
    }
}

impl Oracle for Given<'_> {
    fn test(&mut self, test: usize, _: bool) -> Result<Answer, Stop> {
        let entry = &self.space.tests[test];
        Ok(answer(&entry.test, self.value(entry.attribute)))
    }

    fn bucket(&mut self, dim: usize, start: u16, end: u16, _: bool) -> Result<bool, Stop> {
        let dim = &self.space.dims[dim];
        Ok(bucket_of(self.value(dim.attribute), dim.seed).is_some_and(|b| (start..=end).contains(&b)))
    }
}

/// Returns the bucket of an entity id, if the value is one.
pub(crate) fn bucket_of(value: Option<&AttrValue>, seed: u32) -> Option<u16> {
    match value {
        Some(AttrValue::String(id)) if !id.is_empty() => Some(bucket_seeded(id, seed)),
        _ => None,
    }
}

/// The choices made so far, and those still open.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    choices: Vec<Choice>,
    at: usize,
}

#[derive(Debug)]
struct Choice {
    taken: usize,
    /// Other possible options, the next one to take last.
    open: Vec<usize>,
}

impl Trail {
    /// Repeats the choice made here on the last run, or opens one among `options`, given best first.
    pub(crate) fn choose(&mut self, options: impl FnOnce() -> Vec<usize>) -> Option<usize> {
        if let Some(choice) = self.choices.get(self.at) {
            self.at += 1;
            return Some(choice.taken);
        }
        let mut open = options();
        open.reverse();
        let taken = open.pop()?;
        self.choices.push(Choice { taken, open });
        self.at += 1;
        Some(taken)
    }

    /// Turns to the next open option; false when none is left.
    pub(crate) fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some(choice) = self.choices.last_mut() {
            if let Some(next) = choice.open.pop() {
                choice.taken = next;
                return true;
            }
            self.choices.pop();
        }
        false
    }
}

/// The oracle of an exploration: the part of the context space that the answers so far leave.
#[derive(Debug)]
pub(crate) struct Walk<'s> {
    space: &'s Space,
    trail: Trail,
    cell: Cell,
    questions: u64,
    change: Option<Budget<'s>>,
}

/// A set of contexts: all that agree with some facts and whose ids fall into some buckets.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// By attribute.
    pub(crate) facts: Vec<Vec<Fact>>,
    /// By assignment space.
    pub(crate) buckets: Vec<Ranges>,
}

/// Restricts an exploration to contexts that differ from a given one in few attributes.
#[derive(Debug)]
struct Budget<'s> {
    context: &'s EvalContext,
    most: usize,
    changed: Vec<bool>,
}

impl Cell {
    pub(crate) fn whole(space: &Space) -> Self {
        Self {
            facts: vec![Vec::new(); space.attributes.len()],
            buckets: vec![Ranges::all(); space.dims.len()],
        }
    }

    /// Returns whether `value` is possible for the attribute in this cell.
    pub(crate) fn admits(&self, space: &Space, attribute: usize, value: Option<&AttrValue>) -> bool {
        self.facts[attribute].iter().all(|f| agrees(space, attribute, *f, value))
            && space.attributes[attribute].dims.iter().all(|d| {
                let buckets = &self.buckets[*d];
                // Ids without a bucket reach no range question, so the range is then still whole.
                bucket_of(value, space.dims[*d].seed).map_or(buckets.is_all(), |b| buckets.contains(b))
            })
    }
}

impl<'s> Walk<'s> {
    /// Runs `run` once for each cell, until it breaks off or no cell is left.
    ///
    /// # Errors
    /// `LimitExceeded` when there are too many cells.
    pub(crate) fn explore(
        space: &'s Space,
        limits: Limits,
        run: impl FnMut(&mut Self) -> Result<ControlFlow<()>, Stop>,
    ) -> Result<()> {
        Self::start(space, None).run(limits, run)
    }

    /// Explores only contexts that differ from `context` in at most `most` attributes; what agrees with it comes
    /// first.
    ///
    /// # Errors
    /// `LimitExceeded` when there are too many cells.
    pub(crate) fn explore_near(
        space: &'s Space,
        context: &'s EvalContext,
        most: usize,
        limits: Limits,
        run: impl FnMut(&mut Self) -> Result<ControlFlow<()>, Stop>,
    ) -> Result<()> {
        let budget = Budget { context, most, changed: vec![false; space.attributes.len()] };
        Self::start(space, Some(budget)).run(limits, run)
    }

    fn start(space: &'s Space, change: Option<Budget<'s>>) -> Self {
        Self { space, trail: Trail::default(), cell: Cell::whole(space), questions: 0, change }
    }

    fn run(
        mut self,
        limits: Limits,
        mut run: impl FnMut(&mut Self) -> Result<ControlFlow<()>, Stop>,
    ) -> Result<()> {
        self.questions = limits.questions;
        for _ in 0..limits.cells {
            match run(&mut self) {
                Ok(ControlFlow::Break(())) => return Ok(()),
                Ok(ControlFlow::Continue(())) | Err(Stop::DeadEnd) => {}
                Err(Stop::Exhausted) => return Err(limits.exceeded()),
            }
            if !self.trail.advance() {
                return Ok(());
            }
            self.cell = Cell::whole(self.space);
            if let Some(budget) = &mut self.change {
                budget.changed.fill(false);
            }
        }
        Err(limits.exceeded())
    }

    /// Returns what the answers so far leave.
    pub(crate) fn cell(&self) -> &Cell {
        &self.cell
    }

    /// Returns what the attribute is as an entity id.
    pub(crate) fn identity(&mut self, attribute: usize) -> Result<Identity, Stop> {
        let known = |f: &Fact| if let Fact::Identity(identity) = f { Some(*identity) } else { None };
        if let Some(identity) = self.cell.facts[attribute].iter().find_map(known) {
            return Ok(identity);
        }
        let pins = self.space.attributes[attribute].pins.len();
        let mut options = vec![Identity::Free, Identity::None];
        options.extend((0..pins).map(Identity::Pinned));
        let facts: Vec<Fact> = options.into_iter().map(Fact::Identity).collect();
        let at = self.choose(attribute, &facts)?;
        match facts[at] {
            Fact::Identity(identity) => Ok(identity),
            Fact::Test(..) => Ok(Identity::None),
        }
    }

    /// Takes a step of the inner exploration of a caller that splits buckets itself.
    pub(crate) fn count_question(&mut self) -> Result<(), Stop> {
        self.questions = self.questions.checked_sub(1).ok_or(Stop::Exhausted)?;
        Ok(())
    }

    /// Chooses among facts about one attribute and notes the choice.
    fn choose(&mut self, attribute: usize, facts: &[Fact]) -> Result<usize, Stop> {
        self.count_question()?;
        let Self { space, trail, cell, change, .. } = self;
        let options = || match change {
            None => possible(space, attribute, &mut cell.facts[attribute], facts),
            Some(budget) => budget.possible(space, attribute, cell, facts),
        };
        let at = trail.choose(options).ok_or(Stop::DeadEnd)?;
        self.cell.facts[attribute].push(facts[at]);
        self.note_change(attribute);
        Ok(at)
    }

    fn note_change(&mut self, attribute: usize) {
        if let Some(budget) = &mut self.change {
            let value = budget.context.get(&self.space.attributes[attribute].name);
            budget.changed[attribute] = !self.cell.admits(self.space, attribute, value);
        }
    }

    /// Splits the buckets of a free id.
    fn split(&mut self, dim: usize, start: u16, end: u16, wanted: bool) -> Result<bool, Stop> {
        self.count_question()?;
        let attribute = self.space.dims[dim].attribute;
        let Self { space, trail, cell, change, .. } = self;
        let buckets = &cell.buckets[dim];
        let options = || {
            let mut options = vec![usize::from(wanted), usize::from(!wanted)];
            options.retain(|inside| !part(buckets, start, end, *inside == 1).is_empty());
            if let Some(budget) = change {
                budget.retain_buckets(space, attribute, dim, cell, (start, end), &mut options);
            }
            options
        };
        let inside = trail.choose(options).ok_or(Stop::DeadEnd)? == 1;
        self.cell.buckets[dim] = part(&self.cell.buckets[dim], start, end, inside);
        self.note_change(attribute);
        Ok(inside)
    }
}

impl Oracle for Walk<'_> {
    fn test(&mut self, test: usize, wanted: bool) -> Result<Answer, Stop> {
        let attribute = self.space.tests[test].attribute;
        let known = |f: &Fact| match f {
            Fact::Test(t, answer) if *t == test => Some(*answer),
            _ => None,
        };
        if let Some(answer) = self.cell.facts[attribute].iter().find_map(known) {
            return Ok(answer);
        }
        let answers = [Answer::from(wanted), Answer::from(!wanted), Answer::Mismatch];
        let facts = answers.map(|a| Fact::Test(test, a));
        // A mismatch needs a value of another type: one of a second version of the manifest, or a given one.
        let types =
            if self.change.is_none() && self.space.attributes[attribute].types.len() == 1 { 2 } else { 3 };
        let at = self.choose(attribute, &facts[..types])?;
        Ok(answers[at])
    }

    fn bucket(&mut self, dim: usize, start: u16, end: u16, wanted: bool) -> Result<bool, Stop> {
        let Dim { attribute, seed, .. } = &self.space.dims[dim];
        match self.identity(*attribute)? {
            Identity::None => Ok(false),
            Identity::Pinned(pin) => {
                let bucket = bucket_seeded(&self.space.attributes[*attribute].pins[pin], *seed);
                Ok((start..=end).contains(&bucket))
            }
            Identity::Free => self.split(dim, start, end, wanted),
        }
    }
}

impl Budget<'_> {
    /// Keeps the facts that the given value agrees with, and, while changes are left, those some value agrees with.
    fn possible(&self, space: &Space, attribute: usize, cell: &mut Cell, facts: &[Fact]) -> Vec<usize> {
        let value = self.context.get(&space.attributes[attribute].name);
        let changed = self.changed[attribute];
        let may_change = changed || self.spent() < self.most;
        let mut options = Vec::new();
        for (at, fact) in facts.iter().enumerate() {
            if !changed && agrees(space, attribute, *fact, value) {
                // Staying costs nothing, so it is looked at first.
                options.insert(0, at);
            } else if may_change
                && !possible(space, attribute, &mut cell.facts[attribute], &[*fact]).is_empty()
            {
                options.push(at);
            }
        }
        options
    }

    fn retain_buckets(
        &self,
        space: &Space,
        attribute: usize,
        dim: usize,
        cell: &Cell,
        (start, end): (u16, u16),
        options: &mut Vec<usize>,
    ) {
        let value = self.context.get(&space.attributes[attribute].name);
        if self.changed[attribute] {
            return;
        }
        let stays = |inside: &usize| {
            let rest = part(&cell.buckets[dim], start, end, *inside == 1);
            bucket_of(value, space.dims[dim].seed).is_some_and(|b| rest.contains(b))
        };
        if self.spent() >= self.most {
            options.retain(stays);
        } else {
            options.sort_by_key(|inside| !stays(inside));
        }
    }

    fn spent(&self) -> usize {
        self.changed.iter().filter(|c| **c).count()
    }
}

fn part(buckets: &Ranges, start: u16, end: u16, inside: bool) -> Ranges {
    if inside { buckets.within(start, end) } else { buckets.without(start, end) }
}

/// Keeps the facts that some value agrees with, besides what is known.
fn possible(space: &Space, attribute: usize, known: &mut Vec<Fact>, facts: &[Fact]) -> Vec<usize> {
    let mut options = Vec::with_capacity(facts.len());
    for (at, fact) in facts.iter().enumerate() {
        known.push(*fact);
        if solve(space, attribute, known).is_some() {
            options.push(at);
        }
        known.pop();
    }
    options
}
