//! What everybody sees of a shard: its gate, its clock, the rings that lead to it, its counters.
//!
//! The thread behind it is in [`worker`](crate::worker).

mod gate;
mod merging;

use crossbeam_utils::CachePadded;

use crate::clock::Clock;
use crate::event::Body;
use crate::ring::{Inlet, Ring};
use crate::stats::{Cell, Cells, ProcessorCells, ShardStats, Summary};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Shared, Spare, thread};

pub(crate) use gate::{Gate, Signals};
pub(crate) use merging::Merging;
use merging::RingCount;

/// Spare rings that a shard keeps for future producers.
const SPARE_RINGS: usize = 32;

/// All shards of one bus.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// Tells buses of one process apart.
    pub(crate) id: u64,
    /// How often an event may be derived from another.
    pub(crate) hop_limit: u8,
    pub(crate) shards: Box<[Shard]>,
}

/// How far a worker has come, readable from outside while a processor is stuck.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Events completely processed. Written by the worker only; never decreases.
    pub(crate) processed: AtomicU64,
    /// Set when the deadline of a shutdown ran out: start no further event.
    pub(crate) stop: AtomicBool,
    /// While the bus closes: this shard has nothing to do but to wait for the others. Written by the worker only.
    pub(crate) waiting: AtomicBool,
}

/// One shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) gate: Gate,
    pub(crate) clock: Clock,
    /// How far the worker has come; its `processed` counts towards the report.
    pub(crate) progress: CachePadded<Progress>,
    /// Events that some processor did not get through. Written by the worker only.
    pub(crate) faulted: AtomicU64,
    /// All events from outside that will ever come have been processed. Set once by the worker.
    drained: AtomicBool,
    /// Derived events that this shard's processors have sent, counted before they are visible. Written by the worker.
    derived_sent: CachePadded<AtomicU64>,
    /// Derived events that this shard has completely processed. Written by the worker.
    derived_done: CachePadded<AtomicU64>,
    rings: Shared<RingList>,
    ring_count: RingCount,
    spare: Spare<Arc<Ring<Body>>>,
    /// The ring of those that have none of their own: producers beyond the limit, and threads that are ending.
    pub(crate) common: Mutex<Option<Inlet<Body>>>,
    pub(crate) cells: ShardCells,
    pub(crate) capacity: usize,
    max_rings: usize,
}

/// The rings that lead to a shard. Replaced as a whole: the worker and the statistics read it without waiting.
#[derive(Debug, Clone, Default)]
struct RingList {
    entries: Vec<Entry>,
    /// What was published in rings that have left the list.
    retired: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    ring: Arc<Ring<Body>>,
    /// What had been published in the ring when it joined the list.
    base: u64,
    owner: Owner,
}

/// Who emits through a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// One producer, or one thread's emitters.
    Producer,
    /// Another shard, or the shard itself.
    Shard,
    /// All that have no ring of their own.
    Everybody,
}

/// Counters that only the statistics read. Written by the worker, except for `refused`.
#[derive(Debug)]
pub(crate) struct ShardCells {
    pub(crate) refused: CachePadded<std::sync::atomic::AtomicU64>,
    pub(crate) drop_faults: Cell,
    pub(crate) high_water: Cell,
    pub(crate) batches: Cell,
    pub(crate) batch_size: Cells,
    pub(crate) parks: Cell,
    pub(crate) parked_ns: Cell,
    pub(crate) latency: Cells,
    pub(crate) processors: arc_swap::ArcSwap<Vec<std::sync::Arc<ProcessorCells>>>,
}

impl Shard {
    /// A shard, of a bus whose shards share `merging`.
    pub(crate) fn new(capacity: usize, max_rings: usize, merging: Arc<Merging>) -> Self {
        Self {
            gate: Gate::new(),
            clock: Clock::new(),
            progress: CachePadded::new(Progress {
                processed: AtomicU64::new(0),
                stop: AtomicBool::new(false),
                waiting: AtomicBool::new(false),
            }),
            faulted: AtomicU64::new(0),
            drained: AtomicBool::new(false),
            derived_sent: CachePadded::new(AtomicU64::new(0)),
            derived_done: CachePadded::new(AtomicU64::new(0)),
            rings: Shared::new(RingList::default()),
            ring_count: RingCount::new(merging),
            spare: Spare::new(SPARE_RINGS),
            common: Mutex::new(None),
            cells: ShardCells {
                refused: CachePadded::new(std::sync::atomic::AtomicU64::new(0)),
                drop_faults: Cell::default(),
                high_water: Cell::default(),
                batches: Cell::default(),
                batch_size: Cells::new(),
                parks: Cell::default(),
                parked_ns: Cell::default(),
                latency: Cells::new(),
                processors: arc_swap::ArcSwap::default(),
            },
            capacity,
            max_rings,
        }
    }

