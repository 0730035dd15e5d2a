//! What the control plane allows.

use std::{collections::HashMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
    ser::SerializeMap,
};

use crate::text_table::TextTable;

/// The limits that a fleet works under, as the control plane last gave them.
///
/// In JSON, `globalMaxWeight` and `tagMaxWeights` hold numbers or `null`, which stands for no limit, as it does in
/// `throttle`, where more than 100 is 100; unknown fields are ignored; everything but `globalMaxWeight` may be left out.
/// At most 1,000 tags have limits, at most 1,000 are throttled, and none stands twice.
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
    #[serde(default, deserialize_with = "throttle", skip_serializing_if = "HashMap::is_empty")]
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

/// A policy limits at most this many tags, and throttles as many.
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
        let mut limits = Self::default();
        by_tag(deserializer, |tag, limit| limits.0.insert(tag, limit).is_none())?;
        Ok(limits)
    }
}

fn throttle<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HashMap<String, u8>, D::Error> {
    let mut percents = HashMap::new();
    by_tag(deserializer, |tag, percent: u64| {
        // Who asks for more than all of them asks for all of them.
        let percent = u8::try_from(percent.min(100)).unwrap_or(100);
        percents.insert(tag.to_owned(), percent).is_none()
    })?;
    Ok(percents)
}

/// Reads an object of numbers by tag and hands them to `take`, which returns false for a tag that stands twice; `null`
/// is none, for a tag as for all of them.
fn by_tag<'de, D, N>(deserializer: D, take: impl FnMut(&str, N) -> bool) -> Result<(), D::Error>
where
    D: Deserializer<'de>,
    N: Deserialize<'de>,
{
    struct ByTag<N, T>(T, PhantomData<N>);
    impl<'de, N: Deserialize<'de>, T: FnMut(&str, N) -> bool> Visitor<'de> for ByTag<N, T> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of numbers by tag")
        }

        fn visit_unit<E: de::Error>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            let mut count = 0;
            while let Some((tag, number)) = map.next_entry::<String, Option<N>>()? {
                let Some(number) = number else { continue };
                if count == MOST_TAGS {
                    return Err(de::Error::custom(format_args!("it names more than {MOST_TAGS} tags")));
                }
                count += 1;
                if !(self.0)(&tag, number) {
                    return Err(de::Error::custom(format_args!("the tag `{tag}` stands twice")));
                }
            }
            Ok(())
        }
    }
    deserializer.deserialize_any(ByTag(take, PhantomData))
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
    fn of_throttled_tags_null_is_none_and_more_than_all_is_all() {
        let read = |throttle: &str| parse(&format!(r#"{{"globalMaxWeight":null,"throttle":{throttle}}}"#));

        let policy = read(r#"{"a":30,"b":null,"c":101,"d":256,"e":18446744073709551615,"*":0}"#).unwrap();

        let expected = [("a", 30), ("c", 100), ("d", 100), ("e", 100), ("*", 0)];
        let expected = expected.map(|(tag, percent)| (tag.to_owned(), percent));
        assert_eq!(policy, Policy { throttle: expected.into(), ..Policy::default() });
        assert_eq!(read("null").unwrap(), Policy::default());
        for bad in ["[]", "5", r#"{"a":-1}"#, r#"{"a":0.5}"#, r#"{"a":"5"}"#, r#"{"a":1,"a":2}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_policy_limits_so_many_tags_and_throttles_so_many_and_no_more() {
        let tags = |count: usize| {
            let tags: Vec<String> = (0..count).map(|n| format!(r#""t{n}":5"#)).collect();
            format!("{{{}}}", tags.join(","))
        };
        let most = format!(r#"{{"globalMaxWeight":1,"tagMaxWeights":{0},"throttle":{0}}}"#, tags(MOST_TAGS));
        let policy = parse(&most).unwrap();
        assert_eq!((policy.tag_max_weights.len(), policy.throttle.len()), (MOST_TAGS, MOST_TAGS));

        for field in ["tagMaxWeights", "throttle"] {
            let over = parse(&format!(r#"{{"globalMaxWeight":1,"{field}":{}}}"#, tags(MOST_TAGS + 1)));
            assert!(over.unwrap_err().contains("more than 1000 tags"), "{field}");
        }
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
