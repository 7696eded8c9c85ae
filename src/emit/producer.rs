//! The exclusive handle.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::Duration;

use super::emitter::Link;
use super::error::{BatchError, EmitError};
use super::rings::Rings;
use super::wait::{Patience, insist};
use crate::event::{EventType, RawValue, Value};
use crate::key::Key;
use crate::shard::Mesh;
use crate::sync::Arc;

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
    _link: Arc<Link>,
    /// Its methods need `&mut self`, so a shared reference would be of no use; this says so.
    _not_sync: PhantomData<Cell<()>>,
}

/// How many events of a batch share a stamp.
const BATCH_STAMP: u32 = 64;

impl Producer {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { rings: Rings::new(link.mesh.clone(), None), _link: link, _not_sync: PhantomData }
    }

    fn mesh(&self) -> Arc<Mesh> {
        self.rings.mesh().clone()
    }

    /// Emits if there is room. Never waits.
    ///
    /// # Errors
    /// [`Reason::Full`](crate::Reason::Full) or [`Reason::Closed`](crate::Reason::Closed); the event comes back.
    #[inline]
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
    #[inline]
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
    #[inline]
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
        match self.rings.try_emit(kind, value, key, None) {
            Ok(()) => Ok(()),
            Err(refused) => {
                let mesh = self.mesh();
                insist(&mesh, refused, patience, |parts| self.rings.offer(parts))
            }
        }
    }

    /// Emits many events and blocks while there is no room; returns how many were accepted, which is all of them.
    ///
    /// Up to 64 events in a row share one stamp, and so one time: reading the clock is most of what an emit costs. For the order of
    /// events the whole batch counts as one emit, which begins with the call; among themselves the events of one key keep their
    /// order.
    ///
    /// # Errors
    /// When the bus is closed meanwhile. The error tells how many items, from the front, were accepted, and has the others; to get
    /// them it reads the iterator to its end.
    pub fn emit_batch(
        &mut self,
        items: impl IntoIterator<Item = (EventType, Value, Key)>,
    ) -> Result<usize, BatchError> {
        let mut items = items.into_iter();
        let mut accepted = 0;
        let mut stamp = None;
        let mut uses_left = 0;
        while let Some((kind, value, key)) = items.next() {
            if uses_left == 0 {
                let clock = &self.rings.mesh().shards[0].clock;
                // A counted clock belongs to one shard, and stamps each event by itself.
                stamp = clock.is_global().then(|| clock.stamp());
                uses_left = BATCH_STAMP;
            }
            uses_left -= 1;
            if let Err(refused) = self.rings.try_emit(kind, value.into_raw(), key, stamp) {
                let mesh = self.mesh();
                let offer = |parts| self.rings.offer(parts);
                if let Err(error) = insist(&mesh, refused, Patience::Forever, offer) {
                    return Err(BatchError::new(accepted, error, items));
                }
                // There was a wait, or a ring was opened; the stamp is old.
                uses_left = 0;
            }
            accepted += 1;
        }
        Ok(accepted)
    }
}
