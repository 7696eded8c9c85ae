//! Numbers about a running bus.

mod histogram;

use std::fmt;

pub use histogram::Summary;
pub(crate) use histogram::{Cell, Cells};

use serde_core::ser::{Serialize, SerializeStruct, Serializer};

/// Implements `Serialize` for a struct as the derive would. The library does without the derive, which would cost its
/// users six crates.
macro_rules! serialize_fields {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                const LEN: usize = [$(stringify!($field)),*].len();
                let mut out = serializer.serialize_struct(stringify!($type), LEN)?;
                $(out.serialize_field(stringify!($field), &self.$field)?;)*
                out.end()
            }
        }
    };
}
pub(crate) use serialize_fields;

/// A snapshot of a bus, taken by [`Bus::stats`](crate::Bus::stats).
///
/// Taking it reads counters that the shards write anyway; no shard is stopped, asked or slowed down. Each counter only
/// grows, and within a shard `processed + faulted <= accepted` holds in every snapshot. Times are in nanoseconds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// Events accepted, over all shards.
    pub accepted: u64,
    /// Emits refused: full, closed, timed out, or over the hop limit. An emit that waited and then succeeded does not count.
    pub refused: u64,
    /// Events that all processors have processed.
    pub processed: u64,
    /// Events that some processor panicked on, or did not get because it is in quarantine.
    pub faulted: u64,
    /// Events accepted and not yet processed.
    pub depth: u64,
    /// From emit to the start of processing, in nanoseconds, all shards. In a batch of more than 32 events up to eight neighbours
    /// count as the one of them that has waited longest.
    pub latency: Summary,
    /// Per shard.
    pub shards: Vec<ShardStats>,
    /// Per processor, all shards together, in the order of processing.
    pub processors: Vec<ProcessorStats>,
}

serialize_fields!(Stats {
    accepted,
    refused,
    processed,
    faulted,
    depth,
    latency,
    shards,
    processors
});

/// One shard of a [`Stats`] snapshot.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShardStats {
    /// The shard's index, from 0.
    pub shard: usize,
    /// Events accepted.
    pub accepted: u64,
    /// Emits refused.
    pub refused: u64,
    /// Events that all processors have processed.
    pub processed: u64,
    /// Events that some processor panicked on, or did not get because it is in quarantine.
    pub faulted: u64,
    /// Panics in destructors of values. The events had been processed.
    pub drop_faults: u64,
    /// Events accepted and not yet processed, in all rings of the shard.
    pub depth: u64,
    /// The largest depth that the shard has seen; it looks whenever a batch was full.
    pub high_water: u64,
    /// Rings that lead to the shard.
    pub rings: usize,
    /// Batches delivered.
    pub batches: u64,
    /// Events in a batch.
    pub batch_size: Summary,
    /// How often the shard's thread went to sleep.
    pub parks: u64,
    /// How long it slept, in nanoseconds.
    pub parked_ns: u64,
    /// From emit to the start of processing, in nanoseconds; see [`Stats::latency`].
    pub latency: Summary,
    /// The processors on this shard, in the order of processing.
    pub processors: Vec<ProcessorStats>,
}

serialize_fields!(ShardStats {
    shard,
    accepted,
    refused,
    processed,
    faulted,
    drop_faults,
    depth,
    high_water,
    rings,
    batches,
    batch_size,
    parks,
    parked_ns,
    latency,
    processors,
});

/// One processor of a [`Stats`] snapshot, on one shard or on all.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProcessorStats {
    /// The name it was registered under.
    pub name: String,
    /// Its generation: 1, and one more with each replacement. Over all shards, the largest.
    pub generation: u64,
    /// Events processed by it.
    pub events: u64,
    /// Events it panicked on.
    pub faults: u64,
    /// Events it did not get because it is in quarantine.
    pub skipped: u64,
    /// Instances built anew after a fault.
    pub restarts: u64,
    /// On how many shards it is in quarantine.
    pub quarantined: u64,
    /// Processing time per event, in nanoseconds: a batch's time divided by its events.
    pub time: Summary,
}

serialize_fields!(ProcessorStats {
    name,
    generation,
    events,
    faults,
    skipped,
    restarts,
    quarantined,
    time,
});

