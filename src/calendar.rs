//! Days and dates of the proleptic Gregorian calendar, in UTC.
//!
//! Counted in eras of 400 years that begin in March, so that the leap day comes last.

use std::time::{SystemTime, UNIX_EPOCH};

/// From the beginning of the first era, 0000-03-01, to 1970-01-01.
const BEFORE_1970: i64 = 719_468;
const ERA: i64 = 146_097;

/// Returns the days from 1970-01-01 to a date.
pub(crate) fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * ERA + day_of_era - BEFORE_1970
}

/// Returns year, month and day of a number of days from 1970-01-01.
pub(crate) fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + BEFORE_1970;
    let (era, day_of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Writes seconds from 1970 as a date and time to the second, without the zone.
pub(crate) fn date_time(seconds: u64) -> String {
    let (year, month, day) = date_of((seconds / 86_400) as i64);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Writes a time as RFC 3339 in UTC with milliseconds. Times before 1970 come out as its beginning.
///
/// # Examples
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// let time = UNIX_EPOCH + Duration::from_millis(951_782_400_007);
/// assert_eq!(leverframe::rfc3339(time), "2000-02-29T00:00:00.007Z");
/// ```
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:03}Z", date_time(since.as_secs()), since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_day_of_four_centuries_comes_back_and_follows_the_one_before() {
        let mut before = (1969, 12, 31);
        for days in 0..ERA {
            let (year, month, day) = date_of(days);
            assert_eq!(days_before(year, month, day), days);
            assert!((year, month, day) > before);
            before = (year, month, day);
        }
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        let at = |seconds, millis| {
            rfc3339(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis))
        };

        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_778_250_133, 123), "2026-05-08T14:22:13.123Z");
    }
}
