//! The arguments of `keylane run`.

use std::path::PathBuf;

use clap::value_parser;
use keylane::ingest::TypeTable;

use crate::bus_flags::{BusFlags, BusSettings};
use crate::config::Config;

/// Read events from a file or a pipe, process them in the order of each key, and report.
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file to read, or - for standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) bus: BusFlags,

    /// How many threads read and parse; the order of each key is kept [default: 1]
    #[arg(short = 'n', long, value_name = "N", value_parser = value_parser!(u16).range(1..=256))]
    producers: Option<u16>,

    /// The longest line in bytes; a longer one is bad, and skipped without being kept [default: 1048576]
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u32).range(1..=1 << 30))]
    max_line: Option<u32>,

    /// How many bytes of events larger than 1024 bytes are held at once; above that, reading waits [default: 268435456]
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u64).range(1..))]
    in_flight: Option<u64>,

    /// How many types of events are kept apart; a line with one more is bad [default: 4096]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(TypeTable::MAX)))]
    max_types: Option<u32>,

    /// How many of the hottest keys are reported [default: 10]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    top: Option<u32>,

    /// End at the first bad line, or when an output fails; what came before is still processed
    #[arg(long)]
    strict: bool,

    /// Report as one JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,

    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What a run is to do.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) bus: BusSettings,
    pub(crate) producers: u16,
    pub(crate) max_line: usize,
    pub(crate) in_flight: u64,
    pub(crate) max_types: usize,
    pub(crate) top: usize,
    pub(crate) strict: bool,
}

impl Args {
    /// The settings: what the command line says, or else the file, or else a default.
    pub(crate) fn settings(&self, file: &Config) -> Settings {
        let Config { events, run, .. } = file;
        Settings {
            bus: self.bus.settings(file),
            producers: self.producers.or(run.producers).unwrap_or(1),
            max_line: self.max_line.or(events.max_event).unwrap_or(1 << 20) as usize,
            in_flight: self.in_flight.or(events.in_flight).unwrap_or(256 << 20),
            max_types: self.max_types.or(events.max_types).unwrap_or(4096) as usize,
            top: self.top.or(run.top).unwrap_or(10) as usize,
            strict: self.strict || run.strict.unwrap_or(false),
        }
    }
}

const LONG_ABOUT: &str = "\
Read events from a file or a pipe, process them in the order of each key, and report.

The input is NDJSON: one JSON object a line, in either form, also mixed:

  {\"type\":\"order.paid\",\"key\":\"order-17\",\"data\":{\"amount\":12}}
  {\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"shop\",\"type\":\"order.paid\",\"partitionkey\":\"order-17\"}

The second is a CloudEvent; its key is its partitionkey, or else its source. All events of one key go to one shard and are \
processed in their order. A line that is no event is reported on standard error with its line number, its column (in bytes, from 1) \
and the reason, is counted, and stops nothing unless --strict is given.

Ctrl-C ends the reading, processes what was read, and reports; a second Ctrl-C ends at once.";

const EXAMPLES: &str = "\
Examples:
  keylane run events.ndjson
      Counts by type, the hottest keys, throughput, latency, balance of the shards

  zcat events.ndjson.gz | keylane run - --shards 4 --producers 2
      The same from a pipe, parsed by two threads and processed by four

  keylane run events.ndjson -p count -p ndjson=out.ndjson --strict
      Also writes every event to a file, and ends at the first line that is no event

  tail -f app.ndjson | keylane run - -p ndjson=- | jq .type
      Passes events on as they come; the report goes to standard error

  keylane run events.ndjson --plugin rate-alarm.so --config '{\"limit\": 100, \"emit\": \"alarm.raised\"}'
      With a processor from a shared library, whose counters are in the report; see keylane plugin --help

  keylane run events.ndjson --json | jq '.types[] | select(.type == \"order.paid\")'
      The report for programs

Exit codes:
  0    everything was read, processed and written; nothing was lost
  1    something was lost: bad lines, events not processed or not written; the report says what
  2    nothing was begun: wrong arguments, or a file that cannot be opened or is no text
  3    nothing was lost, but the report could not be written
  130  ended by Ctrl-C (143: by SIGTERM); the report says what was lost, if anything";
