//! Which attributes a context needs: inferred from the rules, with type, need and sources.

pub(crate) mod code;
mod render;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::ControlFlow,
};

use super::model::{AttrType, Audience, Bucket, Flag, Manifest, Predicate};
use crate::{
    error::{Error, ErrorKind, Result},
    eval::{
        EvalOptions, Limits,
        space::{
            case::{Case, Expr, Space},
            plan::{CATCH_ALL, Plan},
            walk::Walk,
            words,
        },
    },
};

/// The attributes that a flag reads, or that a whole namespace reads.
///
/// # Examples
/// ```
/// use leverframe::manifest::{Manifest, Schema, model::*};
///
/// let on = Variant { key: "on".into(), value: true.into() };
/// let mut flag = Flag::new("banner", FlagType::Boolean, vec![on]).unwrap();
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
/// let schema = Schema::of(&manifest, Some("banner"), None).unwrap();
/// let country = &schema.attributes()[0];
/// assert_eq!((country.name.as_str(), country.type_name(), country.required), ("user.country", "string", true));
/// assert_eq!(
///     country.sources[0].to_string(),
///     r#"flags/banner.toml [flag.environments._].rules[0]: user.country = "US""#
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    namespace: String,
    flag: Option<String>,
    environment: Option<String>,
    attributes: Vec<SchemaAttribute>,
}

/// One attribute that a context may hold.
///
/// # Examples
/// See [`Schema`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SchemaAttribute {
    /// Its key in the context.
    pub name: String,
    /// The inferred type; `None` where rules only ask whether it is set.
    pub attr_type: Option<AttrType>,
    /// Whether some flag that is covered reads it whatever the context holds.
    pub required: bool,
    /// Whether a list of strings may stand in its place, because a test of it applies to lists.
    pub accepts_list: bool,
    /// Where it is read, each place once.
    pub sources: Vec<AttributeSource>,
}

impl SchemaAttribute {
    /// Returns the type's name, or `any` where rules only ask whether the attribute is set.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self.attr_type {
            Some(attr_type) => attr_type.as_str(),
            None => "any",
        }
    }
}

/// A place at which an attribute is read.
///
/// # Examples
/// See [`Schema`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttributeSource {
    /// The file, relative to the namespace's root.
    pub file: String,
    /// The place in it: `[segment.bucket]`, `[flag.environments._].rules[0]`.
    pub place: String,
    /// What is asked there, in words.
    pub asks: String,
}

impl fmt::Display for AttributeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.file, self.place, self.asks)
    }
}

/// Tries to tell exactly what every path reads, in so many paths; beyond, only the first read counts as certain.
const MOST_PATHS: usize = 4_000;

impl Schema {
    /// Infers the schema of `flag`, or of all flags, in `environment`, or in all environments.
    ///
    /// An attribute is required if some covered flag, in some covered environment, reads it on every path through
    /// its rules; a caller who evaluates that flag there cannot do without it. Rules that wait for testing count as
    /// sources and require nothing.
    ///
    /// # Errors
    /// `NotFound` for an unknown flag or environment.
    pub fn of(manifest: &Manifest, flag: Option<&str>, environment: Option<&str>) -> Result<Self> {
        let flags: Vec<&Flag> = match flag {
            Some(key) => vec![manifest.flags.get(key).ok_or_else(|| {
                Error::new(ErrorKind::NotFound, "find flag")
                    .with("flag", key)
                    .with("namespace", &manifest.slug)
            })?],
            None => manifest.flags.values().collect(),
        };
        if let (Some(environment), Some(any)) = (environment, manifest.flags.keys().next()) {
            Plan::of(manifest, any, environment)?;
        }
        let mut collector = Collector { manifest, found: BTreeMap::new(), segments: BTreeSet::new() };
        for flag in flags {
            for plan in plans(manifest, flag, environment) {
                collector.plan(&plan);
            }
        }
        Ok(Self {
            namespace: manifest.slug.clone(),
            flag: flag.map(str::to_owned),
            environment: environment.map(str::to_owned),
            attributes: collector.found.into_values().collect(),
        })
    }

    /// Returns the attributes by name.
    #[must_use]
    pub fn attributes(&self) -> &[SchemaAttribute] {
        &self.attributes
    }
}

/// Returns the different plans of a flag: environments that share the catch-all's rules give one.
fn plans<'m>(manifest: &'m Manifest, flag: &'m Flag, environment: Option<&str>) -> Vec<Plan<'m>> {
    let names: Vec<&str> = match (environment, &manifest.environments) {
        (Some(name), _) => vec![name],
        (None, Some(roster)) => roster.iter().map(|e| e.name.as_str()).collect(),
        (None, None) => flag.environments.iter().map(|(name, _)| name.as_str()).chain([CATCH_ALL]).collect(),
    };
    let mut plans: Vec<Plan<'m>> = Vec::new();
    for name in names {
        let plan = Plan::of_flag(flag, name);
        if !plans.iter().any(|p| p.block == plan.block) {
            plans.push(plan);
        }
    }
    plans
}

