//! Why a change of processors failed.

use std::fmt;

/// Why a processor could not be changed. Nothing has changed then, except when the bus was closed in the middle of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SwapError {
    /// No processor has that name.
    Unknown {
        /// The name.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A processor of that name exists already.
    Exists {
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
    /// The old instance could not [hand over](crate::Processor::hand_over) its state, or the new one could not take it.
    HandOver {
        /// The processor's name.
        processor: String,
        /// The shard.
        shard: usize,
        /// What the instance said, or the panic's message.
        message: String,
    },
    /// The shard that went first had too many faults. See [`Rollout`](crate::Rollout).
    Canary {
        /// The processor's name.
        processor: String,
        /// The shard.
        shard: usize,
        /// How many events the new instance had processed.
        events: u64,
        /// How many it had faulted on or skipped.
        faults: u64,
        /// How many were allowed.
        allowed: u64,
    },
    /// The bus has been shut down.
    Closed,
    /// Called on the thread of a shard, inside a processor.
    OnShard,
}

impl fmt::Display for SwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, known } if known.is_empty() => {
                write!(f, "there is no processor named {name:?}; there are none at all")
            }
            Self::Unknown { name, known } => {
                let known: Vec<_> = known.iter().map(|name| format!("{name:?}")).collect();
                write!(f, "there is no processor named {name:?}; there are: {}", known.join(", "))
            }
            Self::Exists { name } => {
                write!(f, "there is a processor named {name:?} already; replace it, or choose another name")
            }
            Self::Prepare { processor, message } => {
                write!(f, "the factory of processor {processor:?} failed, nothing was changed: {message}")
            }
            Self::Factory { processor, shard, message } => {
                write!(f, "the factory of processor {processor:?} failed on shard {shard}, nothing was changed: {message}")
            }
            Self::HandOver { processor, shard, message } => {
                write!(
                    f,
                    "the state of processor {processor:?} could not be handed over on shard {shard}, the old instances stay: {message}"
                )
            }
            Self::Canary { processor, shard, events, faults, allowed } => {
                write!(
                    f,
                    "the new instance of processor {processor:?} on shard {shard} had {faults} faults in {events} events, \
                     {allowed} are allowed; the old instances stay"
                )
            }
            Self::Closed => f.write_str("the bus is closed"),
            Self::OnShard => f.write_str(
                "a processor cannot change the bus's processors, because its shard would wait for itself; do it on another thread",
            ),
        }
    }
}

impl std::error::Error for SwapError {}
