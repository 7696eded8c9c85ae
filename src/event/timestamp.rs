//! Wall-clock time as text, without a date library among the dependencies.
//!
//! The date comes from `civil_from_days` in Howard Hinnant, ["chrono-Compatible Low-Level Date
//! Algorithms"](https://howardhinnant.github.io/date_algorithms.html#civil_from_days): the year is
//! taken to begin in March, so that the leap day is the last one of a year, and 400-year eras of
//! 146,097 days each make it exact for every day before and after 1970.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Prints a time as RFC 3339 in UTC with microseconds: `2026-11-20T07:37:35.123456Z`.
///
/// What is finer than a microsecond is cut off towards the past, so that texts sort as their times
/// do. RFC 3339 ends with the year 9999; years that four digits cannot hold, and years before 0,
/// are printed with a sign and at least six digits, as ECMAScript does: `+010000`, `-000001`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rfc3339(pub(crate) SystemTime);

const MICROS_PER_DAY: i128 = 86_400_000_000;
/// From 0000-03-01, where the eras begin, to 1970-01-01.
const DAYS_TO_UNIX_EPOCH: i64 = 719_468;
const DAYS_PER_ERA: i64 = 146_097;

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 128 bits: nanoseconds of every `Duration`, negated or not, fit.
        let nanos = match self.0.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        };
        let micros = nanos.div_euclid(1000);
        // A `Duration` is at most 2^64 seconds, which is 2^48 days.
        let (year, month, day) = civil_from_days(micros.div_euclid(MICROS_PER_DAY) as i64);
        let micro_of_day = micros.rem_euclid(MICROS_PER_DAY) as u64;
        let (second_of_day, micro) = (micro_of_day / 1_000_000, micro_of_day % 1_000_000);
        let (hour, minute, second) =
            (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);

        if (0..=9999).contains(&year) {
            write!(f, "{year:04}")?;
        } else {
            write!(f, "{year:+07}")?;
        }
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z")
    }
}

/// Year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01.
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_UNIX_EPOCH;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    // January and February belong to the year that began in the March before.
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use jiff::fmt::temporal::DateTimePrinter;
    use proptest::prelude::*;

    use super::*;

    /// The `SystemTime` of a time given in microseconds and, always forwards, nanoseconds.
    fn at(micros: i64, nanos: u32) -> SystemTime {
        let magnitude = Duration::from_micros(micros.unsigned_abs());
        let whole = if micros < 0 { UNIX_EPOCH - magnitude } else { UNIX_EPOCH + magnitude };
        whole + Duration::from_nanos(u64::from(nanos))
    }

    fn oracle(micros: i64) -> String {
        let time = Timestamp::from_microsecond(micros).expect("within the range of jiff");
        DateTimePrinter::new().precision(Some(6)).timestamp_to_string(&time)
    }

    proptest! {
        #[test]
        fn agrees_with_jiff_from_year_minus_9999_to_9999(
            micros in Timestamp::MIN.as_microsecond()..=Timestamp::MAX.as_microsecond(),
            nanos in 0_u32..1000,
        ) {
            prop_assert_eq!(Rfc3339(at(micros, nanos)).to_string(), oracle(micros));
        }

        #[test]
        fn agrees_with_jiff_in_the_time_of_computers(
            micros in -2_000_000_000_000_000_i64..=5_000_000_000_000_000,
            nanos in 0_u32..1000,
        ) {
            prop_assert_eq!(Rfc3339(at(micros, nanos)).to_string(), oracle(micros));
        }
    }

    #[test]
    fn agrees_with_jiff_on_the_edges_of_every_day_of_two_eras() {
        // 1600-01-01 to 2400-01-01: each kind of leap year, and the step between two eras.
        for day in -135_140_i64..=157_054 {
            let start = day * MICROS_PER_DAY as i64;
            for micros in [start, start - 1] {
                assert_eq!(Rfc3339(at(micros, 0)).to_string(), oracle(micros));
            }
        }
    }

    #[test]
    fn known_times() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_795_160_255_123_456, "2026-11-20T07:37:35.123456Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000Z"),
            (-62_167_219_200_000_001, "-000001-12-31T23:59:59.999999Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "+010000-01-01T00:00:00.000000Z"),
        ];
        for (micros, expected) in cases {
            assert_eq!(Rfc3339(at(micros, 0)).to_string(), expected);
        }
    }

    #[test]
    fn less_than_a_microsecond_is_cut_towards_the_past() {
        assert_eq!(
            Rfc3339(UNIX_EPOCH - Duration::from_nanos(1)).to_string(),
            "1969-12-31T23:59:59.999999Z"
        );
        assert_eq!(
            Rfc3339(UNIX_EPOCH + Duration::from_nanos(999)).to_string(),
            "1970-01-01T00:00:00.000000Z"
        );
    }

    /// Only where `SystemTime` holds 64-bit seconds do these times exist.
    #[cfg(all(unix, target_pointer_width = "64"))]
    #[test]
    fn first_and_last_time_of_a_64_bit_clock() {
        let last = UNIX_EPOCH + Duration::new(i64::MAX as u64, 999_999_999);
        assert_eq!(Rfc3339(last).to_string(), "+292277026596-12-04T15:30:07.999999Z");
        let first = UNIX_EPOCH - Duration::from_secs(i64::MAX as u64) - Duration::from_secs(1);
        assert_eq!(Rfc3339(first).to_string(), "-292277022657-01-27T08:29:52.000000Z");
    }
}
