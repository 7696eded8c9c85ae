//! Tables and times in reports for people.

use std::fmt;

use indicatif::HumanCount;
use keylane::ingest::printable::plain;

/// How wide a column of names is at most.
const NAME: usize = 56;

/// A table of names and their shares of `all`, under a blank line.
pub(crate) fn table<'a>(
    f: &mut impl fmt::Write,
    label: &str,
    rows: impl Iterator<Item = (&'a str, u64)>,
    all: u64,
) -> fmt::Result {
    let rows: Vec<_> = rows
        .map(|(name, count)| (plain(name, NAME), HumanCount(count).to_string(), count))
        .collect();
    let width = |column: fn(&(String, String, u64)) -> &str| {
        rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0)
    };
    let (names, counts) = (width(|row| &row.0), width(|row| &row.1));
    writeln!(f)?;
    if rows.is_empty() {
        writeln!(f, "{label:10}none")?;
    }
    for (index, (name, shown, count)) in rows.iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        let share = 100.0 * *count as f64 / all.max(1) as f64;
        writeln!(f, "{label:10}{name:names$}  {shown:>counts$}  {share:5.1} %")?;
    }
    Ok(())
}

/// Nanoseconds with three digits and the unit that fits.
pub(crate) fn duration(nanoseconds: u64) -> String {
    let n = nanoseconds as f64;
    let (value, unit) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (n / 1e3, "µs"),
        1_000_000..1_000_000_000 => (n / 1e6, "ms"),
        _ => (n / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_234, "1.23 µs"),
            (45_678, "45.7 µs"),
            (456_789, "457 µs"),
            (1_500_000, "1.50 ms"),
            (61_000_000_000, "61.0 s"),
        ];
        for (nanoseconds, shown) in cases {
            assert_eq!(duration(nanoseconds), shown);
        }
    }
}
