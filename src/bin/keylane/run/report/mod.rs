//! What a run has to say at its end, and whether anything was lost.
//!
//! The fields are the object that `--json` prints; their names are stable. [`text`] is the same for people.

mod text;

use keylane::ingest::{TypeTable, printable};
use keylane::plugin::PluginStats;
use keylane::{ShutdownReport, Stats, Summary};
use serde::Serialize;

use super::Cause;
use super::chunks::ReadError;
use super::readers::Tally;
use super::turns::End;
use crate::exit::Exit;
use crate::interrupt;
use crate::processors::count::{Counts, Hottest};
use crate::processors::ndjson::Written;

/// What a report is made of.
pub(crate) struct Facts<'a> {
    pub(crate) input: String,
    pub(crate) bytes: u64,
    pub(crate) tally: Tally,
    pub(crate) end: End,
    pub(crate) cause: Cause,
    pub(crate) seconds: f64,
    pub(crate) shutdown: ShutdownReport,
    pub(crate) stats: Stats,
    pub(crate) counts: Option<(&'a Counts, &'a TypeTable)>,
    pub(crate) top: usize,
    pub(crate) outputs: Vec<Written>,
    pub(crate) plugins: Option<PluginStats>,
}

/// The report of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What was read.
    input: Input,
    /// What became of the events.
    events: Events,
    /// From the first read to the last event processed.
    seconds: f64,
    /// Events processed a second.
    events_per_second: f64,
    /// Events by type, the most frequent first; `null` without `--processor count`.
    types: Option<Vec<OfType>>,
    /// The hottest keys; `null` without `--processor count`.
    keys: Option<Hottest>,
    /// From emit to the start of processing, in nanoseconds.
    latency_ns: Summary,
    /// How evenly the keys spread.
    shards: Vec<OfShard>,
    /// The files that events were written to.
    outputs: Vec<Written>,
    /// What the plugins did and counted; `null` without plugins.
    plugins: Option<PluginStats>,
    /// What was lost, in total and by how; all 0 is what exit code 0 means.
    lost: Lost,
    /// How the bus was shut down.
    shutdown: ShutdownReport,
    /// The exit code.
    exit: u8,
    #[serde(skip)]
    ended: Exit,
}

#[derive(Debug, Serialize)]
struct Input {
    /// The path, or `standard input`.
    name: String,
    bytes: u64,
    lines: u64,
    blank: u64,
    bad: u64,
    /// Whether all of it was read.
    complete: bool,
    /// How the reading ended: `end`, `sigint`, `sigterm`, `strict`, `output`, `error` or `panic`.
    ended_by: &'static str,
}

#[derive(Debug, Serialize)]
struct Events {
    accepted: u64,
    processed: u64,
    faulted: u64,
    abandoned: u64,
    refused: u64,
}

#[derive(Debug, Serialize)]
struct OfType {
    #[serde(rename = "type")]
    name: String,
    events: u64,
}

#[derive(Debug, Serialize)]
struct OfShard {
    shard: usize,
    processed: u64,
    high_water: u64,
}

/// Each line and event that did not get to where it was meant to.
#[derive(Debug, Serialize)]
struct Lost {
    /// Lines that were no events.
    bad_lines: u64,
    /// Events that the bus refused because it had been shut down.
    refused: u64,
    /// Events that a processor panicked on.
    faulted: u64,
    /// Events that a processor missed while it was out of service: one for each event and processor.
    skipped: u64,
    /// Events that plugins had derived and that the bus did not take.
    derived: u64,
    /// Events that were not processed before the deadline of the shutdown.
    abandoned: u64,
    /// Events that an output does not have.
    unwritten: u64,
    /// 1 if the input could not be read to its end for a fault of its own or of ours.
    input: u64,
}

impl Report {
    /// Puts the report together.
    pub(crate) fn new(facts: Facts<'_>) -> Self {
        let Facts { tally, end, cause, shutdown, stats, outputs, seconds, .. } = facts;
        let ended_by = match (&end, cause) {
            (End::Failed(ReadError::Io(_) | ReadError::NotText { .. }), _) => "error",
            (End::Panicked, _) => "panic",
            (End::Strict, _) => "strict",
            (End::Complete, _) => "end",
            (End::Stopped, Cause { signal: Some(signal), .. }) => match interrupt::name(signal) {
                "SIGTERM" => "sigterm",
                _ => "sigint",
            },
            (End::Stopped, _) => "output",
        };
        let lost = Lost {
            bad_lines: tally.bad,
            refused: tally.refused,
            faulted: shutdown.faulted,
            skipped: stats.processors.iter().map(|processor| processor.skipped).sum(),
            derived: facts.plugins.as_ref().map_or(0, |plugins| plugins.emit_lost),
            abandoned: shutdown.abandoned,
            unwritten: outputs.iter().map(|output| output.unwritten).sum(),
            input: matches!(end, End::Failed(_) | End::Panicked).into(),
        };
        let ended = match cause.signal {
            Some(signal) => Exit::Signal(signal),
            None if lost.is_nothing() => Exit::Clean,
            None => Exit::Lost,
        };
        Self {
            input: Input {
                name: facts.input,
                bytes: facts.bytes,
                lines: tally.lines,
                blank: tally.blank,
                bad: tally.bad,
                complete: matches!(end, End::Complete),
                ended_by,
            },
            events: Events {
                accepted: tally.accepted,
                processed: shutdown.processed,
                faulted: shutdown.faulted,
                abandoned: shutdown.abandoned,
                refused: tally.refused,
            },
            seconds,
            events_per_second: shutdown.processed as f64 / seconds.max(1e-9),
            types: facts.counts.map(|(counts, types)| {
                let of_type = |(kind, events)| OfType { name: types.name(kind), events };
                counts.types().into_iter().map(of_type).collect()
            }),
            keys: facts.counts.map(|(counts, _)| counts.hottest(facts.top)),
            latency_ns: stats.latency,
            shards: (stats.shards.into_iter())
                .map(|shard| OfShard {
                    shard: shard.shard,
                    processed: shard.processed,
                    high_water: shard.high_water,
                })
                .collect(),
            outputs,
            plugins: facts.plugins,
            lost,
            shutdown,
            exit: ended.code(),
            ended,
        }
    }

    /// The exit code that the run deserves.
    pub(crate) fn exit(&self) -> Exit {
        self.ended
    }

    /// One line of JSON, safe to look at on a terminal.
    pub(crate) fn to_json(&self) -> String {
        match serde_json::to_string(self) {
            Ok(json) => format!("{}\n", printable::json(&json)),
            // Numbers, strings and lists always serialise; if that ever changes, the reader still gets an object.
            Err(error) => format!("{}\n", serde_json::json!({ "error": error.to_string() })),
        }
    }

    /// The result in a few words, for when the report itself cannot be written.
    pub(crate) fn summary(&self) -> String {
        let Events { accepted, processed, .. } = self.events;
        let lost = if self.lost.is_nothing() { "nothing was lost" } else { "something was lost" };
        format!("{accepted} events accepted, {processed} processed, {lost}")
    }
}

impl Lost {
    fn is_nothing(&self) -> bool {
        let Self { bad_lines, refused, faulted, skipped, derived, abandoned, unwritten, input } =
            *self;
        bad_lines + refused + faulted + skipped + derived + abandoned + unwritten + input == 0
    }
}
