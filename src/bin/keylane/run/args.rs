//! The arguments of `keylane run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ValueEnum, value_parser};
use keylane::WaitStrategy;

use super::types::TypeTable;

/// Read events from a file or a pipe, process them in the order of each key, and report.
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file to read, or - for standard input
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,

    /// What to do with each event: count, ndjson=PATH or noop; may be repeated
    ///
    /// count        counts events by type and finds the hottest keys (the default)
    /// ndjson=PATH  writes each event as the JSON line that it was; replaces the file
    /// ndjson=-     the same to standard output; the report goes to standard error
    /// noop         nothing, for measuring
    #[arg(
        short, long = "processor", value_name = "SPEC", verbatim_doc_comment,
        default_value = "count",
        value_parser = OsStringValueParser::new().try_map(Spec::parse),
    )]
    pub(crate) processors: Vec<Spec>,

    /// How many shards process events, each on a thread of its own [default: one a core]
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    pub(crate) shards: Option<u16>,

    /// How many threads read and parse; the order of each key is kept
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=256))]
    pub(crate) producers: u16,

    /// How many events each ring between a reader and a shard holds, a power of two
    #[arg(short, long, value_name = "EVENTS", default_value_t = 1024)]
    pub(crate) capacity: usize,

    /// What a shard does while it has no events
    #[arg(short, long, value_name = "STRATEGY", default_value = "adaptive")]
    pub(crate) wait: Wait,

    /// The longest line in bytes; a longer one is bad, and skipped without being kept
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = value_parser!(u32).range(1..=1 << 30))]
    pub(crate) max_line: u32,

    /// How many bytes of events larger than 1024 bytes are held at once; above that, reading waits
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20, value_parser = value_parser!(u64).range(1..))]
    pub(crate) in_flight: u64,

    /// How many types of events are kept apart; a line with one more is bad
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = value_parser!(u32).range(1..=i64::from(TypeTable::MAX)))]
    pub(crate) max_types: u32,

    /// How many of the hottest keys are reported
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..))]
    pub(crate) top: u32,

    /// How long an interrupted run may take to process what it has read
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(..=1_000_000))]
    pub(crate) drain_timeout: u64,

    /// End at the first bad line, or when an output fails; what came before is still processed
    #[arg(long)]
    pub(crate) strict: bool,

    /// Report as one JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,

    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
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

  keylane run events.ndjson --json | jq '.types[] | select(.type == \"order.paid\")'
      The report for programs

Exit codes:
  0    everything was read, processed and written; nothing was lost
  1    something was lost: bad lines, events not processed or not written; the report says what
  2    nothing was begun: wrong arguments, or a file that cannot be opened or is no text
  3    nothing was lost, but the report could not be written
  130  ended by Ctrl-C (143: by SIGTERM); the report says what was lost, if anything";

/// A processor as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spec {
    /// `count`
    Count,
    /// `ndjson=PATH`
    Ndjson(PathBuf),
    /// `noop`
    Noop,
}

impl Spec {
    /// The name of the processor on the bus, fit to be printed.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Count => "count".to_owned(),
            Self::Ndjson(path) => format!("ndjson={}", super::input::source::name(path)),
            Self::Noop => "noop".to_owned(),
        }
    }

    /// Whether the processor writes to standard output.
    pub(crate) fn is_standard_output(&self) -> bool {
        matches!(self, Self::Ndjson(path) if path.as_os_str() == "-")
    }

    fn parse(text: OsString) -> Result<Self, String> {
        if text == "count" {
            return Ok(Self::Count);
        }
        if text == "noop" {
            return Ok(Self::Noop);
        }
        // A path is bytes, not text, so the prefix is cut off as bytes.
        use std::os::unix::ffi::OsStringExt;
        let bytes = text.into_vec();
        match bytes.strip_prefix(b"ndjson=") {
            Some([]) => {
                Err("ndjson= needs a path, for example ndjson=out.ndjson, or ndjson=-".into())
            }
            Some(path) => Ok(Self::Ndjson(OsString::from_vec(path.to_vec()).into())),
            None if bytes == b"ndjson" => {
                Err("ndjson needs a path, for example ndjson=out.ndjson, or ndjson=-".into())
            }
            None => Err("there are the processors count, ndjson=PATH and noop".into()),
        }
    }
}

/// `--wait`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Spin: the lowest latency, a whole core for each shard
    BusySpin,
    /// Spin for a while, then sleep: low latency, and no cost when idle
    Adaptive,
    /// Sleep at once: the least CPU time
    Park,
}

impl From<Wait> for WaitStrategy {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::BusySpin => Self::BusySpin,
            Wait::Adaptive => Self::Adaptive,
            Wait::Park => Self::Park,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn processors_are_read() {
        let spec = |text: &str| Spec::parse(text.into());
        assert_eq!(spec("count"), Ok(Spec::Count));
        assert_eq!(spec("noop"), Ok(Spec::Noop));
        assert_eq!(spec("ndjson=a=b"), Ok(Spec::Ndjson("a=b".into())));
        for wrong in ["", "Count", "ndjson", "ndjson=", "json=x"] {
            assert!(spec(wrong).is_err(), "{wrong}");
        }
        let latin1 = OsString::from_vec(b"ndjson=\xe9".to_vec());
        let Ok(Spec::Ndjson(path)) = Spec::parse(latin1) else {
            panic!("a path need not be UTF-8")
        };
        assert_eq!(path.into_os_string().into_vec(), b"\xe9");
    }
}
