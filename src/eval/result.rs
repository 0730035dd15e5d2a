//! What evaluation gives back.

use std::{error::Error as StdError, fmt, sync::Arc};

use crate::manifest::model::{AttrType, FlagType, FlagValue};

/// How a value was determined.
///
/// # Examples
/// ```
/// use leverframe::RuleMatched;
/// assert_eq!(RuleMatched::Rule(2).to_string(), "rule:2");
/// assert_eq!(RuleMatched::Default.to_string(), "default");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RuleMatched {
    /// The rule at this zero-based index matched.
    Rule(usize),
    /// No rule matched; the environment's variant was used, or the catch-all's.
    Default,
    /// Evaluation failed, or the client is in dry-run mode; the fallback was used.
    SdkDefault,
    /// A context attribute's type disagrees with the type that the manifest infers for it; the fallback was used.
    AttrTypeMismatch {
        /// The attribute.
        attribute: Arc<str>,
        /// The type inferred from the manifest.
        expected: AttrType,
        /// The type found in the context.
        actual: AttrType,
    },
}

impl RuleMatched {
    /// Returns the reason word of telemetry records: `matched_rule`, `default`, `sdk_default`, `attr_type_mismatch`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Rule(_) => "matched_rule",
            Self::Default => "default",
            Self::SdkDefault => "sdk_default",
            Self::AttrTypeMismatch { .. } => "attr_type_mismatch",
        }
    }
}

impl fmt::Display for RuleMatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(index) => write!(f, "rule:{index}"),
            other => f.write_str(other.reason()),
        }
    }
}

/// Why an evaluation has no result.
///
/// # Examples
/// ```
/// use leverframe::EvalError;
/// let e = EvalError::UnknownFlag { flag: "chekout".into() };
/// assert_eq!(e.to_string(), "unknown flag `chekout`");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvalError {
    /// The namespace has no such flag.
    UnknownFlag {
        /// The key asked for.
        flag: String,
    },
    /// The environment is not in the namespace's roster, or is not well-formed where there is no roster.
    UnknownEnvironment {
        /// The flag asked for.
        flag: String,
        /// The environment asked for.
        environment: String,
    },
    /// A context attribute's type disagrees with the type that the manifest infers for it.
    AttrTypeMismatch {
        /// The attribute.
        attribute: Arc<str>,
        /// The type inferred from the manifest.
        expected: AttrType,
        /// The type found in the context.
        actual: AttrType,
    },
    /// The flag's declared type is not the one of the entry point that was called.
    FlagTypeMismatch {
        /// The flag asked for.
        flag: String,
        /// The type that the entry point gives.
        requested: FlagType,
        /// The type that the flag declares.
        actual: FlagType,
        /// The variant that the flag resolves to.
        variant_key: String,
    },
}

impl EvalError {
    /// Returns a stable word for the kind of failure.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownFlag { .. } => "unknown_flag",
            Self::UnknownEnvironment { .. } => "unknown_environment",
            Self::AttrTypeMismatch { .. } => "attr_type_mismatch",
            Self::FlagTypeMismatch { .. } => "flag_type_mismatch",
        }
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFlag { flag } => write!(f, "unknown flag `{flag}`"),
            Self::UnknownEnvironment { flag, environment } => {
                write!(f, "unknown environment `{environment}` while evaluating `{flag}`")
            }
            Self::AttrTypeMismatch { attribute, expected, actual } => {
                write!(
                    f,
                    "attribute `{attribute}` is {actual} in the context, the manifest reads it as {expected}"
                )
            }
            Self::FlagTypeMismatch { flag, requested, actual, variant_key } => {
                write!(
                    f,
                    "flag `{flag}` is of type {actual}, not {requested} (it resolved to variant `{variant_key}`)"
                )
            }
        }
    }
}

impl StdError for EvalError {}

/// What a single call may ask for.
///
/// # Examples
/// ```
/// use leverframe::EvalOptions;
/// assert!(!EvalOptions::new().include_testing());
/// assert!(EvalOptions::new().with_include_testing(true).include_testing());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvalOptions {
    include_testing: bool,
}

impl EvalOptions {
    /// Makes the options of the plain entry points.
    #[must_use]
    pub const fn new() -> Self {
        Self { include_testing: false }
    }

    /// Sets whether rules of blocks with `testing = true` apply.
    #[must_use]
    pub const fn with_include_testing(mut self, include: bool) -> Self {
        self.include_testing = include;
        self
    }

    /// Returns whether rules of blocks with `testing = true` apply.
    #[must_use]
    pub const fn include_testing(&self) -> bool {
        self.include_testing
    }
}

/// The key of a variant; short keys are held in place, so that copying one neither allocates nor shares.
///
/// # Examples
/// ```
/// use leverframe::VariantKey;
/// let key = VariantKey::new("treatment-a");
/// assert_eq!(key, "treatment-a");
/// assert_eq!(key.len(), 11);
/// ```
#[derive(Clone)]
pub struct VariantKey(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE] },
    Shared(Arc<str>),
}

/// Fills the size that the pointer variant has anyway, with its tag: 24 bytes.
const INLINE: usize = 22;

impl VariantKey {
    /// Copies `key`.
    #[must_use]
    pub fn new(key: &str) -> Self {
        let mut bytes = [0; INLINE];
        match bytes.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key.as_bytes());
                // At most `INLINE`, which fits.
                Self(Repr::Inline { len: key.len() as u8, bytes })
            }
            None => Self(Repr::Shared(Arc::from(key))),
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Inline { len, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*len)]).expect("`new` copied a whole `str`")
            }
            Repr::Shared(text) => text,
        }
    }
}

impl Default for VariantKey {
    fn default() -> Self {
        Self::new("")
    }
}

impl std::ops::Deref for VariantKey {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for VariantKey {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for VariantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for VariantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl PartialEq for VariantKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for VariantKey {}

impl PartialEq<str> for VariantKey {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for VariantKey {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// An evaluated flag with how its value came about.
///
/// # Examples
/// ```
/// use leverframe::{EvalContext, Namespace, RuleMatched};
/// let files = [("flags/banner.toml", r#"
/// schema_version = "0.1"
/// [flag]
/// type = "boolean"
/// [flag.variants]
/// on = true
/// off = false
/// [flag.environments._]
/// variant = "on"
/// "#)];
/// let namespace = Namespace::from_files("site", &files).unwrap();
/// let result = namespace.eval("banner", "production", &EvalContext::new()).unwrap();
/// assert_eq!(result.value.as_bool(), Some(true));
/// assert_eq!(result.variant_key, "on");
/// assert_eq!(result.rule_matched, RuleMatched::Default);
/// assert_eq!(result.flag_version, 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EvalResult {
    /// The resolved value, or the fallback.
    pub value: FlagValue,
    /// The key of the resolved variant; empty where a fallback was used.
    pub variant_key: VariantKey,
    /// How the value was determined.
    pub rule_matched: RuleMatched,
    /// The version of the manifest that was evaluated.
    pub flag_version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variant_keys_of_every_length_read_back() {
        for len in 0..64 {
            let text = "x".repeat(len);

            assert_eq!(VariantKey::new(&text).as_str(), text);
        }
    }

    #[test]
    fn a_variant_key_is_three_words() {
        assert_eq!(size_of::<VariantKey>(), 24);
    }
}
