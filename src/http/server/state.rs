//! What the connections of a server share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Limits;
use super::phase::Phases;
use crate::emit::Emitter;
use crate::event::{EventType, Value};
use crate::key::Key;

#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) emitter: Emitter,
    pub(super) limits: Limits,
    pub(super) traffic: bool,
    pub(super) phases: Phases,
    /// Events that found no room.
    pub(super) lost: AtomicU64,
    pub(super) accepted: AtomicU64,
    /// Connections that are open now.
    pub(super) open: AtomicUsize,
    /// Connections that are tunnels now.
    pub(super) tunnels: AtomicUsize,
    /// How connections ended since the server began to drain: by themselves, and cut off; of these, tunnels.
    pub(super) finished: AtomicU64,
    pub(super) aborted: AtomicU64,
    pub(super) finished_tunnels: AtomicU64,
    pub(super) aborted_tunnels: AtomicU64,
}

impl ServerState {
    pub(super) fn new(emitter: Emitter, limits: Limits, traffic: bool, phases: Phases) -> Self {
        Self {
            emitter,
            limits,
            traffic,
            phases,
            lost: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            tunnels: AtomicUsize::new(0),
            finished: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            finished_tunnels: AtomicU64::new(0),
            aborted_tunnels: AtomicU64::new(0),
        }
    }

    /// Emits if there is room, and leaves some to the ends of requests.
    pub(super) fn emit(&self, kind: EventType, value: impl Into<Value>, key: Key) {
        if self.emitter.try_emit_sparing(kind, value, key).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn connection_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection_ended(&self, tunnel: bool, was_cut: bool) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        if tunnel {
            self.tunnels.fetch_sub(1, Ordering::Relaxed);
        }
        if self.phases.is_running() {
            return;
        }
        let (all, tunnels) = if was_cut {
            (&self.aborted, &self.aborted_tunnels)
        } else {
            (&self.finished, &self.finished_tunnels)
        };
        all.fetch_add(1, Ordering::Relaxed);
        tunnels.fetch_add(u64::from(tunnel), Ordering::Relaxed);
    }
}
