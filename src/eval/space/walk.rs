//! Explores every way through a piece of code that asks questions of an unknown context.
//!
//! The code runs again and again; each run answers its questions from a trail of earlier choices and opens a new
//! choice where the trail ends. Only questions that are really asked branch, and only into answers that some value
//! can give, so the cells of a run partition the contexts: none is missed, none counted twice.

use std::ops::ControlFlow;

use super::{
    ask::{Oracle, Stop, bucket_of},
    case::{Dim, Space},
    ranges::Ranges,
    solve::{Answer, Fact, Identity, agrees, solve},
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
/// assert_eq!(Limits::new().with_cells(1_000).cells, 1_000);
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
    /// Makes the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many cells may be told apart.
    #[must_use]
    pub const fn with_cells(mut self, cells: usize) -> Self {
        self.cells = cells;
        self
    }

    /// Sets how many questions may be asked.
    #[must_use]
    pub const fn with_questions(mut self, questions: u64) -> Self {
        self.questions = questions;
        self
    }

    pub(crate) fn exceeded(&self) -> Error {
        Error::new(ErrorKind::LimitExceeded, "tell all cases apart: there are too many")
            .with("most_cells", self.cells)
            .with("most_questions", self.questions)
            .hint("name one flag and one environment, or split rules that combine many attributes")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eval::{
            EvalOptions,
            space::{
                ask::{Given, Verdict},
                plan::Plan,
            },
        },
        manifest::{
            Manifest,
            model::{
                Atom, AttrType, Audience, Bucket, Flag, FlagType, Operator, Predicate, Rule, Scalar, Segment,
                Variant,
            },
        },
    };

    fn atom(attribute: &str, op: Operator, operands: &[&str]) -> Predicate {
        let operands =
            operands.iter().map(|o| o.parse().map_or(Scalar::String((*o).into()), Scalar::Int)).collect();
        Predicate::Atom(Atom { attribute: attribute.into(), op, operands })
    }

    /// Two buckets under different salts, named ids, and tests of every kind of text.
    fn manifest() -> Manifest {
        let variant = |key: &str| Variant { key: key.into(), value: key.into() };
        let mut flag = Flag::new("f", FlagType::String, vec![variant("a"), variant("b")]).unwrap();
        let audiences = [
            Predicate::And(vec![
                atom("mail", Operator::EndsWith, &["@x.com"]),
                Predicate::Segment("one".into()),
            ]),
            Predicate::Or(vec![
                atom("mail", Operator::Contains, &["+test"]),
                Predicate::Not(Box::new(atom("age", Operator::Gte, &["18"]))),
                atom("id", Operator::In, &["u-1", "u-2"]),
            ]),
            Predicate::And(vec![
                atom("mail", Operator::NotIn, &["a@x.com", ""]),
                Predicate::Segment("two".into()),
            ]),
            atom("mail", Operator::StartsWith, &["a"]),
        ];
        let rule =
            |p| Rule { description: String::new(), audience: Audience::Predicate(p), variant: "b".into() };
        flag.catch_all.rules = Some(audiences.map(rule).to_vec());
        let mut manifest = Manifest::new("m");
        for (key, start, end) in [("one", 0, 4_999), ("two", 2_500, 7_499)] {
            let bucket = Bucket { entity_id_attribute: "id".into(), salt: None, start, end };
            let segment = Segment {
                key: key.into(),
                description: String::new(),
                predicate: None,
                bucket: Some(bucket),
            };
            manifest.segments.insert(key.into(), segment);
        }
        let types = [("mail", AttrType::String), ("age", AttrType::Int), ("id", AttrType::String)];
        manifest.attributes = types.into_iter().map(|(n, t)| (n.to_owned(), t)).collect();
        manifest.flags.insert("f".into(), flag);
        manifest
    }

    /// Every combination of some values, each of them also absent.
    fn contexts() -> Vec<EvalContext> {
        let texts = ["", "a", "a@x.com", "b@x.com", "b+test@x.com", "a+test", "@x.com", "z"];
        let lists = [vec![], vec!["+test".to_owned()], vec!["a@x.com".to_owned(), "z".to_owned()]];
        let mails = texts.map(AttrValue::from).into_iter().chain(lists.map(AttrValue::StrList));
        let ages = [i64::MIN, 17, 18, 19].map(AttrValue::Int);
        let ids = (0..24).map(|n| AttrValue::from(format!("u-{n}"))).chain([AttrValue::from("")]);
        let some = |values: Vec<AttrValue>| values.into_iter().map(Some).chain([None]).collect::<Vec<_>>();
        let (ages, ids) = (some(ages.to_vec()), some(ids.collect()));
        let mut contexts = Vec::new();
        for mail in some(mails.collect()) {
            for (age, id) in ages.iter().flat_map(|a| ids.iter().map(move |i| (a, i))) {
                let mut builder = EvalContext::builder();
                for (name, value) in [("mail", &mail), ("age", age), ("id", id)] {
                    if let Some(value) = value {
                        builder = builder.attr(name, value.clone());
                    }
                }
                contexts.push(builder.build());
            }
        }
        contexts
    }

    #[test]
    fn cells_cover_every_context_exactly_once_and_say_what_it_resolves_to() {
        let manifest = manifest();
        let mut space = Space::over([&manifest]);
        let plan = Plan::of(&manifest, "f", "anywhere").unwrap();
        let case = space.case(&manifest, plan, &EvalOptions::new());
        let mut cells = Vec::new();
        Walk::explore(&space, Limits::new(), |walk| {
            let verdict = case.resolve(&space, walk, None)?;
            cells.push((walk.cell().clone(), verdict));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();

        for context in contexts() {
            let admits = |cell: &Cell| {
                let value = |at: usize| context.get(&space.attributes[at].name);
                (0..space.attributes.len()).all(|at| cell.admits(&space, at, value(at)))
            };
            let found: Vec<Verdict> =
                cells.iter().filter(|(cell, _)| admits(cell)).map(|(_, v)| *v).collect();
            let mut given = Given { space: &space, context: &context };
            let values: Vec<_> = context.iter().collect();
            assert_eq!(found, [case.resolve(&space, &mut given, None).unwrap()], "{values:?}");
        }
    }

    #[test]
    fn too_many_cells_or_questions_end_the_exploration() {
        let manifest = manifest();
        let mut space = Space::over([&manifest]);
        let case = space.case(&manifest, Plan::of(&manifest, "f", "anywhere").unwrap(), &EvalOptions::new());

        for limits in [Limits::new().with_cells(3), Limits::new().with_questions(10)] {
            let result = Walk::explore(&space, limits, |walk| {
                case.resolve(&space, walk, None)?;
                Ok(ControlFlow::Continue(()))
            });

            assert_eq!(result.unwrap_err().kind(), ErrorKind::LimitExceeded);
        }
    }
}
