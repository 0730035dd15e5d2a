//! Times to the second, in UTC.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use toml::value::{Datetime, Offset};

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
        let (year, month, day) = date_of((self.0 / DAY) as i64);
        let clock = self.0 % DAY;
        let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, counted in eras of 400 years that begin in March.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The reverse of [`days_before`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
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
    fn every_day_of_four_centuries_comes_back() {
        for days in 0..146_097 {
            let (year, month, day) = date_of(days);
            assert_eq!(days_before(year, month, day), days);
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
