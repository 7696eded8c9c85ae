//! What a factory is told about the instance that it builds.

use crate::emit::Emitter;
use crate::shard::Mesh;
use crate::sync::Arc;
use crate::worker::{Control, Desk};

/// Where an instance will run. Handed to the factory on the shard's own thread.
#[derive(Debug)]
pub struct ShardContext {
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    pub(crate) processor: String,
    pub(crate) generation: u64,
    pub(crate) emitter: Emitter,
    pub(crate) flusher: Flusher,
}

impl ShardContext {
    /// The shard's index, from 0.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The number of shards of the bus.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// The name that the processor was registered under.
    pub fn processor(&self) -> &str {
        &self.processor
    }

    /// Counts the factories that a processor of this name has had: 1 at first, one more with each replacement.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// An emitter for derived events, to be kept by the processor.
    ///
    /// On a shard's thread no emit ever waits, whichever method is called: two shards that waited for each other would never
    /// move again. When there is no room the event is returned with [`Reason::Full`](crate::Reason::Full) and counted as refused. A
    /// derived event carries the number of its ancestors; past the bus's hop limit it is refused, which ends cycles. While the bus
    /// shuts down, events derived from accepted events are still accepted and processed.
    ///
    /// This emitter does not keep the bus alive.
    pub fn emitter(&self) -> Emitter {
        self.emitter.clone()
    }

    /// A handle that asks for a [`flush`](crate::Processor::flush) of this processor on this shard, from any thread: for what has
    /// to happen at some time although no event comes.
    pub fn flusher(&self) -> Flusher {
        self.flusher.clone()
    }
}

/// Asks for a flush of one processor on one shard. See [`ShardContext::flusher`].
///
/// It does not keep the bus alive.
#[derive(Clone)]
pub struct Flusher {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) shard: usize,
    pub(crate) processor: std::sync::Arc<str>,
}

impl std::fmt::Debug for Flusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flusher")
            .field("shard", &self.shard)
            .field("processor", &self.processor)
            .finish_non_exhaustive()
    }
}

impl Flusher {
    /// Whether the bus takes no events from outside any more.
    #[cfg(all(feature = "plugin", target_os = "linux"))]
    pub(crate) fn is_closing(&self) -> bool {
        self.mesh.shards[self.shard].gate.is_closed_acquire()
    }

    /// Whether the deadline of a shutdown has passed.
    #[cfg(all(feature = "plugin", target_os = "linux"))]
    pub(crate) fn is_abandoned(&self) -> bool {
        self.mesh.shards[self.shard].gate.signals().is_abandoned()
    }

    /// How many times in a row events may be derived from one another.
    #[cfg(all(feature = "plugin", target_os = "linux"))]
    pub(crate) fn hop_limit(&self) -> u8 {
        self.mesh.hop_limit
    }

    /// Has the processor's instance flushed between two batches, soon, and wakes the shard for it. Never blocks. Without effect
    /// once the bus is down or the processor has been removed.
    ///
    /// Each call is one flush and takes a little memory until then: ask again when the last one has come.
    pub fn request(&self) {
        self.desk.push(Control::Flush(self.processor.clone()));
        if !self.mesh.shards[self.shard].gate.announce_control() {
            // The worker is past its last look. Whoever takes a record from the desk answers it.
            while let Some(control) = self.desk.pop() {
                control.decline();
            }
        }
    }
}

/// What a factory is told before its instances are built. See [`ProcessorFactory::prepare`](crate::ProcessorFactory::prepare).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Upcoming<'a> {
    /// The name that the processor is registered under.
    pub processor: &'a str,
    /// The generation that the instances will belong to.
    pub generation: u64,
    /// How many there will be, one per shard.
    pub shards: usize,
}
