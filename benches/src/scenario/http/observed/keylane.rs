//! keylane's layer, with the access log and the counters behind a bus of one shard.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use keylane::http::{AccessLog, EventLayer, LogFormat, LogSink, StatusCounters};
use keylane::{Bus, Event, Processor, ShardContext, WaitStrategy};

use super::{Observer, Outcome, Start, log};
use crate::measure::STALLED;

/// Slots of the ring. The layer never waits for the bus but drops and counts. On two cores the server and the client keep
/// the shard from running for milliseconds at a time, and nobody else may drop anything.
const CAPACITY: usize = 16_384;
/// Slots beside a processor that sleeps, where events are meant to be dropped.
const SMALL: usize = 1024;

/// A processor that has no idea what it costs.
struct Sleeper(Duration);

impl Processor for Sleeper {
    fn process(&mut self, _event: &Event) {
        thread::sleep(self.0);
    }
}

/// The bus that requests are put on, and what is known of them behind it.
pub(super) struct Keylane {
    bus: Bus,
    events: EventLayer,
    counters: StatusCounters,
    log: PathBuf,
    sleeps: bool,
}

impl Keylane {
    pub(super) fn start(wait: WaitStrategy, sleep: Option<Duration>) -> Start<Self> {
        let path = log::path();
        let log = AccessLog::new(LogFormat::gohm(), LogSink::file(&path));
        let counters = StatusCounters::new();
        let mut bus = Bus::builder()
            .shards(1)
            .wait(wait)
            .capacity(if sleep.is_some() { SMALL } else { CAPACITY })
            .processor_for("access-log", AccessLog::EVENTS, log.clone())
            .processor_for("counters", StatusCounters::EVENTS, counters.clone());
        if let Some(sleep) = sleep {
            bus = bus.processor("sleeper", move |_: &ShardContext| Sleeper(sleep));
        }
        let bus = bus.build().map_err(|error| error.to_string())?;
        let events = EventLayer::new(&bus)
            .capture(log.headers())
            .peer_with(|extensions| extensions.get().map(|&ConnectInfo::<SocketAddr>(peer)| peer));
        Ok(Self { bus, events, counters, log: path, sleeps: sleep.is_some() })
    }

    pub(super) fn layer(&self) -> EventLayer {
        self.events.clone()
    }
}

impl Observer for Keylane {
    fn catch_up(&self, requests: u64) -> Result<(), String> {
        let start = Instant::now();
        // The counters are the last to see an event.
        while self.counters.get_all() + self.events.losses().ends < requests {
            if start.elapsed() > STALLED {
                return Err(format!(
                    "of {requests} requests {} were counted, {:?}",
                    self.counters.get_all(),
                    self.events.losses()
                ));
            }
            thread::yield_now();
        }
        Ok(())
    }

    fn finish(self: Box<Self>, requests: u64) -> Result<Outcome, String> {
        let deadline = if self.sleeps { Duration::ZERO } else { STALLED };
        let report = self.bus.shutdown(deadline);
        let losses = self.events.losses();
        let lost = losses.starts + losses.ends;
        if report.accepted + lost != 2 * requests {
            return Err(format!("{requests} requests, {losses:?}, {report:?}"));
        }
        if self.sleeps {
            // What the shard has not come to is abandoned on purpose; the log is of no interest.
            fs::remove_file(&self.log).map_err(|error| error.to_string())?;
            return Ok(Outcome { lost });
        }
        let ended = requests - losses.ends;
        if self.counters.get_all() != ended {
            return Err(format!(
                "{requests} requests, {losses:?}, counted {}",
                self.counters.get_all()
            ));
        }
        log::check(&self.log, ended)?;
        Ok(Outcome { lost })
    }
}
