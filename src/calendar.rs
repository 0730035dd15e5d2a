//! Days and dates of the proleptic Gregorian calendar, in UTC.
//!
//! Counted in eras of 400 years that begin in March, so that the leap day comes last.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// From the beginning of the first era, 0000-03-01, to 1970-01-01.
const BEFORE_1970: i64 = 719_468;
const ERA: i64 = 146_097;
/// More digits of a second than anybody has a use for.
const LONGEST_TIME: usize = 64;

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

/// Reads a time in RFC 3339, of any zone, from 1970 to 9999; `None` for anything else. The date must exist, digits
/// beyond the nanosecond are cut off, and a leap second counts as the second after it.
///
/// # Examples
/// ```
/// let time = leverframe::from_rfc3339("2000-02-29T01:00:00+01:00").expect("a leap day");
/// assert_eq!(leverframe::rfc3339(time), "2000-02-29T00:00:00.000Z");
/// assert_eq!(leverframe::from_rfc3339("1999-02-29T00:00:00Z"), None);
/// ```
#[must_use]
pub fn from_rfc3339(text: &str) -> Option<SystemTime> {
    if text.len() > LONGEST_TIME {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.strip_prefix(['T', 't'])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let (nanos, zone) = fraction(rest)?;
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let [hours, minutes] = numbers(zone.strip_prefix(['+', '-'])?, ':', [2, 2])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 3_600 + minutes * 60)
        }
    };
    let days = days_before(year, month, day);
    // A date that does not exist comes back as another one.
    if date_of(days) != (year, month, day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    Some(UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// Reads numbers of exactly so many digits.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Splits `.123+01:00` into nanoseconds and the zone.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Some((0, text)) };
    let (digits, zone) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let nanos = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    (!digits.is_empty()).then(|| (nanos.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')), zone))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn times_are_read_in_every_form_that_rfc_3339_allows() {
        let at = |text| from_rfc3339(text).and_then(|time| time.duration_since(UNIX_EPOCH).ok());

        assert_eq!(at("1970-01-01T00:00:00Z"), Some(Duration::ZERO));
        assert_eq!(at("2000-02-29T00:00:00.007Z"), Some(Duration::from_millis(951_782_400_007)));
        assert_eq!(at("2026-05-08t16:22:13.5+02:00"), at("2026-05-08T14:22:13.500z"));
        assert_eq!(at("2026-05-08T14:22:13.1234567891Z"), Some(Duration::new(1_778_250_133, 123_456_789)));
        assert_eq!(at("2016-12-31T23:59:60Z"), at("2017-01-01T00:00:00Z"));
        assert!(at("9999-12-31T23:59:59Z").is_some());
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for bad in [
            "",
            "2026-05-08",
            "2026-05-08T14:22:13",
            "2026-05-08 14:22:13Z",
            "2026-5-08T14:22:13Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.5",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+0100",
            "2026-01-01T00:00:00Z ",
            "+026-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-01-01T00:00:0äZ",
        ] {
            assert_eq!(from_rfc3339(bad), None, "{bad}");
        }
        assert_eq!(from_rfc3339(&format!("2026-01-01T00:00:00.{}Z", "1".repeat(50))), None);
    }

    proptest! {
        #[test]
        fn a_time_that_was_written_is_read_back(millis in 0_u64..253_402_300_800_000) {
            let time = UNIX_EPOCH + Duration::from_millis(millis);
            prop_assert_eq!(from_rfc3339(&rfc3339(time)), Some(time));
        }

        #[test]
        fn no_text_makes_the_reader_fail(text in "[0-9TZtz:.+äé-]{0,40}") {
            let _ = from_rfc3339(&text);
        }
    }
}
