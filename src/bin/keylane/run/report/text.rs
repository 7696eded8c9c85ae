//! The report for people.

use std::fmt;

use indicatif::{HumanBytes, HumanCount};

use super::{Input, Lost, Report};
use crate::processors::plugins;
use crate::tables::{duration, table};

/// How many types are listed; all of them are in the JSON report.
const TYPES: usize = 20;

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
        if let Some(stats) = &self.plugins {
            f.write_str(&plugins::summary(stats))?;
        }
        Ok(())
    }

    fn result(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nshutdown  {}", self.shutdown)?;
        let Lost { bad_lines, refused, faulted, skipped, derived, abandoned, unwritten, input } =
            self.lost;
        let counts = [
            (bad_lines, "bad lines"),
            (refused, "events refused by the closed bus"),
            (faulted, "events that a processor panicked on"),
            (skipped, "events missed by a processor that was out of service"),
            (derived, "derived events not emitted"),
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