impl ProcessorStats {
    fn merge(&mut self, other: &Self) {
        self.generation = self.generation.max(other.generation);
        self.events += other.events;
        self.faults += other.faults;
        self.skipped += other.skipped;
        self.restarts += other.restarts;
        self.quarantined += other.quarantined;
        self.time.merge(&other.time);
    }
}

impl Stats {
    /// Adds the shards up.
    pub(crate) fn of(shards: Vec<ShardStats>) -> Self {
        let sum = |field: fn(&ShardStats) -> u64| shards.iter().map(field).sum();
        let mut latency = Summary::empty();
        let mut processors: Vec<ProcessorStats> = Vec::new();
        for shard in &shards {
            latency.merge(&shard.latency);
            for processor in &shard.processors {
                match processors.iter_mut().find(|known| known.name == processor.name) {
                    Some(known) => known.merge(processor),
                    None => processors.push(processor.clone()),
                }
            }
        }
        Self {
            accepted: sum(|shard| shard.accepted),
            refused: sum(|shard| shard.refused),
            processed: sum(|shard| shard.processed),
            faulted: sum(|shard| shard.faulted),
            depth: sum(|shard| shard.depth),
            latency,
            processors,
            shards,
        }
    }
}

impl fmt::Display for Stats {
    /// One line: the totals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, refused, processed, faulted, depth, latency, .. } = self;
        write!(
            f,
            "accepted {accepted}, refused {refused}, processed {processed}, faulted {faulted}, depth {depth}, \
             latency p50 {} ns, p99 {} ns, max {} ns",
            latency.quantile(0.5),
            latency.quantile(0.99),
            latency.max(),
        )
    }
}

/// What a shard counts about one processor. Written by the shard only.
#[derive(Debug)]
pub(crate) struct ProcessorCells {
    pub(crate) name: String,
    pub(crate) generation: Cell,
    pub(crate) events: Cell,
    pub(crate) faults: Cell,
    pub(crate) skipped: Cell,
    pub(crate) restarts: Cell,
    pub(crate) quarantined: std::sync::atomic::AtomicBool,
    pub(crate) time: Cells,
    /// Events and failures that were taken over from a replaced instance.
    inherited: [Cell; 2],
}

impl ProcessorCells {
    pub(crate) fn new(name: String, generation: u64) -> Self {
        let cells = Self {
            name,
            generation: Cell::default(),
            events: Cell::default(),
            faults: Cell::default(),
            skipped: Cell::default(),
            restarts: Cell::default(),
            quarantined: std::sync::atomic::AtomicBool::new(false),
            time: Cells::new(),
            inherited: Default::default(),
        };
        cells.generation.raise(generation);
        cells
    }

    /// Goes on counting where a replaced instance stopped.
    pub(crate) fn take_over(&self, old: &Self) {
        self.events.add(old.events.get());
        self.faults.add(old.faults.get());
        self.skipped.add(old.skipped.get());
        self.restarts.add(old.restarts.get());
        self.time.take_over(&old.time);
        self.inherited[0].add(old.events.get());
        self.inherited[1].add(old.failures());
    }

    fn failures(&self) -> u64 {
        self.faults.get() + self.skipped.get()
    }

    /// Events processed by this instance itself, and those that it faulted on or skipped.
    pub(crate) fn of_its_own(&self) -> (u64, u64) {
        let [events, failures] = &self.inherited;
        // The sums are written before the shares of them, but by another thread.
        let own = |sum: u64, inherited: &Cell| sum.saturating_sub(inherited.get());
        (own(self.events.get(), events), own(self.failures(), failures))
    }

    pub(crate) fn snapshot(&self) -> ProcessorStats {
        let mut time = Summary::empty();
        self.time.add_to(&mut time);
        ProcessorStats {
            name: self.name.clone(),
            generation: self.generation.get(),
            events: self.events.get(),
            faults: self.faults.get(),
            skipped: self.skipped.get(),
            restarts: self.restarts.get(),
            quarantined: self.quarantined.load(std::sync::atomic::Ordering::Relaxed).into(),
            time,
        }
    }
}
