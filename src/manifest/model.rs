//! The typed model of one namespace: what a manifest says once it has passed lint.
//!
//! Plain data. `parse` and `lint` make it, `eval::Program` is compiled from it, `diff`, `schema`, `fixtures` and
//! `explain` read it.

mod predicate;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value as Json;

pub use self::predicate::{Atom, Operator, Predicate, Scalar};
use crate::gate::reflex::ReflexRule;

/// One namespace that has passed lint.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The namespace's identity: from `namespace.toml`, else from the place it was loaded from (M13).
    pub slug: String,
    /// Name for people; the slug where none is declared.
    pub display_name: String,
    /// Description for people, possibly empty.
    pub description: String,
    /// Whether evaluations are recorded at all. Default true.
    pub telemetry_enabled: bool,
    /// Context attributes that no telemetry record may carry.
    pub private_attributes: Vec<String>,
    /// Whether telemetry carries raw entity ids instead of their SHA-256. Default false.
    pub raw_entity_ids: bool,
    /// The declared environments in declaration order; `None` in untyped mode.
    pub environments: Option<Vec<Environment>>,
    /// The flags by key.
    pub flags: BTreeMap<String, Flag>,
    /// The segments by key.
    pub segments: BTreeMap<String, Segment>,
    /// The inferred type of each attribute that a predicate or a bucket reads (M8).
    pub attributes: BTreeMap<String, AttrType>,
    /// The reflex rules in the order of `gate.toml`. Evaluation never looks at them.
    pub reflex_rules: Vec<ReflexRule>,
}

impl Manifest {
    /// Makes an empty namespace in untyped mode, every field at its default.
    #[must_use]
    pub fn new(slug: impl Into<String>) -> Self {
        let slug = slug.into();
        Self {
            display_name: slug.clone(),
            slug,
            description: String::new(),
            telemetry_enabled: true,
            private_attributes: Vec::new(),
            raw_entity_ids: false,
            environments: None,
            flags: BTreeMap::new(),
            segments: BTreeMap::new(),
            attributes: BTreeMap::new(),
            reflex_rules: Vec::new(),
        }
    }

    /// Returns the declared environment of that name; `None` in untyped mode.
    #[must_use]
    pub fn environment(&self, name: &str) -> Option<&Environment> {
        self.environments.as_ref()?.iter().find(|e| e.name == name)
    }
}

/// A declared environment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Environment {
    /// Its slug.
    pub name: String,
    /// Name for people; the slug where none is declared.
    pub display_name: String,
    /// Whether clients without a secret may evaluate in it. Default false.
    pub public_evaluate: bool,
}

impl Environment {
    /// Makes an environment with every field at its default.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { display_name: name.clone(), name, public_evaluate: false }
    }
}

/// The type of a flag's variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "the manifest format fixes the five types")]
pub enum FlagType {
    /// `boolean`
    Boolean,
    /// `string`
    String,
    /// `integer`: signed, 64 bits
    Integer,
    /// `float`: IEEE 754 double, finite
    Float,
    /// `json`: table, array or scalar
    Json,
}

impl FlagType {
    /// The five types as manifests spell them.
    pub const ALL: [Self; 5] = [Self::Boolean, Self::String, Self::Integer, Self::Float, Self::Json];

    /// Returns the spelling of manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for FlagType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The type that a manifest infers for a context attribute, or that a context value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "the manifest format fixes the context types")]
pub enum AttrType {
    /// UTF-8 text
    String,
    /// true or false
    Boolean,
    /// signed 64-bit integer
    Int,
    /// IEEE 754 double; integers are accepted where it is inferred
    Float,
    /// list of strings; never inferred, only seen at run time
    StrList,
}

impl AttrType {
    /// Returns the lower-case name that messages and schemas print.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::StrList => "str_list",
        }
    }
}

impl fmt::Display for AttrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a flag is in its life; never looked at by evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the manifest format fixes the three stages")]
pub enum Lifecycle {
    /// Not yet released.
    Development,
    /// In use.
    #[default]
    Active,
    /// To be removed.
    Retired,
}

