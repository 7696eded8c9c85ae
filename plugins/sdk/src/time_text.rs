//! Times as text.
//!
//! The date comes from `civil_from_days` in Howard Hinnant, ["chrono-Compatible Low-Level Date
//! Algorithms"](https://howardhinnant.github.io/date_algorithms.html#civil_from_days).

use std::fmt;

/// Prints nanoseconds since 1970 as RFC 3339 in UTC with microseconds: `2026-11-20T07:37:35.123456Z`.
///
/// ```
/// use keylane_plugin::Rfc3339;
///
/// assert_eq!(Rfc3339(1_795_160_255_123_456_789).to_string(), "2026-11-20T07:37:35.123456Z");
/// assert_eq!(Rfc3339(-1).to_string(), "1969-12-31T23:59:59.999999Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rfc3339(
    /// Nanoseconds since 1970, as [`Event::wall_ns`](crate::Event::wall_ns) gives them.
    pub i64,
);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MICROS_PER_DAY: i64 = 86_400_000_000;

        let micros = self.0.div_euclid(1000);
        let (year, month, day) = civil_from_days(micros.div_euclid(MICROS_PER_DAY));
        let micro_of_day = micros.rem_euclid(MICROS_PER_DAY);
        let (second_of_day, micro) = (micro_of_day / 1_000_000, micro_of_day % 1_000_000);
        let (hour, minute, second) =
            (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01. The year is taken to begin in March, so that the leap day is its last.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
