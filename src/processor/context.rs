//! What a factory is told about the instance that it builds.

use crate::emit::Emitter;

/// Where an instance will run. Handed to the factory on the shard's own thread.
#[derive(Debug)]
pub struct ShardContext {
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    pub(crate) processor: String,
    pub(crate) generation: u64,
    pub(crate) emitter: Emitter,
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
}
