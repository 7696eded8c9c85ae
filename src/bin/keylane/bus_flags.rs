//! The arguments that `keylane run` and `keylane serve` have in common, and the bus that they and the file ask for.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::value_parser;

use crate::config::{self, Config, PluginsConfig, Spec, Wait};
use crate::plugin_flags::Sources;

/// What the command line says about the bus.
#[derive(Debug, clap::Args)]
pub(crate) struct BusFlags {
    #[command(flatten)]
    pub(crate) sources: Sources,

    /// What to do with each event: count, ndjson=PATH or noop; may be repeated [default: count]
    ///
    /// count        counts events by type and finds the hottest keys
    /// ndjson=PATH  writes each event as the JSON line that it was; `run` replaces the file,
    ///              `serve` appends to it
    /// ndjson=-     the same to standard output
    /// noop         nothing, for measuring
    #[arg(
        short, long = "processor", value_name = "SPEC", verbatim_doc_comment,
        value_parser = OsStringValueParser::new().try_map(|text: OsString| Spec::parse(text)),
    )]
    processors: Vec<Spec>,

    /// How many shards process events, each on a thread of its own [default: one a core]
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    shards: Option<u16>,

    /// How many events each ring between a thread that emits and a shard holds, a power of two [default: 1024]
    #[arg(short, long, value_name = "EVENTS")]
    capacity: Option<usize>,

    /// What a shard does while it has no events [default: adaptive]
    #[arg(short, long, value_name = "STRATEGY")]
    wait: Option<Wait>,

    /// How long a shutdown may take to process what was accepted, as 10s, or in seconds [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = seconds_or_duration)]
    drain_timeout: Option<Duration>,
}

/// The bus that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct BusSettings {
    pub(crate) shards: usize,
    pub(crate) capacity: usize,
    pub(crate) wait: Wait,
    pub(crate) processors: Vec<Spec>,
    pub(crate) drain_timeout: Duration,
    pub(crate) plugins: PluginsConfig,
}

impl BusFlags {
    /// The settings: what the command line says, or else the file, or else a default.
    pub(crate) fn settings(&self, config: &Config) -> BusSettings {
        let file = &config.bus;
        let processors = if self.processors.is_empty() {
            file.processors.clone().unwrap_or_else(|| vec![Spec::Count])
        } else {
            self.processors.clone()
        };
        BusSettings {
            shards: self.shards.or(file.shards).map_or_else(cores, usize::from),
            capacity: self.capacity.or(file.capacity).unwrap_or(1024),
            wait: self.wait.or(file.wait).unwrap_or(Wait::Adaptive),
            processors,
            drain_timeout: self
                .drain_timeout
                .or(file.drain_timeout)
                .unwrap_or(Duration::from_secs(10)),
            plugins: self.sources.plugins(&config.plugins),
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A time with its unit, or a number of seconds.
pub(crate) fn seconds_or_duration(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(_) => config::duration(&format!("{text}s")),
        Err(_) => config::duration(text),
    }
}
