//! The arguments of `keylane serve`, and the settings that they and the file make.

use std::net::SocketAddr;
use std::time::Duration;

use keylane::http::{LogFormat, StatusMask, TrustedProxies};

use crate::bus_flags::{BusFlags, BusSettings, seconds_or_duration};
use crate::config::{self, Config, LogTarget};

/// Take events over HTTP, process them in the order of each key, and tell about it.
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to listen; port 0 is any free one [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "ADDRESS", value_parser = config::listen)]
    listen: Option<SocketAddr>,

    #[command(flatten)]
    pub(crate) bus: BusFlags,

    /// Check the configuration, print what it comes to, and start nothing
    #[arg(long)]
    pub(crate) check: bool,

    /// Where the access log goes: stdout, stderr, none, or a file, which SIGHUP opens again [default: stdout]
    #[arg(long, value_name = "WHERE", value_parser = config::log_target)]
    access_log: Option<LogTarget>,

    /// gohm, common, combined, json, logfmt, or a format such as '{client-ip} {status} {uri}' [default: gohm]
    #[arg(long, value_name = "FORMAT", value_parser = log_format)]
    log_format: Option<String>,

    /// Which requests are logged: all, errors, none, or classes such as 4xx,5xx [default: all]
    #[arg(long, value_name = "CLASSES", value_parser = config::log_masks)]
    log_mask: Option<StatusMask>,

    /// The largest body of a POST, such as 4MiB [default: 4MiB]
    #[arg(long, value_name = "SIZE", value_parser = config::size)]
    max_body: Option<u64>,

    /// How long a POST waits for room on a full bus before it is answered 429 [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = seconds_or_duration)]
    patience: Option<Duration>,

    /// How long to go on accepting after SIGTERM while /readyz says 503 [default: 0s]
    #[arg(long, value_name = "TIME", value_parser = seconds_or_duration)]
    drain_delay: Option<Duration>,
}

/// A format is kept as text here, because every flag has to be one that can be compared.
fn log_format(text: &str) -> Result<String, String> {
    config::log_format(text).map(|_| text.to_owned())
}

/// What a server is to do.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) bus: BusSettings,
    pub(crate) max_event: usize,
    pub(crate) max_types: usize,
    pub(crate) in_flight: u64,
    pub(crate) max_body: u64,
    pub(crate) patience: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) drain_delay: Duration,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) trust_request_id: bool,
    pub(crate) log: LogTarget,
    pub(crate) log_format: LogFormat,
    pub(crate) log_mask: StatusMask,
}

impl Args {
    /// The settings: what the command line says, or else the file, or else a default.
    pub(crate) fn settings(&self, file: &Config) -> Settings {
        let Config { events, serve, access_log, .. } = file;
        let flag_format = self.log_format.as_deref().and_then(|text| config::log_format(text).ok());
        Settings {
            listen: self.listen.or(serve.listen).unwrap_or(([127, 0, 0, 1], 8080).into()),
            bus: self.bus.settings(file),
            max_event: events.max_event.unwrap_or(1 << 20) as usize,
            max_types: events.max_types.unwrap_or(4096) as usize,
            in_flight: events.in_flight.unwrap_or(256 << 20),
            max_body: self.max_body.or(serve.max_body).unwrap_or(4 << 20),
            patience: self.patience.or(serve.patience).unwrap_or(Duration::from_secs(1)),
            header_timeout: serve.header_timeout.unwrap_or(Duration::from_secs(10)),
            body_timeout: serve.body_timeout.unwrap_or(Duration::from_secs(30)),
            drain_delay: self.drain_delay.or(serve.drain_delay).unwrap_or_default(),
            trusted_proxies: serve.trusted_proxies.clone().unwrap_or_default(),
            trust_request_id: serve.trust_request_id.unwrap_or(false),
            log: self.access_log.clone().or(access_log.to.clone()).unwrap_or(LogTarget::Stdout),
            log_format: flag_format.or(access_log.format.clone()).unwrap_or_else(LogFormat::gohm),
            log_mask: self.log_mask.or(access_log.mask).unwrap_or(StatusMask::ALL),
        }
    }
}

const LONG_ABOUT: &str = "\
Take events over HTTP, process them in the order of each key, and tell about it.

  POST /events      events: CloudEvents 1.0 (structured, batched, binary) and NDJSON
  GET  /            the state in a few lines, for people
  GET  /metrics     all numbers, for Prometheus
  GET  /stats.json  all numbers, as JSON
  GET  /healthz     200 as long as it runs
  GET  /readyz      200 as long as it takes requests, 503 while it shuts down

POST /events is answered 202 when everything was accepted; 400 when an event is bad, with its line and what is wrong, and then nothing of \
the request was accepted; 429 when the bus is full, with how many events from the front were accepted. All events of one key \
(partitionkey, or else source; key in the simple form) go to one shard and are processed in their order.

The server is a user of its own bus: its requests are events, from which access log, counters and histograms are made.

The first SIGTERM or Ctrl-C stops accepting, finishes what was begun, processes what was accepted, and prints a report; the second ends \
at once. SIGHUP opens the access log and output files again, and looks at the files of the plugins; \
one whose content has changed is replaced while events flow. Without authentication it listens on loopback unless told otherwise.";

const EXAMPLES: &str = "\
Examples:
  keylane serve
      Listens on 127.0.0.1:8080, logs requests to standard output

  curl -i localhost:8080/events -H 'content-type: application/x-ndjson' \\
      -d '{\"type\":\"order.paid\",\"key\":\"order-17\",\"data\":{\"amount\":12}}'
      Sends an event in the simple form

  curl -i localhost:8080/events -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: shop' \\
      -H 'ce-type: order.paid' -H 'content-type: application/json' -d '{\"amount\":12}'
      Sends a CloudEvent in binary mode

  keylane serve -p count -p ndjson=events.ndjson --access-log access.log --log-format combined
      Also appends every event to a file; logs as Apache does; SIGHUP after rotating either

  keylane serve --plugin rate-alarm.so --config '{\"limit\": 100, \"emit\": \"alarm.raised\"}' -p ndjson=events.ndjson
      Also runs a processor from a shared library, and replaces it when the file changes

  keylane serve --config keylane.toml --check
      Checks a configuration; keylane.example.toml explains every key

Exit codes:
  0    ended by a signal, and everything that was accepted was processed and written
  1    events were accepted and then lost; the report says how many
  2    nothing was begun: wrong arguments or configuration, or the port is taken
  130  a second Ctrl-C (143: SIGTERM) ended it at once";
