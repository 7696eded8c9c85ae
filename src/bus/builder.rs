//! Building a bus.

use std::fmt;
use std::io;
use std::time::Duration;

use super::life::{Life, Plan};
use super::{Bus, affinity};
use crate::event::EventType;
use crate::processor::{Contained, Fault, FaultPolicy, Hook, Make, ProcessorFactory, erase};
use crate::sync::thread;
use crate::worker::{Filter, WaitStrategy};

/// The largest number of shards.
const MAX_SHARDS: usize = 1024;
/// The largest capacity of a ring: 64 MiB.
const MAX_CAPACITY: usize = 1 << 20;

/// Configures and starts a [`Bus`]. Made by [`Bus::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    shards: Option<usize>,
    capacity: usize,
    max_rings: usize,
    strategy: WaitStrategy,
    pin: bool,
    policy: FaultPolicy,
    hook: Option<Hook>,
    hop_limit: u8,
    drain_on_drop: Duration,
    processors: Vec<(String, Filter, Make)>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processors: Vec<_> = self.processors.iter().map(|(name, ..)| name).collect();
        f.debug_struct("Builder")
            .field("shards", &self.shards)
            .field("capacity", &self.capacity)
            .field("strategy", &self.strategy)
            .field("policy", &self.policy)
            .field("processors", &processors)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            shards: None,
            capacity: 1024,
            max_rings: 4096,
            strategy: WaitStrategy::default(),
            pin: false,
            policy: FaultPolicy::default(),
            hook: None,
            hop_limit: 8,
            drain_on_drop: Duration::from_secs(30),
            processors: Vec::new(),
        }
    }

    /// The number of shards, fixed for the life of the bus; 1 to 1024. Default: the available parallelism.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Slots of one ring, a power of two up to 2^20. Default: 1024. There is a ring of 64 bytes a slot for each pair of a producer (or
    /// an emitting thread) and a shard that it has emitted to.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// The most rings that lead to one shard. Default: 4096. Producers and threads beyond that share one more ring, behind a
    /// lock: slower, in the same order, and bounded.
    pub fn max_rings(mut self, rings: usize) -> Self {
        self.max_rings = rings;
        self
    }

    /// How shards wait for events. Default: [`WaitStrategy::Adaptive`].
    pub fn wait(mut self, strategy: WaitStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Whether each shard's thread is bound to one core, in the order of the cores that the process may use. Default: no. Only on Linux;
    /// where the system refuses, a `tracing` warning says so and the thread runs unbound.
    pub fn pin_shards(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Adds a processor that gets every event. Processors get a batch of events in the order in which they were added.
    pub fn processor<Form>(
        mut self,
        name: impl Into<String>,
        factory: impl ProcessorFactory<Form>,
    ) -> Self {
        self.processors.push((name.into(), Filter::All, erase(factory)));
        self
    }

    /// Adds a processor that gets events of these types only.
    pub fn processor_for<Form>(
        mut self,
        name: impl Into<String>,
        types: impl IntoIterator<Item = EventType>,
        factory: impl ProcessorFactory<Form>,
    ) -> Self {
        self.processors.push((name.into(), Filter::only(types), erase(factory)));
        self
    }

    /// What becomes of an instance that panicked. Default: [`FaultPolicy::Skip`].
    pub fn fault_policy(mut self, policy: FaultPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Installs a hook that is called with every fault, on the thread of the shard. A panic in it is caught.
    pub fn on_fault(mut self, hook: impl Fn(&Fault<'_>) + Send + Sync + 'static) -> Self {
        let hook = Contained::new(hook);
        self.hook = Some(std::sync::Arc::new(move |fault: &Fault<'_>| hook.get()(fault)));
        self
    }

    /// How many times in a row events may be derived from one another; 1 to 254. Default: 8.
    pub fn hop_limit(mut self, hops: u8) -> Self {
        self.hop_limit = hops.clamp(1, u8::MAX - 1);
        self
    }

    /// How long dropping the last handle may wait for the bus to drain. Default: 30 s.
    pub fn drain_on_drop(mut self, deadline: Duration) -> Self {
        self.drain_on_drop = deadline;
        self
    }

    /// Starts the shards and builds the processors, each on its shard's thread. Returns when all of them are ready.
    ///
    /// # Errors
    /// When a setting is out of range, two processors have one name, a factory fails or a thread cannot be started. Nothing is left
    /// running then; instances that had been built are shut down.
    pub fn build(self) -> Result<Bus, BuildError> {
        let parallelism = available_parallelism();
        let shards = match self.shards {
            Some(shards) => shards,
            None => parallelism.min(MAX_SHARDS),
        };
        if !(1..=MAX_SHARDS).contains(&shards) {
            return Err(BuildError::Shards { shards });
        }
        if !self.capacity.is_power_of_two() || self.capacity > MAX_CAPACITY {
            return Err(BuildError::Capacity { capacity: self.capacity });
        }
        for (index, (name, ..)) in self.processors.iter().enumerate() {
            if self.processors[..index].iter().any(|(other, ..)| other == name) {
                return Err(BuildError::DuplicateProcessor { name: name.clone() });
            }
        }
        let cores = if self.pin { affinity::cores() } else { Vec::new() };
        let life = Life::start(Plan {
            shards,
            capacity: self.capacity,
            max_rings: self.max_rings,
            strategy: self.strategy,
            parallelism,
            policy: self.policy,
            hook: self.hook,
            hop_limit: self.hop_limit,
            processors: self.processors,
            cores,
        })?;
        Ok(Bus::new(life, self.drain_on_drop))
    }
}

fn available_parallelism() -> usize {
    #[cfg(not(loom))]
    return thread::available_parallelism().map_or(1, usize::from);
    #[cfg(loom)]
    {
        let _ = thread::current();
        1
    }
}

/// Why a bus could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The number of shards is out of range.
    Shards {
        /// What was asked for.
        shards: usize,
    },
    /// The capacity is not a power of two, or too large.
    Capacity {
        /// What was asked for.
        capacity: usize,
    },
    /// Two processors have the same name.
    DuplicateProcessor {
        /// The name.
        name: String,
    },
    /// A factory failed or panicked in [`prepare`](crate::ProcessorFactory::prepare).
    Prepare {
        /// The processor's name.
        processor: String,
        /// The factory's error, or the panic's message.
        message: String,
    },
    /// A factory failed or panicked.
    Factory {
        /// The processor's name.
        processor: String,
        /// The shard that it was built for.
        shard: usize,
        /// The factory's error, or the panic's message.
        message: String,
    },
    /// The thread of a shard could not be started.
    Thread {
        /// The shard.
        shard: usize,
        /// The system's error.
        error: io::Error,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shards { shards } => {
                write!(f, "{shards} shards are out of range; use 1 to {MAX_SHARDS}")
            }
            Self::Capacity { capacity } if *capacity > MAX_CAPACITY => {
                write!(f, "capacity {capacity} is too large; use {MAX_CAPACITY} or less")
            }
            Self::Capacity { capacity } => {
                let better = capacity.next_power_of_two();
                write!(f, "capacity {capacity} is not a power of two; use {better}")
            }
            Self::DuplicateProcessor { name } => {
                write!(f, "two processors are named {name:?}; names must differ")
            }
            Self::Prepare { processor, message } => {
                write!(f, "the factory of processor {processor:?} failed: {message}")
            }
            Self::Factory { processor, shard, message } => {
                write!(
                    f,
                    "the factory of processor {processor:?} failed on shard {shard}: {message}"
                )
            }
            Self::Thread { shard, error } => {
                write!(f, "the thread of shard {shard} could not be started: {error}")
            }
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread { error, .. } => Some(error),
            _ => None,
        }
    }
}
