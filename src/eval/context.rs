//! What is known about the entity that a flag is evaluated for.
//!
//! A context is a flat list of attributes, each with the hash of its key, so that evaluation compares one word
//! before it compares text.

use std::{fmt, sync::Arc};

use serde_json::Value as Json;

use crate::manifest::model::AttrType;
use crate::text_table::{hash_key, same_text};

/// The value of a context attribute.
///
/// # Examples
/// ```
/// use leverframe::AttrValue;
/// assert_eq!(AttrValue::from(3).attr_type().as_str(), "int");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the manifest format fixes the context types")]
pub enum AttrValue {
    /// UTF-8 text.
    String(String),
    /// true or false.
    Boolean(bool),
    /// Signed 64-bit integer.
    Int(i64),
    /// IEEE 754 double; NaN compares false with everything.
    Float(f64),
    /// List of strings.
    StrList(Vec<String>),
}

impl AttrValue {
    /// Returns the type of the value.
    #[must_use]
    pub const fn attr_type(&self) -> AttrType {
        match self {
            Self::String(_) => AttrType::String,
            Self::Boolean(_) => AttrType::Boolean,
            Self::Int(_) => AttrType::Int,
            Self::Float(_) => AttrType::Float,
            Self::StrList(_) => AttrType::StrList,
        }
    }

    /// Returns the attribute value of a JSON scalar or list of strings; `None` for anything else.
    #[must_use]
    pub fn from_json(value: &Json) -> Option<Self> {
        match value {
            Json::Bool(v) => Some(Self::Boolean(*v)),
            Json::String(v) => Some(Self::String(v.clone())),
            Json::Number(v) => v.as_i64().map(Self::Int).or_else(|| v.as_f64().map(Self::Float)),
            Json::Array(items) => {
                items.iter().map(|i| i.as_str().map(str::to_owned)).collect::<Option<_>>().map(Self::StrList)
            }
            Json::Null | Json::Object(_) => None,
        }
    }

    /// Returns the value as JSON; a float that JSON cannot hold becomes `null`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::String(v) => Json::from(v.as_str()),
            Self::Boolean(v) => Json::from(*v),
            Self::Int(v) => Json::from(*v),
            Self::Float(v) => Json::from(*v),
            Self::StrList(v) => Json::from(v.as_slice()),
        }
    }
}

impl From<&str> for AttrValue {
    fn from(v: &str) -> Self {
        Self::String(v.to_owned())
    }
}

impl From<String> for AttrValue {
    fn from(v: String) -> Self {
        Self::String(v)
    }
}

impl From<bool> for AttrValue {
    fn from(v: bool) -> Self {
        Self::Boolean(v)
    }
}

impl From<i64> for AttrValue {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl From<f64> for AttrValue {
    fn from(v: f64) -> Self {
        Self::Float(v)
    }
}

impl From<Vec<String>> for AttrValue {
    fn from(v: Vec<String>) -> Self {
        Self::StrList(v)
    }
}

/// The identity and attributes of the entity a flag is evaluated for.
///
/// Flat: `user.country` is one literal key. Cheap to clone.
///
/// # Examples
/// ```
/// use leverframe::EvalContext;
///
/// let ctx = EvalContext::builder()
///     .str("user.country", "US")
///     .bool("user.is_premium", true)
///     .int("user.age", 28)
///     .float("user.score", 4.2)
///     .str_list("user.roles", ["admin", "beta"])
///     .build();
/// assert_eq!(ctx.get("user.age").and_then(|v| v.to_json().as_i64()), Some(28));
/// ```
#[derive(Clone, Default)]
pub struct EvalContext {
    attributes: Arc<[Attribute]>,
}

#[derive(Clone)]
struct Attribute {
    hash: u64,
    key: Box<str>,
    value: AttrValue,
}

impl EvalContext {
    /// Makes an empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a context.
    pub fn builder() -> EvalContextBuilder {
        EvalContextBuilder { attributes: Vec::new() }
    }

    /// Returns a builder that holds this context's attributes, to change some of them.
    pub fn to_builder(&self) -> EvalContextBuilder {
        EvalContextBuilder { attributes: self.attributes.to_vec() }
    }

    /// Returns the value at `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&AttrValue> {
        self.find(hash_key(key), key)
    }

