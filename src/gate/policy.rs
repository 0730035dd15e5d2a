//! What the control plane allows.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
    ser::SerializeMap,
};

use crate::text_table::TextTable;

/// The limits that a fleet works under, as the control plane last gave them.
///
/// In JSON, `globalMaxWeight` and `tagMaxWeights` hold numbers or `null`, which stands for no limit; unknown fields
/// are ignored; everything but `globalMaxWeight` may be left out.
///
/// # Examples
/// ```
/// use leverframe::gate::{GateReason, Policy, gate};
/// let policy: Policy = serde_json::from_str(r#"{"globalMaxWeight":100,"tagMaxWeights":{"free":10}}"#)?;
/// assert!(gate(&policy, Some("free"), Some(10.0)).allowed);
/// assert_eq!(gate(&policy, Some("free"), Some(11.0)).reason, GateReason::TagBlocked);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a policy: an object")]
#[expect(clippy::exhaustive_structs, reason = "written as a literal with `..Default::default()`")]
pub struct Policy {
    /// The heaviest call that may pass; calls that are heavier are refused, and all calls if it is 0 or less.
    #[serde(with = "limit")]
    pub global_max_weight: f64,
    /// The heaviest call of a tag that may pass; untagged calls have the tag `__default__`.
    #[serde(default)]
    pub tag_max_weights: TagWeights,
    /// How often to report, in milliseconds.
    #[serde(default = "default_pulse_interval")]
    pub pulse_interval: u64,
    /// Refuse everything.
    #[serde(default)]
    pub kill_signal: bool,
    /// What the control plane says of the fleet, for people.
    #[serde(default)]
    pub status: Option<String>,
    /// How long the policy holds without being confirmed, in seconds. `None` leaves it as it was.
    #[serde(default)]
    pub lease_duration_seconds: Option<u64>,
    /// How many of 100 calls of a tag to refuse.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub throttle: HashMap<String, u8>,
}

const fn default_pulse_interval() -> u64 {
    5_000
}

impl Default for Policy {
    /// No limit at all.
    fn default() -> Self {
        Self {
            global_max_weight: f64::INFINITY,
            tag_max_weights: TagWeights::default(),
            pulse_interval: default_pulse_interval(),
            kill_signal: false,
            status: None,
            lease_duration_seconds: None,
            throttle: HashMap::new(),
        }
    }
}

/// A limit in JSON: a number, or `null` for none.
mod limit {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    pub(super) fn serialize<S: Serializer>(limit: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if limit.is_finite() { serializer.serialize_f64(*limit) } else { serializer.serialize_none() }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
    }
}

/// A policy names at most this many tags.
pub(crate) const MOST_TAGS: usize = 1_000;

/// Limits by tag.
///
/// A table that every call looks into, and that is written when a policy arrives.
///
/// # Examples
/// ```
/// use leverframe::gate::TagWeights;
/// let limits = TagWeights::from([("free", 1.0), ("pro", 50.0)]);
/// assert_eq!(limits.get("pro"), Some(50.0));
/// assert_eq!(limits.get("Pro"), None);
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct TagWeights(TextTable<f64>);

impl TagWeights {
    /// Returns the limit of a tag.
    #[inline]
    #[must_use]
    pub fn get(&self, tag: &str) -> Option<f64> {
        self.0.get(tag).copied()
    }

    /// Sets the limit of a tag.
    pub fn insert(&mut self, tag: &str, limit: f64) {
        self.0.insert(tag, limit);
    }

    /// Takes the limit of a tag away.
    pub fn remove(&mut self, tag: &str) -> Option<f64> {
        self.0.remove(tag)
    }

    /// Returns how many tags have a limit.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if no tag has a limit.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Returns tags and limits, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(tag, limit)| (tag, *limit))
    }
}

