//! What a running server consists of, for everybody who tells about it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use keylane::http::{AccessLog, EventLayer, Losses, Serving, StatusCounters};
use keylane::ingest::Intake;
use keylane::{Bus, Stats};

use super::args::Settings;
use super::connection_errors::ConnectionErrors;
use super::durations::Durations;
use crate::processors::Processors;
use crate::processors::plugins::Reload;

/// A running server.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) bus: Arc<Bus>,
    pub(crate) intake: Intake,
    pub(crate) processors: Processors,
    /// The layer that all requests go through.
    pub(crate) layer: EventLayer,
    /// `None` when there is no access log.
    pub(crate) log: Option<AccessLog>,
    pub(crate) statuses: StatusCounters,
    pub(crate) durations: Durations,
    pub(crate) connection_errors: ConnectionErrors,
    /// What loads plugins again; until the shutdown, and if there are any.
    pub(super) reload: Mutex<Option<Reload>>,
    pub(crate) progress: Progress,
}

/// How far a server is between its beginning and its end.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) started: SystemTime,
    since: Instant,
    /// Bytes of bodies that are being read or checked.
    pub(crate) body_bytes: AtomicU64,
    draining: AtomicBool,
    /// The loop that accepts connections, from the beginning to the shutdown.
    serving: Mutex<Option<Serving>>,
}

impl Progress {
    /// A server that begins now.
    pub(crate) fn begin() -> Self {
        Self {
            started: SystemTime::now(),
            since: Instant::now(),
            body_bytes: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            serving: Mutex::new(None),
        }
    }
}

/// Numbers about connections.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Connections {
    pub(crate) open: usize,
    pub(crate) accepted: u64,
    /// Events about connections that found no room.
    pub(crate) lost_events: u64,
}

impl State {
    /// How long it has been running.
    pub(crate) fn uptime(&self) -> Duration {
        self.progress.since.elapsed()
    }

    /// Opens the log and the outputs again, and has the plugins' files looked at. Waits for nobody.
    pub(crate) fn reopen(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
        self.processors.reopen();
        let reload = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reload) = &*reload {
            reload.now();
        }
    }

    /// Plugins stay as they are from now on, but for a replacement that is under way. Waits for nobody.
    pub(crate) fn stop_reloading(&self) {
        let reload = self.reload.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(reload);
    }

    /// Where it listens, if it does.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        let serving = self.progress.serving.lock().unwrap_or_else(PoisonError::into_inner);
        serving.as_ref().and_then(Serving::local_addr)
    }

    /// Whether it is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.progress.draining.load(Ordering::Acquire)
    }

    /// From now on it is about to end.
    pub(crate) fn drain(&self) {
        self.progress.draining.store(true, Ordering::Release);
    }

    /// Numbers of the bus.
    pub(crate) fn stats(&self) -> Stats {
        self.bus.stats()
    }

    /// Events about requests that found no room.
    pub(crate) fn losses(&self) -> Losses {
        self.layer.losses()
    }

    /// Keeps the loop that accepts connections, so that its numbers can be told.
    pub(crate) fn keep(&self, serving: Serving) {
        *self.progress.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(serving);
    }

    /// Gives the loop back, to be shut down.
    pub(crate) fn take_serving(&self) -> Option<Serving> {
        self.progress.serving.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Numbers about connections; none once the loop was taken back.
    pub(crate) fn connections(&self) -> Option<Connections> {
        let serving = self.progress.serving.lock().unwrap_or_else(PoisonError::into_inner);
        serving.as_ref().map(|serving| Connections {
            open: serving.connections(),
            accepted: serving.accepted(),
            lost_events: serving.losses(),
        })
    }
}
