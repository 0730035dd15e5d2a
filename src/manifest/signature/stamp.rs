//! Times to the second, in UTC.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use toml::value::{Datetime, Offset};

use crate::calendar::{date_time, days_before};

const DAY: u64 = 86_400;
/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

/// Seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(u64);

impl Stamp {
    pub(super) fn from_time(time: SystemTime) -> Option<Self> {
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        (seconds <= LAST).then_some(Self(seconds))
    }

    pub(super) fn to_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0)
    }

    /// Reads `2027-01-01T00:00:00Z`; `None` for local times, other offsets, fractions and days that are none.
    pub(super) fn from_toml(value: &Datetime) -> Option<Self> {
        let (date, time, offset) = (value.date?, value.time?, value.offset?);
        if !matches!(offset, Offset::Z | Offset::Custom { minutes: 0 })
            || time.nanosecond.is_some_and(|n| n > 0)
        {
            return None;
        }
        let days = days_before(i64::from(date.year), i64::from(date.month), i64::from(date.day));
        let clock =
            u64::from(time.hour) * 3_600 + u64::from(time.minute) * 60 + u64::from(time.second.unwrap_or(0));
        let stamp = Self(u64::try_from(days).ok()?.checked_mul(DAY)?.checked_add(clock)?);
        // A 30th of February or a leap second would come out as another time than was written.
        (stamp.0 <= LAST && stamp.to_string().starts_with(&date.to_string()) && clock < DAY).then_some(stamp)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", date_time(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Stamp> {
        Stamp::from_toml(&text.parse().unwrap())
    }

    #[test]
    fn times_come_back_as_they_were_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-21T07:13:17Z", 1_795_245_197),
            ("9999-12-31T23:59:59Z", LAST),
        ] {
            assert_eq!(read(text), Some(Stamp(seconds)), "{text}");
            assert_eq!(Stamp(seconds).to_string(), text);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "2026-11-21",
            "2026-11-21T07:13:17",
            "2026-11-21T07:13:17.5Z",
            "2026-11-21T07:13:17+02:00",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