    /// Returns the attributes, in no promised order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttrValue)> {
        self.attributes.iter().map(|a| (&*a.key, &a.value))
    }

    /// Returns how many attributes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Returns true if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// Looks up a key whose hash is known: a scan over one word each while the context is small, else a binary
    /// search over (hash, key), which colliding keys cannot degrade.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &str) -> Option<&AttrValue> {
        if self.attributes.len() <= SCAN_LIMIT {
            return self
                .attributes
                .iter()
                .find(|a| a.hash == hash && same_text(&a.key, key))
                .map(|a| &a.value);
        }
        let at =
            self.attributes.binary_search_by(|a| a.hash.cmp(&hash).then_with(|| (*a.key).cmp(key))).ok()?;
        Some(&self.attributes[at].value)
    }
}

/// Up to here a scan beats the branches of a binary search.
const SCAN_LIMIT: usize = 16;

impl fmt::Debug for EvalContext {
    /// Prints keys and types only: values are personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(k, v)| (k, v.attr_type()))).finish()
    }
}

impl PartialEq for EvalContext {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(k, v)| other.get(k) == Some(v))
    }
}

/// Collects the attributes of an [`EvalContext`]; a key given twice keeps the last value.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct EvalContextBuilder {
    attributes: Vec<Attribute>,
}

impl EvalContextBuilder {
    /// Adds a string.
    pub fn str(self, key: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.attr(key, AttrValue::String(value.into()))
    }

    /// Adds a boolean.
    pub fn bool(self, key: impl AsRef<str>, value: bool) -> Self {
        self.attr(key, AttrValue::Boolean(value))
    }

    /// Adds an integer.
    pub fn int(self, key: impl AsRef<str>, value: i64) -> Self {
        self.attr(key, AttrValue::Int(value))
    }

    /// Adds a float.
    pub fn float(self, key: impl AsRef<str>, value: f64) -> Self {
        self.attr(key, AttrValue::Float(value))
    }

    /// Adds a list of strings.
    pub fn str_list<V: Into<String>>(
        self,
        key: impl AsRef<str>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.attr(key, AttrValue::StrList(values.into_iter().map(Into::into).collect()))
    }

    /// Adds a value of any type.
    pub fn attr(mut self, key: impl AsRef<str>, value: AttrValue) -> Self {
        let key = key.as_ref();
        self.attributes.push(Attribute { hash: hash_key(key), key: key.into(), value });
        self
    }

    /// Takes an attribute out again.
    pub fn without(mut self, key: &str) -> Self {
        self.attributes.retain(|a| &*a.key != key);
        self
    }

    /// Makes the context.
    #[must_use]
    pub fn build(mut self) -> EvalContext {
        // Stable, so that of equal keys the one added last stands last; the reversed dedup below keeps it.
        self.attributes.sort_by(|a, b| a.hash.cmp(&b.hash).then_with(|| a.key.cmp(&b.key)));
        self.attributes.reverse();
        self.attributes.dedup_by(|a, b| a.key == b.key);
        self.attributes.reverse();
        EvalContext { attributes: self.attributes.into() }
    }
}

impl fmt::Debug for EvalContextBuilder {
    /// Prints keys only: values are personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.attributes.iter().map(|a| &a.key)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_given_twice_keeps_the_last_value() {
        let ctx = EvalContext::builder().int("a", 1).int("b", 2).int("a", 3).build();

        assert_eq!(ctx.len(), 2);
        assert_eq!(ctx.get("a"), Some(&AttrValue::Int(3)));
    }

    #[test]
    fn large_contexts_find_every_key_and_no_other() {
        let ctx = (0..100).fold(EvalContext::builder(), |b, i| b.int(format!("k{i}"), i)).build();

        for i in 0..100 {
            assert_eq!(ctx.get(&format!("k{i}")), Some(&AttrValue::Int(i)));
        }
        assert_eq!(ctx.get("k100"), None);
    }

    #[test]
    fn debug_prints_no_value() {
        let ctx = EvalContext::builder().str("user.email", "ann@example.com").build();

        assert!(!format!("{ctx:?}").contains("ann"));
    }

    #[test]
    fn json_scalars_and_string_lists_become_attributes_and_nothing_else_does() {
        let list = serde_json::json!(["a", "b"]);

        assert_eq!(AttrValue::from_json(&list), Some(AttrValue::StrList(vec!["a".into(), "b".into()])));
        assert_eq!(AttrValue::from_json(&serde_json::json!({"a": 1})), None);
        assert_eq!(AttrValue::from_json(&serde_json::json!([1])), None);
    }
}
