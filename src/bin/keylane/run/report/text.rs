//! The report for people.

use std::fmt;

use indicatif::{HumanBytes, HumanCount};

use super::{Input, Lost, Report};
use crate::printable::plain;

/// How many types are listed; all of them are in the JSON report.
const TYPES: usize = 20;

/// How wide the column of types and keys is at most.
const NAME: usize = 56;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.types_and_keys(f)?;
        self.shards_and_outputs(f)?;
        self.result(f)
    }
}

impl Report {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Input { name, bytes, lines, blank, bad, complete, ended_by } = &self.input;
        let read = match *ended_by {
            _ if *complete => "read to the end",
            "sigint" | "sigterm" => "interrupted, the rest not read",
            "strict" => "ended at a bad line, the rest not read",
            "output" => "ended with an output, the rest not read",
            _ => "could not be read to the end",
        };
        writeln!(
            f,
            "input     {name}: {} lines, {}, {read}",
            HumanCount(*lines),
            HumanBytes(*bytes)
        )?;
        if *bad > 0 || *blank > 0 {
            writeln!(f, "          {} bad, {} blank", HumanCount(*bad), HumanCount(*blank))?;
        }
        writeln!(
            f,
            "events    {} accepted, {} processed in {}: {} events/s",
            HumanCount(self.events.accepted),
            HumanCount(self.events.processed),
            duration((self.seconds * 1e9) as u64),
            HumanCount(self.events_per_second as u64),
        )?;
        let latency = &self.latency_ns;
        writeln!(
            f,
            "latency   p50 {}, p90 {}, p99 {}, p99.9 {}, max {} (emit to start of processing)",
            duration(latency.quantile(0.5)),
            duration(latency.quantile(0.9)),
            duration(latency.quantile(0.99)),
            duration(latency.quantile(0.999)),
            duration(latency.max()),
        )
    }

    fn types_and_keys(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.events.processed;
        if let Some(types) = &self.types {
            let rows = types.iter().take(TYPES).map(|of| (of.name.as_str(), of.events));
            table(f, "types", rows, all)?;
            if types.len() > TYPES {
                writeln!(
                    f,
                    "          and {} more types",
                    HumanCount((types.len() - TYPES) as u64)
                )?;
            }
        }
        if let Some(keys) = &self.keys {
            table(f, "keys", keys.hottest.iter().map(|hot| (hot.key.as_str(), hot.events)), all)?;
            let distinct = HumanCount(keys.distinct);
            if keys.exact {
                writeln!(f, "          {distinct} distinct keys, counted exactly")?;
            } else {
                let excess = keys.hottest.iter().map(|hot| hot.excess).max().unwrap_or(0);
                writeln!(
                    f,
                    "          more than {distinct} distinct keys: counts may be too high by {}",
                    HumanCount(excess)
                )?;
            }
        }
        Ok(())
    }

    fn shards_and_outputs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |shard: usize| format!("shard {shard}");
        let rows: Vec<_> = self.shards.iter().map(|of| (name(of.shard), of.processed)).collect();
        let rows = rows.iter().map(|(name, processed)| (name.as_str(), *processed));
        table(f, "shards", rows, self.events.processed)?;
        for (index, output) in self.outputs.iter().enumerate() {
            let label = if index == 0 { "outputs" } else { "" };
            f.write_str(if index == 0 { "\n" } else { "" })?;
            write!(f, "{label:10}{}: {} written", output.path, HumanCount(output.written))?;
            match &output.error {
                Some(error) => {
                    writeln!(f, ", {} not: {error}", HumanCount(output.unwritten))?;
                }
                None => writeln!(f)?,
            }
        }
        Ok(())
    }

    fn result(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nshutdown  {}", self.shutdown)?;
        let Lost { bad_lines, refused, faulted, abandoned, unwritten, input } = self.lost;
        let counts = [
            (bad_lines, "bad lines"),
            (refused, "events refused by the closed bus"),
            (faulted, "events that a processor panicked on"),
            (abandoned, "events not processed in time"),
            (unwritten, "events not written"),
        ];
        let mut lost: Vec<String> = (counts.into_iter())
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", HumanCount(count)))
            .collect();
        if input > 0 {
            lost.push("the rest of the input".to_owned());
        }
        let lost = if lost.is_empty() { "nothing".to_owned() } else { lost.join(", ") };
        writeln!(f, "lost      {lost}")
    }
}

/// A table of names and their shares of `all`, under a blank line.
fn table<'a>(
    f: &mut fmt::Formatter<'_>,
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
fn duration(nanoseconds: u64) -> String {
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