    /// A stamp for an event that is about to be published.
    #[inline(always)]
    pub(crate) fn stamp(&self) -> u64 {
        self.clock.stamp(self.merging().any())
    }

    /// What tells whether the stamps of this bus have to order its events.
    #[inline(always)]
    pub(crate) fn merging(&self) -> &Arc<Merging> {
        self.ring_count.merging()
    }

    /// Opens a ring to this shard: a spare one, or a new one. `None` when producers have as many as the builder allows; shards'
    /// own rings and the common one do not count.
    ///
    /// The ring is in the list when this returns, so an event published in it is seen by every round whose watermark lies
    /// after this call.
    pub(crate) fn open_ring(&self, owner: Owner) -> Option<Inlet<Body>> {
        let is_allowed = |list: &RingList| {
            let limited = |entry: &&Entry| entry.owner == Owner::Producer;
            owner != Owner::Producer || list.entries.iter().filter(limited).count() < self.max_rings
        };
        if !is_allowed(&self.rings.load()) {
            return None;
        }
        let ring = self.spare.pop().unwrap_or_else(|| Arc::new(Ring::new(self.capacity)));
        let entry = Entry { base: ring.published(), ring: ring.clone(), owner };
        // Before the ring is in the list: a spare one is orphaned until now, and would be retired again.
        let inlet = Inlet::new(ring.clone());
        let mut opened = false;
        self.ring_count.add();
        self.rings.update(|list| {
            let mut list = list.clone();
            // Asked again, because others open rings at the same time.
            opened = is_allowed(&list);
            if opened {
                list.entries.push(entry.clone());
            }
            list
        });
        if !opened {
            self.ring_count.remove();
            let _ = self.spare.push(ring);
            return None;
        }
        self.gate.announce_rings();
        Some(inlet)
    }

    /// Gives a ring up. The worker drains it and keeps it for the next producer.
    pub(crate) fn close_ring(&self, inlet: &Inlet<Body>) {
        inlet.orphan();
        self.gate.announce_rings();
    }

    /// The rings that lead to this shard, each with whether its producer is a shard; for the worker.
    pub(crate) fn rings(&self) -> Vec<(Arc<Ring<Body>>, bool)> {
        let list = self.rings.load();
        list.entries.iter().map(|entry| (entry.ring.clone(), entry.owner == Owner::Shard)).collect()
    }

    /// Takes a drained ring out of the list; for the worker.
    pub(crate) fn retire_ring(&self, ring: &Arc<Ring<Body>>) {
        self.rings.update(|list| {
            let mut next = RingList { entries: Vec::new(), retired: list.retired };
            for entry in &list.entries {
                if Arc::ptr_eq(&entry.ring, ring) {
                    next.retired += ring.published() - entry.base;
                } else {
                    next.entries.push(entry.clone());
                }
            }
            next
        });
        self.ring_count.remove();
        // Tasks of the thread that is gone may still wait here, and will find the rings of other threads.
        ring.wake_all();
        // Beyond a few spare rings the memory goes back.
        let _ = self.spare.push(ring.clone());
    }

    /// Events accepted so far, at least `finished`.
    ///
    /// An event can be seen and finished before its producer, interrupted after the publication, has counted it. The caller
    /// therefore names what has been finished, read before this call.
    pub(crate) fn accepted(&self, finished: u64) -> u64 {
        let list = self.rings.load();
        let live = list.entries.iter().map(|entry| entry.ring.published() - entry.base);
        (list.retired + live.sum::<u64>()).max(finished)
    }

    pub(crate) fn processed(&self) -> u64 {
        self.progress.processed.load(Ordering::Acquire)
    }

    pub(crate) fn faulted(&self) -> u64 {
        self.faulted.load(Ordering::Acquire)
    }

