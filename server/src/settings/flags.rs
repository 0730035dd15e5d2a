//! Flags as they are kept: on or off, from when, until when, and for whom.

use std::time::SystemTime;

use leverframe::{from_rfc3339, rfc3339};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ab;
use crate::checked::Bad;

/// Rules of a flag.
const MOST_RULES: usize = 50;
/// Shares are counted in so many parts.
pub(super) const BUCKETS: u16 = 10_000;

/// A flag as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FlagWrite {
    /// Whether it is on, within its times.
    pub is_active: bool,
    /// When it begins to be on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub starts_at: Option<String>,
    /// When it stops to be on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ends_at: Option<String>,
    /// For how many of a hundred users it is on, of those whom the rules leave; two decimals at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub rollout_percent: Option<f64>,
    /// Predicates of the manifest over texts. For whom none holds, it is off; without any, they leave everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>, max_items = 50)]
    pub rules: Vec<Value>,
}

impl FlagWrite {
    /// Makes a flag that is on or off for everybody.
    #[must_use]
    pub fn new(is_active: bool) -> Self {
        Self { is_active, ..Self::default() }
    }

    /// Checks a flag, and returns it as it is kept.
    pub(super) fn checked(&self) -> Result<String, Bad> {
        let flag = self.read()?;
        if self.rules.len() > MOST_RULES {
            return Err(Bad(format!("`rules` may have at most {MOST_RULES} entries")));
        }
        ab::predicates(&self.rules)?;
        let kept = Self {
            starts_at: flag.starts_at.map(rfc3339),
            ends_at: flag.ends_at.map(rfc3339),
            ..self.clone()
        };
        serde_json::to_string(&kept).map_err(|_| Bad("the flag cannot be written as JSON".into()))
    }

    fn read(&self) -> Result<Flag, Bad> {
        let time = |field: &str, text: &Option<String>| {
            let read = text.as_deref().map(|text| from_rfc3339(text).ok_or(field));
            read.transpose().map_err(|field| {
                Bad(format!("`{field}` must be a time in RFC 3339, such as `2026-06-01T10:00:00Z`"))
            })
        };
        let starts_at = time("starts_at", &self.starts_at)?;
        let ends_at = time("ends_at", &self.ends_at)?;
        if starts_at.zip(ends_at).is_some_and(|(starts, ends)| ends <= starts) {
            return Err(Bad("`ends_at` must be after `starts_at`".into()));
        }
        let share = self.rollout_percent.map(share).transpose()?;
        Ok(Flag { is_active: self.is_active, starts_at, ends_at, share, rules: self.rules.clone() })
    }
}

fn share(percent: f64) -> Result<u16, Bad> {
    let parts = percent * 100.0;
    if !(0.0..=f64::from(BUCKETS)).contains(&parts) || (parts - parts.round()).abs() > 1e-6 {
        return Err(Bad("`rollout_percent` must be from 0 to 100, with at most two decimals".into()));
    }
    Ok(parts.round() as u16)
}

/// A flag as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flag {
    is_active: bool,
    starts_at: Option<SystemTime>,
    ends_at: Option<SystemTime>,
    /// Of [`BUCKETS`]; all where nothing is said.
    pub(super) share: Option<u16>,
    pub(super) rules: Vec<Value>,
}

impl Flag {
    /// Reads a flag that was kept; `None` for what is none.
    pub(super) fn parse(content: &str) -> Option<Self> {
        serde_json::from_str::<FlagWrite>(content).ok()?.read().ok()
    }

    /// Returns true if it is on now, for those whom it is for.
    pub(super) fn is_on(&self, now: SystemTime) -> bool {
        self.is_active
            && self.starts_at.is_none_or(|starts| starts <= now)
            && self.ends_at.is_none_or(|ends| now < ends)
    }

    /// Returns when [`is_on`](Self::is_on) next says something else.
    pub(super) fn turns_at(&self, now: SystemTime) -> Option<SystemTime> {
        let times = [self.starts_at, self.ends_at].into_iter().flatten();
        times.filter(|time| self.is_active && *time > now).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;

    fn write(json: Value) -> FlagWrite {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_flag_is_on_from_its_start_to_just_before_its_end() {
        let flag = write(
            json!({"is_active": true, "starts_at": "1970-01-01T00:00:10Z", "ends_at": "1970-01-01T00:00:20Z"}),
        );
        let flag = Flag::parse(&flag.checked().unwrap()).unwrap();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);

        let on = [9, 10, 19, 20].map(|seconds| flag.is_on(at(seconds)));
        assert_eq!(on, [false, true, true, false]);
        let turns = [9, 10, 20].map(|seconds| flag.turns_at(at(seconds)));
        assert_eq!(turns, [Some(at(10)), Some(at(20)), None]);
    }

    #[test]
    fn shares_have_two_decimals_at_most() {
        let of = |percent: f64| {
            let mut flag = FlagWrite::new(true);
            flag.rollout_percent = Some(percent);
            flag.read().ok().and_then(|flag| flag.share)
        };

        assert_eq!([0.0, 12.34, 33.33, 0.07, 100.0].map(of), [0, 1_234, 3_333, 7, 10_000].map(Some));
        assert_eq!([-0.01, 100.01, 12.345, f64::NAN].map(of), [None; 4]);
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        for bad in [
            json!({"is_active": true, "starts_at": "tomorrow"}),
            json!({"is_active": true, "starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-02T00:00:00Z"}),
            json!({"is_active": true, "rules": [{"attribute": "plan", "op": "like", "value": "x"}]}),
            json!({"is_active": true, "rules": [{"attribute": "age", "op": "gt", "value": 3}]}),
            json!({"is_active": true, "rules": [{"segment": "staff"}]}),
            json!({"is_active": true, "rules": [null]}),
            json!({"is_active": true, "rules": vec![json!({"attribute": "a", "op": "is_set"}); 51]}),
        ] {
            assert!(write(bad.clone()).checked().is_err(), "{bad}");
        }
    }
}
