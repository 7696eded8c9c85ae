//! Whether a text is a time of RFC 3339, which CloudEvents ask for.

/// Days of the months of a year that is no leap year.
const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Checks `time` against the `date-time` of RFC 3339, section 5.6.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(time: &str) -> Result<(), &'static str> {
    const SHAPE: &str = "this is not the form of a time";
    let bytes = time.as_bytes();
    let number = |from: usize, digits: usize| -> Option<u32> {
        let piece = bytes.get(from..from + digits)?;
        piece.iter().try_fold(0, |sum, byte| {
            byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0'))
        })
    };
    let sign = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));

    let (year, month, day) =
        (number(0, 4).ok_or(SHAPE)?, number(5, 2).ok_or(SHAPE)?, number(8, 2).ok_or(SHAPE)?);
    if !sign(4, b"-") || !sign(7, b"-") {
        return Err(SHAPE);
    }
    if !sign(10, b"Tt") {
        return Err("between date and time stands a T");
    }
    let (hour, minute, second) =
        (number(11, 2).ok_or(SHAPE)?, number(14, 2).ok_or(SHAPE)?, number(17, 2).ok_or(SHAPE)?);
    if !sign(13, b":") || !sign(16, b":") {
        return Err(SHAPE);
    }
    if !(1..=12).contains(&month) {
        return Err("there is no such month");
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = DAYS[month as usize - 1] + u32::from(leap && month == 2);
    if !(1..=days).contains(&day) {
        return Err("the month has no such day");
    }
    // A leap second is legal, whatever the day: the list of them is not ours to keep.
    if hour > 23 || minute > 59 || second > 60 {
        return Err("the day has no such time");
    }
    let mut at = 19;
    if sign(at, b".") {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err("behind the point there is no digit");
        }
        at += 1 + digits;
    }
    let zone = &bytes[at..];
    match zone {
        b"Z" | b"z" => Ok(()),
        [b'+' | b'-', _, _, b':', _, _] => {
            let (hours, minutes) =
                (number(at + 1, 2).ok_or(SHAPE)?, number(at + 4, 2).ok_or(SHAPE)?);
            if hours > 23 || minutes > 59 { Err("there is no such time zone") } else { Ok(()) }
        }
        [] => Err("it has no time zone"),
        _ => Err(SHAPE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_standard_are_taken() {
        for time in [
            "1985-04-12T23:20:50.52Z",
            "1996-12-19T16:39:57-08:00",
            "1990-12-31T23:59:60Z",
            "1937-01-01T12:00:27.87+00:20",
            "2000-02-29t00:00:00.123456789012z",
            "0000-01-01T00:00:00+23:59",
        ] {
            assert_eq!(check(time), Ok(()), "{time}");
        }
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        for (time, complaint) in [
            ("", "this is not the form of a time"),
            ("yesterday", "this is not the form of a time"),
            ("2026-01-01", "between date and time stands a T"),
            ("2026-01-01 00:00:00Z", "between date and time stands a T"),
            ("2026-1-01T00:00:00Z", "this is not the form of a time"),
            ("2026-13-01T00:00:00Z", "there is no such month"),
            ("2026-00-01T00:00:00Z", "there is no such month"),
            ("2026-02-29T00:00:00Z", "the month has no such day"),
            ("1900-02-29T00:00:00Z", "the month has no such day"),
            ("2026-04-31T00:00:00Z", "the month has no such day"),
            ("2026-01-00T00:00:00Z", "the month has no such day"),
            ("2026-01-01T24:00:00Z", "the day has no such time"),
            ("2026-01-01T00:60:00Z", "the day has no such time"),
            ("2026-01-01T00:00:61Z", "the day has no such time"),
            ("2026-01-01T00:00:00", "it has no time zone"),
            ("2026-01-01T00:00:00.Z", "behind the point there is no digit"),
            ("2026-01-01T00:00:00+24:00", "there is no such time zone"),
            ("2026-01-01T00:00:00+0100", "this is not the form of a time"),
            ("2026-01-01T00:00:00+é0:0", "this is not the form of a time"),
            ("2026-01-01T00:00:00Zulu", "this is not the form of a time"),
            ("٢٠٢٦-01-01T00:00:00Z", "this is not the form of a time"),
        ] {
            assert_eq!(check(time), Err(complaint), "{time}");
        }
    }
}
