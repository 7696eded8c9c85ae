//! Control records: how a processor is added, replaced or removed while events flow.
//!
//! An order is carried out in two steps. First every shard builds the new instance, beside the old one, which goes on
//! working. When all have succeeded, every shard switches at a batch boundary: the old instance has seen exactly the
//! events before it, the new one sees exactly those after it. When one has failed, all drop what they built and nothing has
//! changed.
//!
//! A switch can fail as well, when an instance cannot hand over its state, and a first shard may be watched before the others
//! switch. So an old instance that has handed over, or is asked to stay (`Order::keep_old`), is kept beside the new one
//! until the order is [finished](Control::Finish) or [undone](Control::Undo) on all shards.

use std::sync::Arc as StdArc;

use crate::event::EventType;
use crate::processor::Make;
use crate::sync::{Arc, Condvar, Mutex, Queue, lock};

/// Which event types a processor gets.
#[derive(Debug, Clone)]
pub(crate) enum Filter {
    All,
    /// Sorted.
    Only(StdArc<[EventType]>),
}

impl Filter {
    pub(crate) fn only(types: impl IntoIterator<Item = EventType>) -> Self {
        let mut types: Vec<_> = types.into_iter().collect();
        types.sort_unstable();
        types.dedup();
        Self::Only(types.into())
    }

    #[inline]
    pub(crate) fn admits(&self, kind: EventType) -> bool {
        match self {
            Self::All => true,
            Self::Only(types) => types.binary_search(&kind).is_ok(),
        }
    }
}

/// What to do with a processor.
#[derive(Clone)]
pub(crate) enum Edit {
    /// Append it.
    Add(Filter, Make),
    /// Put a new instance in the place of the old one.
    Replace(Make),
    /// Take it out.
    Remove,
}

/// One call of `add_processor`, `replace_processor` or `remove_processor`.
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) edit: Edit,
    /// Whether replaced instances stay until the order is finished, state or not.
    pub(crate) keep_old: bool,
    pub(crate) replies: Replies,
}

/// A step of an order, for one shard.
#[derive(Clone)]
pub(crate) enum Control {
    Prepare(Arc<Order>),
    Commit(Arc<Order>),
    /// All shards have switched: the old instance goes.
    Finish(Arc<Order>),
    /// Some shard could not: the old instance comes back, or what was prepared goes.
    Undo(Arc<Order>),
    /// Not part of an order: flush this processor.
    Flush(StdArc<str>),
    /// Makes the worker itself panic, as a fault of this crate would.
    #[cfg(test)]
    Panic,
}

impl Control {
    /// Answers in place of a worker that is gone.
    pub(crate) fn decline(self) {
        match self {
            Self::Prepare(order)
            | Self::Commit(order)
            | Self::Finish(order)
            | Self::Undo(order) => order.replies.send(Reply::Closed),
            Self::Flush(_) => {}
            #[cfg(test)]
            Self::Panic => {}
        }
    }
}

/// The control records of one shard.
pub(crate) type Desk = Queue<Control>;

/// A shard's answer to one step.
#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    /// It has switched, and keeps the old instance until the order is finished or undone.
    Kept,
    /// The factory failed, or the state could not be handed over.
    Failed {
        shard: usize,
        message: String,
    },
    /// The worker has ended.
    Closed,
}

/// Collects the shards' answers to one step.
#[derive(Debug)]
pub(crate) struct Replies {
    received: Mutex<Vec<Reply>>,
    arrived: Condvar,
}

impl Replies {
    pub(crate) fn new() -> Self {
        Self { received: Mutex::new(Vec::new()), arrived: Condvar::new() }
    }

    pub(crate) fn send(&self, reply: Reply) {
        lock(&self.received).push(reply);
        self.arrived.notify_one();
    }

    /// Waits for one answer from each of `shards` shards.
    pub(crate) fn wait(&self, shards: usize) -> Vec<Reply> {
        let mut received = lock(&self.received);
        while received.len() < shards {
            received =
                self.arrived.wait(received).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        std::mem::take(&mut received)
    }
}