impl fmt::Debug for TagWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T: AsRef<str>> FromIterator<(T, f64)> for TagWeights {
    fn from_iter<I: IntoIterator<Item = (T, f64)>>(limits: I) -> Self {
        let mut table = TextTable::default();
        for (tag, limit) in limits {
            table.insert(tag.as_ref(), limit);
        }
        Self(table)
    }
}

impl<T: AsRef<str>, const N: usize> From<[(T, f64); N]> for TagWeights {
    fn from(limits: [(T, f64); N]) -> Self {
        limits.into_iter().collect()
    }
}

impl<T: AsRef<str>> From<HashMap<T, f64>> for TagWeights {
    fn from(limits: HashMap<T, f64>) -> Self {
        limits.into_iter().collect()
    }
}

impl Serialize for TagWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A limit of infinity is none, and left out: other clients refuse a whole policy for one `null` among them.
        let finite = || self.iter().filter(|(_, limit)| limit.is_finite());
        let mut map = serializer.serialize_map(Some(finite().count()))?;
        for (tag, limit) in finite() {
            map.serialize_entry(tag, &limit)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for TagWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Limits;
        impl<'de> Visitor<'de> for Limits {
            type Value = TagWeights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("limits by tag: an object of numbers")
            }

            fn visit_unit<E: de::Error>(self) -> Result<TagWeights, E> {
                Ok(TagWeights::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TagWeights, A::Error> {
                let mut limits = TagWeights::default();
                while let Some((tag, limit)) = map.next_entry::<String, Option<f64>>()? {
                    let Some(limit) = limit else { continue };
                    if limits.len() == MOST_TAGS {
                        return Err(de::Error::custom(format_args!(
                            "more than {MOST_TAGS} tags have limits"
                        )));
                    }
                    if limits.0.insert(&tag, limit).is_some() {
                        return Err(de::Error::custom(format_args!("the tag `{tag}` stands twice")));
                    }
                }
                Ok(limits)
            }
        }
        deserializer.deserialize_any(Limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Policy, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn null_is_no_limit() {
        let policy = parse(r#"{"globalMaxWeight":null,"tagMaxWeights":{"a":null,"b":2}}"#).unwrap();

        assert_eq!(policy, Policy { tag_max_weights: [("b", 2.0)].into(), ..Policy::default() });
        assert_eq!(parse(r#"{"globalMaxWeight":1,"tagMaxWeights":null}"#).unwrap().tag_max_weights.len(), 0);
    }

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_unknown_is_ignored() {
        let policy = parse(r#"{"globalMaxWeight":42,"later":{"x":[1]},"status":null}"#).unwrap();

        assert_eq!(policy, Policy { global_max_weight: 42.0, ..Policy::default() });
        assert_eq!(policy.pulse_interval, 5_000);
    }

    #[test]
    fn a_policy_that_cannot_be_one_is_refused() {
        for json in [
            "{}",
            r#"{"globalMaxWeight":"5"}"#,
            r#"{"globalMaxWeight":1e400}"#,
            r#"{"globalMaxWeight":1,"killSignal":null}"#,
            r#"{"globalMaxWeight":1,"pulseInterval":-1}"#,
            r#"{"globalMaxWeight":1,"leaseDurationSeconds":60.5}"#,
            r#"{"globalMaxWeight":1,"globalMaxWeight":2}"#,
            r#"{"globalMaxWeight":1,"tagMaxWeights":{"a":1,"a":2}}"#,
            r#"{"globalMaxWeight":1,"tagMaxWeights":[]}"#,
            "",
            "null",
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_policy_is_written_so_that_every_client_reads_it() {
        let policy = Policy {
            tag_max_weights: [("a", 1.5), ("b", f64::INFINITY), ("c", f64::NAN)].into(),
            ..Policy::default()
        };

        let json = serde_json::to_value(&policy).unwrap();

        let expected = serde_json::json!({
            "globalMaxWeight": null, "tagMaxWeights": {"a": 1.5}, "pulseInterval": 5000, "killSignal": false,
            "status": null, "leaseDurationSeconds": null,
        });
        assert_eq!(json, expected);
    }
}
