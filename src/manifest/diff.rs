//! What differs between two manifests, and whom it moves.
//!
//! Two answers, both exact. *Changes* are what a reviewer reads: flags, segments, environments, variants, rules,
//! metadata, inferred types and reflex rules that came, went or changed. *Moves* are what an operator fears: for each flag and
//! environment the share of the 10,000 buckets whose entities get another value, in the worst case over all other
//! attributes, with that case in words.

mod changes;
mod moves;

use std::{collections::BTreeSet, fmt};

use serde_json::{Value as Json, json};

use self::moves::Mover;
use super::model::Manifest;
use crate::{
    error::{Error, ErrorKind, Result},
    eval::{
        EvalContext, EvalOptions, Limits, Share,
        space::plan::{CATCH_ALL, is_known},
    },
};

/// The differences between two manifests of a namespace.
///
/// # Examples
/// ```
/// use leverframe::{eval::Share, manifest::{Diff, Manifest, model::*}};
///
/// let rollout = |end| {
///     let on = Variant { key: "on".into(), value: true.into() };
///     let off = Variant { key: "off".into(), value: false.into() };
///     let mut flag = Flag::new("banner", FlagType::Boolean, vec![off, on]).unwrap();
///     flag.catch_all.rules = Some(vec![Rule {
///         description: String::new(),
///         audience: Audience::Segment("first".into()),
///         variant: "on".into(),
///     }]);
///     let bucket = Bucket { entity_id_attribute: "user.id".into(), salt: None, start: 0, end };
///     let first = Segment { key: "first".into(), description: String::new(), predicate: None, bucket: Some(bucket) };
///     let mut manifest = Manifest::new("site");
///     manifest.attributes.insert("user.id".into(), AttrType::String);
///     manifest.flags.insert("banner".into(), flag);
///     manifest.segments.insert("first".into(), first);
///     manifest
/// };
///
/// let diff = Diff::between(&rollout(999), &rollout(1_499));
/// assert_eq!(diff.changes()[0].to_string(), "~ segment `first`: bucket 0..=999 → 0..=1499 (10% → 15%)");
/// assert_eq!(diff.moves()[0].worst().unwrap().share, Share::of_buckets(500));
/// assert_eq!(diff.max_moved().unwrap(), Share::of_buckets(500));
/// ```
#[derive(Clone, Debug)]
pub struct Diff {
    changes: Vec<Change>,
    moves: Vec<Move>,
}

/// Whether something came, went or is another now.
///
/// # Examples
/// ```
/// use leverframe::manifest::ChangeKind;
/// assert_eq!(ChangeKind::Added.as_str(), "added");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "between two versions there is nothing else")]
pub enum ChangeKind {
    /// It is only in the new manifest.
    Added,
    /// It is in both and differs.
    Changed,
    /// It is only in the old manifest.
    Removed,
}

impl ChangeKind {
    /// Returns the lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Whether it came, went or is another now.
    pub kind: ChangeKind,
    /// What it is about, as a path: ``flag `banner` / production / rule[1]``.
    pub subject: String,
    /// What differs, in words; empty where the subject says all.
    pub detail: String,
}

/// Whom a flag's changes move in one environment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Move {
    /// The flag.
    pub flag: String,
    /// The environment; `_` for all that have no block of their own.
    pub environment: String,
    /// What was found, or why it could not be told exactly.
    pub result: std::result::Result<Moved, TooMany>,
}

impl Move {
    /// Returns the case in which most move; `None` where it could not be told.
    #[must_use]
    pub fn worst(&self) -> Option<&Case> {
        self.result.as_ref().ok().map(|m| &m.worst)
    }
}

/// There are more cases than the limits let an exact answer look at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooMany {
    /// Why, in words.
    pub reason: String,
}

/// How many buckets move.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Moved {
    /// The case in which the largest share moves.
    pub worst: Case,
    /// The share among entities of whom nothing is known but an id; `None` where no buckets take part.
    pub plain: Option<Share>,
    /// Ids that tests name and that move, as `attribute = "id"`; they count in no share.
    pub named: Vec<String>,
    /// Attributes for which cases may be missing: compared as versions and matched as text.
    pub inexact: Vec<String>,
}

/// What holds of the attributes, and the share of buckets that then moves.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Case {
    /// The condition in words, to be read with "and" in between; empty for "always".
    pub when: Vec<String>,
    /// The share of buckets whose entities get another value.
    pub share: Share,
    /// The keys of the variants before and after, for one of those that move.
    pub example: Option<(String, String)>,
    /// A context of which the condition holds; its entity ids are any, and need not be among those that move.
    pub context: EvalContext,
}

impl Diff {
    /// Compares two manifests as callers without any options see them.
    #[must_use]
    pub fn between(old: &Manifest, new: &Manifest) -> Self {
        Self::with_options(old, new, &EvalOptions::new(), Limits::default())
    }

    /// Compares two manifests as callers with these options see them, within limits for each flag and environment.
    #[must_use]
    pub fn with_options(old: &Manifest, new: &Manifest, options: &EvalOptions, limits: Limits) -> Self {
        let mover = Mover::between(old, new, *options, limits);
        let mut moves = Vec::new();
        for (key, before) in &old.flags {
            let Some(after) = new.flags.get(key) else { continue };
            for environment in environments(old, new, key) {
                moves.extend(mover.moves(before, after, &environment));
            }
        }
        Self { changes: changes::between(old, new), moves }
    }

