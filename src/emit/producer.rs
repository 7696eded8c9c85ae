//! The exclusive handle.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::Duration;

use super::emitter::Link;
use super::error::{BatchError, EmitError};
use super::group::{GROUP, Group};
use super::rings::{GroupRefused, Rings};
use super::wait::{Patience, YIELDS, insist};
use crate::event::{Event, EventType, RawValue, Value};
use crate::key::Key;
use crate::shard::Mesh;
use crate::sync::{Arc, thread};

/// An exclusive handle that emits through rings of its own: the fastest way into a bus.
///
/// It can be sent to another thread, not shared and not cloned; make another with [`Bus::producer`](crate::Bus::producer).
/// Dropping it keeps what it emitted. It keeps the bus alive, like every handle.
///
/// ```
/// use keylane::{Bus, EventType, Key, NoopProcessorFactory, Value};
/// use std::time::Duration;
///
/// let bus = Bus::builder().shards(2).processor("noop", NoopProcessorFactory).build()?;
/// let mut producer = bus.producer();
/// producer.emit_blocking(EventType::user(0), 17, "a key")?;
/// let batch = (0..100).map(|n| (EventType::user(1), Value::new(n), Key::from(n)));
/// assert_eq!(producer.emit_batch(batch)?, 100);
/// assert_eq!(bus.shutdown(Duration::from_secs(5)).processed, 101);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Producer {
    // Dropped before the link: giving up the rings comes before the shutdown that the last link starts.
    rings: Rings,
    /// Memory for the group of a batch that is being gathered.
    group: Group,
    _link: Arc<Link>,
    /// Its methods need `&mut self`, so a shared reference would be of no use; this says so.
    _not_sync: PhantomData<Cell<()>>,
}

// NB: The emits are inlined always. In a call of its own, an emit reads its value from memory in words, and whoever wrote it there in
// smaller pieces a moment ago makes every read wait, see `RawValue`: 14 million events a second in place of 24.
impl Producer {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        let rings = Rings::new(link.mesh.clone(), None);
        let group = Group::new(link.mesh.shards.len());
        Self { rings, group, _link: link, _not_sync: PhantomData }
    }

    fn mesh(&self) -> Arc<Mesh> {
        self.rings.mesh().clone()
    }

    /// Emits if there is room. Never waits.
    ///
    /// # Errors
    /// [`Reason::Full`](crate::Reason::Full) or [`Reason::Closed`](crate::Reason::Closed); the event comes back.
    #[inline(always)]
    pub fn try_emit(
        &mut self,
        kind: EventType,
        value: impl Into<Value>,
        key: impl Into<Key>,
    ) -> Result<(), EmitError> {
        self.emit(kind, value.into().into_raw(), key.into(), Patience::None)
    }

    /// Emits, and blocks the thread while there is no room.
    ///
    /// On a thread of this bus's own shards it does not block, because the shard would wait for itself; it is refused
    /// as [`try_emit`](Self::try_emit) is.
    ///
    /// # Errors
    /// [`Reason::Closed`](crate::Reason::Closed), also when the bus is closed while it blocks; the event comes back.
    #[inline(always)]
    pub fn emit_blocking(
        &mut self,
        kind: EventType,
        value: impl Into<Value>,
        key: impl Into<Key>,
    ) -> Result<(), EmitError> {
        self.emit(kind, value.into().into_raw(), key.into(), Patience::Forever)
    }

    /// Emits, and blocks the thread for at most `timeout` while there is no room.
    ///
    /// # Errors
    /// As [`emit_blocking`](Self::emit_blocking), and [`Reason::Timeout`](crate::Reason::Timeout).
    #[inline(always)]
    pub fn emit_timeout(
        &mut self,
        kind: EventType,
        value: impl Into<Value>,
        key: impl Into<Key>,
        timeout: Duration,
    ) -> Result<(), EmitError> {
        self.emit(kind, value.into().into_raw(), key.into(), Patience::For(timeout))
    }

    #[inline(always)]
    fn emit(
        &mut self,
        kind: EventType,
        value: RawValue,
        key: Key,
        patience: Patience,
    ) -> Result<(), EmitError> {
        match self.rings.try_emit(kind, value, key) {
            Ok(()) => Ok(()),
            Err(refused) => {
                let mesh = self.mesh();
                insist(&mesh, refused, patience, |parts| self.rings.offer(parts))
            }
        }
    }

    /// Emits many events and blocks while there is no room; returns how many were accepted, which is all of them.
    ///
    /// Items are taken from the iterator in groups of up to 64, no more than a ring has slots. A group becomes visible at once
    /// and has one stamp, and so one time, unless it finds no room: reading the clock is half of what a single emit costs, and
    /// moving cache lines between cores most of the other half. So an iterator that takes its time keeps the items of a group
    /// waiting. For the order of events the whole batch counts as one emit, which begins with the call; among themselves the
    /// events of one key keep their order.
    ///
    /// # Errors
    /// When the bus is closed meanwhile, or, on a thread of this bus's own shards, when there is no room. The error tells how many
    /// items, from the front, were accepted, and has the others; to get them it reads the iterator to its end.
    ///
    /// # Panics
    /// When the iterator does. The items of complete groups were accepted then; those of the group in the making are dropped.
    pub fn emit_batch(
        &mut self,
        items: impl IntoIterator<Item = (EventType, Value, Key)>,
    ) -> Result<usize, BatchError> {
        let mut items = items.into_iter().fuse();
        let mut accepted = 0;
        let most = GROUP.min(self.rings.mesh().shards[0].capacity);
        // What a panicking iterator may have left behind.
        drop(self.group.take());
        loop {
            let free = most - self.group.len();
            self.group.gather(&mut self.rings, items.by_ref().take(free));
            let count = self.group.len();
            if count == 0 {
                return Ok(accepted);
            }
            if self.emit_group() {
                accepted += count;
                continue;
            }
            // One by one, up to the first that has to wait; then there is room for the others.
            let mut group = self.group.take().into_iter();
            for next in group.by_ref() {
                let offered = self.rings.offer(next);
                if let Err(refused) = offered {
                    let mesh = self.mesh();
                    let offer = |parts| self.rings.offer(parts);
                    if let Err(error) = insist(&mesh, refused, Patience::Forever, offer) {
                        let rest = group.map(|parts| Event::from_parts(parts).into_parts());
                        return Err(BatchError::new(accepted, error, rest.chain(items)));
                    }
                    accepted += 1;
                    break;
                }
                accepted += 1;
            }
            self.group.put_back(&self.rings, group);
        }
    }

    /// Publishes the group as a whole; false when it has to go one by one.
    ///
    /// While there is no room other threads are let run for a while, as by [`insist`]: taking a group apart and gathering its rest anew costs
    /// as much as several events.
    fn emit_group(&mut self) -> bool {
        for _ in 0..=YIELDS {
            match self.rings.try_emit_group(&mut self.group) {
                Ok(()) => return true,
                Err(GroupRefused::Full) => thread::yield_now(),
                Err(GroupRefused::Unfit) => return false,
            }
        }
        false
    }
}
