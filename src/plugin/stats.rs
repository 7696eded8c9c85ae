//! Numbers about a plugin host.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_core::ser::{Serialize, SerializeStruct, Serializer};

use super::cells::PluginMetric;
use super::error::LoadErrorKind;
use crate::stats::{Cell, serialize_fields};

/// A snapshot of a plugin host's numbers, taken by [`PluginHost::stats`](super::PluginHost::stats). Each counter only grows.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PluginStats {
    /// Libraries loaded: each of them stays in memory to the end of the process.
    pub resident_libraries: u64,
    /// The sizes of their files, in bytes.
    pub resident_bytes: u64,
    /// How many may be loaded.
    pub max_libraries: u64,
    /// Loads that gave a plugin, also of a library that was loaded before.
    pub loaded: u64,
    /// Loads of libraries without a manifest.
    pub without_manifest: u64,
    /// Loads refused, by the [name of the reason](LoadErrorKind::name).
    pub refused: BTreeMap<&'static str, u64>,
    /// Instances created.
    pub created: u64,
    /// Instances destroyed.
    pub destroyed: u64,
    /// Calls of `create` that gave no instance.
    pub create_failures: u64,
    /// Batches given to plugins: one call each.
    pub batches: u64,
    /// Times that an instance could not take an event for now (`AGAIN`).
    pub again: u64,
    /// Events refused by instances (`E_EVENT`).
    pub refused_events: u64,
    /// Instances given up: `E_FATAL`, unknown results, broken promises.
    pub fatal: u64,
    /// Instances given up for a panic (`E_PANIC`).
    pub panics: u64,
    /// Instances created in place of one that was given up.
    pub restarts: u64,
    /// How often a processor was taken out of service on a shard because it was restarted too often.
    pub quarantines: u64,
    /// Events derived by plugins and accepted by the bus.
    pub emitted: u64,
    /// Events derived by plugins that the host refused at once: no room in the outbox, too many hops, an argument that is wrong.
    pub emit_refused: u64,
    /// Events derived by plugins that were lost in the end: the bus was closed, or the instance ended with its outbox full.
    pub emit_lost: u64,
    /// Lines of the log that were left out because a plugin wrote too many.
    pub log_lines_dropped: u64,
    /// Calls of the host that a plugin made from where it may not.
    pub thread_violations: u64,
    /// States handed over from one instance to the next.
    pub hand_overs: u64,
    /// The longest time that a hand-over has held its shard up, in nanoseconds.
    pub longest_hand_over_ns: u64,
    /// What the plugins themselves count.
    pub metrics: Vec<PluginMetric>,
}

serialize_fields!(PluginStats {
    resident_libraries,
    resident_bytes,
    max_libraries,
    loaded,
    without_manifest,
    refused,
    created,
    destroyed,
    create_failures,
    batches,
    again,
    refused_events,
    fatal,
    panics,
    restarts,
    quarantines,
    emitted,
    emit_refused,
    emit_lost,
    log_lines_dropped,
    thread_violations,
    hand_overs,
    longest_hand_over_ns,
    metrics,
});

/// One counter. Written by any thread.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn raise(&self, n: u64) {
        self.0.fetch_max(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Batches, which each processor counts by itself: one counter for all would be a locked instruction in every call.
#[derive(Debug, Default)]
pub(crate) struct BatchCounts(Mutex<BatchCells>);

#[derive(Debug, Default)]
struct BatchCells {
    /// Of processors that have ended.
    ended: u64,
    open: Vec<Arc<Cell>>,
}

impl BatchCounts {
    fn cells(&self) -> MutexGuard<'_, BatchCells> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A counter for one more processor, which alone writes to it.
    pub(crate) fn open(&self) -> Arc<Cell> {
        let cell = Arc::<Cell>::default();
        self.cells().open.push(cell.clone());
        cell
    }

    /// The processor has ended.
    pub(crate) fn close(&self, cell: &Arc<Cell>) {
        let mut cells = self.cells();
        cells.open.retain(|open| !Arc::ptr_eq(open, cell));
        cells.ended += cell.get();
    }

    fn sum(&self) -> u64 {
        let cells = self.cells();
        cells.ended + cells.open.iter().map(|cell| cell.get()).sum::<u64>()
    }
}

/// What a host counts; the fields are those of [`PluginStats`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) loaded: Count,
    pub(crate) without_manifest: Count,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) created: Count,
    pub(crate) destroyed: Count,
    pub(crate) create_failures: Count,
    pub(crate) batches: BatchCounts,
    pub(crate) again: Count,
    pub(crate) refused_events: Count,
    pub(crate) fatal: Count,
    pub(crate) panics: Count,
    pub(crate) restarts: Count,
    pub(crate) quarantines: Count,
    pub(crate) emitted: Count,
    pub(crate) emit_refused: Count,
    pub(crate) emit_lost: Count,
    pub(crate) log_lines_dropped: Count,
    pub(crate) thread_violations: Count,
    pub(crate) hand_overs: Count,
    pub(crate) longest_hand_over_ns: Count,
}

impl Counts {
    pub(crate) fn refuse(&self, kind: &LoadErrorKind) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(kind.name()).or_default() += 1;
    }

    /// What is counted here; the rest is left at zero.
    pub(crate) fn snapshot(&self) -> PluginStats {
        PluginStats {
            loaded: self.loaded.get(),
            without_manifest: self.without_manifest.get(),
            refused: self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            created: self.created.get(),
            destroyed: self.destroyed.get(),
            create_failures: self.create_failures.get(),
            batches: self.batches.sum(),
            again: self.again.get(),
            refused_events: self.refused_events.get(),
            fatal: self.fatal.get(),
            panics: self.panics.get(),
            restarts: self.restarts.get(),
            quarantines: self.quarantines.get(),
            emitted: self.emitted.get(),
            emit_refused: self.emit_refused.get(),
            emit_lost: self.emit_lost.get(),
            log_lines_dropped: self.log_lines_dropped.get(),
            thread_violations: self.thread_violations.get(),
            hand_overs: self.hand_overs.get(),
            longest_hand_over_ns: self.longest_hand_over_ns.get(),
            ..PluginStats::default()
        }
    }
}