    /// Returns what differs: the namespace first, then flags, segments, attributes and reflex rules by name.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Returns the flags and environments in which some entity gets another value, or in which that could not be
    /// told.
    #[must_use]
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// Returns true if nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.moves.is_empty()
    }

    /// Returns the largest share of buckets that moves anywhere.
    ///
    /// Flags that came or went count as not moved: what their callers get depends on the callers' own defaults.
    ///
    /// # Errors
    /// `LimitExceeded` where some flag has too many cases: a bound on the share cannot be relied on then.
    pub fn max_moved(&self) -> Result<Share> {
        let mut most = Share::NONE;
        for found in &self.moves {
            match &found.result {
                Ok(moved) => most = most.max(moved.worst.share),
                Err(too_many) => {
                    return Err(Error::new(ErrorKind::LimitExceeded, "tell how many buckets move")
                        .with("flag", &found.flag)
                        .with("environment", &found.environment)
                        .with("reason", &too_many.reason));
                }
            }
        }
        Ok(most)
    }

    /// Returns the differences as JSON: `{changes: […], moves: […], max_moved: {moved, of, percent} | null}`.
    ///
    /// `moved` and `of` are numbers where JSON readers hold them exactly, else text.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let change = |c: &Change| json!({"kind": c.kind.as_str(), "subject": c.subject, "detail": c.detail});
        json!({
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
            "moves": self.moves.iter().map(move_json).collect::<Vec<_>>(),
            "max_moved": self.max_moved().ok().map(share_json),
        })
    }
}

/// The environments in which both manifests evaluate the flag: the rosters' common part, or the flag's own blocks
/// and `_`.
fn environments(old: &Manifest, new: &Manifest, flag: &str) -> Vec<String> {
    let names = |m: &Manifest| -> Vec<String> {
        match &m.environments {
            Some(roster) => roster.iter().map(|e| e.name.clone()).collect(),
            None => {
                let blocks = m.flags.get(flag).into_iter().flat_map(|f| &f.environments);
                blocks.map(|(name, _)| name.clone()).chain([CATCH_ALL.to_owned()]).collect()
            }
        }
    };
    let mut seen = BTreeSet::new();
    let in_both = |name: &String| {
        let typed = old.environments.is_some() || new.environments.is_some();
        // Where one side has a roster, only its environments are evaluated there: `_` is then no case of its own.
        (name != CATCH_ALL || !typed) && is_known(old, name) && is_known(new, name)
    };
    names(new).into_iter().chain(names(old)).filter(in_both).filter(|n| seen.insert(n.clone())).collect()
}

fn share_json(share: Share) -> Json {
    let number = |n: u128| u64::try_from(n).map_or_else(|_| Json::from(n.to_string()), Json::from);
    json!({"moved": number(share.moved()), "of": number(share.of()), "percent": share.as_percent()})
}

fn context_json(context: &EvalContext) -> Json {
    // A map sorts its keys, so the order in which the context holds them does not show.
    Json::Object(context.iter().map(|(name, value)| (name.to_owned(), value.to_json())).collect())
}

fn move_json(found: &Move) -> Json {
    match &found.result {
        Err(too_many) => {
            json!({"flag": found.flag, "environment": found.environment, "too_many_cases": too_many.reason})
        }
        Ok(moved) => json!({
            "flag": found.flag,
            "environment": found.environment,
            "worst": {
                "when": moved.worst.when,
                "share": share_json(moved.worst.share),
                "example": moved.worst.example.as_ref().map(|(from, to)| json!({"from": from, "to": to})),
                "context": context_json(&moved.worst.context),
            },
            "plain": moved.plain.map(share_json),
            "named": moved.named,
            "exact": moved.inexact.is_empty(),
            "inexact_attributes": moved.inexact,
        }),
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Changed => '~',
            ChangeKind::Removed => '-',
        };
        write!(f, "{sign} {}", self.subject)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.share)?;
        if let Some((from, to)) = &self.example {
            write!(f, ", as `{from}` → `{to}`")?;
        }
        if self.when.is_empty() { Ok(()) } else { write!(f, ", when {}", self.when.join(" and ")) }
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flag `{}` in `{}`: ", self.flag, self.environment)?;
        let moved = match &self.result {
            Err(too_many) => return write!(f, "not told: {}", too_many.reason),
            Ok(moved) => moved,
        };
        if moved.worst.share.is_none() {
            f.write_str("no buckets move")?;
        } else {
            write!(f, "moves {}", moved.worst)?;
        }
        if let Some(plain) = moved.plain.filter(|plain| *plain != moved.worst.share) {
            write!(f, "; with only an id known, {plain}")?;
        }
        if !moved.named.is_empty() {
            write!(f, "; and by name {}", moved.named.join(", "))?;
        }
        if !moved.inexact.is_empty() {
            write!(f, "; not exact for {}", moved.inexact.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Diff {
    /// Prints one line for each change, then one for each move, then the largest share.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "no differences");
        }
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        for found in &self.moves {
            writeln!(f, "{found}")?;
        }
        match self.max_moved() {
            Ok(share) => writeln!(f, "at most {share} of the buckets move"),
            Err(_) => writeln!(f, "how many buckets move could not be told for every flag"),
        }
    }
}