    /// Wakes every emit that waits for room in a ring of this shard: the shard has been closed.
    pub(crate) fn wake_waiting(&self) {
        for entry in &self.rings.load().entries {
            entry.ring.wake_all();
        }
    }

    /// Waits until no emit is in the middle of a publication. After a fence that follows the closing of the gate nothing more is
    /// accepted when this returns. No user code runs between the two ends of a publication, so the wait is short.
    pub(crate) fn wait_for_publications(&self) {
        for entry in &self.rings.load().entries {
            while entry.ring.is_busy() {
                thread::yield_now();
            }
        }
    }

    /// Counts a derived event before it is published; for emits on a shard's thread, `self` being the sending shard.
    pub(crate) fn count_derived(&self) {
        let sent = self.derived_sent.load(Ordering::Relaxed);
        self.derived_sent.store(sent + 1, Ordering::Release);
    }

    /// Counts derived events that have been processed; for the worker.
    pub(crate) fn count_derived_done(&self, count: u64) {
        let done = self.derived_done.load(Ordering::Relaxed);
        self.derived_done.store(done + count, Ordering::Release);
    }

    /// Declares that every event from outside that was ever accepted has been processed; for the worker.
    pub(crate) fn set_drained(&self) {
        self.drained.store(true, Ordering::Release);
    }

    pub(crate) fn stats(&self, shard: usize) -> ShardStats {
        let processed = self.processed();
        let faulted = self.faulted();
        let accepted = self.accepted(processed + faulted);
        let cells = &self.cells;
        let summary = |cells: &Cells| {
            let mut summary = Summary::empty();
            cells.add_to(&mut summary);
            summary
        };
        ShardStats {
            shard,
            accepted,
            refused: cells.refused.load(Ordering::Relaxed),
            processed,
            faulted,
            drop_faults: cells.drop_faults.get(),
            depth: accepted.saturating_sub(processed + faulted),
            high_water: cells.high_water.get(),
            rings: self.rings.load().entries.len(),
            batches: cells.batches.get(),
            batch_size: summary(&cells.batch_size),
            parks: cells.parks.get(),
            parked_ns: cells.parked_ns.get(),
            latency: summary(&cells.latency),
            processors: cells.processors.load().iter().map(|cells| cells.snapshot()).collect(),
        }
    }
}

impl Mesh {
    /// Whether no shard processes anything any more.
    pub(crate) fn is_over(&self) -> bool {
        self.shards.iter().all(|shard| shard.gate.is_over())
    }

    /// Sums a counter over the shards.
    pub(crate) fn sum(&self, counter: impl Fn(&Shard) -> u64) -> u64 {
        self.shards.iter().map(counter).sum()
    }
}

/// Whether every event of the bus has been processed and none can come any more.
///
/// Events that processors derive travel between shards while a bus drains, so "all rings are empty" is not enough. This is the
/// four-counter method of F. Mattern, "Algorithms for Distributed Termination Detection" (1987): when every shard has drained
/// what comes from outside, and the sum of derived events done, *read first*, equals the sum sent, read second,
/// then none was under way in between, and none can arise again.
pub(crate) fn is_quiescent(mesh: &Mesh) -> bool {
    if !mesh.shards.iter().all(|shard| shard.drained.load(Ordering::Acquire)) {
        return false;
    }
    let done = mesh.sum(|shard| shard.derived_done.load(Ordering::Acquire));
    let sent = mesh.sum(|shard| shard.derived_sent.load(Ordering::Acquire));
    done == sent
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::event::Value;

    #[test]
    fn an_event_counts_as_accepted_when_it_is_finished() {
        let shard = Shard::new(8, 8, Arc::default());
        let mut inlet = shard.open_ring(Owner::Producer).expect("there is room for a ring");
        assert!(inlet.has_room());
        inlet.begin();
        let body = Body { stamp: 1, key_hash: 0, value: Value::none() };
        // SAFETY: there is room.
        unsafe { inlet.publish(0, body) };
        // The producer is interrupted here; the worker is not.
        shard.progress.processed.store(1, Ordering::Release);
        let stats = shard.stats(0);
        assert_eq!((stats.accepted, stats.processed, stats.depth), (1, 1, 0));
        inlet.end();
        assert_eq!(shard.stats(0).accepted, 1);
    }
}