impl Lifecycle {
    /// The three stages.
    pub const ALL: [Self; 3] = [Self::Development, Self::Active, Self::Retired];

    /// Returns the spelling of manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// One flag.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Flag {
    /// Its key: the stem of its file.
    pub key: String,
    /// The type of every variant.
    pub flag_type: FlagType,
    /// Description for people, possibly empty.
    pub description: String,
    /// The team or person responsible, if declared and not empty.
    pub owner: Option<String>,
    /// Where the flag is in its life.
    pub lifecycle: Lifecycle,
    /// Free labels.
    pub tags: Vec<String>,
    /// Attributes that this flag's telemetry records may not carry, besides the namespace's.
    pub private_attributes: Vec<String>,
    /// The variants in declaration order; at least one.
    pub variants: Vec<Variant>,
    /// The catch-all block `_`; its `variant` is always set, its `testing` never.
    pub catch_all: EnvBlock,
    /// The blocks of named environments, in declaration order.
    pub environments: Vec<(String, EnvBlock)>,
}

impl Flag {
    /// Makes a flag whose catch-all block gives the first of `variants`.
    ///
    /// # Errors
    /// Gives the key back when `variants` is empty.
    pub fn new(key: impl Into<String>, flag_type: FlagType, variants: Vec<Variant>) -> Result<Self, String> {
        let key = key.into();
        let Some(first) = variants.first() else { return Err(key) };
        let catch_all = EnvBlock { variant: Some(first.key.clone()), ..EnvBlock::default() };
        Ok(Self {
            key,
            flag_type,
            description: String::new(),
            owner: None,
            lifecycle: Lifecycle::default(),
            tags: Vec::new(),
            private_attributes: Vec::new(),
            variants,
            catch_all,
            environments: Vec::new(),
        })
    }

    /// Returns the block declared for `environment`, not the catch-all.
    #[must_use]
    pub fn block(&self, environment: &str) -> Option<&EnvBlock> {
        self.environments.iter().find(|(name, _)| name == environment).map(|(_, block)| block)
    }

    /// Returns the variant of that key.
    #[must_use]
    pub fn variant(&self, key: &str) -> Option<&Variant> {
        self.variants.iter().find(|v| v.key == key)
    }
}

/// A named value of a flag.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a variant is a key and a value, by definition of the format")]
pub struct Variant {
    /// Its key, unique within the flag.
    pub key: String,
    /// Its value, of the flag's type.
    pub value: FlagValue,
}

/// The value of a variant, and of an evaluation.
///
/// Cheap to clone: text and documents are shared.
///
/// # Examples
/// ```
/// use leverframe::flags::FlagValue;
/// let v = FlagValue::from("blue");
/// assert_eq!(v.as_str(), Some("blue"));
/// assert_eq!(v.as_bool(), None);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "one variant for each of the five flag types")]
pub enum FlagValue {
    /// Value of a `boolean` flag.
    Bool(bool),
    /// Value of a `string` flag.
    String(Arc<str>),
    /// Value of an `integer` flag.
    Int(i64),
    /// Value of a `float` flag.
    Float(f64),
    /// Value of a `json` flag.
    Json(Arc<Json>),
}

