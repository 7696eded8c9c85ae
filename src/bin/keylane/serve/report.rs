//! What a server has to say at its end, and whether anything was lost.

use std::fmt;

use indicatif::HumanCount;
use keylane::ShutdownReport;
use keylane::http::ServeReport;
use keylane::http::{AccessLogStats, Losses, StatusCounts};
use keylane::ingest::IntakeStats;
use keylane::plugin::PluginStats;

use crate::exit::Exit;
use crate::processors::ndjson::Written;
use crate::processors::plugins;

/// How a server ended.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) requests: StatusCounts,
    pub(crate) connections: ServeReport,
    pub(crate) intake: IntakeStats,
    pub(crate) outputs: Vec<Written>,
    pub(crate) plugins: Option<PluginStats>,
    /// Events that a processor missed while it was out of service.
    pub(crate) skipped: u64,
    pub(crate) log: Option<AccessLogStats>,
    pub(crate) losses: Losses,
    /// Events about connections that found no room.
    pub(crate) lost_of_connections: u64,
    pub(crate) shutdown: ShutdownReport,
}

impl Report {
    /// What was accepted and then lost, with a word for each.
    fn lost(&self) -> Vec<(u64, &'static str)> {
        let unwritten = self.outputs.iter().map(|output| output.unwritten).sum();
        let mut lost = vec![
            (self.shutdown.abandoned, "events not processed in time"),
            (self.shutdown.faulted, "events that a processor panicked on"),
            (unwritten, "events not written"),
            (self.skipped, "events missed by a processor that was out of service"),
            (
                self.plugins.as_ref().map_or(0, |plugins| plugins.emit_lost),
                "derived events not emitted",
            ),
        ];
        lost.retain(|(count, _)| *count > 0);
        lost
    }

    /// The exit code that it deserves. Of what the server tells about itself, lines and events may be missing; what it was given may not.
    pub(crate) fn exit(&self) -> Exit {
        if self.lost().is_empty() && self.shutdown.is_clean() { Exit::Clean } else { Exit::Lost }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StatusCounts { status_2xx, status_3xx, status_4xx, status_5xx, all, .. } =
            self.requests;
        writeln!(
            f,
            "requests  {}: {} 2xx, {} 3xx, {} 4xx, {} 5xx",
            HumanCount(all),
            HumanCount(status_2xx),
            HumanCount(status_3xx),
            HumanCount(status_4xx),
            HumanCount(status_5xx)
        )?;
        writeln!(f, "          {}", self.connections)?;
        writeln!(
            f,
            "events    {} accepted, {} refused because the bus was full, {} invalid",
            HumanCount(self.intake.accepted),
            HumanCount(self.intake.refused),
            HumanCount(self.intake.invalid)
        )?;
        for (index, output) in self.outputs.iter().enumerate() {
            let label = if index == 0 { "outputs" } else { "" };
            write!(f, "{label:10}{}: {} written", output.path, HumanCount(output.written))?;
            match &output.error {
                Some(error) => writeln!(f, ", {} not: {error}", HumanCount(output.unwritten))?,
                None => writeln!(f)?,
            }
        }
        if let Some(stats) = &self.plugins {
            f.write_str(&plugins::summary(stats))?;
        }
        if let Some(log) = &self.log {
            write!(f, "log       {} lines", HumanCount(log.lines))?;
            if log.write_errors > 0 {
                write!(
                    f,
                    "; {} writes failed: {} lines went to standard error, {} are lost",
                    HumanCount(log.write_errors),
                    HumanCount(log.diverted),
                    HumanCount(log.lost)
                )?;
            }
            writeln!(f)?;
        }
        let Losses { starts, ends, traffic, .. } = self.losses;
        let own = starts + ends + traffic + self.lost_of_connections;
        if own > 0 {
            writeln!(
                f,
                "          {} events about requests found no room on the bus ({} ends among them)",
                HumanCount(own),
                HumanCount(ends)
            )?;
        }
        writeln!(f, "\nshutdown  {}", self.shutdown)?;
        let lost = self.lost();
        f.write_str("lost      ")?;
        if lost.is_empty() {
            return f.write_str("nothing\n");
        }
        for (index, (count, what)) in lost.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} {what}", HumanCount(*count))?;
        }
        writeln!(f)
    }
}