struct Collector<'m> {
    manifest: &'m Manifest,
    found: BTreeMap<String, SchemaAttribute>,
    /// Segments whose reads are collected already.
    segments: BTreeSet<&'m str>,
}

/// Where a predicate stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    place: &'a str,
}

impl<'m> Collector<'m> {
    fn plan(&mut self, plan: &Plan<'m>) {
        let file = format!("flags/{}.toml", plan.flag.key);
        for (index, rule) in plan.rules.iter().enumerate() {
            let place = format!("[flag.environments.{}].rules[{index}]", plan.block);
            match &rule.audience {
                Audience::Segment(key) => self.segment(key),
                Audience::Predicate(node) => self.predicate(node, Place { file: &file, place: &place }),
            }
        }
        for name in required(self.manifest, *plan) {
            if let Some(attribute) = self.found.get_mut(&name) {
                attribute.required = true;
            }
        }
    }

    fn segment(&mut self, key: &'m str) {
        let Some(segment) = self.manifest.segments.get(key) else { return };
        if !self.segments.insert(key) {
            return;
        }
        let file = format!("segments/{key}.toml");
        if let Some(node) = &segment.predicate {
            self.predicate(node, Place { file: &file, place: "[segment.predicate]" });
        }
        if let Some(bucket) = &segment.bucket {
            let Bucket { entity_id_attribute, start, end, .. } = bucket;
            let asks = format!("bucket under salt {:?} in {start}..={end}", bucket.effective_salt(key));
            let place = Place { file: &file, place: "[segment.bucket]" };
            self.read(entity_id_attribute, place, asks);
        }
    }

    fn predicate(&mut self, node: &'m Predicate, place: Place<'_>) {
        match node {
            Predicate::And(nodes) | Predicate::Or(nodes) => {
                nodes.iter().for_each(|n| self.predicate(n, place))
            }
            Predicate::Not(node) => self.predicate(node, place),
            Predicate::Segment(key) => self.segment(key),
            Predicate::Atom(atom) => {
                let attribute = self.read(&atom.attribute, place, words::atom(atom, true));
                attribute.accepts_list |=
                    atom.op.takes_lists() && attribute.attr_type == Some(AttrType::String);
            }
        }
    }

    fn read(&mut self, name: &str, place: Place<'_>, asks: String) -> &mut SchemaAttribute {
        let attr_type = self.manifest.attributes.get(name).copied();
        let attribute = self.found.entry(name.to_owned()).or_insert_with(|| SchemaAttribute {
            name: name.to_owned(),
            attr_type,
            required: false,
            accepts_list: false,
            sources: Vec::new(),
        });
        let source = AttributeSource { file: place.file.to_owned(), place: place.place.to_owned(), asks };
        if !attribute.sources.contains(&source) {
            attribute.sources.push(source);
        }
        attribute
    }
}

/// Returns the attributes that every path through the flag reads.
fn required(manifest: &Manifest, plan: Plan<'_>) -> Vec<String> {
    let mut space = Space::over([manifest]);
    let case = space.case(manifest, plan, &EvalOptions::new());
    let limits = Limits::new().with_cells(MOST_PATHS);
    let mut always: Option<BTreeSet<usize>> = None;
    let told = Walk::explore(&space, limits, |walk| {
        case.resolve(&space, walk, None)?;
        let facts = &walk.cell().facts;
        let read = |at: &usize| facts.get(*at).is_some_and(|f| !f.is_empty());
        let common: BTreeSet<usize> = match &always {
            None => (0..facts.len()).filter(read).collect(),
            Some(before) => before.iter().copied().filter(read).collect(),
        };
        let is_empty = common.is_empty();
        always = Some(common);
        Ok(if is_empty { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    let always = match told {
        Ok(()) => always.unwrap_or_default(),
        Err(_) => first_read(&space, &case).into_iter().collect(),
    };
    always.into_iter().map(|at| space.attributes[at].name.clone()).collect()
}

/// Returns the attribute that resolution reads before it can branch.
fn first_read(space: &Space, case: &Case<'_>) -> Option<usize> {
    fn leftmost(space: &Space, expr: &Expr) -> Option<usize> {
        match expr {
            Expr::All(parts) | Expr::Any(parts) => parts.first().and_then(|p| leftmost(space, p)),
            Expr::Not(part) => leftmost(space, part),
            Expr::Segment(segment) => leftmost(space, &segment.1),
            Expr::Test(test) => Some(space.tests[*test].attribute),
            Expr::Bucket { dim, .. } => Some(space.dims[*dim].attribute),
        }
    }
    case.rules.first().and_then(|audience| leftmost(space, audience))
}
