//! Times and sizes as people write them.

use std::time::Duration;

/// The longest time: about 11 days.
const MAX_SECONDS: f64 = 1e6;

/// The number and the unit of a text such as `1.5 MiB`.
fn taken_apart(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// Reads `10s`, `500 ms`, `1.5m`, `0`.
///
/// # Errors
/// What to write instead.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = taken_apart(text)
        .ok_or("not a time; write it with its unit, such as \"10s\" or \"500ms\"")?;
    let factor = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "" if number == 0.0 => 1.0,
        "" => return Err(format!("without a unit; write it as \"{number}s\" or \"{number}ms\"")),
        _ => return Err("no such unit; there are us, ms, s, m and h".into()),
    };
    let seconds = number * factor;
    if seconds > MAX_SECONDS {
        return Err("too long; write at most 277h".into());
    }
    // NB: not `from_secs_f64`, which panics on what is not a number; a text of digits and points never is one.
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

const KIB: f64 = 1024.0;

/// Reads `65536`, `64 KiB`, `1.5MiB`, `10 MB`.
///
/// # Errors
/// What to write instead.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = taken_apart(text)
        .ok_or("not a size; write bytes, or a number with its unit, such as \"1 MiB\"")?;
    let factor = match unit {
        "" | "B" => 1.0,
        "K" | "k" | "KiB" => KIB,
        "M" | "MiB" => KIB * KIB,
        "G" | "GiB" => KIB * KIB * KIB,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return Err("no such unit; there are KiB, MiB, GiB, kB, MB and GB".into()),
    };
    let bytes = number * factor;
    // A float holds every whole number of bytes below 2^53.
    if bytes >= 9e15 || bytes.fract() != 0.0 {
        return Err("not a whole number of bytes that is below 8 PiB".into());
    }
    Ok(bytes as u64)
}

/// A size in its largest whole unit.
pub(crate) fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500 ms", 500),
            ("1.5m", 90_000),
            ("0", 0),
            (" 1h ", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in
            ["", "s", "10", "-1s", "1d", "1e3s", "..s", "1.2.3s", "9999999h", "NaN", "inf", "１s"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units_or_are_bytes() {
        for (text, bytes) in [
            ("17", 17),
            ("64 KiB", 65_536),
            ("1.5MiB", 1_572_864),
            ("10 MB", 10_000_000),
            ("0", 0),
            ("1G", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "KiB", "-1", "1 TiB", "1.5", "0.3 KiB", "99999999 GiB", "1e9", "inf"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!([1 << 30, 4 << 20, 1000].map(show_size), ["1 GiB", "4 MiB", "1000 bytes"]);
    }
}