impl FlagValue {
    /// Returns the value of a `boolean` flag.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(v) = self { Some(*v) } else { None }
    }

    /// Returns the value of a `string` flag.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(v) = self { Some(v) } else { None }
    }

    /// Returns the value of an `integer` flag.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Int(v) = self { Some(*v) } else { None }
    }

    /// Returns the value of a `float` flag.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Float(v) = self { Some(*v) } else { None }
    }

    /// Returns the value of a `json` flag.
    #[must_use]
    pub fn as_json(&self) -> Option<&Json> {
        if let Self::Json(v) = self { Some(v) } else { None }
    }

    /// Returns the flag type that this value belongs to.
    #[must_use]
    pub const fn flag_type(&self) -> FlagType {
        match self {
            Self::Bool(_) => FlagType::Boolean,
            Self::String(_) => FlagType::String,
            Self::Int(_) => FlagType::Integer,
            Self::Float(_) => FlagType::Float,
            Self::Json(_) => FlagType::Json,
        }
    }

    /// Returns the value given when evaluation fails and the caller named no default:
    /// `false`, `""`, `0`, `0.0` or `null`.
    #[must_use]
    pub fn fallback(flag_type: FlagType) -> Self {
        match flag_type {
            FlagType::Boolean => Self::Bool(false),
            FlagType::String => Self::String(Arc::from("")),
            FlagType::Integer => Self::Int(0),
            FlagType::Float => Self::Float(0.0),
            FlagType::Json => Self::Json(Arc::new(Json::Null)),
        }
    }

    /// Returns the value as JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Bool(v) => Json::from(*v),
            Self::String(v) => Json::from(&**v),
            Self::Int(v) => Json::from(*v),
            Self::Float(v) => Json::from(*v),
            Self::Json(v) => Json::clone(v),
        }
    }
}

impl fmt::Display for FlagValue {
    /// Prints text bare and everything else as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(v) => f.write_str(v),
            other => write!(f, "{}", other.to_json()),
        }
    }
}

impl From<bool> for FlagValue {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}

impl From<&str> for FlagValue {
    fn from(v: &str) -> Self {
        Self::String(Arc::from(v))
    }
}

impl From<String> for FlagValue {
    fn from(v: String) -> Self {
        Self::String(Arc::from(v))
    }
}

impl From<i64> for FlagValue {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl From<f64> for FlagValue {
    fn from(v: f64) -> Self {
        Self::Float(v)
    }
}

impl From<Json> for FlagValue {
    fn from(v: Json) -> Self {
        Self::Json(Arc::new(v))
    }
}

/// What a flag does in one environment.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the manifest format fixes the three fields")]
pub struct EnvBlock {
    /// The variant given when no rule matches; always set on the catch-all.
    pub variant: Option<String>,
    /// The rules in order; `None` where the block declares none, which is not the same as an empty list.
    pub rules: Option<Vec<Rule>>,
    /// Whether the rules apply only to callers that opt in.
    pub testing: bool,
}

/// A rule: who gets which variant.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the manifest format fixes the fields")]
pub struct Rule {
    /// Description for people, possibly empty.
    pub description: String,
    /// Who the rule is about.
    pub audience: Audience,
    /// The variant they get.
    pub variant: String,
}

/// Who a rule is about.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a rule names a segment or carries a predicate")]
pub enum Audience {
    /// The members of a segment.
    Segment(String),
    /// The contexts that satisfy a predicate.
    Predicate(Predicate),
}

/// A named audience.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the manifest format fixes the fields")]
pub struct Segment {
    /// Its key: the stem of its file.
    pub key: String,
    /// Description for people, possibly empty.
    pub description: String,
    /// Members satisfy this, if there is one …
    pub predicate: Option<Predicate>,
    /// … and fall into these buckets, if there are any. At least one of the two is there.
    pub bucket: Option<Bucket>,
}

/// A share of entities, by hash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the manifest format fixes the fields")]
pub struct Bucket {
    /// The context attribute that holds the entity's id.
    pub entity_id_attribute: String,
    /// The declared salt; the segment's key is used where it is absent or empty.
    pub salt: Option<String>,
    /// First bucket that belongs, 0 to 9999.
    pub start: u16,
    /// Last bucket that belongs, `start` to 9999.
    pub end: u16,
}

impl Bucket {
    /// How many buckets there are.
    pub const COUNT: u16 = 10_000;

    /// Returns the salt that evaluation uses in the segment of that key.
    #[must_use]
    pub fn effective_salt<'a>(&'a self, segment_key: &'a str) -> &'a str {
        self.salt.as_deref().filter(|s| !s.is_empty()).unwrap_or(segment_key)
    }
}
